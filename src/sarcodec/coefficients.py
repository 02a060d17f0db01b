"""Coding the symbols of a tile: diagonal by diagonal, each symbol by the table of its level and quantiser.

A stream is one byte, the number of diagonals that hold a symbol other than 0, and the words of one range coder. On a
diagonal, symbols are grouped by quantiser and level, groups in ascending order, symbols of a group by row of
frequency and block. Where a level is above the highest table, the symbol's lowest bits follow as they are.
``docs/format.md`` specifies it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import contexts, entropy, errors, trellis
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

    def encode(self, symbols: Integers, step_index: int) -> bytes:
        """Encode the symbols of a tile, (BLOCK, BLOCK, h, w) int32, quantised with a step index."""
        used = last_diagonal(symbols)
        states = trellis.all_states(symbols)
        known = contexts.Neighbourhood(*symbols.shape[2:])
        coder = constriction.stream.queue.RangeEncoder()
        for number in range(used):
            place = contexts.diagonal(number)
            level = self.network.level(known.features(number, self.network.prior(number, step_index)))
            values = symbols[place.rows, place.columns]
            known.learn(number, values)
            shift, index = table_index(level.ravel(), trellis.quantiser(states[place.rows, place.columns]).ravel())
            flat = values.ravel()
            for table, chosen in groups(index):
                entropy.put(coder, flat[chosen] >> shift[chosen], self.tables[table])
            for bits, chosen in groups(shift):
                if bits:
                    uniform = constriction.stream.model.Uniform(1 << bits)
                    coder.encode((flat[chosen] & ((1 << bits) - 1)).astype(np.int32), uniform)
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
                quantiser = trellis.quantiser(states.of(number))
                shift, index = table_index(level.ravel(), quantiser.ravel())
                flat = np.empty(index.size, np.int64)
                for table, chosen in groups(index):
                    flat[chosen] = entropy.take(coder, chosen.size, self.tables[table])
                for bits, chosen in groups(shift):
                    if bits:
                        low = coder.decode(constriction.stream.model.Uniform(1 << bits), chosen.size)
                        flat[chosen] = (flat[chosen] << bits) | low
                if np.abs(flat).max() > trellis.LARGEST:
                    raise ValueError("a symbol is larger than any that is coded")
                values = flat.astype(np.int32).reshape(level.shape)
                symbols[place.rows, place.columns] = values
                multiples[place.rows, place.columns] = self._restored(values, quantiser, index.reshape(level.shape))
                known.learn(number, values)
                states.learn(number, values)
        except (AssertionError, ValueError) as cause:
            raise errors.FormatError(f"symbols: the stream is damaged ({cause})") from cause
        return symbols, multiples

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
            found = trellis.search(blocks, self._bits(blocks, level.reshape(blocks.shape)), weight)
            symbols = np.zeros(scaled.shape, np.int32)
            symbols[:rows, :columns] = found.reshape(rows, columns, *scaled.shape[2:])
        return symbols

    def multiples(self, symbols: Integers, step_index: int) -> FloatArray:
        """Return the reconstructed coefficients in units of the step, as :meth:`decode` does."""
        level = self.network.levels_of(symbols, step_index, last_diagonal(symbols))
        quantiser = trellis.quantiser(trellis.all_states(symbols))
        return self._restored(symbols, quantiser, table_index(level, quantiser)[1])

    def _bits(self, blocks: FloatArray, level: Integers) -> FloatArray:
        """Bits of the candidates of :func:`trellis.search`: (2, 3, …)."""
        costs = self._cost_table()
        shift, index = table_index(level, np.zeros(level.shape, np.int8))
        nearest = trellis.candidates(blocks)
        bits = np.empty((2, 3, *level.shape), np.float32)
        widest = costs.shape[1] - 1
        for quantiser in (0, 1):
            table = index + quantiser * TABLES
            bits[quantiser, 0] = costs[table, 0] + shift
            for number in (0, 1):
                magnitude = np.minimum(nearest[quantiser, number] >> shift, widest)
                bits[quantiser, 1 + number] = costs[table, magnitude] + shift
        return bits

    def _cost_table(self) -> FloatArray:
        """Bits of every magnitude in every table, (2·TABLES, n), the escape's beyond the table."""
        found: FloatArray | None = self.__dict__.get("_costs")
        if found is None:
            widest = max(table.frequencies.size for table in self.tables) // 2
            found = np.empty((2 * TABLES, widest + 1), np.float32)
            for row, table in zip(found, self.tables, strict=True):
                cost = entropy.PRECISION - np.log2(table.frequencies)
                row[:] = cost[-1] + 32
                positive = cost[-table.minimum : -1]
                row[: positive.size] = positive
            self.__dict__["_costs"] = found
        return found

    def _restored(self, symbols: Integers, quantiser: trellis.States, index: Integers) -> FloatArray:
        shift = self.centroids[quantiser, index % TABLES, np.minimum(np.abs(symbols), CENTROIDS - 1)]
        return np.asarray(trellis.dequantise(symbols, quantiser) + np.sign(symbols) * shift, np.float32)

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


def table_index(level: Integers, quantiser: trellis.States) -> tuple[Integers, Integers]:
    """Return how many low bits are coded as they are, and which table codes the rest."""
    shift = np.maximum(-((HIGHEST - level) // OCTAVE), 0)
    index = np.clip(level - OCTAVE * shift, LOWEST, HIGHEST) - LOWEST + TABLES * quantiser.astype(np.int32)
    return shift.astype(np.int32), index.astype(np.int32)


def groups(keys: Integers) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield every distinct key, ascending, with the places that have it, ascending."""
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    for key, chosen in zip(found, np.split(order, starts[1:]), strict=True):
        yield int(key), chosen
