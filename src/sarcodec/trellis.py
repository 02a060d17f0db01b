"""Dependent quantisation: two scalar quantisers and a state machine of 32 states that switches between them.

A coefficient c is coded as an integer k. In the even states k stands for 2k·Δ, in the odd ones for (2k − sgn k)·Δ;
the next state follows from the state and the parity of k, so the decoder always knows which. Points that a sequence
of symbols can reach lie denser in many dimensions than those of one quantiser of the same rate, which saves up to
0.15 bit per coefficient at equal error. Going from coefficient to coefficient of a block, states follow a tree: down
the first column of horizontal frequency 0, and from there along every row.

The encoder finds the symbols of least error plus λ times bits by dynamic programming from the ends of the rows.

Sources: Marcellin, Fischer, "Trellis coded quantization", IEEE TCOM 38 (1), 1990; Schwarz, Nguyen, Marpe, Wiegand,
"Hybrid video coding with trellis-coded quantization", DCC 2019; the code is that of Ungerboeck, "Channel coding with
multilevel/phase signals", IEEE TIT 28 (1), 1982, table I, ν = 5.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MEMORY = 5
STATES = 1 << MEMORY
_FEEDBACK, _INPUT = 0o45, 0o10


def _transitions() -> npt.NDArray[np.int8]:
    """Next state by state and parity of the symbol, (STATES, 2): a systematic feedback encoder in observer form."""
    state, parity = np.arange(STATES)[:, None], np.arange(2)[None, :]
    feedback = (state & 1) * (_FEEDBACK >> 1)
    return np.asarray((state >> 1) ^ feedback ^ (parity * (_INPUT >> 1)), np.int8)


NEXT = _transitions()
LARGEST = 1 << 24
"""Symbols have magnitudes up to this."""

NEGLIGIBLE = 1.5
"""Frequencies beyond the last coefficient of this many steps are not searched: their symbols are 0."""

FloatArray = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.int32]
States = npt.NDArray[np.int8]


def quantiser(states: States) -> States:
    """Tell which quantiser a state uses: 0 for even multiples of the step, 1 for odd ones and zero."""
    return states & 1


def dequantise(symbols: Symbols, states: States) -> FloatArray:
    """Return the multiples of the step that symbols stand for in their states, float32 of the same shape."""
    return (2 * symbols - np.sign(symbols) * quantiser(states)).astype(np.float32)


def first_guess(scaled: FloatArray) -> Symbols:
    """Round coefficients, in units of the step, to symbols of the even quantiser with a dead zone."""
    return (np.sign(scaled) * np.floor(np.minimum(np.abs(scaled), LARGEST) / 2 + 0.47)).astype(np.int32)


def all_states(symbols: Symbols) -> States:
    """Return the state before every symbol.

    Parameters
    ----------
    symbols : ndarray of int32
        (rows, columns, …): frequencies of blocks, any further axes.

    Returns
    -------
    ndarray of int8
        The same shape.
    """
    parity = (symbols & 1).astype(np.int8)
    states = np.zeros(symbols.shape, np.int8)
    for row in range(1, len(symbols)):
        states[row, 0] = NEXT[states[row - 1, 0], parity[row - 1, 0]]
    for column in range(1, symbols.shape[1]):
        states[:, column] = NEXT[states[:, column - 1], parity[:, column - 1]]
    return states


def search(scaled: FloatArray, bits: FloatArray, weight: float) -> Symbols:
    """Choose the symbols with the least squared error plus ``weight`` times bits.

    Parameters
    ----------
    scaled : ndarray of float32
        (rows, columns, blocks): coefficients in units of the step.
    bits : ndarray of float32
        (2, 3, rows, columns, blocks): bits of symbol 0 and of the two candidates of :func:`candidates`, in either
        quantiser.
    weight : float
        λ, squared steps per bit, ≥ 0.

    Returns
    -------
    ndarray of int32
        (rows, columns, blocks).
    """
    magnitude = np.minimum(np.abs(scaled), np.float32(LARGEST))
    costs, choices = zip(*(_by_parity(magnitude, bits[q], q, weight) for q in (0, 1)), strict=True)
    cost = np.stack(costs)  # quantiser, parity, row, column, block
    rows, columns, blocks = scaled.shape
    ahead = np.zeros((STATES, rows, blocks), np.float32)
    row_moves = np.empty((columns, STATES, rows, blocks), bool)
    for column in range(columns - 1, 0, -1):
        ahead, row_moves[column] = _step_back(cost[:, :, :, column], ahead)
    trunk = np.zeros((STATES, blocks), np.float32)
    trunk_moves = np.empty((rows, STATES, blocks), bool)
    for row in range(rows - 1, -1, -1):
        trunk, trunk_moves[row] = _step_back(cost[:, :, row, 0], trunk + ahead[:, row])
    return _walk(np.where(scaled < 0, np.int32(-1), np.int32(1)), np.stack(choices), row_moves, trunk_moves)


def active(scaled: FloatArray) -> tuple[int, int]:
    """Return how many rows and columns of frequencies (rows, columns, blocks) are worth a search, each at least 1."""
    large = np.abs(scaled).max(axis=2) > NEGLIGIBLE
    rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
    return int(rows[-1]) + 1 if rows.size else 1, int(columns[-1]) + 1 if columns.size else 1


def candidates(scaled: FloatArray) -> npt.NDArray[np.int32]:
    """Magnitudes of the two symbols nearest to coefficients, in either quantiser; (2, 2, …) int32."""
    magnitude = np.minimum(np.abs(scaled), np.float32(LARGEST))
    even, odd = (magnitude / 2).astype(np.int32), ((magnitude + 1) / 2).astype(np.int32)
    return np.stack([np.stack([even, even + 1]), np.stack([odd, odd + 1])])


def _by_parity(
    magnitude: FloatArray, bits: FloatArray, quantiser_index: int, weight: float
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """Return the least cost of an even and of an odd symbol, (2, …), and the magnitudes that have it."""
    low = ((magnitude + quantiser_index) / 2).astype(np.int32)
    value = (2 * low - (quantiser_index * (low > 0))).astype(np.float32)
    step = np.where((low > 0) | (quantiser_index == 0), np.float32(2), np.float32(1))
    zero = magnitude * magnitude + weight * bits[0]
    near = (magnitude - value) ** 2 + weight * bits[1]
    far = (magnitude - value - step) ** 2 + weight * bits[2]
    is_odd = (low & 1).astype(bool)
    even_cost, even = np.where(is_odd, far, near), np.where(is_odd, low + 1, low)
    odd_cost, odd = np.where(is_odd, near, far), np.where(is_odd, low, low + 1)
    drop = zero < even_cost
    return np.stack([np.where(drop, zero, even_cost), odd_cost]), np.stack([np.where(drop, 0, even), odd])


def _step_back(cost: FloatArray, ahead: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """One step from the costs ahead of the next state to those of this one; tells where the odd symbol is taken.

    ``cost`` (quantiser, parity, …) is that of this symbol, ``ahead`` (STATES, …).
    """
    even, odd = ahead[NEXT[:, 0]], ahead[NEXT[:, 1]]
    for quantiser_index in (0, 1):
        even[quantiser_index::2] += cost[quantiser_index, 0]
        odd[quantiser_index::2] += cost[quantiser_index, 1]
    moves = odd < even
    return np.minimum(odd, even, out=even), moves


def _walk(
    signs: Symbols,
    options: npt.NDArray[np.int32],
    row_moves: npt.NDArray[np.bool_],
    trunk_moves: npt.NDArray[np.bool_],
) -> Symbols:
    """Follow the best moves from state 0 down the trunk and then along all rows.

    ``options`` (quantiser, parity, row, column, block) are the magnitudes to choose from.
    """
    rows, columns, blocks = signs.shape
    symbols = np.empty(signs.shape, np.int32)
    state = np.zeros((rows, blocks), np.int8)
    current, every_block = np.zeros(blocks, np.int8), np.arange(blocks)
    for row in range(rows):
        odd = trunk_moves[row, current, every_block]
        symbols[row, 0] = options[current & 1, odd.astype(np.int8), row, 0, every_block]
        current = NEXT[current, odd.astype(np.int8)]
        state[row] = current
    every_row = np.arange(rows)[:, None]
    for column in range(1, columns):
        odd = row_moves[column][state, every_row, every_block].astype(np.int8)
        symbols[:, column] = options[state & 1, odd, every_row, column, every_block]
        state = NEXT[state, odd]
    return symbols * signs
