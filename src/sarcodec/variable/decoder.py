"""The decoder network of the variable-rate autoencoder at work: what it adds to the linear decoder's image.

ONNX Runtime runs it on the processor; :mod:`sarcodec.training.decoder_network` trains it. Where an image is used
below, it is in dB about its band's offset.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sarcodec.runtime import onnx
from sarcodec.variable.linear import BLOCK, RINGS

LATENT_DB, LARGEST_SYMBOL = 8.0, 8.0
"""Latents enter the network in units of this many dB, and in quarter steps up to so many steps."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Network:
    """Upsampling convolutions with a residual block after each; sees latents and step, and tells a change in steps.

    Parameters
    ----------
    latents : int
        Latents of a block.
    channels : sequence of int
        Of the features at 1/8, 1/4 and 1/2 of the resolution.
    weights : mapping of str to ndarray of float32
        As :meth:`shapes` has them; ValueError for others.
    """

    latents: int
    channels: Sequence[int]
    weights: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        expected = self.shapes()
        found = {name: value.shape for name, value in self.weights.items()}
        if found != expected:
            strange = sorted({*found.items()} ^ {*expected.items()})[0][0]
            raise ValueError(f"decoder network: its weights are not those of its channels, see {strange}")
        if not all(np.isfinite(value).all() for value in self.weights.values()):
            raise ValueError("decoder network: a weight is not a finite number")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""
        layers = {"first": (self.channels[0], 2 * self.latents + 1, 1)}
        for number, (before, after) in enumerate(itertools.pairwise([self.channels[0], *self.channels])):
            layers[f"ups.{number}"] = 4 * after, before, 3
            layers |= {f"blocks.{number}.main.{place}": (after, after, 3) for place in (1, 3)}
        layers["last"] = 4, self.channels[-1], 3
        found: dict[str, tuple[int, ...]] = {}
        for name, (after, before, side) in layers.items():
            found |= {f"{name}.weight": (after, before, side, side), f"{name}.bias": (after,)}
        return found

    def to_onnx(self) -> bytes:
        """Return the network as an ONNX file, from ``latents`` (1, 2n + 1, h, w) to ``change`` (1, 1, 16h, 16w)."""
        nodes: list[bytes] = []
        weights = dict(self.weights)

        def layer(name: str, source: str) -> str:
            border = weights[f"{name}.weight"].shape[-1] // 2
            nodes.append(onnx.node("Conv", [source, f"{name}.weight", f"{name}.bias"], name, pads=[border] * 4))
            return name

        def relu(source: str) -> str:
            nodes.append(onnx.node("Relu", [source], f"{source}.relu"))
            return f"{source}.relu"

        def wide(name: str, source: str, target: str) -> str:
            for part in ("weight", "bias"):
                weights[f"{name}.{part}"] = _by_place(weights[f"{name}.{part}"])
            nodes.append(onnx.node("DepthToSpace", [layer(name, source)], target, blocksize=2))
            return target

        values = layer("first", "latents")
        for number in range(len(self.channels)):
            values = wide(f"ups.{number}", values, f"wide.{number}")
            inside = layer(f"blocks.{number}.main.1", relu(values))
            change = layer(f"blocks.{number}.main.3", relu(inside))
            nodes.append(onnx.node("Add", [values, change], f"sum.{number}"))
            values = f"sum.{number}"
        wide("last", values, "change")
        return onnx.model(nodes, weights, {"latents": [1, 2 * self.latents + 1]}, {"change": [1, 1]})


def _by_place(values: FloatArray) -> FloatArray:
    """Reorder outputs (4c, …) from channels of four places, as PyTorch has them, to places of channels, as ONNX."""
    return np.ascontiguousarray(values.reshape(-1, 4, *values.shape[1:]).swapaxes(0, 1)).reshape(values.shape)


class Running:
    """A network at work on the processor, one image at a time, for it takes all threads; loaded for the first one."""

    def __init__(self, network: Network) -> None:
        self._network = onnx.OneAtATime(network.to_onnx)

    def __call__(self, latents: FloatArray, step_db: float) -> FloatArray:
        """Return what to add in dB, (16h, 16w), for latents in dB (n, h, w) coded with a step in dB."""
        change = self._network(enter(latents, step_db))[0, 0]
        found: FloatArray = change * np.float32(step_db)
        return found


def enter(latents: FloatArray, step_db: float) -> FloatArray:
    """Return what the network sees (1, 2n + 1, h, w) of latents in dB (n, h, w) coded with a step in dB."""
    count = len(latents)
    values = np.empty((1, 2 * count + 1, *latents.shape[1:]), np.float32)
    np.divide(latents, np.float32(LATENT_DB), out=values[0, :count])
    scaled = np.clip(latents / np.float32(step_db), -LARGEST_SYMBOL, LARGEST_SYMBOL)
    np.divide(scaled, np.float32(4), out=values[0, count:-1])
    values[0, -1] = math.log2(step_db) / 4
    return values


def inner(change: FloatArray) -> FloatArray:
    """Cut away what belongs to the rings of blocks around an image."""
    border = RINGS * BLOCK
    return change[border:-border, border:-border]
