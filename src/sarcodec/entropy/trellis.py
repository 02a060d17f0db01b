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

from sarcodec import errors
from sarcodec.runtime.compiled import Array, compiled

MEMORY = 5
STATES = 1 << MEMORY
_FEEDBACK, _INPUT = 0o45, 0o10


def _transitions() -> npt.NDArray[np.int8]:
    """Next state by state and parity of the symbol, (STATES, 2): a systematic feedback encoder in observer form."""
    state, parity = np.arange(STATES)[:, None], np.arange(2)[None, :]
    feedback = (state & 1) * (_FEEDBACK >> 1)
    return np.asarray((state >> 1) ^ feedback ^ (parity * (_INPUT >> 1)), np.int8)


NEXT = _transitions()
_LANES = 64
"""Blocks that are searched side by side."""

LARGEST = 1 << 24
"""Symbols have magnitudes up to this."""

NEGLIGIBLE = 1.5
"""Frequencies beyond the last coefficient of this many steps are not searched: their symbols are 0."""

FloatArray = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.int32]
States = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]


def quantiser(states: States) -> States:
    """Tell which quantiser a state uses: 0 for even multiples of the step, 1 for odd ones and zero."""
    return states & 1


def dequantise(symbols: Symbols, states: States) -> FloatArray:
    """Return the multiples of the step that symbols stand for in their states, float32 of the same shape."""
    return (2 * symbols - np.sign(symbols) * quantiser(states)).astype(np.float32)


def first_guess(scaled: FloatArray) -> Symbols:
    """Round coefficients, in units of the step, to symbols of the even quantiser with a dead zone."""
    symbols = np.empty(scaled.shape, np.int32)
    _round(np.ascontiguousarray(scaled).reshape(-1), symbols.reshape(-1))
    return symbols


@compiled
def _round(scaled: Array, symbols: Array) -> None:
    for i in range(scaled.size):
        magnitude = np.int32(min(abs(scaled[i]), np.float32(LARGEST)) * np.float32(0.5) + np.float32(0.47))
        symbols[i] = -magnitude if scaled[i] < 0 else magnitude


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
    states = np.empty(symbols.shape, np.int8)
    shape = *symbols.shape[:2], -1
    _follow(symbols.reshape(shape), NEXT, states.reshape(shape))
    return states


@compiled
def _follow(symbols: Array, after: Array, states: Array) -> None:
    """Fill the states (rows, columns, blocks) before symbols."""
    for row in range(symbols.shape[0]):
        for column in range(symbols.shape[1]):
            for block in range(symbols.shape[2]):
                if column:
                    before = states[row, column - 1, block], symbols[row, column - 1, block] & 1
                elif row:
                    before = states[row - 1, 0, block], symbols[row - 1, 0, block] & 1
                else:
                    states[row, column, block] = 0
                    continue
                states[row, column, block] = after[before]


def search(scaled: FloatArray, table: Bytes, shift: Bytes, bits: FloatArray, weight: float) -> Symbols:
    """Choose the symbols with the least squared error plus ``weight`` times bits.

    For every coefficient the symbol 0 and the two nearest in either quantiser are tried.

    Parameters
    ----------
    scaled : ndarray of float32
        (rows, columns, blocks): coefficients in units of the step.
    table : ndarray of uint8
        The same shape: which row of ``bits`` tells what a symbol costs.
    shift : ndarray of uint8
        The same shape: that many low bits of a symbol cost one bit each, and ``bits`` tells the cost of the rest.
    bits : ndarray of float32
        (2, tables, n): bits of a magnitude by quantiser, table and magnitude; larger ones cost as the last.
    weight : float
        λ, squared steps per bit, ≥ 0.

    Returns
    -------
    ndarray of int32
        (rows, columns, blocks).

    Raises
    ------
    InputError
        For a coefficient that is not finite: compiled code does not look where it reads.
    """
    _check_finite(scaled)
    symbols = np.empty(scaled.shape, np.int32)
    _search(np.ascontiguousarray(scaled), table, shift, bits, np.float32(weight), NEXT, symbols)
    return symbols


def _check_finite(scaled: FloatArray) -> None:
    if not np.isfinite(scaled).all():
        raise errors.InputError("scaled: a coefficient is not finite; fill invalid pixels before the transform")


def active(scaled: FloatArray) -> tuple[int, int]:
    """Return how many rows and columns of frequencies (rows, columns, blocks) are worth a search, each at least 1."""
    large = np.abs(scaled).max(axis=2) > NEGLIGIBLE
    rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
    return int(rows[-1]) + 1 if rows.size else 1, int(columns[-1]) + 1 if columns.size else 1


@compiled
def _search(
    scaled: Array, table: Array, shift: Array, bits: Array, weight: np.float32, after: Array, symbols: Array
) -> None:
    """Fill ``symbols``: for groups of blocks, costs from the ends of the rows to the start, then the way back.

    Rows of the states' costs and of the moves hold one number a block, so that each step is the same for all.
    """
    rows, columns, blocks = scaled.shape
    moves = np.empty((rows, columns, _LANES), np.uint32)  # bit s: the odd symbol is better in state s
    drops = np.empty((rows, columns, 2, _LANES), np.bool_)
    cost = np.zeros((2, 2, _LANES), np.float32)
    trunk = np.zeros((STATES, _LANES), np.float32)
    ahead, spare = trunk.copy(), trunk.copy()
    for start in range(0, blocks, _LANES):
        part = slice(start, min(start + _LANES, blocks))
        trunk[:] = 0
        for row in range(rows - 1, -1, -1):
            ahead[:] = 0
            for column in range(columns - 1, -1, -1):
                place = row, column, part
                _costs(scaled[place], table[place], shift[place], bits, weight, cost, drops[row, column])
                if column == 0:
                    ahead += trunk
                _step_back(cost, ahead, after, spare, moves[row, column])
                ahead, spare = spare, ahead
            trunk[:] = ahead
        _walk(scaled[:, :, part], moves, drops, after, symbols[:, :, part])


@compiled
def _costs(
    scaled: Array, table: Array, shift: Array, bits: Array, weight: np.float32, cost: Array, drops: Array
) -> None:
    """Fill the least cost of an even and of an odd symbol, (2, 2, lanes), and where the even one is 0."""
    last = bits.shape[2] - 1
    for lane in range(scaled.size):
        magnitude, low_bits = min(abs(scaled[lane]), np.float32(LARGEST)), shift[lane]
        for quantiser_index in range(2):
            prices = bits[quantiser_index, table[lane]]
            low = np.int32((magnitude + quantiser_index) * np.float32(0.5))
            below = magnitude - np.float32(2 * low - (quantiser_index if low > 0 else 0))
            above = below - np.float32(1 if quantiser_index == 1 and low == 0 else 2)
            zero = magnitude * magnitude + weight * (prices[0] + low_bits)
            near = below * below + weight * (prices[min(low >> low_bits, last)] + low_bits)
            far = above * above + weight * (prices[min((low + 1) >> low_bits, last)] + low_bits)
            even, odd = (far, near) if low & 1 else (near, far)
            cost[quantiser_index, 0, lane] = min(zero, even)
            cost[quantiser_index, 1, lane] = odd
            drops[quantiser_index, lane] = zero < even


@compiled
def _step_back(cost: Array, ahead: Array, after: Array, before: Array, moves: Array) -> None:
    """One step from the costs (STATES, lanes) ahead of the next state to those of this one; marks odd symbols."""
    moves[:] = 0
    for state in range(STATES):
        ahead_even, ahead_odd = ahead[after[state, 0]], ahead[after[state, 1]]
        cost_even, cost_odd = cost[state & 1, 0], cost[state & 1, 1]
        here, bit = before[state], np.uint32(1 << state)
        for lane in range(_LANES):
            even, odd = ahead_even[lane] + cost_even[lane], ahead_odd[lane] + cost_odd[lane]
            better = odd < even
            here[lane] = odd if better else even
            moves[lane] |= bit if better else np.uint32(0)


@compiled
def _walk(scaled: Array, moves: Array, drops: Array, after: Array, symbols: Array) -> None:
    """Follow the best moves from state 0 down the trunk and along every row; fills ``symbols``."""
    rows, columns, blocks = scaled.shape
    for block in range(blocks):
        trunk = 0
        for row in range(rows):
            state = trunk
            for column in range(columns):
                parity = (moves[row, column, block] >> np.uint32(state)) & np.uint32(1)
                value = scaled[row, column, block]
                low = np.int32((min(abs(value), np.float32(LARGEST)) + (state & 1)) * np.float32(0.5))
                dropped = parity == 0 and drops[row, column, state & 1, block]
                magnitude = 0 if dropped else low if low & 1 == parity else low + 1
                symbols[row, column, block] = -magnitude if value < 0 else magnitude
                state = after[state, parity]
                if column == 0:
                    trunk = state
