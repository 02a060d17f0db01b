"""Coding the symbols of a tile: diagonal by diagonal, each symbol by the table of its level and quantiser.

A stream is one byte, the number of diagonals that hold a symbol other than 0, and the words of one range coder. On a
diagonal, symbols are grouped by quantiser and level, groups in ascending order, symbols of a group by row of
frequency and block. Where a level is above the highest table, the symbol's lowest bits follow as they are.
``docs/format.md`` specifies it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import contexts, entropy, errors, trellis
from sarcodec.compiled import Array, compiled
from sarcodec.contexts import DIAGONALS, OCTAVE
from sarcodec.lapped import BLOCK

LOWEST, HIGHEST = 12, 83
"""Levels that have tables; lower ones use the lowest, higher ones code bits as they are."""

TABLES = HIGHEST - LOWEST + 1
CENTROIDS = 4
"""Reconstruction offsets are kept for magnitudes 1, 2, 3 and more; entry 0 is 0."""

MAX_TILE_BLOCKS = 1 << 12

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Choice:
    """How each symbol of a tile is coded, (BLOCK, BLOCK, h, w) uint8: low bits as they are, table of the rest."""

    shift: Bytes
    table: Bytes


@dataclass(frozen=True, eq=False)
class CoefficientCoder:
    """Symbols to bytes and back, and to coefficients.

    Parameters
    ----------
    network : ScaleNetwork
        Tells the level of every coefficient.
    tables : tuple of SymbolTable
        2·TABLES: for the even quantiser by rising level, then for the odd one.
    centroids : ndarray of float32
        (2, TABLES, CENTROIDS) in steps: added to the magnitude that a symbol stands for.
    """

    network: contexts.ScaleNetwork
    tables: tuple[entropy.SymbolTable, ...]
    centroids: FloatArray

    def __post_init__(self) -> None:
        if len(self.tables) != 2 * TABLES or self.centroids.shape != (2, TABLES, CENTROIDS):
            raise errors.FormatError(
                f"coefficient coder: {len(self.tables)} tables and centroids of shape {self.centroids.shape}; "
                f"there must be {2 * TABLES} and {(2, TABLES, CENTROIDS)}"
            )
        if any(table.frequencies.size != 2 - 2 * table.minimum for table in self.tables):
            raise errors.FormatError("coefficient coder: a table is not of as many negative as positive symbols")
        if not np.isfinite(self.centroids).all():
            raise errors.FormatError("coefficient coder: a centroid is not a finite number")

    def choose(self, symbols: Integers, step_index: int) -> Choice:
        """Tell by which tables the symbols of a tile are coded, (BLOCK, BLOCK, h, w) int32."""
        level = self.network.levels_of(symbols, step_index, last_diagonal(symbols))
        shift, index = table_index(level)
        quantiser = trellis.quantiser(trellis.all_states(symbols)).view(np.uint8)
        return Choice(shift, index + np.uint8(TABLES) * quantiser)

    def encode(self, symbols: Integers, step_index: int, choice: Choice | None = None) -> bytes:
        """Encode the symbols of a tile, (BLOCK, BLOCK, h, w) int32, quantised with a step index.

        ``choice`` is what :meth:`choose` says of them, where that is known.
        """
        choice = choice or self.choose(symbols, step_index)
        used = last_diagonal(symbols)
        coder = constriction.stream.queue.RangeEncoder()
        for number in range(used):
            place = contexts.diagonal(number)
            at = place.rows, place.columns
            values, shift, index = symbols[at].ravel(), choice.shift[at].ravel(), choice.table[at].ravel()
            order = np.argsort(index, kind="stable")
            high, codes = (values >> shift)[order], np.empty(values.size, np.int32)
            plain = _codes(high, index[order], self._minima, codes)
            for table, part in groups(index):
                if plain:
                    coder.encode(codes[part], self.tables[table].model())
                else:
                    entropy.put(coder, high[part], self.tables[table])
            for bits, chosen in low_bits(shift):
                uniform = constriction.stream.model.Uniform(1 << bits)
                coder.encode((values[chosen] & ((1 << bits) - 1)).astype(np.int32), uniform)
        return bytes([used]) + entropy.words(coder)

    def decode(self, data: bytes, shape: tuple[int, int], step_index: int) -> tuple[Integers, FloatArray]:
        """Decode a tile of h×w blocks.

        Returns
        -------
        symbols : ndarray of int32
            (BLOCK, BLOCK, h, w).
        multiples : ndarray of float32
            The same shape: reconstructed coefficients in units of the step.

        Raises
        ------
        FormatError
            When the stream is damaged in a way that shows.
        """
        if len(data) % 4 != 1 or data[0] > DIAGONALS or shape[0] * shape[1] > MAX_TILE_BLOCKS:
            raise errors.FormatError(f"symbols: {len(data)} bytes for {shape[0]}×{shape[1]} blocks; damaged")
        symbols = np.zeros((BLOCK, BLOCK, *shape), np.int32)
        multiples = np.zeros(symbols.shape, np.float32)
        known, states = contexts.Neighbourhood(*shape), _States(shape)
        try:
            coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data[1:], "<u4").astype(np.uint32))
            for number in range(data[0]):
                place = contexts.diagonal(number)
                level = self.network.level(known.features(number, self.network.prior(number, step_index)))
                quantiser = trellis.quantiser(states.of(number)).view(np.uint8)
                shift, index = table_index(level)
                index += np.uint8(TABLES) * quantiser
                values = self._take(coder, shift.ravel(), index.ravel()).reshape(level.shape)
                symbols[place.rows, place.columns] = values
                multiples[place.rows, place.columns] = self._restored(values, index)
                known.learn(number, values)
                states.learn(number, values)
        except (AssertionError, ValueError) as cause:
            raise errors.FormatError(f"symbols: the stream is damaged ({cause})") from cause
        return symbols, multiples

    def _take(self, coder: Any, shift: Bytes, index: Bytes) -> Integers:
        """Decode the symbols of a diagonal, (n,) as their low bits and tables; ValueError for what none encodes."""
        values, order = np.empty(index.size, np.int64), np.argsort(index, kind="stable")
        for table, part in groups(index):
            chosen, escape = order[part], -2 * self._minima[table] + 1
            codes = coder.decode(self.tables[table].model(), chosen.size)
            if not _place(codes, chosen, escape, values):
                values[chosen] = entropy.unescape(coder, codes, self.tables[table])
        for bits, chosen in low_bits(shift):
            low = coder.decode(constriction.stream.model.Uniform(1 << bits), chosen.size)
            values[chosen] = (values[chosen] << bits) | low
        if np.abs(values).max() > trellis.LARGEST:
            raise ValueError("a symbol is larger than any that is coded")
        return values.astype(np.int32)

    def quantise(self, coefficients: FloatArray, step_index: int, weight: float, passes: int = 2) -> Integers:
        """Choose the symbols of a tile.

        Parameters
        ----------
        coefficients : ndarray of float32
            (BLOCK, BLOCK, h, w) in dB.
        step_index : int
            Of the quantisation step.
        weight : float
            λ in squared steps per bit; see :func:`trellis.search`.
        passes : int
            How often the levels, which depend on symbols, and the symbols, which depend on levels, are found in turn.

        Returns
        -------
        ndarray of int32
            The same shape.
        """
        scaled = coefficients / np.float32(contexts.step_db(step_index))
        symbols = trellis.first_guess(scaled)
        blocks = scaled.reshape(BLOCK, BLOCK, -1)
        rows, columns = trellis.active(blocks)
        blocks = blocks[:rows, :columns]
        for _ in range(passes):
            reached = min(last_diagonal(symbols) + 2, rows + columns - 1)  # beyond it levels are the lowest
            level = self.network.levels_of(symbols, step_index, reached)[:rows, :columns]
            shift, table = (part.reshape(blocks.shape) for part in table_index(level))
            found = trellis.search(blocks, table, shift, self._bits, weight)
            symbols = np.zeros(scaled.shape, np.int32)
            symbols[:rows, :columns] = found.reshape(rows, columns, *scaled.shape[2:])
        return symbols

    def multiples(self, symbols: Integers, step_index: int, choice: Choice | None = None) -> FloatArray:
        """Return the reconstructed coefficients in units of the step, as :meth:`decode` does."""
        choice = choice or self.choose(symbols, step_index)
        return self._restored(symbols, choice.table)

    @functools.cached_property
    def _bits(self) -> FloatArray:
        """Bits of every magnitude, (2, TABLES, n), the escape's beyond the table."""
        widest = max(table.frequencies.size for table in self.tables) // 2
        found = np.empty((2 * TABLES, widest + 1), np.float32)
        for row, table in zip(found, self.tables, strict=True):
            cost = entropy.PRECISION - np.log2(table.frequencies)
            row[:] = cost[-1] + 32
            positive = cost[-table.minimum : -1]
            row[: positive.size] = positive
        return found.reshape(2, TABLES, -1)

    @functools.cached_property
    def _minima(self) -> Integers:
        return np.array([table.minimum for table in self.tables], np.int32)

    def _restored(self, symbols: Integers, table: Bytes) -> FloatArray:
        restored = np.empty(symbols.shape, np.float32)
        centroids = self.centroids.reshape(2 * TABLES, CENTROIDS)
        _restore(np.ascontiguousarray(symbols).reshape(-1), table.reshape(-1), centroids, restored.reshape(-1))
        return restored

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a checkpoint."""
        return {f"network.{name}": array for name, array in self.network.to_arrays().items()} | {
            "minimum": np.array([t.minimum for t in self.tables], np.int32),
            "size": np.array([t.frequencies.size for t in self.tables], np.int32),
            "frequencies": np.concatenate([t.frequencies for t in self.tables]).astype(np.int32),
            "centroids": self.centroids,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> CoefficientCoder:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            prefix = "network."
            network = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            split = np.split(arrays["frequencies"].astype(np.int64), np.cumsum(arrays["size"])[:-1])
            tables = tuple(entropy.SymbolTable(int(m), f) for m, f in zip(arrays["minimum"], split, strict=True))
            return cls(contexts.ScaleNetwork.from_arrays(network), tables, arrays["centroids"].astype(np.float32))
        except (KeyError, ValueError, IndexError, TypeError) as cause:
            raise errors.FormatError(f"coefficient coder: not valid ({cause})") from cause


class _States:
    """States of the trellis as diagonals become known; the twin of :func:`trellis.all_states`."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._after = np.zeros((BLOCK, BLOCK, *shape), np.int8)
        self._shape = shape

    def of(self, number: int) -> trellis.States:
        """Return the states (n, h, w) before the symbols of a diagonal."""
        place = contexts.diagonal(number)
        if number == 0:
            return np.zeros((1, *self._shape), np.int8)
        first = place.columns == 0
        before: trellis.States = self._after[place.rows - first, place.columns - ~first]
        return before

    def learn(self, number: int, symbols: Integers) -> None:
        """Enter the symbols of a diagonal."""
        place = contexts.diagonal(number)
        self._after[place.rows, place.columns] = trellis.NEXT[self.of(number), symbols & 1]


def last_diagonal(symbols: Integers) -> int:
    """Return how many diagonals must be coded to reach the last symbol of (BLOCK, BLOCK, …) that is not 0."""
    rows, columns = np.nonzero(symbols.any(axis=tuple(range(2, symbols.ndim))))
    return int((rows + columns).max()) + 1 if rows.size else 0


def table_index(level: Bytes) -> tuple[Bytes, Bytes]:
    """Return how many low bits are coded as they are, and which table of the even quantiser codes the rest."""
    shift, index = _tables_of_levels()
    return shift[level], index[level]


@functools.cache
def _tables_of_levels() -> tuple[Bytes, Bytes]:
    level = np.arange(contexts.LEVELS)
    shift = np.maximum(-((HIGHEST - level) // OCTAVE), 0)
    index = np.clip(level - OCTAVE * shift, LOWEST, HIGHEST) - LOWEST
    return shift.astype(np.uint8), index.astype(np.uint8)


def groups(keys: Bytes) -> Iterator[tuple[int, slice]]:
    """Yield every distinct key, ascending, with its part of the sorted keys."""
    counts = np.bincount(keys)
    ends = np.cumsum(counts)
    for key in np.flatnonzero(counts).tolist():
        yield key, slice(ends[key] - counts[key], ends[key])


def low_bits(shift: Bytes) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield every number of low bits, ascending, with the places that have them, ascending."""
    for bits in np.unique(shift[shift > 0]).tolist():
        yield bits, np.flatnonzero(shift == bits)


@compiled
def _codes(values: Array, tables: Array, minima: Array, codes: Array) -> bool:
    """Fill the indices of values in their tables, which are symmetric; returns False if one is in none."""
    for i in range(values.size):
        minimum = minima[tables[i]]
        codes[i] = values[i] - minimum
        if values[i] < minimum or values[i] > -minimum:
            return False
    return True


@compiled
def _place(codes: Array, chosen: Array, escape: int, values: Array) -> bool:
    """Put values by their indices in a table where they belong; returns False if one is the escape."""
    for i in range(codes.size):
        values[chosen[i]] = codes[i] - (escape - 1) // 2
        if codes[i] == escape:
            return False
    return True


@compiled
def _restore(symbols: Array, tables: Array, centroids: Array, restored: Array) -> None:
    """Fill the multiples of the step that symbols stand for, with the offset of their magnitude and table."""
    for i in range(symbols.size):
        magnitude = abs(symbols[i])
        odd = np.int32(tables[i] >= TABLES and magnitude > 0)
        value = np.float32(2 * magnitude - odd) + centroids[tables[i], min(magnitude, CENTROIDS - 1)]
        restored[i] = -value if symbols[i] < 0 else value
