"""The overlapping linear transform: its shapes, its borders, and that training makes it better than blocks alone."""

import numpy as np
import pytest

import tiny
from sarcodec import errors
from sarcodec.training import overlapping
from sarcodec.variable import linear
from sarcodec.variable.linear import BLOCK


@pytest.fixture(scope="module")
def transform() -> linear.Overlapping:
    return tiny.variable().transform


def image(shape: tuple[int, int], seed: int = 3) -> np.ndarray:
    found = tiny.simulated_db(shape, seed)
    return found - np.median(found)


def test_latents_keep_most_of_an_image(transform: linear.Overlapping) -> None:
    pixels = image((96, 128))
    latents = transform.analyse(pixels)
    assert latents.shape == (26, 6, 8)
    assert latents.dtype == np.float32
    assert np.mean((transform.synthesise(latents) - pixels) ** 2) < 0.5 * np.var(pixels)


def test_basis_functions_have_norm_1_and_reach_one_block(transform: linear.Overlapping) -> None:
    for number in (0, 7, 25):
        latents = np.zeros((26, 7, 7), np.float32)
        latents[number, 3, 3] = 1
        function = transform.synthesise(latents)
        assert np.linalg.norm(function) == pytest.approx(1, abs=1e-4)
        assert not function[: 2 * BLOCK].any()
        assert not function[:, 5 * BLOCK :].any()


@pytest.mark.parametrize("shape", [(16, 16), (32, 48), (80, 16)])
def test_latents_of_a_mirrored_image_are_mirrored(transform: linear.Overlapping, shape: tuple[int, int]) -> None:
    """So what lies beyond a border is known, and decoding needs nothing from there."""
    pixels = image(shape)
    wide = np.pad(pixels, BLOCK, mode="symmetric")
    expected = transform.analyse(np.pad(wide, BLOCK, mode="symmetric"))[:, 1:-1, 1:-1]
    found = transform.mirrored(transform.analyse(pixels))
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-3)
    decoded = transform.synthesise(transform.analyse(pixels))
    inner = slice(BLOCK, -BLOCK)
    np.testing.assert_allclose(decoded, transform.synthesise(found)[inner, inner], atol=1e-4)


def test_correlating_is_the_transpose_of_synthesising(transform: linear.Overlapping) -> None:
    """⟨synthesise(l), x⟩ = ⟨l, correlate(x)⟩ for images that are 0 where mirroring at borders is felt."""
    rng = np.random.default_rng(4)
    latents = rng.normal(size=(transform.count, 5, 6)).astype(np.float32)
    image = np.zeros((80, 96), np.float32)
    image[16:-16, 16:-16] = rng.normal(size=(48, 64))
    found = np.vdot(latents, transform.correlate(image))
    assert found == pytest.approx(np.vdot(transform.synthesise(latents), image), rel=1e-4)


def test_training_with_overlap_beats_blocks() -> None:
    images = [image((256, 256), seed) for seed in (4, 5)]
    errors_db2 = []
    for steps in (0, 30):
        *_, found = overlapping.fit(images, (4,), steps, seed=1)
        errors_db2.append(np.mean([np.mean((found.synthesise(found.analyse(i)) - i) ** 2) for i in images]))
    assert errors_db2[1] < 0.97 * errors_db2[0]


def test_later_stages_leave_the_first_latents_as_they_were() -> None:
    images = [image((192, 192), 4)]
    *_, first = overlapping.fit(images, (5,), 2, seed=1)
    *_, both = overlapping.fit(images, (5, 4), 2, seed=1)
    assert (first.count, both.count) == (5, 9)
    np.testing.assert_array_equal(both.analysis[:5], first.analysis)
    np.testing.assert_array_equal(both.parity[:5], first.parity)
    before, after = (np.mean((t.synthesise(t.analyse(images[0])) - images[0]) ** 2) for t in (first, both))
    assert after < before


def test_arrays_round_trip(transform: linear.Overlapping) -> None:
    again = linear.Overlapping.from_arrays(transform.to_arrays())
    np.testing.assert_array_equal(again.synthesis, transform.synthesis)
    np.testing.assert_array_equal(again.parity, transform.parity)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("parity", np.zeros((26, 2), np.int32), "do not fit together"),
        ("analysis", np.zeros((25, 256, 3, 3), np.float32), "do not fit together"),
        ("synthesis", np.full((256, 26, 3, 3), np.nan, np.float32), "not a finite number"),
    ],
)
def test_other_arrays_are_refused(transform: linear.Overlapping, name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(errors.FormatError, match=message):
        linear.Overlapping.from_arrays(transform.to_arrays() | {name: value})
    with pytest.raises(errors.FormatError, match="linear transform: not valid"):
        linear.Overlapping.from_arrays({k: v for k, v in transform.to_arrays().items() if k != name})
