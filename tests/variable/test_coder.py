"""The stream of a tile's latents: round trips, damage, and the decoder written from docs/format.md alone."""

import numpy as np
import pytest
import safetensors.numpy

import plain_decoder
import tiny
from sarcodec import errors
from sarcodec.entropy import scale
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import contexts

SHAPES = [(1, 1), (1, 5), (4, 1), (2, 2), (5, 7)]


@pytest.fixture(scope="module")
def coder() -> latent_coder.LatentCoder:
    return tiny.variable().coder


def latents(shape: tuple[int, int], seed: int = 6) -> np.ndarray:
    pixels = tiny.simulated_db((16 * shape[0], 16 * shape[1]), seed)
    return tiny.variable().transform.analyse(pixels - np.median(pixels))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [900, 1792, 2600])
def test_symbols_round_trip(coder: latent_coder.LatentCoder, shape: tuple[int, int], step: int) -> None:
    symbols = coder.quantise(latents(shape), step, 0.35)
    data = coder.encode(symbols, step)
    found, multiples = coder.decode(data, shape, step)
    np.testing.assert_array_equal(found, symbols)
    np.testing.assert_array_equal(multiples, coder.multiples(symbols, step))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1, 40, 100_000])
def test_any_symbols_round_trip(coder: latent_coder.LatentCoder, shape: tuple[int, int], spread: int) -> None:
    """Escapes and low bits too, which no trained image brings."""
    rng = np.random.default_rng(spread)
    symbols = rng.integers(-spread, spread + 1, (26, *shape), dtype=np.int32)
    symbols[20:] = 0
    found, _ = coder.decode(coder.encode(symbols, 1792), shape, 1792)
    np.testing.assert_array_equal(found, symbols)


def test_no_symbols_take_one_byte(coder: latent_coder.LatentCoder) -> None:
    assert coder.encode(np.zeros((26, 4, 4), np.int32), 1792) == bytes(1)
    assert not coder.decode(bytes(1), (4, 4), 1792)[1].any()


@pytest.mark.parametrize(("shape", "step"), [((5, 4), 1500), ((1, 3), 1000), ((3, 3), 2300)])
def test_the_decoder_of_the_page_agrees(coder: latent_coder.LatentCoder, shape: tuple[int, int], step: int) -> None:
    symbols = coder.quantise(latents(shape), step, 0.35)
    symbols[3, 0, 0] += 70_000  # an escape, and low bits after it
    plain = plain_decoder.Variable(safetensors.numpy.load(tiny.variable_bytes()), step, shape)
    plain.decode(coder.encode(symbols, step))
    np.testing.assert_array_equal(plain.symbols, symbols)


def test_more_bits_less_error(coder: latent_coder.LatentCoder) -> None:
    values = latents((6, 6))
    sizes, errors_db2 = [], []
    for step in (1400, 1700, 2000, 2300):
        symbols = coder.quantise(values, step, 0.35)
        decoded = coder.multiples(symbols, step) * np.float32(scale.step_db(step))
        sizes.append(len(coder.encode(symbols, step)))
        errors_db2.append(np.mean((decoded - values) ** 2))
    assert sizes == sorted(sizes, reverse=True)
    assert errors_db2 == sorted(errors_db2)


@pytest.mark.parametrize(
    "data",
    [b"", bytes(2), bytes([27]) + bytes(4), bytes([26]) + bytes(7)],
    ids=["empty", "half a word", "more numbers than there are", "no whole words"],
)
def test_damage_that_shows(coder: latent_coder.LatentCoder, data: bytes) -> None:
    with pytest.raises(errors.FormatError, match="damaged"):
        coder.decode(data, (4, 4), 1792)


def test_damage_never_hangs_or_crashes(coder: latent_coder.LatentCoder) -> None:
    data = coder.encode(coder.quantise(latents((4, 4)), 1500, 0.35), 1500)
    rng = np.random.default_rng(1)
    for _ in range(40):
        changed = bytearray(data)
        for place in rng.integers(0, len(changed), 3):
            changed[place] = rng.integers(256)
        try:
            symbols, multiples = coder.decode(bytes(changed), (4, 4), 1500)
        except errors.FormatError:
            continue
        assert symbols.shape == multiples.shape == (26, 4, 4)


def test_levels_at_a_time_are_those_of_all(coder: latent_coder.LatentCoder) -> None:
    """A decoder, which knows less at every pass, comes to the same levels."""
    symbols = coder.quantise(latents((5, 6)), 1500, 0.35)
    whole = coder.contexts.levels_of(symbols, 1500, 26).reshape(26, -1)
    magnitude, priors = contexts.padded(symbols), coder.contexts.priors(1500)
    for number in range(26):
        for turn in range(4):
            known = magnitude.copy()
            known[number + 1 :] = 99
            for later in range(turn, 4):
                row, column = contexts.PASSES[later]
                known[number, row + 1 : 6 : 2, column + 1 : 7 : 2] = 99
            place = contexts.places(turn, 5, 6)
            found = coder.contexts.levels(known, number, turn, int(priors[number]))
            np.testing.assert_array_equal(found, whole[number, place])


def test_arrays_round_trip(coder: latent_coder.LatentCoder) -> None:
    again = latent_coder.LatentCoder.from_arrays(coder.to_arrays())
    symbols = coder.quantise(latents((3, 3)), 1500, 0.35)
    assert again.encode(symbols, 1500) == coder.encode(symbols, 1500)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("contexts.parents", np.full((26, 9), 3, np.int32), "parents must be lower numbers"),
        ("contexts.spread", np.zeros(25, np.int32), "do not fit together"),
        ("contexts.0.weight.0", np.zeros((16, 9), np.int32), "4 networks of 10 inputs"),
        ("minimum", np.zeros(3, np.int32), "not valid"),
        ("centroids", np.full((2, 72, 4), np.nan, np.float32), "centroid is not a finite number"),
    ],
)
def test_other_arrays_are_refused(
    coder: latent_coder.LatentCoder, name: str, value: np.ndarray, message: str
) -> None:
    with pytest.raises(errors.FormatError, match=message):
        latent_coder.LatentCoder.from_arrays(coder.to_arrays() | {name: value})
