"""The stream of a tile's coefficients: round trips, damage, and the decoder written from docs/format.md alone."""

import functools
from typing import Any

import numpy as np
import pytest

import plain_decoder
import tiny
from sarcodec import errors
from sarcodec.entropy import scale, trellis
from sarcodec.entropy.network import OCTAVE
from sarcodec.entropy.symbols import CENTROIDS, HIGHEST, LOWEST, TABLES, table_index
from sarcodec.lapped import coefficients, transform
from sarcodec.lapped.transform import BLOCK
from sarcodec.training import coefficient_fit

STEP = 1500


@functools.cache
def blank() -> coefficients.CoefficientCoder:
    """A coder for coefficients whose spread falls with frequency, from 300 dB."""
    frequency = np.hypot(*np.indices((BLOCK, BLOCK)))
    return coefficient_fit.blank(np.rint(2048 * np.log2(64 * 300 / 2 / (1 + frequency))).astype(np.int32))


def coders() -> list[coefficients.CoefficientCoder]:
    return [blank(), tiny.lapped().coder]


def random_symbols(shape: tuple[int, int], largest: int, diagonals: int = 127, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((BLOCK, BLOCK))
    inside = (rows + columns < diagonals)[:, :, None, None]
    return (rng.integers(-largest, largest + 1, (BLOCK, BLOCK, *shape)) * inside).astype(np.int32)


CASES = [(shape, STEP) for shape in ((1, 1), (1, 3), (2, 2))] + [((1, 2), 1), ((2, 1), 3328)]


@pytest.mark.parametrize(("shape", "step"), CASES)
@pytest.mark.parametrize("largest", [0, 1, 40, 5000, trellis.LARGEST])
def test_round_trip(shape: tuple[int, int], step: int, largest: int) -> None:
    symbols = random_symbols(shape, largest, 127 if shape == (1, 1) else 30)
    for coder in coders():
        data = coder.encode(symbols, step)
        assert data == coder.encode(symbols.copy(), step)
        found, multiples = coder.decode(data, shape, step)
        np.testing.assert_array_equal(found, symbols)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(multiples, coder.multiples(symbols, step))
        assert multiples.dtype == np.float32


def test_sparse_and_lonely_symbols() -> None:
    for place in ((0, 0), (63, 63), (0, 63), (63, 0), (31, 5)):
        for value in (1, -1, 200, -trellis.LARGEST):
            symbols = np.zeros((BLOCK, BLOCK, 1, 2), np.int32)
            symbols[(*place, 0, 1)] = value
            data = blank().encode(symbols, STEP)
            assert data[0] == sum(place) + 1 == coefficients.last_diagonal(symbols)
            np.testing.assert_array_equal(blank().decode(data, (1, 2), STEP)[0], symbols)


def test_nothing_takes_a_byte() -> None:
    symbols = np.zeros((BLOCK, BLOCK, 4, 4), np.int32)
    for coder in coders():
        assert coder.encode(symbols, STEP) == b"\0"
        found, multiples = coder.decode(b"\0", (4, 4), STEP)
        assert not found.any()
        assert not multiples.any()


def test_levels_beyond_the_tables_shift() -> None:
    """A fine step makes the lowest frequencies large: bits are coded as they are, and cheaply."""
    levels = blank().network.prior(0, 1).astype(np.uint8)
    shift, index = table_index(levels)
    assert shift[0] > 5
    assert HIGHEST - OCTAVE < index[0] + LOWEST <= HIGHEST
    symbols = random_symbols((2, 2), 1 << 14, 1)
    assert len(blank().encode(symbols, 1)) < 4 * 2 + 16


def test_table_index() -> None:
    level = np.arange(256, dtype=np.uint8)
    shift, index = table_index(level)
    assert (shift == [max(0, -((HIGHEST - t) // 8)) for t in level.tolist()]).all()
    assert (index[: LOWEST + 1] == 0).all()
    assert (index[LOWEST : HIGHEST + 1] == np.arange(TABLES)).all()
    assert ((index[HIGHEST + 1 :] >= TABLES - 8) & (index[HIGHEST + 1 :] < TABLES)).all()


def test_multiples_are_symbols_and_centroids() -> None:
    coder = tiny.lapped().coder
    symbols = random_symbols((1, 2), 5, 20)
    multiples = coder.multiples(symbols, STEP)
    bare = trellis.dequantise(symbols, trellis.all_states(symbols))
    assert (multiples[symbols == 0] == 0).all()
    offset = (multiples - bare) * np.sign(symbols)
    assert np.abs(offset).max() <= np.abs(coder.centroids).max() + 1e-6
    assert np.unique(np.round(offset[np.abs(symbols) >= 3], 4)).size > 1
    np.testing.assert_array_equal(blank().multiples(symbols, STEP), bare)


def quantised(step: int = 1400) -> tuple[np.ndarray, bytes]:
    tile = coefficient_fit.tiles_of(tiny.simulated_db((128, 64), 7))
    coder = tiny.lapped().coder
    symbols = coder.quantise(tile, step, 0.35)
    return symbols, coder.encode(symbols, step)


def test_damage_never_crashes() -> None:
    """Changed, cut or swapped bytes: FormatError or other symbols."""
    symbols, data = quantised()
    coder, rng = tiny.lapped().coder, np.random.default_rng(0)
    refused = 0
    for trial in range(32):
        damaged = bytearray(data)
        kind = trial % 4
        if kind == 0:
            damaged[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            start = int(rng.integers(len(data) - 8))
            damaged[start : start + 8] = rng.bytes(8)
        elif kind == 2:
            del damaged[1 + 4 * int(rng.integers(len(data) // 4)) :]
        else:
            damaged[1:] = rng.bytes(4 * int(rng.integers(200)))
        try:
            found, multiples = coder.decode(bytes(damaged), (2, 1), 1400)
        except errors.FormatError:
            refused += 1
            continue
        assert found.shape == multiples.shape == symbols.shape
        assert np.abs(found).max() <= trellis.LARGEST
        assert np.isfinite(multiples).all()
    assert refused < 32


@pytest.mark.parametrize("bytes_", [b"", b"\0\0", bytes([128]), bytes([1]) + b"ab", bytes([255, 0, 0, 0, 0])])
def test_impossible_lengths_and_counts(bytes_: bytes) -> None:
    with pytest.raises(errors.FormatError, match="damaged"):
        blank().decode(bytes_, (1, 1), STEP)


def test_too_many_blocks() -> None:
    with pytest.raises(errors.FormatError, match="65×64 blocks"):
        blank().decode(b"\0", (65, 64), STEP)


@pytest.mark.parametrize("value", [trellis.LARGEST + 1, -(1 << 30)])
def test_symbols_larger_than_any_that_is_coded(value: int) -> None:
    symbols = np.zeros((BLOCK, BLOCK, 1, 1), np.int32)
    symbols[0, 0] = value
    with pytest.raises(errors.FormatError, match="larger"):
        blank().decode(blank().encode(symbols, STEP), (1, 1), STEP)


def test_arrays_round_trip() -> None:
    coder = tiny.lapped().coder
    again = coefficients.CoefficientCoder.from_arrays(coder.to_arrays())
    symbols, data = quantised()
    assert again.encode(symbols, 1400) == data
    np.testing.assert_array_equal(again.multiples(symbols, 1400), coder.multiples(symbols, 1400))


def changed(**arrays: Any) -> dict[str, np.ndarray]:
    return blank().to_arrays() | arrays


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in blank().to_arrays().items() if key != name}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        without("frequencies"),
        without("centroids"),
        without("network.spread"),
        changed(centroids=np.zeros((2, TABLES, CENTROIDS + 1), np.float32)),
        changed(centroids=np.full((2, TABLES, CENTROIDS), np.nan, np.float32)),
        changed(minimum=blank().to_arrays()["minimum"][:-1]),
        changed(minimum=blank().to_arrays()["minimum"] + 1),
        changed(size=blank().to_arrays()["size"] - 1),
        changed(frequencies=blank().to_arrays()["frequencies"] + 1),
        changed(**{"network.weight.0": np.full((32, 8), 200)}),
    ],
)
def test_arrays_of_something_else(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(errors.FormatError):
        coefficients.CoefficientCoder.from_arrays(arrays)


@pytest.mark.parametrize("step", [800, 1400, 2000])
def test_quantise(step: int) -> None:
    tile = coefficient_fit.tiles_of(tiny.simulated_db((64, 128), 8))
    coder = tiny.lapped().coder
    sizes, squared_errors = [], []
    for weight in (0.0, 0.35, 1.0):
        symbols = coder.quantise(tile, step, weight)
        assert symbols.shape == tile.shape
        assert symbols.dtype == np.int32
        sizes.append(len(coder.encode(symbols, step)))
        error = tile / scale.step_db(step) - coder.multiples(symbols, step)
        squared_errors.append(np.mean(error**2))
    assert sizes[0] > sizes[1] > sizes[2]
    assert squared_errors[0] < squared_errors[1] < squared_errors[2]
    assert squared_errors[0] < 0.3


def test_search_pays() -> None:
    """The sum it minimises, error plus λ times bits, is less than that of the first guess."""
    tile = coefficient_fit.tiles_of(tiny.simulated_db((128, 128), 8))
    coder, step = tiny.lapped().coder, 1500

    def cost(symbols: np.ndarray) -> float:
        error = tile / scale.step_db(step) - coder.multiples(symbols, step)
        return float(np.sum(error**2) + 0.35 * 8 * len(coder.encode(symbols, step)))

    guess = trellis.first_guess(tile / np.float32(scale.step_db(step)))
    assert cost(coder.quantise(tile, step, 0.35)) < 0.97 * cost(guess)


def test_quantise_zeros() -> None:
    zeros = np.zeros((BLOCK, BLOCK, 1, 2), np.float32)
    for coder in coders():
        assert not coder.quantise(zeros, STEP, 0.35).any()


@pytest.mark.parametrize(("step", "size"), [(1500, (2, 2)), (1, (1, 2)), (900, (1, 1))])
def test_a_decoder_written_from_the_format_page_agrees(step: int, size: tuple[int, int]) -> None:
    shape = (size[0] * BLOCK, size[1] * BLOCK)
    tile = transform.analyse(tiny.simulated_db(shape, 9) + 12)
    coder = tiny.lapped().coder
    symbols = coder.quantise(tile, step, 0.35, passes=1)
    symbols[np.add(*np.indices((BLOCK, BLOCK))) > 9] = 0
    symbols[2, 1] = 70_000  # an escape
    data = coder.encode(symbols, step)
    arrays = {f"coder.{name}": array for name, array in coder.to_arrays().items()}
    found = plain_decoder.Lapped(arrays, step, size)
    found.decode(data)
    np.testing.assert_array_equal(found.symbols, symbols)
