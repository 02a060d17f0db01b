"""What is known of a latent before it is decoded, and the level that integer networks make of it.

Latents of a tile are coded one number after the other, from the one of most power on, and each in four passes over
the positions: those in even rows and columns, in odd rows and columns, in even rows and odd columns, in odd rows and
even columns. What is known of a latent then are magnitudes of the same number around it, from earlier passes, and of
lower numbers at its position and around it: of its *parents*, those whose magnitudes went with its own in training,
and of the last ones before it. Besides, how large it was on average so far in the tile, and in training. A small
network for each pass turns these into the logarithm of its expected magnitude: :mod:`sarcodec.entropy.network`.
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
    LEVELS,
    IntegerNetwork,
    fractions,
    level_of,
    priors,
    propagate,
    small_levels,
)
from sarcodec.runtime.compiled import Array, compiled

PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""First row and column of the positions of every pass; both go on by 2."""

NEAR, FAR, RECENT = 3, 6, 8
"""Parents that go most with a latent, further ones, and numbers before it."""

PARENTS = NEAR + FAR
FEATURES = 10
NEIGHBOURS = 8
"""Inputs that are levels of neighbours, the first ones."""

CAP = 1 << 14
"""Larger magnitudes count as this."""

Integers = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Contexts:
    """The integer networks of the latents' levels, and what they must know besides.

    Parameters
    ----------
    networks : tuple of IntegerNetwork
        One for every pass, of :data:`FEATURES` inputs.
    spread : ndarray of int32
        (n,): 2048·log2 of 64 times half the standard deviation, in dB, that each latent has in training.
    parents : ndarray of int32
        (n, PARENTS): numbers below its own, those that go most with it first; −1 where there are not so many.
    """

    networks: tuple[IntegerNetwork, ...]
    spread: Integers
    parents: Integers

    def __post_init__(self) -> None:
        count = len(self.spread)
        if len(self.networks) != len(PASSES) or any(network.features != FEATURES for network in self.networks):
            raise errors.FormatError(f"contexts: there must be {len(PASSES)} networks of {FEATURES} inputs")
        if self.spread.shape != (count,) or self.parents.shape != (count, PARENTS):
            raise errors.FormatError("contexts: a spread and parents for every latent do not fit together")
        if (self.parents < -1).any() or (self.parents >= np.arange(count)[:, None]).any():
            raise errors.FormatError("contexts: parents must be lower numbers, or −1")
        if (np.diff((self.parents >= 0).astype(np.int8), axis=1) > 0).any():
            raise errors.FormatError("contexts: a parent follows a −1, which stands only at the end")

    @property
    def count(self) -> int:
        """Latents of a block."""
        return len(self.spread)

    def priors(self, step_index: int) -> Integers:
        """Return the levels of the spread of all latents in units of two steps, (n,) int32."""
        return priors(self.spread, step_index)

    def inputs(self, magnitude: npt.NDArray[np.int16], number: int, turn: int, prior: int) -> FloatArray:
        """Return what the network of a pass sees of one number, (FEATURES, positions of the pass).

        ``magnitude`` (n, h + 2, w + 2) of the tile's symbols, at most :data:`CAP`, with zeros around; of it only what
        is known then is read.
        """
        height, width = magnitude.shape[1] - 2, magnitude.shape[2] - 2
        found = np.empty((FEATURES, positions(turn, height, width)), np.float32)
        _inputs(magnitude, number, turn, prior, self.parents[number], small_levels(), fractions(), found)
        return found

    def levels(self, magnitude: npt.NDArray[np.int16], number: int, turn: int, prior: int) -> Bytes:
        """Return the levels of one number at the positions of a pass, row by row; see :meth:`inputs`."""
        inputs = self.inputs(magnitude, number, turn, prior)
        found = np.empty(inputs.shape[1], np.uint8)
        propagate(inputs, *self.networks[turn].layers, found)
        return found

    def levels_of(self, symbols: Integers, step_index: int, used: int) -> Bytes:
        """Return the levels of the first ``used`` latents of known symbols (n, h, w); 0 beyond."""
        magnitude = padded(symbols)
        found = np.zeros(symbols.shape, np.uint8)
        layers = tuple(network.layers for network in self.networks)
        tables = small_levels(), fractions()
        _all_levels(used, magnitude, self.parents, self.priors(step_index), tables, layers, found)
        return found

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a model's file."""
        named = {
            f"{turn}.{name}": array
            for turn, network in enumerate(self.networks)
            for name, array in network.to_arrays().items()
        }
        return named | {"spread": self.spread, "parents": self.parents}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Contexts:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            networks = tuple(
                IntegerNetwork.from_arrays(
                    {name.removeprefix(f"{turn}."): a for name, a in arrays.items() if name.startswith(f"{turn}.")}
                )
                for turn in range(len(PASSES))
            )
            return cls(networks, arrays["spread"].astype(np.int32), arrays["parents"].astype(np.int32))
        except (KeyError, ValueError, IndexError) as cause:
            raise errors.FormatError(f"contexts: not valid ({errors.plain(cause)})") from cause


def padded(symbols: Integers) -> npt.NDArray[np.int16]:
    """Return magnitudes (n, h + 2, w + 2) of symbols (n, h, w), at most :data:`CAP`, with zeros around."""
    count, height, width = symbols.shape
    magnitude = np.zeros((count, height + 2, width + 2), np.int16)
    np.minimum(np.abs(symbols), CAP, out=magnitude[:, 1:-1, 1:-1], casting="unsafe")
    return magnitude


def positions(turn: int, height: int, width: int) -> int:
    """Return how many positions of a tile of h×w a pass has."""
    row, column = PASSES[turn]
    return len(range(row, height, 2)) * len(range(column, width, 2))


@functools.cache
def places(turn: int, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the positions of a pass as indices y·w + x, row by row."""
    row, column = PASSES[turn]
    return (np.arange(row, height, 2)[:, None] * width + np.arange(column, width, 2)).ravel()


@compiled
def _first(turn: int) -> tuple[int, int]:
    """Return first row and column of a pass: see :data:`PASSES`."""
    return turn % 2, (turn + 1) // 2 % 2


@compiled
def _all_levels(
    used: int,
    magnitude: Array,
    parents: Array,
    priors: Array,
    tables: tuple[Array, Array],
    layers: Any,
    found: Array,
) -> None:
    height, width = found.shape[1:]
    for number in range(used):
        for turn in range(len(layers)):
            row, column = _first(turn)
            down, across = (height - row + 1) // 2, (width - column + 1) // 2
            inputs = np.empty((FEATURES, down * across), np.float32)
            _inputs(magnitude, number, turn, priors[number], parents[number], *tables, inputs)
            level = np.empty(down * across, np.uint8)
            weights, biases = layers[turn]
            propagate(inputs, weights, biases, level)
            for i in range(level.size):
                found[number, row + 2 * (i // across), column + 2 * (i % across)] = level[i]


@compiled
def _inputs(
    magnitude: Array,
    number: int,
    turn: int,
    prior: int,
    parents: Array,
    small: Array,
    fractions: Array,
    inputs: Array,
) -> None:
    """Fill ``inputs`` (FEATURES, positions); see :meth:`Contexts.inputs`."""
    height, width = magnitude.shape[1] - 2, magnitude.shape[2] - 2
    row, column = _first(turn)
    near, far, recent = _count(parents[:NEAR]), _count(parents[NEAR:]), min(number, RECENT)
    own, nearest = magnitude[number], _sum_of(magnitude, parents[:near])
    further, last = (
        _sum_of(magnitude, parents[NEAR : NEAR + far]),
        _sum_of(magnitude, np.arange(number - recent, number)),
    )
    i = total = 0
    for y in range(row + 1, height + 1, 2):
        for x in range(column + 1, width + 1, 2):
            vertical, horizontal = int(y > 1) + int(y < height), int(x > 1) + int(x < width)
            sides, corners = vertical + horizontal, vertical * horizontal
            at_sides = _sides(own, y, x) if turn >= 2 else 0
            at_corners = _corners(own, y, x) if turn % 2 else 0
            inputs[0, i] = level_of(at_sides, max(sides, 1), small, fractions)
            inputs[1, i] = level_of(at_corners, max(corners, 1), small, fractions)
            inputs[2, i] = level_of(nearest[y, x], max(near, 1), small, fractions)
            inputs[3, i] = level_of(further[y, x], max(far, 1), small, fractions)
            inputs[4, i] = level_of(last[y, x], max(recent, 1), small, fractions)
            inputs[5, i] = level_of(_sides(nearest, y, x), max(near * sides, 1), small, fractions)
            inputs[6, i] = level_of(_sides(last, y, x), max(recent * sides, 1), small, fractions)
            total += nearest[y, x]
            i += 1
    known = near * inputs.shape[1]
    if turn:
        total, known = _earlier(own, turn)
    inputs[7] = level_of(total, max(known, 1), small, fractions)
    inputs[8] = prior
    inputs[9] = min(number, LEVELS - 1)


@compiled
def _count(parents: Array) -> int:
    """Count those that are; −1 stands for none, and only at the end."""
    found = 0
    for parent in parents:
        found += parent >= 0
    return found


@compiled
def _sum_of(magnitude: Array, numbers: Array) -> Any:
    """Return the sum of the planes (h + 2, w + 2) of some numbers."""
    height, width = magnitude.shape[1:]
    found = np.zeros((height, width), np.int32)
    for number in numbers:
        plane = magnitude[number]
        for y in range(height):
            for x in range(width):
                found[y, x] += plane[y, x]
    return found


@compiled
def _sides(plane: Array, y: int, x: int) -> Any:
    return np.int64(plane[y - 1, x]) + plane[y + 1, x] + plane[y, x - 1] + plane[y, x + 1]


@compiled
def _corners(plane: Array, y: int, x: int) -> Any:
    return np.int64(plane[y - 1, x - 1]) + plane[y - 1, x + 1] + plane[y + 1, x - 1] + plane[y + 1, x + 1]


@compiled
def _earlier(plane: Array, turn: int) -> tuple[int, int]:
    """Return the sum at all positions of earlier passes, and how many there are."""
    total = known = 0
    for earlier in range(turn):
        row, column = _first(earlier)
        for y in range(row + 1, plane.shape[0] - 1, 2):
            for x in range(column + 1, plane.shape[1] - 1, 2):
                total += plane[y, x]
                known += 1
    return total, known
