"""Coding the latents of a tile: number by number, in four passes, each by the table of its level and quantiser.

A stream is one byte, how many numbers hold a symbol other than 0 at some position, counted to the last of them, and
the words of one range coder: groups as of :mod:`sarcodec.entropy.symbols`, a number's passes one after the other.
The states of the trellis go from number to number at every position, and begin with 0.
"""

from __future__ import annotations

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
from sarcodec.entropy.symbols import HALVES, MODELS, TABLES, Choice, Group, table_index, tables_of_levels
from sarcodec.runtime.compiled import Array, compiled
from sarcodec.variable import contexts
from sarcodec.variable.contexts import CAP, PASSES

MAX_POSITIONS = 1 << 16
"""Most positions of a tile."""

MOST_LATENTS = 255

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LatentCoder:
    """Symbols (n, h, w) to bytes and back, and to latents.

    Parameters
    ----------
    contexts : Contexts
        Tell the level of every latent.
    symbols : SymbolCoder
        Tables and centroids.
    """

    contexts: contexts.Contexts
    symbols: entropy_symbols.SymbolCoder

    def __post_init__(self) -> None:
        if not 1 <= self.contexts.count <= MOST_LATENTS:
            raise errors.FormatError(
                f"latent coder: {self.contexts.count} latents; there must be 1 to {MOST_LATENTS}"
            )

    def choose(self, symbols: Integers, step_index: int) -> Choice:
        """Tell by which tables the symbols of a tile are coded."""
        shift, index = table_index(self.contexts.levels_of(symbols, step_index, used(symbols)))
        quantiser = trellis.quantiser(trellis.all_states(symbols[None])[0]).view(np.uint8)
        return Choice(shift, index + np.uint8(TABLES) * quantiser)

    def encode(self, symbols: Integers, step_index: int, choice: Choice | None = None) -> bytes:
        """Encode the symbols of a tile, quantised with a step index; ``choice`` as :meth:`choose` returns it."""
        choice = choice or self.choose(symbols, step_index)
        numbers, (height, width) = used(symbols), symbols.shape[1:]
        codes = np.empty(4 * height * width, np.int32)
        runs = np.empty((2 * MODELS, 3), np.int64)
        coder = constriction.stream.queue.RangeEncoder()
        parts = [part.reshape(len(symbols), -1) for part in (symbols, choice.shift, choice.table)]
        for number in range(numbers):
            for turn in range(len(PASSES)):
                place = contexts.places(turn, height, width)
                if place.size:
                    group, shift, table = (part[number, place] for part in parts)
                    _, count = entropy_symbols.lay_out(group, shift, table, self.symbols.minima, codes, 0, runs, 0)
                    self.symbols.put(coder, codes, runs[:count])
        return bytes([numbers]) + entropy_tables.words(coder)

    def decode(self, data: bytes, shape: tuple[int, int], step_index: int) -> tuple[Integers, FloatArray]:
        """Decode a tile of h×w positions.

        Returns
        -------
        symbols : ndarray of int32
            (n, h, w).
        multiples : ndarray of float32
            The same shape: reconstructed latents in units of the step.

        Raises
        ------
        FormatError
            When the stream is damaged in a way that shows.
        """
        count, positions = self.contexts.count, shape[0] * shape[1]
        if len(data) % 4 != 1 or data[0] > count or positions > MAX_POSITIONS:
            raise errors.FormatError(f"symbols: {len(data)} bytes for {shape[0]}×{shape[1]} positions; damaged")
        symbols, table = np.zeros((count, positions), np.int32), np.zeros((count, positions), np.uint8)
        magnitude = np.zeros((count, shape[0] + 2, shape[1] + 2), np.int16)
        states, priors = np.zeros(positions, np.int8), self.contexts.priors(step_index)
        try:
            coder = range_decoder.RangeDecoder(data[1:])
            for number in range(data[0]):
                for turn in range(len(PASSES)):
                    place = contexts.places(turn, *shape)
                    if not place.size:
                        continue
                    level = self.contexts.levels(magnitude, number, turn, int(priors[number]))
                    group = _group(level, states, place)
                    values = self.symbols.take(coder, group)
                    _enter(values, group.table, place, symbols[number], table[number], magnitude[number])
                _go_on(states, symbols[number], trellis.NEXT)
        except ValueError as cause:
            raise errors.FormatError(f"symbols: the stream is damaged ({errors.plain(cause)})") from cause
        multiples = self.symbols.restored(symbols, table)
        return symbols.reshape(count, *shape), multiples.reshape(count, *shape)

    def quantise(
        self, latents: FloatArray, step_index: int, weight: float, passes: int = 2, known: Integers | None = None
    ) -> Integers:
        """Choose the symbols of a tile.

        Parameters
        ----------
        latents : ndarray of float32
            (n, h, w) in dB.
        step_index : int
            Of the quantisation step.
        weight : float
            λ in squared steps per bit; see :func:`trellis.search`.
        passes : int
            How often the levels, which depend on symbols, and the symbols, which depend on levels, are found in turn.
        known : ndarray of int32, optional
            (n, h, w): symbols to begin with, of latents that are nearly these; else the latents rounded.
        """
        scaled = (latents / np.float32(scale.step_db(step_index))).reshape(1, len(latents), -1)
        symbols = trellis.first_guess(scaled).reshape(latents.shape) if known is None else known
        _, numbers = trellis.active(scaled)
        for _ in range(passes):
            level = self.contexts.levels_of(symbols, step_index, min(used(symbols) + 2, numbers))
            shift, table = (part.reshape(scaled.shape)[:, :numbers] for part in table_index(level))
            found = np.zeros(scaled.shape, np.int32)
            found[:, :numbers] = trellis.search(scaled[:, :numbers], table, shift, self.symbols.bits, weight)
            symbols = found.reshape(latents.shape)
        return symbols

    def multiples(self, symbols: Integers, step_index: int, choice: Choice | None = None) -> FloatArray:
        """Return the reconstructed latents in units of the step, as :meth:`decode` does."""
        choice = choice or self.choose(symbols, step_index)
        return self.symbols.restored(symbols, choice.table)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a model's file."""
        named = {f"contexts.{name}": array for name, array in self.contexts.to_arrays().items()}
        return named | self.symbols.to_arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LatentCoder:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            prefix = "contexts."
            told = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            tables = entropy_symbols.tables_of_arrays(arrays)
            symbols = entropy_symbols.SymbolCoder(tables, arrays["centroids"].astype(np.float32))
            return cls(contexts.Contexts.from_arrays(told), symbols)
        except (KeyError, ValueError, IndexError, TypeError) as cause:
            raise errors.FormatError(f"latent coder: not valid ({errors.plain(cause)})") from cause


def used(symbols: Integers) -> int:
    """Return how many numbers must be coded to reach the last symbol (n, …) that is not 0."""
    numbers = np.flatnonzero(symbols.any(axis=tuple(range(1, symbols.ndim))))
    return int(numbers[-1]) + 1 if numbers.size else 0


def _group(level: npt.NDArray[np.uint8], states: npt.NDArray[np.int8], place: npt.NDArray[np.int64]) -> Group:
    """Find how the symbols of a pass are coded, at places (n,), whose levels and the tile's states are known."""
    size = level.size
    shift, table = np.empty(size, np.uint8), np.empty(size, np.uint8)
    order, counts = np.empty(size, np.int64), np.empty(HALVES, np.int64)
    _open(level, states, place, tables_of_levels(), (shift, table))
    entropy_symbols.sort_by_table(table, order, counts)
    return Group(shift, table, order, counts)


@compiled
def _open(
    level: Array, states: Array, place: Array, of_levels: tuple[Array, Array], found: tuple[Array, Array]
) -> None:
    (shifts, tables), (shift, table) = of_levels, found
    for i in range(level.size):
        shift[i] = shifts[level[i]]
        table[i] = tables[level[i]] + TABLES * (states[place[i]] & 1)


@compiled
def _enter(values: Array, tables: Array, place: Array, symbols: Array, table: Array, magnitude: Array) -> None:
    """Enter the symbols of a pass, what coded them, and their magnitudes, which have a border around."""
    across = magnitude.shape[1] - 2
    for i in range(values.size):
        symbols[place[i]], table[place[i]] = values[i], tables[i]
        magnitude[place[i] // across + 1, place[i] % across + 1] = min(abs(values[i]), CAP)


@compiled
def _go_on(states: Array, symbols: Array, after: Array) -> None:
    for i in range(states.size):
        states[i] = after[states[i], symbols[i] & 1]
