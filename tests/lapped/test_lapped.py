"""The lapped transform: orthonormal, exact, the same in windows as in the whole."""

import numpy as np
import pytest

from sarcodec.lapped import transform
from sarcodec.lapped.transform import BLOCK, REACH

SIZES = [(64, 64), (64, 192), (256, 64), (192, 128)]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 5.0, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SIZES)
def test_perfect_reconstruction(shape: tuple[int, int]) -> None:
    pixels = noise(shape)
    coefficients = transform.analyse(pixels)
    assert coefficients.shape == (BLOCK, BLOCK, shape[0] // BLOCK, shape[1] // BLOCK)
    assert coefficients.dtype == np.float32
    np.testing.assert_allclose(transform.synthesise(coefficients), pixels, atol=1e-4)
    again = noise(coefficients.shape, 1)
    np.testing.assert_allclose(transform.analyse(transform.synthesise(again)), again, atol=1e-4)


@pytest.mark.parametrize("shape", SIZES)
def test_orthonormal(shape: tuple[int, int]) -> None:
    """Inner products, and with them squared errors, are the same in pixels and coefficients."""
    a, b = noise(shape, 2), noise(shape, 3)
    product = np.sum(transform.analyse(a).astype(float) * transform.analyse(b))
    assert product == pytest.approx(np.sum(a.astype(float) * b), abs=1e-2)
    assert np.linalg.norm(transform.analyse(a)) == pytest.approx(np.linalg.norm(a), rel=1e-6)


def test_lowest_frequency_is_the_mean() -> None:
    constant = transform.analyse(np.full((128, 192), -7.5, np.float32))
    np.testing.assert_allclose(constant[0, 0], -7.5 * BLOCK, rtol=1e-5)
    constant[0, 0] = 0.0
    np.testing.assert_allclose(constant, 0.0, atol=1e-3)
    pixels = noise((64, 64))
    np.testing.assert_allclose(transform.analyse(pixels)[0, 0], BLOCK * pixels.mean(), rtol=1e-4)


def test_rows_and_columns_are_not_mixed_up() -> None:
    """A wave along one axis has frequencies along that axis only, and transposing transposes."""
    wave = np.repeat(np.cos(np.pi * 9 * (np.arange(128) + 0.5) / 64)[:, None], 128, axis=1).astype(np.float32)
    power = (transform.analyse(wave) ** 2).sum(axis=(2, 3))
    assert power[:, 0].sum() == pytest.approx(power.sum(), rel=1e-6)
    pixels = noise((128, 192))
    np.testing.assert_allclose(
        transform.analyse(pixels.T), transform.analyse(pixels).transpose(1, 0, 3, 2), atol=1e-4
    )


def test_basis_functions_reach_into_neighbours_and_no_further() -> None:
    coefficients = np.zeros((BLOCK, BLOCK, 3, 5), np.float32)
    coefficients[0, 1, 1, 2] = 100.0
    seen = np.abs(transform.synthesise(coefficients)) > 1e-4
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert BLOCK - REACH <= rows[0] < BLOCK - 20
    assert 2 * BLOCK + 20 < rows[-1] < 2 * BLOCK + REACH
    assert 2 * BLOCK - REACH <= columns[0] < 2 * BLOCK - 20
    assert 3 * BLOCK + 20 < columns[-1] < 3 * BLOCK + REACH


@pytest.mark.parametrize("shape", [(320, 384), (200, 331), (257, 257), (193, 130)])
def test_windows_with_a_block_of_margin_agree_with_the_whole(shape: tuple[int, int]) -> None:
    """Tiles of 128 pixels, at the border of the image too, where it is continued."""
    pixels = noise(shape)
    whole = transform.analyse(transform.extend(pixels))
    for top in range(0, shape[0], 128):
        for left in range(0, shape[1], 128):
            first = max(top - BLOCK, 0), max(left - BLOCK, 0)
            window = pixels[first[0] : top + 128 + BLOCK, first[1] : left + 128 + BLOCK]
            found = transform.analyse(transform.extend(window))
            row, column = (top - first[0]) // BLOCK, (left - first[1]) // BLOCK
            expected = whole[:, :, top // BLOCK : top // BLOCK + 2, left // BLOCK : left // BLOCK + 2]
            inner = found[:, :, row : row + expected.shape[2], column : column + expected.shape[3]]
            np.testing.assert_allclose(inner, expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (63, 65), (64, 64), (100, 200)])
def test_extend(shape: tuple[int, int]) -> None:
    pixels = noise(shape) - 12
    extended = transform.extend(pixels)
    assert extended.dtype == np.float32
    assert extended.shape == tuple(-(-side // BLOCK) * BLOCK for side in shape)
    np.testing.assert_array_equal(extended[: shape[0], : shape[1]], pixels)
    assert pixels.min() - 1e-3 <= extended.min()
    assert extended.max() <= pixels.max() + 1e-3


def test_extend_fades_to_the_mean_without_a_jump() -> None:
    pixels = np.full((70, 64), 3.0, np.float32)
    pixels[69] = 11.0
    extended = transform.extend(pixels)[:, 5]
    mean = (69 * 3.0 + 11.0) / 70
    assert (np.diff(extended[69:]) < 0).all()
    assert extended[70] == pytest.approx(mean + (11 - mean) * np.exp(-1 / 8), rel=1e-5)
    assert extended[-1] == pytest.approx(mean, abs=0.01)


def test_fill() -> None:
    pixels = noise((150, 200))
    valid = np.random.default_rng(4).random(pixels.shape) > 0.3
    valid[:64, 64:128] = False
    filled = transform.fill(np.where(valid, pixels, np.nan).astype(np.float32), valid)
    np.testing.assert_array_equal(filled[valid], pixels[valid])
    assert (filled[:64, 64:128] == 0).all()
    corner = slice(128, 150), slice(192, 200)
    np.testing.assert_allclose(filled[corner][~valid[corner]], pixels[corner][valid[corner]].mean(), rtol=1e-5)
    assert filled.dtype == np.float32
    assert transform.fill(pixels, np.ones_like(valid)) is pixels


def test_fill_is_the_same_in_windows() -> None:
    pixels, valid = noise((256, 300)), np.random.default_rng(5).random((256, 300)) > 0.5
    whole = transform.fill(pixels, valid)
    window = slice(64, 192), slice(128, 300)
    np.testing.assert_allclose(transform.fill(pixels[window], valid[window]), whole[window], atol=1e-5)
