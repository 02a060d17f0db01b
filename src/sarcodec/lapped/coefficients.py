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
from sarcodec.entropy import range_decoder, scale, trellis
from sarcodec.entropy import symbols as entropy_symbols
from sarcodec.entropy import tables as entropy_tables
from sarcodec.entropy.symbols import TABLES, Choice, table_index, tables_of_levels
from sarcodec.lapped import neighbourhood, scan
from sarcodec.lapped.neighbourhood import DIAGONALS
from sarcodec.lapped.transform import BLOCK

MAX_TILE_BLOCKS = 1 << 12

UNKNOWN = 16
"""Bytes that are made up after the head of a stream: more than the two words that a range decoder looks ahead."""

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


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
        _ = self._coder  # tables and centroids that do not fit are refused at once

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
        codes, runs = np.empty(4 * symbols.size, np.int32), np.empty((2 * entropy_symbols.MODELS * used, 3), np.int64)
        parts = symbols.reshape(flat), choice.shift.reshape(flat), choice.table.reshape(flat)
        count = scan.lay_out(*parts, used, self._coder.minima, codes, runs)
        coder = constriction.stream.queue.RangeEncoder()
        self._coder.put(coder, codes, runs[:count])
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
        tile = scan.Unfolding(shape[0] * shape[1], trellis.NEXT, tables_of_levels())
        known, priors = neighbourhood.Neighbourhood(*shape), self.network.priors(step_index)
        level = np.zeros(tile.symbols.shape, np.uint8)
        try:
            coder = range_decoder.RangeDecoder(data[1:])
            for number in range(min(data[0], diagonals)):
                self.network.levels_at(number, known, priors, level)
                tile.close(number, self._coder.take(coder, tile.open(number, level)), known.magnitude)
        except ValueError as cause:
            raise errors.FormatError(f"symbols: the stream is damaged ({errors.plain(cause)})") from cause
        corner = np.s_[:diagonals, :diagonals]
        symbols = np.ascontiguousarray(tile.symbols[corner]).reshape(min(diagonals, BLOCK), -1, *shape)
        return symbols, self._coder.restored(symbols, np.ascontiguousarray(tile.table[corner]))

    def decode_head(
        self, head: bytes, shape: tuple[int, int], step_index: int, diagonals: int
    ) -> tuple[Integers, FloatArray] | None:
        """Do as :meth:`decode` with the first bytes of a tile's; None where they do not tell all of the diagonals.

        A range decoder finds symbols in order of what the bytes are as a number. Those that are the same for the
        least and for the largest number with this head are so for what is between.
        """
        words = head[: 1 + (len(head) - 1) // 4 * 4]
        try:
            least, most = (
                self.decode(words + fill * UNKNOWN, shape, step_index, diagonals) for fill in (b"\0", b"\xff")
            )
        except errors.FormatError:
            return None
        return least if np.array_equal(least[0], most[0]) else None

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
            found = trellis.search(blocks, table, shift, self._coder.bits, weight)
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
        mixed[:, :, blocks] = trellis.search(scaled, table, shift, self._coder.bits, weight)
        return mixed

    def multiples(self, symbols: Integers, step_index: int, choice: Choice | None = None) -> FloatArray:
        """Return the reconstructed coefficients in units of the step, as :meth:`decode` does."""
        choice = choice or self.choose(symbols, step_index)
        return self._coder.restored(symbols, choice.table)

    @functools.cached_property
    def _coder(self) -> entropy_symbols.SymbolCoder:
        return entropy_symbols.SymbolCoder(self.tables, self.centroids)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a checkpoint."""
        network = {f"network.{name}": array for name, array in self.network.to_arrays().items()}
        return network | self._coder.to_arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> CoefficientCoder:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            prefix = "network."
            network = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            return cls(
                neighbourhood.ScaleNetwork.from_arrays(network),
                entropy_symbols.tables_of_arrays(arrays),
                arrays["centroids"].astype(np.float32),
            )
        except (KeyError, ValueError, IndexError, TypeError) as cause:
            raise errors.FormatError(f"coefficient coder: not valid ({errors.plain(cause)})") from cause


def last_diagonal(symbols: Integers) -> int:
    """Return how many diagonals must be coded to reach the last symbol of (BLOCK, BLOCK, …) that is not 0."""
    rows, columns = np.nonzero(symbols.any(axis=tuple(range(2, symbols.ndim))))
    return int((rows + columns).max()) + 1 if rows.size else 0
