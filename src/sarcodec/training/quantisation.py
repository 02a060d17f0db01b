"""The restoring network in 8-bit integers: made once it is trained, of its weights and of what it is to restore."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.lapped import restorer

FloatArray = npt.NDArray[np.float32]
Example = tuple[FloatArray, float]
"""A decoded image (H, W) in dB about its median, and its step in dB."""


def quantise(network: restorer.Restorer, examples: Iterable[Example]) -> bytes:
    """Return a network in 8-bit integers as an ONNX file: :attr:`LappedModel.in_integers`.

    Weights have 7 bits and a scale for every channel, so that no sum of two products leaves 16 bits: processors
    without VNNI would clip it. Values between layers have 8 bits; their ranges are those that they have in the
    examples. The first layer, which sees pixels, and the last, which makes them, stay in float32, and so do the sums
    along the network, which would gather errors.

    Raises MissingExtra where the package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as cause:
        raise errors.MissingExtra("onnx", "train") from cause
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.values: Iterator[Example] = iter(examples)

        def get_next(self) -> dict[str, FloatArray] | None:
            found = next(self.values, None)
            return None if found is None else {"cells": restorer.enter(*found, network.config.cell)}

    model = onnx.load_from_string(network.to_onnx())
    nodes = model.graph.node
    floats = [n.name for n in nodes if "cells" in n.input or "change" in n.output or n.op_type == "Add"]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "quantised.onnx"
        quantization.quantize_static(
            model,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QOperator,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=floats,
        )
        return target.read_bytes()
