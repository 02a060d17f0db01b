"""How large is the next coefficient? An integer network answers from its neighbours; the answer picks a table.

Coefficients of a tile are coded diagonal by diagonal, from low to high frequency, all blocks at once. What is known
of a coefficient then are the magnitudes of its neighbours of lower frequency: in its own block, in the four blocks
around it, and on average over the tile, which follows the scene's own spectrum; besides, its place on the diagonal
and the spread it had in training, in steps. A small network turns these into the logarithm of the coefficient's
expected magnitude.

Every number is an integer and every sum of the network stays below 2^24, so float32 arithmetic is exact in any order
and the answer the same on every machine (the idea of Ballé, Johnston, Minnen, "Integer networks for data compression
with latent-variable models", ICLR 2019).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.lapped import scale
from sarcodec.lapped.transform import BLOCK
from sarcodec.runtime.compiled import Array, compiled

DIAGONALS = 2 * BLOCK - 1
OCTAVE = 8
"""Levels of a logarithm per factor of two."""
LEVELS = 256
"""Inputs and activations of the network are integers from 0 to LEVELS − 1."""
SCALE = 64
"""Weights of the network are integers in units of 1/SCALE, of magnitude at most 127."""
FEATURES = 8
_FIRST = ((1, 0), (0, 1))
_SECOND = ((1, 1), (2, 0), (0, 2))
_THIRD = ((2, -1), (2, 1), (1, 2), (3, 0), (0, 3))
_PAD = 3
CAP = 1 << 14
"""Larger magnitudes count as this."""
_SMALL_COUNTS, _SMALL_TOTALS = 21, 1024
_CHUNK = 256
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
        _inputs(number, self.magnitude, _counts(), priors, _small_levels(), _fractions(), inputs)
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
    near = np.empty((height + 2, width + 2), np.int32)
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
            for b in range(blocks):
                inputs[kind, j, b] = _level(sums[kind, b], counts[kind, row, column], small, fractions)
        for y in range(height):
            for x in range(width):
                around = near[y, x + 1] + near[y + 2, x + 1] + near[y + 1, x] + near[y + 1, x + 2]
                inputs[3, j, y * width + x] = _level(around, 4 * near_count, small, fractions)
        inputs[4, j] = _level(total, near_count * blocks, small, fractions)
        inputs[5, j] = priors[row, column]
        inputs[6, j] = 2 * row
        inputs[7, j] = 2 * column


@compiled
def _level(total: int, count: int, small: Array, fractions: Array) -> Any:
    """Return the level of 64·total // count."""
    if total < small.shape[1] and count < small.shape[0]:
        return small[count, total]
    number = 64 * total // count + 3
    exponent = 0
    while number >> (exponent + 1):
        exponent += 1
    return np.uint8(min(OCTAVE * exponent + fractions[(number << 8 >> exponent) & 255], LEVELS - 1))


@functools.cache
def _counts() -> Integers:
    """Return how many neighbours of each kind lie in the block, at least 1: (3, BLOCK, BLOCK)."""
    rows, columns = np.indices((BLOCK, BLOCK))
    counts = []
    for offsets in (_FIRST, _SECOND, _THIRD):
        inside = [(rows >= down) & (columns >= right) & (columns - right < BLOCK) for down, right in offsets]
        counts.append(np.maximum(np.sum(inside, axis=0), 1))
    return np.array(counts, np.int32)


@functools.cache
def _small_levels() -> Bytes:
    """Levels of 64·total // count for small counts and totals, [count, total]; row 0 is not used."""
    counts = np.maximum(np.arange(_SMALL_COUNTS), 1)[:, None]
    return levels((64 * np.arange(_SMALL_TOTALS) // counts).astype(np.float32))


def levels(mean64: FloatArray) -> Bytes:
    """Return the level 8·log2(n + 3), rounded, of whole numbers n from 0 to 2^24 − 4, at most 255.

    Found exactly from the exponent and the eight leading bits after the first, as float32 holds them.
    """
    bits = (mean64 + np.float32(3)).view(np.int32) >> 15
    level: Bytes = _level_of_bits()[bits - (128 << 8)]
    return level


@functools.cache
def _level_of_bits() -> Bytes:
    """Levels of 2^e·(1 + i/256) for e from 1 to 23 and i from 0 to 255, joined."""
    exponents = np.arange(1, 24)[:, None] * OCTAVE
    table: npt.NDArray[np.uint8] = np.minimum(exponents + _fractions(), LEVELS - 1).astype(np.uint8).ravel()
    return table


@functools.cache
def _fractions() -> Integers:
    """Return round(8·log2(1 + i/256)) for i in 0 … 255."""
    values = np.arange(256)
    # 8·log2(x) ≥ j − ½  ⇔  x^16 ≥ 2^(2j−1), in whole numbers of any size
    reached = [[(256 + int(v)) ** 16 >= 2 ** (2 * j + 127) for j in range(1, OCTAVE + 1)] for v in values]
    rounded: Integers = np.sum(reached, axis=1).astype(np.int32)
    return rounded


@dataclass(frozen=True, eq=False)
class ScaleNetwork:
    """The integer network: two hidden layers of rectified units.

    Parameters
    ----------
    weights : tuple of ndarray of int32
        Matrices (outputs, inputs) in units of 1/SCALE.
    biases : tuple of ndarray of int32
        In units of 1/SCALE too.
    spread : ndarray of int32
        (BLOCK, BLOCK): 2048·log2 of 64 times half the standard deviation, in dB, that each coefficient has in
        training.
    """

    weights: tuple[Integers, ...]
    biases: tuple[Integers, ...]
    spread: Integers

    def __post_init__(self) -> None:
        width = FEATURES
        for weight, bias in zip(self.weights, self.biases, strict=True):
            fits = weight.ndim == 2 and weight.shape[1] == width and bias.shape == weight.shape[:1]
            size, most = np.abs(weight.astype(np.int64)), np.abs(bias.astype(np.int64))
            if not fits or size.max() > 127 or most.max() > 1 << 20:
                raise errors.FormatError("scale network: layers do not fit together or a weight is out of range")
            if (size.sum(axis=1) * (LEVELS - 1) + most).max() >= 1 << 24:
                raise errors.FormatError("scale network: a sum may reach 2^24 and would not be exact")
            width = len(weight)
        if width != 1 or self.spread.shape != (BLOCK, BLOCK):
            raise errors.FormatError("scale network: there must be one output and a spread for every coefficient")

    def prior(self, number: int, step_index: int) -> Integers:
        """Return the levels of the spread of a diagonal's coefficients in units of two steps, (n,) int32."""
        place = diagonal(number)
        return self.priors(step_index)[place.rows, place.columns]

    def priors(self, step_index: int) -> Integers:
        """Return the levels of the spread of all coefficients in units of two steps, (BLOCK, BLOCK) int32."""
        # 2048·log2(64·sd/2/Δ): the step is 2^(index/256)/64
        in_steps = self.spread - (step_index - 6 * scale.STEPS_PER_OCTAVE) * OCTAVE
        level: Integers = np.clip(in_steps >> 8, 0, LEVELS - 1).astype(np.int32)
        return level

    def level(self, inputs: FloatArray) -> Bytes:
        """Return the level (n, h, w) of the expected magnitude for inputs (FEATURES, n, h, w)."""
        found = np.empty(inputs.shape[1:], np.uint8)
        _propagate(
            np.ascontiguousarray(inputs, np.float32).reshape(FEATURES, -1),
            self._weights,
            self._biases,
            found.reshape(-1),
        )
        return found

    @functools.cached_property
    def _weights(self) -> tuple[FloatArray, ...]:
        return tuple(np.ascontiguousarray(weight, np.float32) for weight in self.weights)

    @functools.cached_property
    def _biases(self) -> tuple[FloatArray, ...]:
        return tuple(np.ascontiguousarray(bias, np.float32) for bias in self.biases)

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
            (_small_levels(), _fractions()),
            (self._weights, self._biases),
            found,
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a checkpoint."""
        layers = {f"weight.{i}": w for i, w in enumerate(self.weights)}
        return layers | {f"bias.{i}": b for i, b in enumerate(self.biases)} | {"spread": self.spread}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ScaleNetwork:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            count = sum(name.startswith("weight.") for name in arrays)
            weights = tuple(arrays[f"weight.{i}"].astype(np.int32) for i in range(count))
            biases = tuple(arrays[f"bias.{i}"].astype(np.int32) for i in range(count))
            return cls(weights, biases, arrays["spread"].astype(np.int32))
        except (KeyError, ValueError, IndexError) as cause:
            raise errors.FormatError(f"scale network: not valid ({errors.plain(cause)})") from cause


@compiled
def _propagate(inputs: Array, weights: tuple[Array, ...], biases: tuple[Array, ...], found: Array) -> None:
    """Run the network on inputs (FEATURES, n); fills ``found`` (n,). Sums are whole and below 2^24: exact."""
    for start in range(0, inputs.shape[1], _CHUNK):
        values = np.ascontiguousarray(inputs[:, start : start + _CHUNK])
        for layer in range(len(weights)):
            sums = np.dot(weights[layer], values)
            for o in range(sums.shape[0]):
                for b in range(sums.shape[1]):
                    scaled = math.floor((sums[o, b] + biases[layer][o]) * np.float32(1 / SCALE))
                    sums[o, b] = min(max(np.float32(scaled), np.float32(0)), np.float32(LEVELS - 1))
            values = sums
        for b in range(values.shape[1]):
            found[start + b] = np.uint8(values[0, b])


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
        _propagate(inputs.reshape(FEATURES, size * blocks), weights, biases, level)
        for j in range(size):
            for b in range(blocks):
                flat[top + j, number - top - j, b] = level[j * blocks + b]
