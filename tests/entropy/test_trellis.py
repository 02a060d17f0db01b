"""Dependent quantisation: the search finds what trying everything finds."""

from collections.abc import Callable

import numpy as np
import pytest

from sarcodec import errors
from sarcodec.entropy import trellis
from sarcodec.entropy.trellis import LARGEST, NEXT, STATES

Options = Callable[[int, int, int], list[int]]


def stood_for(symbol: int, state: int) -> int:
    return 2 * symbol - (state % 2) * ((symbol > 0) - (symbol < 0))


def states_one_by_one(symbols: np.ndarray) -> np.ndarray:
    """States of one block (rows, columns), plainly."""
    states = np.zeros(symbols.shape, int)
    for row in range(symbols.shape[0]):
        for column in range(symbols.shape[1]):
            if row or column:
                before = (row, column - 1) if column else (row - 1, 0)
                states[row, column] = NEXT[states[before], symbols[before] % 2]
    return states


def cost_of(symbols: np.ndarray, scaled: np.ndarray, bits: Callable[..., float], weight: float) -> float:
    total = 0.0
    states = states_one_by_one(symbols)
    for place in np.ndindex(symbols.shape):
        symbol, state = int(symbols[place]), int(states[place])
        error = float(scaled[place]) - stood_for(symbol, state)
        total += error**2 + weight * bits(state % 2, abs(symbol), *place)
    return total


def least_cost(scaled: np.ndarray, options: Options, bits: Callable[..., float], weight: float) -> float:
    """Least cost over all choices of ``options(quantiser, row, column)``."""
    places = list(np.ndindex(scaled.shape))
    symbols = np.zeros(scaled.shape, int)

    def below(number: int, spent: float) -> float:
        if number == len(places):
            return spent
        row, column = places[number]
        state = int(states_one_by_one(symbols)[row, column]) if number else 0
        found = np.inf
        for symbol in options(state % 2, row, column):
            symbols[row, column] = symbol
            error = float(scaled[row, column]) - stood_for(symbol, state)
            paid = error**2 + weight * bits(state % 2, abs(symbol), row, column)
            found = min(found, below(number + 1, spent + paid))
        symbols[row, column] = 0
        return found

    return below(0, 0.0)


def test_transitions_make_a_trellis() -> None:
    """Two ways lead out of every state and two into it; from every state all others are within reach."""
    assert NEXT.shape == (STATES, 2)
    assert (np.bincount(NEXT.ravel(), minlength=STATES) == 2).all()
    assert (NEXT[:, 0] != NEXT[:, 1]).all()
    for state in range(STATES):
        reached = {state}
        for _ in range(trellis.MEMORY):
            reached = {int(after) for known in reached for after in NEXT[known]}
        assert len(reached) == STATES


def test_transitions_are_those_of_the_format() -> None:
    for state in range(STATES):
        for parity in (0, 1):
            assert NEXT[state, parity] == (state >> 1) ^ (18 * (state & 1)) ^ (4 * parity)


def test_all_states() -> None:
    symbols = np.random.default_rng(0).integers(-5, 6, (6, 5, 3)).astype(np.int32)
    found = trellis.all_states(symbols)
    for block in range(3):
        np.testing.assert_array_equal(found[:, :, block], states_one_by_one(symbols[:, :, block]))


def test_dequantise() -> None:
    symbols = np.repeat(np.arange(-4, 5, dtype=np.int32)[:, None], 2, axis=1)
    states = np.broadcast_to(np.array([6, 7], np.int8), symbols.shape)
    found = trellis.dequantise(symbols, states)
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [-8, -6, -4, -2, 0, 2, 4, 6, 8]
    assert found[:, 1].tolist() == [-7, -5, -3, -1, 0, 1, 3, 5, 7]


FREE = np.zeros((2, 1, 1), np.float32)


def free_search(scaled: np.ndarray, bits: np.ndarray = FREE, weight: float = 0.0) -> np.ndarray:
    """Search where one table is for all."""
    nothing = np.zeros(scaled.shape, np.uint8)
    return trellis.search(scaled, nothing, nothing, bits, weight)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 4), (2, 2), (3, 2)])
@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_search_is_optimal_among_candidates(shape: tuple[int, int], weight: float) -> None:
    rng = np.random.default_rng(sum(shape))
    scaled = rng.normal(0.0, 3.0, (*shape, 3)).astype(np.float32)
    price = np.sort(rng.gamma(2.0, 2.0, (2, scaled.size, 12)), axis=2).astype(np.float32)
    table = np.arange(scaled.size, dtype=np.uint8).reshape(scaled.shape)
    shift = rng.integers(0, 3, scaled.shape).astype(np.uint8)
    symbols = trellis.search(scaled, table, shift, price, weight)
    for block in range(3):

        def bits_of(quantiser: int, magnitude: int, row: int, column: int, block: int = block) -> float:
            low_bits = int(shift[row, column, block])
            return float(price[quantiser, table[row, column, block], magnitude >> low_bits]) + low_bits

        def options(quantiser: int, row: int, column: int, block: int = block) -> list[int]:
            sign = -1 if scaled[row, column, block] < 0 else 1
            value = abs(float(scaled[row, column, block]))
            low = max(k for k in range(12) if stood_for(k, quantiser) <= value)
            return [sign * k for k in {0, low, low + 1}]

        found = cost_of(symbols[:, :, block], scaled[:, :, block], bits_of, weight)
        assert found == pytest.approx(least_cost(scaled[:, :, block], options, bits_of, weight), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 2), (1, 4)])
def test_search_without_rate_is_optimal_among_all_symbols(shape: tuple[int, int]) -> None:
    scaled = np.random.default_rng(7).uniform(-4.0, 4.0, (*shape, 2)).astype(np.float32)
    symbols = free_search(scaled)
    for block in range(2):
        found = cost_of(symbols[:, :, block], scaled[:, :, block], lambda *_: 0.0, 0.0)
        every = least_cost(scaled[:, :, block], lambda *_: list(range(-3, 4)), lambda *_: 0.0, 0.0)
        assert found == pytest.approx(every, rel=1e-5)


def test_beats_a_scalar_quantiser() -> None:
    """Of step 2, whose error is 1/3: by about a decibel, as 32 states do."""
    scaled = np.random.default_rng(1).uniform(-40, 40, (48, 48, 2)).astype(np.float32)
    symbols = free_search(scaled)
    error = scaled - trellis.dequantise(symbols, trellis.all_states(symbols))
    assert 0.9 < 10 * np.log10((1 / 3) / np.mean(error**2)) < 1.53


@pytest.mark.parametrize("weight", [0.0, 0.35])
def test_zeros_stay_zeros(weight: float) -> None:
    bits = np.array([[[1, 2]], [[1, 2]]], np.float32)
    assert not free_search(np.zeros((4, 4, 2), np.float32), bits, weight).any()


def test_large_values() -> None:
    scaled = np.zeros((2, 3, 1), np.float32)
    scaled[0, 0], scaled[0, 2], scaled[1, 1] = 1e30, -(2.0**24), 12345.6
    symbols = free_search(scaled, np.ones((2, 1, 1), np.float32), 0.35)
    restored = trellis.dequantise(symbols, trellis.all_states(symbols))
    assert np.abs(symbols).max() <= LARGEST
    assert restored[0, 0, 0] == pytest.approx(LARGEST, abs=4)
    assert restored[0, 2, 0] == pytest.approx(-LARGEST, abs=4)
    assert restored[1, 1, 0] == pytest.approx(12345.6, abs=2)


def test_first_guess_rounds_with_a_dead_zone() -> None:
    scaled = np.array([0.0, 1.01, -1.01, 1.3, -1.3, 3.01, 3.3, -1e30], np.float32)
    assert trellis.first_guess(scaled).tolist() == [0, 0, 0, 1, -1, 1, 2, -LARGEST // 2]


def test_active() -> None:
    scaled = np.zeros((8, 8, 2), np.float32)
    assert trellis.active(scaled) == (1, 1)
    least = trellis.NEGLIGIBLE
    scaled[5, 2, 0], scaled[0, 6, 1], scaled[7, 7, 1] = -least - 0.1, least + 0.1, least - 0.1
    assert trellis.active(scaled) == (6, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_coefficients_that_are_not_finite_are_refused(value: float) -> None:
    """Compiled code would read outside its tables."""
    scaled = np.zeros((4, 4, 40), np.float32)
    scaled[2, 1, 33] = value
    table = np.zeros(scaled.shape, np.uint8)
    with pytest.raises(errors.InputError, match="not finite"):
        trellis.search(scaled, table, table, np.ones((2, 1, 8), np.float32), 0.3)
