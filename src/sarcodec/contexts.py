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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.lapped import BLOCK

DIAGONALS = 2 * BLOCK - 1
OCTAVE = 8
"""Levels of a logarithm per factor of two."""

STEPS_PER_OCTAVE = 256
"""Step indices per factor of two; see :func:`step_db`."""

LEVELS = 256
"""Inputs and activations of the network are integers from 0 to LEVELS − 1."""

SCALE = 64
"""Weights of the network are integers in units of 1/SCALE, of magnitude at most 127."""

FEATURES = 8
_FIRST = ((1, 0), (0, 1))
_SECOND = ((1, 1), (2, 0), (0, 2))
_THIRD = ((2, -1), (2, 1), (1, 2), (3, 0), (0, 3))
_PAD = 3
_CAP = 1 << 14

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


def step_db(index: int) -> float:
    """Return the quantisation step Δ in dB of a step index: 2^(index / 256) / 64."""
    return float(2.0 ** (index / STEPS_PER_OCTAVE) / 64)


@dataclass(frozen=True, eq=False)
class Places:
    """The coefficients of one diagonal: ``rows`` + ``columns`` is the same for all."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]


@functools.cache
def diagonal(number: int) -> Places:
    """Return the places of a diagonal, 0 to DIAGONALS − 1."""
    rows = np.arange(max(0, number - BLOCK + 1), min(number, BLOCK - 1) + 1)
    return Places(rows, number - rows)


class Neighbourhood:
    """Magnitudes of the symbols known so far of a tile of h×w blocks, and the inputs they give."""

    def __init__(self, height: int, width: int) -> None:
        self._shape = height, width
        self._magnitude = np.zeros((BLOCK + 2 * _PAD, BLOCK + 2 * _PAD, height, width), np.int32)

    def learn(self, number: int, symbols: Integers) -> None:
        """Enter the symbols (n, h, w) of a diagonal."""
        place = diagonal(number)
        self._magnitude[place.rows + _PAD, place.columns + _PAD] = np.minimum(np.abs(symbols), _CAP)

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
        first, second, third = (self._sum(place, offsets) for offsets in (_FIRST, _SECOND, _THIRD))
        near = first + second
        count = _counts(number)
        height, width = self._shape
        padded = np.pad(near, [(0, 0), (1, 1), (1, 1)], mode="edge")
        around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        total = near.sum(axis=(1, 2), dtype=np.int64)
        tile = (total * 64 // ((count[0] + count[1]) * (height * width)))[:, None, None]
        inputs = np.empty((FEATURES, *near.shape), np.float32)
        inputs[0] = levels(_quotient(first, count[0], 64))
        inputs[1] = levels(_quotient(second, count[1], 64))
        inputs[2] = levels(_quotient(third, count[2], 64))
        inputs[3] = levels(_quotient(around, count[0] + count[1], 16))
        inputs[4] = levels(tile.astype(np.float32))
        inputs[5] = prior[:, None, None]
        inputs[6] = (2 * place.rows)[:, None, None]
        inputs[7] = (2 * place.columns)[:, None, None]
        return inputs

    def _sum(self, place: Places, offsets: tuple[tuple[int, int], ...]) -> Integers:
        rows, columns = place.rows + _PAD, place.columns + _PAD
        parts = [self._magnitude[rows - down, columns - right] for down, right in offsets]
        return np.asarray(sum(parts[1:], parts[0]))


@functools.cache
def _counts(number: int) -> npt.NDArray[np.int32]:
    """Return how many neighbours of each kind lie in the block, at least 1: (3, n)."""
    place = diagonal(number)
    counts = []
    for offsets in (_FIRST, _SECOND, _THIRD):
        inside = [
            (place.rows >= down) & (place.columns >= right) & (place.columns - right < BLOCK)
            for down, right in offsets
        ]
        counts.append(np.maximum(np.sum(inside, axis=0), 1))
    return np.array(counts, np.int32)


def _quotient(sums: Integers, count: Integers, factor: int) -> FloatArray:
    """Return factor·sums // count as float32.

    Exact: the sums are below 2^24 and their quotients, unless whole, further from a whole number than rounding
    reaches.
    """
    quotient = sums.astype(np.float32)
    quotient /= (count.astype(np.float32) / np.float32(factor))[:, None, None]
    return np.floor(quotient, out=quotient)


def levels(mean64: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the level 8·log2(n + 3), rounded, of whole numbers n from 0 to 2^24 − 4, at most 255.

    Found exactly from the exponent and the eight leading bits after the first, as float32 holds them.
    """
    bits = (mean64 + np.float32(3)).view(np.int32) >> 15
    level: npt.NDArray[np.uint8] = _level_of_bits()[bits - (128 << 8)]
    return level


@functools.cache
def _level_of_bits() -> npt.NDArray[np.uint8]:
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
        # 2048·log2(64·sd/2/Δ): the step is 2^(index/256)/64
        in_steps = self.spread[place.rows, place.columns] - (step_index - 6 * STEPS_PER_OCTAVE) * OCTAVE
        level: Integers = np.clip(in_steps >> 8, 0, LEVELS - 1).astype(np.int32)
        return level

    def level(self, inputs: FloatArray) -> Integers:
        """Return the level (n, h, w) of the expected magnitude for inputs (FEATURES, n, h, w)."""
        shape = inputs.shape[1:]
        values = inputs.reshape(FEATURES, -1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            sums = weight.astype(np.float32) @ values
            sums += bias[:, None].astype(np.float32)
            sums *= np.float32(1 / SCALE)
            np.floor(sums, out=sums)
            values = np.clip(sums, 0, LEVELS - 1, out=sums)
        level: Integers = values.reshape(shape).astype(np.int32)
        return level

    def levels_of(self, symbols: Integers, step_index: int, diagonals: int = DIAGONALS) -> Integers:
        """Return the level of every coefficient of a tile of known symbols (BLOCK, BLOCK, h, w); 0 beyond."""
        known = Neighbourhood(*symbols.shape[2:])
        found = np.zeros(symbols.shape, np.int32)
        for number in range(diagonals):
            place = diagonal(number)
            inputs = known.features(number, self.prior(number, step_index))
            found[place.rows, place.columns] = self.level(inputs)
            known.learn(number, symbols[place.rows, place.columns])
        return found

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
            raise errors.FormatError(f"scale network: not valid ({cause})") from cause
