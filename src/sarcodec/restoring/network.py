"""A small residual network that makes decoded images look less quantised: the CNN half of codecs for all rates.

It works on an image of which a cell of pixels is one position; small cells do best, for what it restores is the fine
structure of speckle. On the processor ONNX Runtime runs it; :mod:`sarcodec.restoring.pytorch` trains it, and runs it
elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.runtime import devices, onnx
from sarcodec.runtime.compiled import Array, compiled

WIDEST = 16
"""Side in pixels of the largest cells."""

FloatArray = npt.NDArray[np.float32]
Part = tuple[slice, slice]
Restore = Callable[[FloatArray, float], FloatArray]
"""Restores an image (H, W) in dB about the band's offset, coded with a step in dB; sides multiples of the cell's."""

SCALE_DB = 8.0
REACH = 32
"""Pixels around each that a network may see."""


@dataclass(frozen=True)
class RestorerConfig:
    """Width and number of 3×3 layers, and the side in pixels of the cells of which it holds one at every position.

    It sees :attr:`reach` pixels around each cell.
    """

    channels: int = 16
    layers: int = 6
    cell: int = 2

    def __post_init__(self) -> None:
        possible = 1 <= self.channels <= 512 and self.cell in (2, 4, 8, 16) and self.layers in (2, 4, 6, 8)
        if not possible or self.reach > REACH:
            raise errors.InputError(
                f"restorer: got {self.channels} channels, {self.layers} layers and cells of {self.cell} pixels; pass "
                "1 to 512 channels, 2 to 8 layers, an even number, and cells of 2, 4, 8 or 16, at most "
                f"{REACH} together"
            )

    @property
    def reach(self) -> int:
        """Pixels around each cell that the network sees."""
        return self.layers * self.cell

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before, between and after the layers; before them is one more, of the step."""
        return self.cell**2 + 1, *[self.channels] * (self.layers - 1), self.cell**2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RestorerConfig:
        """Inverse of :meth:`to_dict`; FormatError for unknown keys or values."""
        try:
            return cls(**{"cell": 4, **record})  # files from before there were others do not name it
        except (TypeError, errors.InputError) as cause:
            raise errors.FormatError(f"restorer configuration: {errors.plain(cause)}") from cause


@dataclass(frozen=True, eq=False)
class Restorer:
    """Adds to a decoded image what a quantised one most likely lost, seeing the quantisation step.

    Parameters
    ----------
    config : RestorerConfig
        Its shape.
    weights : mapping of str to ndarray of float32
        ``layers.N.weight`` (out, in, 3, 3) and ``layers.N.bias`` (out,), finite; ValueError for others.
    """

    config: RestorerConfig
    weights: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        expected: dict[str, tuple[int, ...]] = {}
        for number, (before, after) in enumerate(itertools.pairwise(self.config.widths)):
            expected |= {f"layers.{number}.weight": (after, before, 3, 3), f"layers.{number}.bias": (after,)}
        found = {name: value.shape for name, value in self.weights.items()}
        if found != expected:
            strange = sorted({*found.items()} ^ {*expected.items()})[0][0]
            raise ValueError(f"restorer: its weights are not those of its configuration, see {strange}")
        if not all(np.isfinite(value).all() for value in self.weights.values()):
            raise ValueError("restorer: a weight is not a finite number")

    def to_onnx(self) -> bytes:
        """Return the network as an ONNX file, from ``cells`` to ``change`` as :func:`enter` and :func:`leave` say."""
        nodes: list[bytes] = []

        def layer(number: int, source: str, target: str) -> str:
            parts = [source, f"layers.{number}.weight", f"layers.{number}.bias"]
            nodes.append(onnx.node("Conv", parts, target, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
            return target

        def relu(source: str) -> str:
            nodes.append(onnx.node("Relu", [source], f"{source}.relu"))
            return f"{source}.relu"

        last, (first, *_, pixels) = self.config.layers - 1, self.config.widths
        values = relu(layer(0, "cells", "conv.0"))
        for number in range(1, last, 2):
            inside = relu(layer(number, values, f"conv.{number}"))
            change = layer(number + 1, inside, f"conv.{number + 1}")
            nodes.append(onnx.node("Add", [values, change], f"sum.{number}"))
            values = f"sum.{number}"
        layer(last, values, "change")
        inputs, outputs = {"cells": (1, first)}, {"change": (1, pixels)}
        return onnx.model(nodes, self.weights, inputs, outputs)


def enter(centred_db: FloatArray, step_db: float, cell: int) -> FloatArray:
    """Return what the network sees of an image (H, W): pixels by cell and the step, (1, cell² + 1, h, w)."""
    rows, columns = (side // cell for side in centred_db.shape)
    values = np.empty((1, cell**2 + 1, rows, columns), np.float32)
    _to_cells(centred_db, np.float32(1 / SCALE_DB), values[0])
    values[0, -1] = math.log2(step_db) / 4
    return values


def leave(change: FloatArray, centred_db: FloatArray, step_db: float, cell: int) -> FloatArray:
    """Return an image (H, W) with what the network says (1, cell², h, w), in steps, added to it."""
    found = np.empty_like(centred_db)
    _from_cells(change[0], cell, np.float32(step_db), centred_db, found)
    return found


@compiled
def _to_cells(image: Array, factor: Any, cells: Array) -> None:
    """Fill cells (…, h, w) with an image times a factor, pixel by pixel of a cell."""
    rows, columns = cells.shape[1:]
    cell = image.shape[0] // rows
    for place in range(cell * cell):
        down, right = place // cell, place % cell
        for y in range(rows):
            for x in range(columns):
                cells[place, y, x] = image[y * cell + down, x * cell + right] * factor


@compiled
def _from_cells(cells: Array, cell: int, factor: Any, image: Array, found: Array) -> None:
    """Add cells (cell², h, w) times a factor to an image."""
    for y in range(image.shape[0]):
        for right in range(cell):
            row = cells[y % cell * cell + right, y // cell]
            for x in range(row.size):
                found[y, x * cell + right] = image[y, x * cell + right] + row[x] * factor


def restored_part(
    restore: Restore | None, reach: int, centred_db: FloatArray, step_db: float, part: Part
) -> FloatArray:
    """Restore a part of an image (H, W) by a network that sees so many pixels around each, and is shown no more.

    Without a network the part is returned as it is.
    """
    if restore is None:
        return centred_db[part]
    seen = tuple(_seen(side, reach, size) for side, size in zip(part, centred_db.shape, strict=True))
    inside = tuple(slice(side.start - s.start, side.stop - s.start) for side, s in zip(part, seen, strict=True))
    found: FloatArray = restore(np.ascontiguousarray(centred_db[seen]), step_db)[inside]
    return found


def _seen(side: slice, reach: int, size: int) -> slice:
    """Return whole cells, of whatever size, that have a side of a part and what is seen of it."""
    first, end = max(side.start - reach, 0), side.stop + reach
    return slice(first // WIDEST * WIDEST, min(-(-end // WIDEST) * WIDEST, size))


class Running:
    """A restorer at work on the processor; loaded for the first image, and run by several threads at once.

    A pixel is the same to the last bit whatever lies beyond :data:`REACH` of its cell.
    """

    def __init__(self, network: Restorer) -> None:
        self._cell, self._network = network.config.cell, onnx.Lazy(network.to_onnx)

    def __call__(self, centred_db: FloatArray, step_db: float) -> FloatArray:
        """Restore an image: see :data:`Restore`."""
        change = self._network(enter(centred_db, step_db, self._cell))
        return leave(change, centred_db, step_db, self._cell)


def start(network: Restorer, device: str, precision: str) -> Restore:
    """Return what restores images on a device in a precision: see :mod:`sarcodec.runtime.devices`.

    On the processor it is float32 by ONNX Runtime, unless bfloat16 is asked for. What else there is PyTorch runs;
    MissingExtra where it is not installed.
    """
    devices.check_precision(precision)
    if device == "cpu" and precision != "bfloat16":
        return Running(network)
    devices.require_torch()
    from sarcodec.restoring import pytorch

    return pytorch.Running(pytorch.Network.of(network), device, precision)
