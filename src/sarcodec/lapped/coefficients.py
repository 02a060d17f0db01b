"""Coding the symbols of a tile: diagonal by diagonal, each symbol by the table of its level and quantiser.

A stream is one byte, the number of diagonals that hold a symbol other than 0, and the words of one range coder. On a
diagonal, symbols are grouped by quantiser and level, groups in ascending order, symbols of a group by row of
frequency and block. Where a level is above the highest table, the symbol's lowest bits follow as they are.
``docs/format.md`` specifies it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.entropy import tables as entropy_tables
from sarcodec.entropy import trellis
from sarcodec.entropy.network import LEVELS, OCTAVE
from sarcodec.lapped import neighbourhood, scale, scan
from sarcodec.lapped.neighbourhood import DIAGONALS
from sarcodec.lapped.scan import HIGHEST, LOWEST, TABLES
from sarcodec.lapped.transform import BLOCK
from sarcodec.runtime.compiled import Array, compiled, compiled_with_lock

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

    network: neighbourhood.ScaleNetwork
    tables: tuple[entropy_tables.SymbolTable, ...]
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
        flat = BLOCK, BLOCK, -1
        codes, runs = np.empty(4 * symbols.size, np.int32), np.empty((2 * scan.MODELS * used, 3), np.int64)
        parts = symbols.reshape(flat), choice.shift.reshape(flat), choice.table.reshape(flat)
        count = scan.lay_out(*parts, used, self._minima, codes, runs)
        coder = constriction.stream.queue.RangeEncoder()
        for model, start, end in runs[:count].tolist():
            coder.encode(codes[start:end], self._models[model])
        return bytes([used]) + entropy_tables.words(coder)

    def decode(
        self, data: bytes, shape: tuple[int, int], step_index: int, diagonals: int = DIAGONALS
    ) -> tuple[Integers, FloatArray]:
        """Decode a tile of h×w blocks, or its first ``diagonals`` alone.

        Returns
        -------
        symbols : ndarray of int32
            (n, n, h, w) with n = BLOCK, or less diagonals: what is beyond them is 0.
        multiples : ndarray of float32
            The same shape: reconstructed coefficients in units of the step.

        Raises
        ------
        FormatError
            When the stream is damaged in a way that shows.
        """
        if len(data) % 4 != 1 or data[0] > DIAGONALS or shape[0] * shape[1] > MAX_TILE_BLOCKS:
            raise errors.FormatError(f"symbols: {len(data)} bytes for {shape[0]}×{shape[1]} blocks; damaged")
        tile = scan.Unfolding(shape[0] * shape[1], trellis.NEXT, _tables_of_levels())
        known, priors = neighbourhood.Neighbourhood(*shape), self.network.priors(step_index)
        level = np.zeros(tile.symbols.shape, np.uint8)
        try:
            coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data[1:], "<u4").astype(np.uint32))
            for number in range(min(data[0], diagonals)):
                self.network.levels_at(number, known, priors, level)
                tile.close(number, self._take(coder, tile.open(number, level)), known.magnitude)
        except (AssertionError, ValueError) as cause:
            raise errors.FormatError(f"symbols: the stream is damaged ({errors.plain(cause)})") from cause
        corner = np.s_[:diagonals, :diagonals]
        symbols = np.ascontiguousarray(tile.symbols[corner]).reshape(min(diagonals, BLOCK), -1, *shape)
        return symbols, self._restored(symbols, np.ascontiguousarray(tile.table[corner]))

    def _take(self, coder: Any, diagonal: scan.Diagonal) -> Integers:
        """Decode the symbols of a diagonal, (n,); ValueError for what none encodes."""
        parts = []
        for table, count in enumerate(diagonal.counts.tolist()):
            if count:
                codes = coder.decode(self._models[table], count)
                if _holds(codes, self._escapes[table]):
                    codes = entropy_tables.unescape(coder, codes, self.tables[table]) - self._minima[table]
                parts.append(codes)
        values = np.empty(diagonal.table.size, np.int64)
        largest = scan.in_place(np.concatenate(parts), diagonal.order, diagonal.table, self._minima, values)
        if diagonal.shift.any():
            for bits in np.unique(diagonal.shift[diagonal.shift > 0]).tolist():
                low = diagonal.shift == bits
                values[low] = (values[low] << bits) | coder.decode(self._models[scan.HALVES + bits], int(low.sum()))
            largest = np.abs(values).max()
        if largest > trellis.LARGEST:
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
        scaled = coefficients / np.float32(scale.step_db(step_index))
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

    def requantise(
        self,
        coefficients: FloatArray,
        symbols: Integers,
        blocks: npt.NDArray[np.bool_],
        choice: Choice,
        step_index: int,
        weight: float,
    ) -> Integers:
        """Choose the symbols of some blocks of a tile anew.

        Parameters
        ----------
        coefficients : ndarray of float32
            (BLOCK, BLOCK, n) in dB, of the n blocks alone.
        symbols : ndarray of int32
            (BLOCK, BLOCK, h, w): what is known of the tile.
        blocks : ndarray of bool
            (h, w): which n blocks.
        choice : Choice
            What :meth:`choose` says of ``symbols``.
        step_index, weight
            As of :meth:`quantise`.

        Returns
        -------
        ndarray of int32
            Symbols of the tile.
        """
        scaled = coefficients / np.float32(scale.step_db(step_index))
        shift, table = choice.shift[:, :, blocks], choice.table[:, :, blocks] % np.uint8(TABLES)
        mixed = symbols.copy()
        mixed[:, :, blocks] = trellis.search(scaled, table, shift, self._bits, weight)
        return mixed

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
            cost = entropy_tables.PRECISION - np.log2(table.frequencies)
            row[:] = cost[-1] + 32
            positive = cost[-table.minimum : -1]
            row[: positive.size] = positive
        return found.reshape(2, TABLES, -1)

    @functools.cached_property
    def _minima(self) -> Integers:
        return np.array([table.minimum for table in self.tables], np.int32)

    @functools.cached_property
    def _escapes(self) -> list[int]:
        return [table.frequencies.size - 1 for table in self.tables]

    @functools.cached_property
    def _models(self) -> list[Any]:
        """What constriction codes with, by number; see :mod:`sarcodec.lapped.scan`."""
        uniform = constriction.stream.model.Uniform
        bits = range(1, scan.MODELS - scan.HALVES)
        return [table.model() for table in self.tables] + [uniform(1 << 16)] + [uniform(1 << n) for n in bits]

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
            tables = tuple(
                entropy_tables.SymbolTable(int(m), f) for m, f in zip(arrays["minimum"], split, strict=True)
            )
            return cls(
                neighbourhood.ScaleNetwork.from_arrays(network), tables, arrays["centroids"].astype(np.float32)
            )
        except (KeyError, ValueError, IndexError, TypeError) as cause:
            raise errors.FormatError(f"coefficient coder: not valid ({errors.plain(cause)})") from cause


def last_diagonal(symbols: Integers) -> int:
    """Return how many diagonals must be coded to reach the last symbol of (BLOCK, BLOCK, …) that is not 0."""
    rows, columns = np.nonzero(symbols.any(axis=tuple(range(2, symbols.ndim))))
    return int((rows + columns).max()) + 1 if rows.size else 0


def table_index(level: Bytes) -> tuple[Bytes, Bytes]:
    """Return how many low bits are coded as they are, and which table of the even quantiser codes the rest."""
    shift, index = np.empty(level.shape, np.uint8), np.empty(level.shape, np.uint8)
    _look_up(level.reshape(-1), *_tables_of_levels(), shift.reshape(-1), index.reshape(-1))
    return shift, index


@functools.cache
def _tables_of_levels() -> tuple[Bytes, Bytes]:
    level = np.arange(LEVELS)
    shift = np.maximum(-((HIGHEST - level) // OCTAVE), 0)
    index = np.clip(level - OCTAVE * shift, LOWEST, HIGHEST) - LOWEST
    return shift.astype(np.uint8), index.astype(np.uint8)


@compiled
def _look_up(level: Array, shifts: Array, indices: Array, shift: Array, index: Array) -> None:
    for i in range(level.size):
        shift[i], index[i] = shifts[level[i]], indices[level[i]]


@compiled_with_lock
def _holds(codes: Array, code: int) -> bool:
    """Tell whether a code is among a few: so short that giving up the lock would take longer."""
    found = False
    for i in range(codes.size):
        found |= codes[i] == code
    return found


@compiled
def _restore(symbols: Array, tables: Array, centroids: Array, restored: Array) -> None:
    """Fill the multiples of the step that symbols stand for, with the offset of their magnitude and table."""
    for i in range(symbols.size):
        magnitude = abs(symbols[i])
        odd = np.int32(tables[i] >= TABLES and magnitude > 0)
        value = np.float32(2 * magnitude - odd) + centroids[tables[i], min(magnitude, CENTROIDS - 1)]
        restored[i] = -value if symbols[i] < 0 else value
