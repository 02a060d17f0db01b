"""The order in which the symbols of a tile are coded, and by what: see ``docs/format.md``.

A *model* is a number: of a table, :data:`HALVES` for the two halves of an escaped value, each 16 bits, or above that
HALVES + n for n low bits as they are. Symbols, states, shifts and tables are arrays (BLOCK, BLOCK, blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec.lapped.neighbourhood import CAP, rows_of
from sarcodec.lapped.transform import BLOCK
from sarcodec.runtime.compiled import Array, compiled

LOWEST, HIGHEST = 12, 83
"""Levels that have tables; lower ones use the lowest, higher ones code bits as they are."""

TABLES = HIGHEST - LOWEST + 1
"""Of either quantiser."""

HALVES = 2 * TABLES
MODELS = HALVES + 25

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


@compiled
def lay_out(
    symbols: Array, shift: Array, table: Array, diagonals: int, minima: Array, codes: Array, runs: Array
) -> int:
    """Put down what a range coder is to encode.

    Parameters
    ----------
    symbols : ndarray of int32
    shift, table : ndarray of uint8
        How many low bits are coded as they are, and the table of the rest.
    diagonals : int
        How many are coded.
    minima : ndarray of int32
        (2·TABLES,): the tables are of the values ``minima`` to ``−minima``, and the escape.
    codes : ndarray of int32
        (n,), n ≥ 4 times the number of symbols: filled.
    runs : ndarray of int64
        (m, 3), m ≥ 2·MODELS a diagonal: filled with model, first and end of a run of codes.

    Returns
    -------
    int
        How many runs there are.
    """
    counts, starts, escapes = np.zeros(MODELS, np.int64), np.zeros(MODELS, np.int64), np.zeros(MODELS, np.int64)
    blocks, end, number_of_runs = symbols.shape[2], 0, 0
    for number in range(diagonals):
        counts[:] = 0
        escapes[:] = 0
        first, after_last = rows_of(number)
        for u in range(first, after_last):
            for b in range(blocks):
                place = u, number - u, b
                chosen, low_bits = table[place], shift[place]
                counts[chosen] += 1
                counts[HALVES + low_bits] += low_bits > 0
                escapes[chosen] += abs(_high(symbols[place], low_bits)) > -minima[chosen]
        for model in range(MODELS):
            starts[model] = end
            if counts[model]:
                end += counts[model]
                runs[number_of_runs, 0], runs[number_of_runs, 1], runs[number_of_runs, 2] = model, starts[model], end
                number_of_runs += 1
            if escapes[model]:
                escaped = end
                end += 2 * escapes[model]
                escapes[model] = escaped
                runs[number_of_runs, 0], runs[number_of_runs, 1], runs[number_of_runs, 2] = HALVES, escaped, end
                number_of_runs += 1
        for u in range(first, after_last):
            for b in range(blocks):
                place = u, number - u, b
                chosen, low_bits = table[place], shift[place]
                high, minimum = _high(symbols[place], low_bits), minima[chosen]
                if abs(high) > -minimum:
                    raw = -2 * high - 1 if high < 0 else 2 * high
                    codes[escapes[chosen]], codes[escapes[chosen] + 1] = raw >> 16, raw & 0xFFFF
                    escapes[chosen] += 2
                    high = 1 - minimum  # the escape has the index after the last
                codes[starts[chosen]] = high - minimum
                starts[chosen] += 1
                if low_bits:
                    codes[starts[HALVES + low_bits]] = symbols[place] & ((1 << low_bits) - 1)
                    starts[HALVES + low_bits] += 1
    return number_of_runs


@compiled
def _high(symbol: np.int32, low_bits: np.uint8) -> np.int64:
    return np.int64(symbol) >> np.int64(low_bits)


@dataclass(frozen=True, eq=False)
class Diagonal:
    """What decoding must know of a diagonal of n symbols, in the order of rows and blocks.

    Parameters
    ----------
    shift, table : ndarray of uint8
        (n,): low bits, and table of the rest.
    order : ndarray of int64
        (n,): places of the symbols in the order in which they are coded.
    counts : ndarray of int64
        (2·TABLES,): how many each table codes.
    """

    shift: Bytes
    table: Bytes
    order: Places
    counts: Places


class Unfolding:
    """A tile whose symbols become known diagonal by diagonal.

    ``symbols`` (BLOCK, BLOCK, blocks) int32, ``states`` int8 before them, ``table`` uint8 that codes them: of the
    same shape.
    """

    def __init__(self, blocks: int, after: npt.NDArray[np.int8], tables_of_levels: tuple[Bytes, Bytes]) -> None:
        shape = BLOCK, BLOCK, blocks
        self.symbols, self.states = np.zeros(shape, np.int32), np.zeros(shape, np.int8)
        self.table = np.zeros(shape, np.uint8)
        self._rules = after, *tables_of_levels

    def open(self, number: int, level: Bytes) -> Diagonal:
        """Find how a diagonal is coded of which lower ones are known; ``level`` is (BLOCK, BLOCK, blocks)."""
        first, after_last = rows_of(number)
        size = (after_last - first) * self.symbols.shape[2]
        found = Diagonal(
            np.empty(size, np.uint8), np.empty(size, np.uint8), np.empty(size, np.int64), np.empty(HALVES, np.int64)
        )
        parts = found.shift, found.table, found.order, found.counts
        _open(number, level, self._rules, (self.symbols, self.states, self.table), parts)
        return found

    def close(self, number: int, values: npt.NDArray[np.int32], magnitude: npt.NDArray[np.int16]) -> None:
        """Enter the symbols (n,) of a diagonal, here and in ``contexts.Neighbourhood.magnitude``."""
        _close(number, values, self.symbols, magnitude.reshape(*magnitude.shape[:2], -1))


@compiled
def _open(number: int, level: Array, rules: Any, tile: Any, found: Any) -> None:
    (after, shifts, tables), (symbols, states, chosen), (shift, table, order, counts) = rules, tile, found
    i = 0
    counts[:] = 0
    first, after_last = rows_of(number)
    for u in range(first, after_last):
        v = number - u
        before = (u, v - 1) if v else (u - 1, v)
        for b in range(symbols.shape[2]):
            state = np.int8(0)
            if number:
                place = before[0], before[1], b
                state = after[states[place], symbols[place] & 1]
            states[u, v, b] = state
            shift[i] = shifts[level[u, v, b]]
            table[i] = tables[level[u, v, b]] + TABLES * (state & 1)
            chosen[u, v, b] = table[i]
            counts[table[i]] += 1
            i += 1
    starts = np.cumsum(counts) - counts
    for i in range(table.size):
        order[starts[table[i]]] = i
        starts[table[i]] += 1


@compiled
def _close(number: int, values: Array, symbols: Array, magnitude: Array) -> None:
    room, i = (magnitude.shape[0] - BLOCK) // 2, 0
    first, after_last = rows_of(number)
    for u in range(first, after_last):
        for b in range(symbols.shape[2]):
            symbols[u, number - u, b] = values[i]
            magnitude[u + room, number - u + room, b] = min(abs(values[i]), CAP)
            i += 1


@compiled
def in_place(codes: Array, order: Array, table: Array, minima: Array, values: Array) -> int:
    """Fill the values (n,) of a diagonal from indices in tables, as they are coded; returns the largest magnitude."""
    largest = 0
    for i in range(order.size):
        value = codes[i] + minima[table[order[i]]]
        largest = max(largest, abs(value))
        values[order[i]] = value
    return largest
