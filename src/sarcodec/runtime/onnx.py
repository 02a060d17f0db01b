"""Small networks as ONNX: their files, written here without the package ``onnx``, and run by ONNX Runtime.

Of the format (https://onnx.ai, ``onnx.proto3``) only what a chain of layers takes is written. Protocol Buffers encode
a message as fields, each a number and a varint, or a number, a length and bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

IR_VERSION, OPSET = 8, 17
"""Of the format and of the operators: those of 2022, which every ONNX Runtime since 1.12 runs."""

FLOAT = 1
INT, INTS = 2, 7


class Session:
    """A network of one float32 input and output at work on the processor, in the thread that asks.

    Several may at once, and do: tiles are coded in threads, where each by itself is done sooner than all together.

    Parameters
    ----------
    data : bytes
        An ONNX file of ours: what it says is believed.
    """

    def __init__(self, data: bytes) -> None:
        import onnxruntime  # takes a fifth of a second, which most commands need not wait for

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, values: FloatArray) -> FloatArray:
        """Run the network on values of the shape that its input has."""
        found: FloatArray = self._session.run(None, {self._input: values})[0]
        return found


class Lazy:
    """A network at work that is loaded when it is first run; ``make`` returns its ONNX file."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._session: Session | None = None

    def __call__(self, values: FloatArray) -> FloatArray:
        """Run the network as :class:`Session` does."""
        with self._lock:
            self._session = self._session or Session(self._make())
        return self._session(values)


def node(operator: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> bytes:
    """Return a node of a graph, named as its output; attributes are whole numbers, or several."""
    fields = [_text(1, name) for name in inputs]
    fields += [_text(2, output), _text(3, output), _text(4, operator)]
    for name, value in attributes.items():
        numbers = [_number(3, value)] if isinstance(value, int) else [_number(8, one) for one in value]
        kind = _number(20, INT if isinstance(value, int) else INTS)
        fields.append(_bytes(5, _text(1, name) + b"".join(numbers) + kind))
    return b"".join(fields)


def model(
    nodes: Sequence[bytes],
    weights: Mapping[str, FloatArray],
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int]],
) -> bytes:
    """Return a file of nodes in the order in which they run; inputs and outputs are images (batch, channels, …)."""
    graph = [_bytes(1, one) for one in nodes] + [_text(2, "network")]
    graph += [_bytes(5, _tensor(name, value)) for name, value in weights.items()]
    for field, named in ((11, inputs), (12, outputs)):
        graph += [_bytes(field, _value(name, shape)) for name, shape in named.items()]
    opset = _bytes(8, _text(1, "") + _number(2, OPSET))
    return _number(1, IR_VERSION) + _text(2, "sarcodec") + _bytes(7, b"".join(graph)) + opset


def _tensor(name: str, value: FloatArray) -> bytes:
    shape = b"".join(_number(1, side) for side in value.shape)
    return shape + _number(2, FLOAT) + _text(8, name) + _bytes(9, value.astype("<f4").tobytes())


def _value(name: str, shape: Sequence[int]) -> bytes:
    sides = [*(_number(1, side) for side in shape), _text(2, "rows"), _text(2, "columns")]
    tensor = _number(1, FLOAT) + _bytes(2, b"".join(_bytes(1, side) for side in sides))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
