"""What is known of a coefficient before it is decoded, and the level that the integer network makes of it.

Coefficients of a tile are coded diagonal by diagonal, from low to high frequency, all blocks at once. What is known
of a coefficient then are the magnitudes of its neighbours of lower frequency: in its own block, in the four blocks
around it, and on average over the tile, which follows the scene's own spectrum; besides, its place on the diagonal
and the spread it had in training, in steps. A small network turns these into the logarithm of the coefficient's
expected magnitude: :mod:`sarcodec.entropy.network`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.entropy.network import (
    IntegerNetwork,
    fractions,
    level_of,
    levels_of_sums,
    priors,
    propagate,
    small_levels,
)
from sarcodec.lapped.transform import BLOCK
from sarcodec.runtime.compiled import Array, compiled

DIAGONALS = 2 * BLOCK - 1
FEATURES = 8
_FIRST = ((1, 0), (0, 1))
_SECOND = ((1, 1), (2, 0), (0, 2))
_THIRD = ((2, -1), (2, 1), (1, 2), (3, 0), (0, 3))
_PAD = 3
CAP = 1 << 14
"""Larger magnitudes count as this."""

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Places:
    """The coefficients of one diagonal: ``rows`` + ``columns`` is the same for all."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]


@compiled
def rows_of(number: int) -> tuple[int, int]:
    """Return the first row of a diagonal, and the one after its last."""
    return max(0, number - BLOCK + 1), min(number, BLOCK - 1) + 1


@functools.cache
def diagonal(number: int) -> Places:
    """Return the places of a diagonal, 0 to DIAGONALS − 1."""
    rows = np.arange(*rows_of(number))
    return Places(rows, number - rows)


class Neighbourhood:
    """Magnitudes of the symbols known so far of a tile of h×w blocks, and the inputs they give.

    ``magnitude`` (BLOCK + 6, BLOCK + 6, h, w) int16 has zeros around the block.
    """

    def __init__(self, height: int, width: int) -> None:
        self.magnitude = np.zeros((BLOCK + 2 * _PAD, BLOCK + 2 * _PAD, height, width), np.int16)

    def learn(self, number: int, symbols: Integers) -> None:
        """Enter the symbols (n, h, w) of a diagonal."""
        place = diagonal(number)
        self.magnitude[place.rows + _PAD, place.columns + _PAD] = np.minimum(np.abs(symbols), CAP)

    def features(self, number: int, prior: Integers) -> FloatArray:
        """Return the inputs of a diagonal.

        Parameters
        ----------
        number : int
            The diagonal; all lower ones are known.
        prior : ndarray of int32
            (n,): levels of the spread of its coefficients in training, in steps; see :meth:`ScaleNetwork.prior`.

        Returns
        -------
        ndarray of float32
            (FEATURES, n, h, w) whole numbers from 0 to LEVELS − 1.
        """
        place = diagonal(number)
        priors = np.zeros((BLOCK, BLOCK), np.int32)
        priors[place.rows, place.columns] = prior
        height, width = self.magnitude.shape[2:]
        inputs = np.empty((FEATURES, place.rows.size, height * width), np.float32)
        _inputs(number, self.magnitude, _counts(), priors, small_levels(), fractions(), inputs)
        return inputs.reshape(FEATURES, -1, height, width)


@compiled
def _inputs(
    number: int, magnitude: Array, counts: Array, priors: Array, small: Array, fractions: Array, inputs: Array
) -> None:
    """Fill ``inputs`` (FEATURES, n, blocks) of a diagonal."""
    height, width = magnitude.shape[2:]
    blocks = height * width
    known = magnitude.reshape(magnitude.shape[0], magnitude.shape[1], blocks)
    sums = np.empty((3, blocks), np.int32)
    near, around = np.empty((height + 2, width + 2), np.int32), np.empty(blocks, np.int32)
    top, end = rows_of(number)
    for row in range(top, end):
        column, j = number - row, row - top
        u, v = row + _PAD, column + _PAD
        near_count = counts[0, row, column] + counts[1, row, column]
        for b in range(blocks):
            sums[0, b] = np.int32(known[u - 1, v, b]) + known[u, v - 1, b]
        for b in range(blocks):
            sums[1, b] = np.int32(known[u - 1, v - 1, b]) + known[u - 2, v, b] + known[u, v - 2, b]
        for b in range(blocks):
            sums[2, b] = (
                np.int32(known[u - 2, v + 1, b])
                + known[u - 2, v - 1, b]
                + known[u - 1, v - 2, b]
                + known[u - 3, v, b]
                + known[u, v - 3, b]
            )
        total = 0
        for y in range(height):
            for x in range(width):
                value = sums[0, y * width + x] + sums[1, y * width + x]
                near[y + 1, x + 1] = value
                total += value
            near[y + 1, 0], near[y + 1, width + 1] = near[y + 1, 1], near[y + 1, width]
        near[0], near[height + 1] = near[1], near[height]
        for kind in range(3):
            levels_of_sums(sums[kind], counts[kind, row, column], small, fractions, inputs[kind, j])
        for y in range(height):
            for x in range(width):
                around[y * width + x] = near[y, x + 1] + near[y + 2, x + 1] + near[y + 1, x] + near[y + 1, x + 2]
        levels_of_sums(around, 4 * near_count, small, fractions, inputs[3, j])
        inputs[4, j] = level_of(total, near_count * blocks, small, fractions)
        inputs[5, j] = priors[row, column]
        inputs[6, j] = 2 * row
        inputs[7, j] = 2 * column


@functools.cache
def _counts() -> Integers:
    """Return how many neighbours of each kind lie in the block, at least 1: (3, BLOCK, BLOCK)."""
    rows, columns = np.indices((BLOCK, BLOCK))
    counts = []
    for offsets in (_FIRST, _SECOND, _THIRD):
        inside = [(rows >= down) & (columns >= right) & (columns - right < BLOCK) for down, right in offsets]
        counts.append(np.maximum(np.sum(inside, axis=0), 1))
    return np.array(counts, np.int32)


@dataclass(frozen=True, eq=False)
class ScaleNetwork:
    """The integer network of the coefficients' levels, and what it must know besides.

    Parameters
    ----------
    network : IntegerNetwork
        Of :data:`FEATURES` inputs.
    spread : ndarray of int32
        (BLOCK, BLOCK): 2048·log2 of 64 times half the standard deviation, in dB, that each coefficient has in
        training.
    """

    network: IntegerNetwork
    spread: Integers

    def __post_init__(self) -> None:
        if self.network.features != FEATURES or self.spread.shape != (BLOCK, BLOCK):
            raise errors.FormatError(
                f"scale network: {self.network.features} inputs and a spread of shape {self.spread.shape}; there "
                f"must be {FEATURES}, and a spread for every coefficient"
            )

    @functools.cached_property
    def spread_db(self) -> FloatArray:
        """Standard deviation in dB that each coefficient has in training, (BLOCK, BLOCK)."""
        return np.asarray(2.0 ** (self.spread / 2048) / 32, np.float32)

    def prior(self, number: int, step_index: int) -> Integers:
        """Return the levels of the spread of a diagonal's coefficients in units of two steps, (n,) int32."""
        place = diagonal(number)
        return self.priors(step_index)[place.rows, place.columns]

    def priors(self, step_index: int) -> Integers:
        """Return the levels of the spread of all coefficients in units of two steps, (BLOCK, BLOCK) int32."""
        return priors(self.spread, step_index)

    def levels_of(self, symbols: Integers, step_index: int, diagonals: int = DIAGONALS) -> Bytes:
        """Return the level of every coefficient of a tile of known symbols (BLOCK, BLOCK, h, w); 0 beyond."""
        known = Neighbourhood(*symbols.shape[2:])
        np.minimum(np.abs(symbols), CAP, out=known.magnitude[_PAD:-_PAD, _PAD:-_PAD], casting="unsafe")
        found = np.zeros(symbols.shape, np.uint8)
        self._fill(known, self.priors(step_index), range(diagonals), found)
        return found

    def levels_at(self, number: int, known: Neighbourhood, priors: Integers, found: Bytes) -> None:
        """Fill the levels of a diagonal in ``found`` (BLOCK, BLOCK, h, w), from what is known and :meth:`priors`."""
        self._fill(known, priors, range(number, number + 1), found)

    def _fill(self, known: Neighbourhood, priors: Integers, diagonals: range, found: Bytes) -> None:
        _fill_levels(
            (diagonals.start, diagonals.stop),
            known.magnitude,
            (_counts(), priors),
            (small_levels(), fractions()),
            self.network.layers,
            found,
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a model's file."""
        return self.network.to_arrays() | {"spread": self.spread}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ScaleNetwork:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            return cls(IntegerNetwork.from_arrays(arrays), arrays["spread"].astype(np.int32))
        except (KeyError, ValueError) as cause:
            raise errors.FormatError(f"scale network: not valid ({cause})") from cause


@compiled
def _fill_levels(
    diagonals: tuple[int, int],
    magnitude: Array,
    places: tuple[Array, ...],
    tables: tuple[Array, ...],
    network: Any,
    found: Array,
) -> None:
    """Fill the levels of diagonals, from the first to before the second, in ``found`` (BLOCK, BLOCK, h, w)."""
    (counts, priors), (small, fractions), (weights, biases) = places, tables, network
    blocks = magnitude.shape[2] * magnitude.shape[3]
    flat = found.reshape(BLOCK, BLOCK, blocks)
    level = np.empty(BLOCK * blocks, np.uint8)
    for number in range(diagonals[0], diagonals[1]):
        top, end = rows_of(number)
        size = end - top
        inputs = np.empty((FEATURES, size, blocks), np.float32)
        _inputs(number, magnitude, counts, priors, small, fractions, inputs)
        propagate(inputs.reshape(FEATURES, size * blocks), weights, biases, level)
        for j in range(size):
            for b in range(blocks):
                flat[top + j, number - top - j, b] = level[j * blocks + b]
