"""The order in which the symbols of a tile are coded, diagonal by diagonal: see ``docs/format.md``.

Symbols, states, shifts and tables are arrays (BLOCK, BLOCK, blocks); a diagonal is a group of symbols, in the order
of rows and blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec.entropy import symbols as entropy_symbols
from sarcodec.entropy.symbols import HALVES, TABLES, Group, sort_by_table
from sarcodec.lapped.neighbourhood import CAP, rows_of
from sarcodec.lapped.transform import BLOCK
from sarcodec.runtime.compiled import Array, compiled

_lay_out_group = entropy_symbols.lay_out


@compiled
def lay_out(
    symbols: Array, shift: Array, table: Array, diagonals: int, minima: Array, codes: Array, runs: Array
) -> int:
    """Put down what a range coder is to encode of the first diagonals: see :func:`sarcodec.entropy.symbols.lay_out`.

    ``codes`` has room for 4 times the symbols, ``runs`` for 2·MODELS a diagonal. Returns how many runs there are.
    """
    blocks, end, count = symbols.shape[2], 0, 0
    values = np.empty(BLOCK * blocks, symbols.dtype)
    shifts, tables = np.empty(BLOCK * blocks, np.uint8), np.empty(BLOCK * blocks, np.uint8)
    for number in range(diagonals):
        first, after_last = rows_of(number)
        size = 0
        for u in range(first, after_last):
            for b in range(blocks):
                values[size + b] = symbols[u, number - u, b]
                shifts[size + b] = shift[u, number - u, b]
                tables[size + b] = table[u, number - u, b]
            size += blocks
        end, count = _lay_out_group(values[:size], shifts[:size], tables[:size], minima, codes, end, runs, count)
    return count


class Unfolding:
    """A tile whose symbols become known diagonal by diagonal.

    ``symbols`` (BLOCK, BLOCK, blocks) int32, ``states`` int8 before them, ``table`` uint8 that codes them: of the
    same shape.
    """

    def __init__(
        self,
        blocks: int,
        after: npt.NDArray[np.int8],
        tables_of_levels: tuple[entropy_symbols.Bytes, entropy_symbols.Bytes],
    ) -> None:
        shape = BLOCK, BLOCK, blocks
        self.symbols, self.states = np.zeros(shape, np.int32), np.zeros(shape, np.int8)
        self.table = np.zeros(shape, np.uint8)
        self._rules = after, *tables_of_levels

    def open(self, number: int, level: entropy_symbols.Bytes) -> Group:
        """Find how a diagonal is coded of which lower ones are known; ``level`` is (BLOCK, BLOCK, blocks)."""
        first, after_last = rows_of(number)
        size = (after_last - first) * self.symbols.shape[2]
        found = Group(
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
    i, blocks = 0, symbols.shape[2]
    first, after_last = rows_of(number)
    for u in range(first, after_last):
        v = number - u
        if number:
            before = (u, v - 1) if v else (u - 1, v)
            reached, parity = states[before], symbols[before]
            for b in range(blocks):
                states[u, v, b] = after[reached[b], parity[b] & 1]
        state, levels, used = states[u, v], level[u, v], chosen[u, v]
        for b in range(blocks):
            shift[i + b] = shifts[levels[b]]
            used[b] = tables[levels[b]] + TABLES * (state[b] & 1)
            table[i + b] = used[b]
        i += blocks
    sort_by_table(table, order, counts)


@compiled
def _close(number: int, values: Array, symbols: Array, magnitude: Array) -> None:
    room, i = (magnitude.shape[0] - BLOCK) // 2, 0
    first, after_last = rows_of(number)
    for u in range(first, after_last):
        for b in range(symbols.shape[2]):
            symbols[u, number - u, b] = values[i]
            magnitude[u + room, number - u + room, b] = min(abs(values[i]), CAP)
            i += 1
