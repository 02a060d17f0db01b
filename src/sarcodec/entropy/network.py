"""How large is the next symbol? An integer network answers from its neighbours, on a scale of logarithms.

The answer, a *level*, picks a table. Every number is an integer and every sum of the network stays below 2^24, so
float32 arithmetic is exact in any order and the answer the same on every machine (the idea of Ballé, Johnston,
Minnen, "Integer networks for data compression with latent-variable models", ICLR 2019).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.entropy.scale import STEPS_PER_OCTAVE
from sarcodec.runtime.compiled import Array, compiled

OCTAVE = 8
"""Levels of a logarithm per factor of two."""

LEVELS = 256
"""Inputs and activations of the network are integers from 0 to LEVELS − 1."""

SCALE = 64
"""Weights of the network are integers in units of 1/SCALE, of magnitude at most 127."""

_SMALL_COUNTS, _SMALL_TOTALS = 33, 1024
_CHUNK = 256

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Hidden layers of rectified units, and one output.

    Parameters
    ----------
    weights : tuple of ndarray of int32
        Matrices (outputs, inputs) in units of 1/SCALE.
    biases : tuple of ndarray of int32
        In units of 1/SCALE too.

    Raises FormatError when layers do not fit together, or a sum may not be exact.
    """

    weights: tuple[Integers, ...]
    biases: tuple[Integers, ...]

    def __post_init__(self) -> None:
        width = self.features
        for weight, bias in zip(self.weights, self.biases, strict=True):
            fits = weight.ndim == 2 and weight.shape[1] == width and bias.shape == weight.shape[:1]
            size, most = np.abs(weight.astype(np.int64)), np.abs(bias.astype(np.int64))
            if not fits or size.max() > 127 or most.max() > 1 << 20:
                raise errors.FormatError("scale network: layers do not fit together or a weight is out of range")
            if (size.sum(axis=1) * (LEVELS - 1) + most).max() >= 1 << 24:
                raise errors.FormatError("scale network: a sum may reach 2^24 and would not be exact")
            width = len(weight)
        if width != 1:
            raise errors.FormatError("scale network: there must be one output")

    @property
    def features(self) -> int:
        """Inputs."""
        return self.weights[0].shape[-1] if self.weights else 0

    @functools.cached_property
    def layers(self) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        """Weights and biases as compiled code takes them: see :func:`propagate`."""
        weights, biases = (
            tuple(np.ascontiguousarray(part, np.float32) for part in parts) for parts in (self.weights, self.biases)
        )
        return weights, biases

    def level(self, inputs: FloatArray) -> Bytes:
        """Return the level (…) for inputs (features, …), whole numbers from 0 to LEVELS − 1."""
        found = np.empty(inputs.shape[1:], np.uint8)
        flat = np.ascontiguousarray(inputs, np.float32).reshape(self.features, -1)
        propagate(flat, *self.layers, found.reshape(-1))
        return found

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a model's file."""
        layers = {f"weight.{i}": w for i, w in enumerate(self.weights)}
        return layers | {f"bias.{i}": b for i, b in enumerate(self.biases)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> IntegerNetwork:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            count = sum(name.startswith("weight.") for name in arrays)
            weights = tuple(arrays[f"weight.{i}"].astype(np.int32) for i in range(count))
            return cls(weights, tuple(arrays[f"bias.{i}"].astype(np.int32) for i in range(count)))
        except (KeyError, ValueError, IndexError) as cause:
            raise errors.FormatError(f"scale network: not valid ({cause})") from cause


def priors(spread: Integers, step_index: int) -> Integers:
    """Return the levels of spreads in units of two steps, int32 of the same shape.

    A spread is 2048·log2 of 64 times half a standard deviation in dB.
    """
    # 2048·log2(64·sd/2/Δ): the step is 2^(index/256)/64
    in_steps = spread - (step_index - 6 * STEPS_PER_OCTAVE) * OCTAVE
    level: Integers = np.clip(in_steps >> 8, 0, LEVELS - 1).astype(np.int32)
    return level


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
    table: npt.NDArray[np.uint8] = np.minimum(exponents + fractions(), LEVELS - 1).astype(np.uint8).ravel()
    return table


@functools.cache
def fractions() -> Integers:
    """Return round(8·log2(1 + i/256)) for i in 0 … 255."""
    values = np.arange(256)
    # 8·log2(x) ≥ j − ½  ⇔  x^16 ≥ 2^(2j−1), in whole numbers of any size
    reached = [[(256 + int(v)) ** 16 >= 2 ** (2 * j + 127) for j in range(1, OCTAVE + 1)] for v in values]
    rounded: Integers = np.sum(reached, axis=1).astype(np.int32)
    return rounded


@functools.cache
def small_levels() -> Bytes:
    """Levels of 64·total // count for small counts and totals, [count, total]; row 0 is not used."""
    counts = np.maximum(np.arange(_SMALL_COUNTS), 1)[:, None]
    return levels((64 * np.arange(_SMALL_TOTALS) // counts).astype(np.float32))


@compiled
def level_of(total: int, count: int, small: Array, fractions: Array) -> Any:
    """Return the level of 64·total // count; the arrays are :func:`small_levels` and :func:`fractions`."""
    if total < small.shape[1] and count < small.shape[0]:
        return small[count, total]
    number = 64 * total // count + 3
    exponent = 0
    while number >> (exponent + 1):
        exponent += 1
    return np.uint8(min(OCTAVE * exponent + fractions[(number << 8 >> exponent) & 255], LEVELS - 1))


@compiled
def levels_of_sums(totals: Array, count: int, small: Array, fractions: Array, found: Array) -> None:
    """Fill ``found`` (n,) with what :func:`level_of` says of totals (n,) of ``count`` each, as the table has it."""
    levels = small[count]
    for i in range(totals.size):
        total = totals[i]
        found[i] = levels[total] if total < levels.size else level_of(total, count, small, fractions)


@compiled
def propagate(inputs: Array, weights: tuple[Array, ...], biases: tuple[Array, ...], found: Array) -> None:
    """Run the network on inputs (features, n); fills ``found`` (n,). Sums are whole and below 2^24: exact."""
    for start in range(0, inputs.shape[1], _CHUNK):
        values = np.ascontiguousarray(inputs[:, start : start + _CHUNK])
        for layer in range(len(weights)):
            sums = np.empty((weights[layer].shape[0], values.shape[1]), np.float32)
            _layer(values, weights[layer], biases[layer], sums)
            values = sums
        for b in range(values.shape[1]):
            found[start + b] = np.uint8(np.int32(values[0, b]))


@compiled
def _layer(values: Array, weight: Array, bias: Array, sums: Array) -> None:
    """Fill the activations (outputs, n) of a layer; written so that compilers find whole vectors in it."""
    least, most, unit = np.float32(0), np.float32(LEVELS - 1), np.float32(1 / SCALE)
    fours = weight.shape[1] // 4 * 4
    for o in range(weight.shape[0]):
        row, w = sums[o], weight[o]
        row[:] = bias[o]
        for k in range(0, fours, 4):
            first, second, third, fourth = values[k], values[k + 1], values[k + 2], values[k + 3]
            for b in range(row.size):
                row[b] += w[k] * first[b] + w[k + 1] * second[b] + w[k + 2] * third[b] + w[k + 3] * fourth[b]
        for k in range(fours, weight.shape[1]):
            other = values[k]
            for b in range(row.size):
                row[b] += w[k] * other[b]
        for b in range(row.size):
            scaled = row[b] * unit
            scaled = scaled if scaled > least else least  # not min and max, which look for NaN one by one
            row[b] = np.float32(np.int32(scaled if scaled < most else most))
