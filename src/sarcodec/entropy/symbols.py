"""Coding symbols by the tables of their levels and quantisers, in groups; others tell the table of each.

A group's symbols are coded table by table, in ascending order, those of a table in the order of the group; then
follow the lowest bits of symbols whose level is above the highest table. ``docs/format.md`` specifies it.

A *model* is a number: of a table, :data:`HALVES` for the two halves of an escaped value, each 16 bits, or above that
HALVES + n for n low bits as they are.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.entropy import range_decoder, trellis
from sarcodec.entropy import tables as entropy_tables
from sarcodec.entropy.network import LEVELS, OCTAVE
from sarcodec.runtime.compiled import Array, compiled

LOWEST, HIGHEST = 12, 83
"""Levels that have tables; lower ones use the lowest, higher ones code bits as they are."""

TABLES = HIGHEST - LOWEST + 1
"""Of either quantiser."""

CENTROIDS = 4
"""Reconstruction offsets are kept for magnitudes 1, 2, 3 and more; entry 0 is 0."""

HALVES = 2 * TABLES
MODELS = HALVES + 25

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Choice:
    """How each symbol of a tile is coded, uint8 of the symbols' shape: low bits as they are, table of the rest."""

    shift: Bytes
    table: Bytes


@dataclass(frozen=True, eq=False)
class Group:
    """What decoding must know of a group of n symbols.

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


@dataclass(frozen=True, eq=False)
class SymbolCoder:
    """Static tables for symbols of every level and quantiser, and what the symbols stand for.

    Parameters
    ----------
    tables : tuple of SymbolTable
        2·TABLES: for the even quantiser by rising level, then for the odd one.
    centroids : ndarray of float32
        (2, TABLES, CENTROIDS) in steps: added to the magnitude that a symbol stands for.

    Raises FormatError for other tables or centroids.
    """

    tables: tuple[entropy_tables.SymbolTable, ...]
    centroids: FloatArray

    def __post_init__(self) -> None:
        if len(self.tables) != 2 * TABLES or self.centroids.shape != (2, TABLES, CENTROIDS):
            raise errors.FormatError(
                f"symbol coder: {len(self.tables)} tables and centroids of shape {self.centroids.shape}; "
                f"there must be {2 * TABLES} and {(2, TABLES, CENTROIDS)}"
            )
        if any(table.frequencies.size != 2 - 2 * table.minimum for table in self.tables):
            raise errors.FormatError("symbol coder: a table is not of as many negative as positive symbols")
        if not np.isfinite(self.centroids).all():
            raise errors.FormatError("symbol coder: a centroid is not a finite number")

    def put(self, coder: Any, codes: Integers, runs: Places) -> None:
        """Encode with a constriction ``RangeEncoder`` what :func:`lay_out` laid out, ``runs`` (n, 3) of it."""
        for model, start, end in runs.tolist():
            coder.encode(codes[start:end], self._models[model])

    def take(self, coder: range_decoder.RangeDecoder, group: Group) -> Integers:
        """Decode a group (n,); ValueError for what none encodes."""
        values = coder.take(self._joined, group.counts, group.order, group.shift)
        if values.size and max(values.max(), -values.min()) > trellis.LARGEST:
            raise ValueError("a symbol is larger than any that is coded")
        return values.astype(np.int32)

    def restored(self, symbols: Integers, table: Bytes) -> FloatArray:
        """Return the multiples of the step that symbols stand for, with the offset of their magnitude and table."""
        restored = np.empty(symbols.shape, np.float32)
        centroids = self.centroids.reshape(2 * TABLES, CENTROIDS)
        _restore(np.ascontiguousarray(symbols).reshape(-1), table.reshape(-1), centroids, restored.reshape(-1))
        return restored

    @functools.cached_property
    def bits(self) -> FloatArray:
        """Bits of every magnitude, (2, TABLES, n), the escape's beyond the table; see :func:`trellis.search`."""
        widest = max(table.frequencies.size for table in self.tables) // 2
        found = np.empty((2 * TABLES, widest + 1), np.float32)
        for row, table in zip(found, self.tables, strict=True):
            cost = entropy_tables.PRECISION - np.log2(table.frequencies)
            row[:] = cost[-1] + 32
            positive = cost[-table.minimum : -1]
            row[: positive.size] = positive
        return found.reshape(2, TABLES, -1)

    @functools.cached_property
    def minima(self) -> Integers:
        """Least value of every table, (2·TABLES,)."""
        return np.array([table.minimum for table in self.tables], np.int32)

    @functools.cached_property
    def _joined(self) -> range_decoder.Tables:
        return range_decoder.Tables.of(self.tables)

    @functools.cached_property
    def _models(self) -> list[Any]:
        """What constriction codes with, by number."""
        uniform = constriction.stream.model.Uniform
        bits = range(1, MODELS - HALVES)
        return [table.model() for table in self.tables] + [uniform(1 << 16)] + [uniform(1 << n) for n in bits]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a model's file."""
        return {
            "minimum": np.array([t.minimum for t in self.tables], np.int32),
            "size": np.array([t.frequencies.size for t in self.tables], np.int32),
            "frequencies": np.concatenate([t.frequencies for t in self.tables]).astype(np.int32),
            "centroids": self.centroids,
        }


def tables_of_arrays(arrays: Any) -> tuple[entropy_tables.SymbolTable, ...]:
    """Return the tables of :meth:`SymbolCoder.to_arrays`; KeyError, ValueError or FormatError for anything else."""
    split = np.split(arrays["frequencies"].astype(np.int64), np.cumsum(arrays["size"])[:-1])
    return tuple(entropy_tables.SymbolTable(int(m), f) for m, f in zip(arrays["minimum"], split, strict=True))


def table_index(level: Bytes) -> tuple[Bytes, Bytes]:
    """Return how many low bits are coded as they are, and which table of the even quantiser codes the rest."""
    shift, index = np.empty(level.shape, np.uint8), np.empty(level.shape, np.uint8)
    _look_up(level.reshape(-1), *tables_of_levels(), shift.reshape(-1), index.reshape(-1))
    return shift, index


@functools.cache
def tables_of_levels() -> tuple[Bytes, Bytes]:
    """Return shift and table of the even quantiser for every level."""
    level = np.arange(LEVELS)
    shift = np.maximum(-((HIGHEST - level) // OCTAVE), 0)
    index = np.clip(level - OCTAVE * shift, LOWEST, HIGHEST) - LOWEST
    return shift.astype(np.uint8), index.astype(np.uint8)


@compiled
def _look_up(level: Array, shifts: Array, indices: Array, shift: Array, index: Array) -> None:
    for i in range(level.size):
        shift[i], index[i] = shifts[level[i]], indices[level[i]]


@compiled
def _restore(symbols: Array, tables: Array, centroids: Array, restored: Array) -> None:
    for i in range(symbols.size):
        magnitude = abs(symbols[i])
        odd = np.int32(tables[i] >= TABLES and magnitude > 0)
        value = np.float32(2 * magnitude - odd) + centroids[tables[i], min(magnitude, CENTROIDS - 1)]
        restored[i] = -value if symbols[i] < 0 else value


@compiled
def sort_by_table(table: Array, order: Array, counts: Array) -> None:
    """Fill the order (n,) in which symbols are coded, and how many each table codes, (2·TABLES,)."""
    counts[:] = 0
    for i in range(table.size):
        counts[table[i]] += 1
    starts = np.cumsum(counts) - counts
    for i in range(table.size):
        order[starts[table[i]]] = i
        starts[table[i]] += 1


@compiled
def lay_out(
    symbols: Array, shift: Array, table: Array, minima: Array, codes: Array, end: int, runs: Array, count: int
) -> tuple[int, int]:
    """Put down what a range coder is to encode of a group.

    Parameters
    ----------
    symbols : ndarray of int32
    shift, table : ndarray of uint8
        (n,): how many low bits are coded as they are, and the table of the rest.
    minima : ndarray of int32
        (2·TABLES,): the tables are of the values ``minima`` to ``−minima``, and the escape.
    codes : ndarray of int32
        Filled from ``end`` on; at least 4n.
    end : int
        How much of it is in use.
    runs : ndarray of int64
        (m, 3): filled from ``count`` on with model, first and end of a run of codes; at least 2·MODELS.
    count : int
        How many there are.

    Returns
    -------
    end, count : int
        As they are then.
    """
    counts, starts, escapes = np.zeros(MODELS, np.int64), np.zeros(MODELS, np.int64), np.zeros(MODELS, np.int64)
    for i in range(symbols.size):
        chosen, low_bits = table[i], shift[i]
        counts[chosen] += 1
        counts[HALVES + low_bits] += low_bits > 0
        escapes[chosen] += abs(_high(symbols[i], low_bits)) > -minima[chosen]
    for model in range(MODELS):
        starts[model] = end
        if counts[model]:
            end += counts[model]
            runs[count, 0], runs[count, 1], runs[count, 2] = model, starts[model], end
            count += 1
        if escapes[model]:
            escaped = end
            end += 2 * escapes[model]
            escapes[model] = escaped
            runs[count, 0], runs[count, 1], runs[count, 2] = HALVES, escaped, end
            count += 1
    for i in range(symbols.size):
        chosen, low_bits = table[i], shift[i]
        high, minimum = _high(symbols[i], low_bits), minima[chosen]
        if abs(high) > -minimum:
            raw = -2 * high - 1 if high < 0 else 2 * high
            codes[escapes[chosen]], codes[escapes[chosen] + 1] = raw >> 16, raw & 0xFFFF
            escapes[chosen] += 2
            high = 1 - minimum  # the escape has the index after the last
        codes[starts[chosen]] = high - minimum
        starts[chosen] += 1
        if low_bits:
            codes[starts[HALVES + low_bits]] = symbols[i] & ((1 << low_bits) - 1)
            starts[HALVES + low_bits] += 1
    return end, count


@compiled
def _high(symbol: np.int32, low_bits: np.uint8) -> np.int64:
    return np.int64(symbol) >> np.int64(low_bits)
