"""Decoding groups of symbols from a range coder's words, compiled: what constriction's ``RangeEncoder`` encodes.

constriction decodes, too, but is called anew for every table, of which a group has dozens, and lets no other thread
run meanwhile. ``docs/format.md`` specifies the decoder; tests hold the two to the same symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec.entropy.tables import PRECISION, TOTAL, SymbolTable
from sarcodec.runtime.compiled import Array, compiled

Unsigned = npt.NDArray[np.uint64]

_SHIFT, _TOTAL, _WORD = np.uint64(PRECISION), np.uint64(TOTAL), np.uint64(32)
_LEAST = np.uint64(1 << 32)


@dataclass(frozen=True, eq=False)
class Tables:
    """Tables of the values −m to m and the escape, joined: cumulative frequencies, where each begins, and m."""

    cumulative: Unsigned
    starts: npt.NDArray[np.int64]
    largest: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tables: Sequence[SymbolTable]) -> Tables:
        """Join tables."""
        parts = [np.concatenate([[0], np.cumsum(table.frequencies)]) for table in tables]
        starts = np.cumsum([0, *map(len, parts[:-1])])
        largest = np.array([-table.minimum for table in tables], np.int64)
        return cls(np.concatenate(parts).astype(np.uint64), starts.astype(np.int64), largest)


class RangeDecoder:
    """A stream of little-endian 32-bit words that is being decoded; words past its end read as 0."""

    def __init__(self, data: bytes) -> None:
        self._words = np.frombuffer(data, "<u4").astype(np.uint64)
        first, second = (*self._words[:2].tolist(), 0, 0)[:2]
        self._state = np.array([0, 2**64 - 1, first << 32 | second, 2], np.uint64)

    def take(self, tables: Tables, counts: Array, order: Array, shift: Array) -> npt.NDArray[np.int64]:
        """Decode a group of n symbols; ValueError for what no encoder writes.

        Parameters
        ----------
        tables : Tables
            All there are.
        counts : ndarray of int64
            How many symbols of the group each of them codes.
        order : ndarray of int64
            (n,): places of the symbols in the order in which they are coded.
        shift : ndarray of uint8
            (n,): how many of their low bits follow as they are.

        Returns
        -------
        ndarray of int64
            (n,): the symbols at their places.
        """
        values = np.empty(order.size, np.int64)
        joined = tables.cumulative, tables.starts, tables.largest
        if not _take(self._words, self._state, joined, counts, order, shift, values):
            raise ValueError("not what an encoder writes")
        return values


@compiled
def _take(
    words: Array, state: Array, tables: tuple[Array, ...], counts: Array, order: Array, shift: Array, values: Array
) -> bool:
    """Fill the values of a group; False where the stream is damaged."""
    cumulative, starts, largest = tables
    decoder, end = (state[0], state[1], state[2], state[3]), 0
    for table in range(counts.size):
        if not counts[table]:
            continue
        first, end = end, end + counts[table]
        middle, most, escapes = starts[table] + largest[table], largest[table], 0
        for k in range(first, end):
            scale, quantile = _quantile(decoder)
            if quantile >= _TOTAL:
                return False
            i = middle  # where the value 0 is, the likeliest
            while quantile < cumulative[i]:
                i -= 1
            while quantile >= cumulative[i + 1]:
                i += 1
            decoder = _renewed(decoder, words, scale, cumulative[i], cumulative[i + 1] - cumulative[i])
            values[order[k]] = i - middle
            escapes += i - middle > most
        for k in range(first, end if escapes else first):
            if values[order[k]] > most:
                decoder, high = _uniform(decoder, words, 16)
                decoder, low = _uniform(decoder, words, 16)
                if min(high, low) < 0:
                    return False
                raw = high << 16 | low
                values[order[k]] = -((raw + 1) >> 1) if raw & 1 else raw >> 1
    for bits in range(1, _largest(shift) + 1):
        for i in range(shift.size):
            if shift[i] == bits:
                decoder, low = _uniform(decoder, words, bits)
                if low < 0:
                    return False
                values[i] = values[i] << bits | low
    state[0], state[1], state[2], state[3] = decoder
    return True


@compiled
def _largest(shift: Array) -> int:
    found = 0
    for i in range(shift.size):
        if shift[i] > found:
            found = int(shift[i])
    return found


@compiled
def _quantile(decoder: Any) -> tuple[Any, Any]:
    lower, size, point, _ = decoder
    scale = size >> _SHIFT
    return scale, (point - lower) // scale


@compiled
def _renewed(decoder: Any, words: Array, scale: Any, below: Any, frequency: Any) -> Any:
    lower, size, point, position = decoder
    lower, size = lower + scale * below, scale * frequency
    if size < _LEAST:
        word = words[position] if position < np.uint64(words.size) else np.uint64(0)
        lower, size, point, position = lower << _WORD, size << _WORD, point << _WORD | word, position + np.uint64(1)
    return lower, size, point, position


@compiled
def _uniform(decoder: Any, words: Array, bits: int) -> tuple[Any, Any]:
    """Decode a symbol of so many bits that are all as likely; −1 where the stream is damaged."""
    scale, quantile = _quantile(decoder)
    if quantile >= _TOTAL:
        return decoder, np.int64(-1)
    spread = np.uint64(PRECISION - bits)
    found = quantile >> spread
    return _renewed(decoder, words, scale, found << spread, np.uint64(1) << spread), np.int64(found)
