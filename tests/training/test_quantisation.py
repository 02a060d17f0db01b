"""The restoring network in 8-bit integers: the same network, but for rounding."""

import numpy as np
import onnx
import torch

import tiny
from sarcodec.entropy import scale
from sarcodec.lapped import pytorch, restorer
from sarcodec.training import lapped_codec, quantisation


def network() -> restorer.Restorer:
    torch.manual_seed(2)
    found = pytorch.Network(restorer.RestorerConfig(16, 4, 8))
    torch.nn.init.normal_(found.layers[-1].weight, std=0.05)
    return found.to_restorer()


def examples() -> list[quantisation.Example]:
    coder = tiny.lapped().coder
    images = [tiny.simulated_db((128, 128), seed) for seed in (1, 2)]
    return [(lapped_codec.decode(coder, db, step)[0], scale.step_db(step)) for db in images for step in (1408, 1792)]


def test_layers_between_the_first_and_the_last_are_of_integers() -> None:
    data = quantisation.quantise(network(), examples())
    graph = onnx.load_from_string(data).graph
    layers = [node.op_type for node in graph.node if "Conv" in node.op_type]
    assert layers == ["Conv", "QLinearConv", "QLinearConv", "Conv"]
    weights = [onnx.numpy_helper.to_array(value) for value in graph.initializer]
    integers = [value for value in weights if value.dtype == np.int8 and value.ndim == 4]
    assert len(integers) == 2 and all(40 < np.abs(value).max() <= 64 for value in integers)  # 7 bits


def test_they_restore_as_floats_do() -> None:
    integer = restorer.start(network(), quantisation.quantise(network(), examples()), "cpu", "auto")
    exact = restorer.start(network(), None, "cpu", "float32")
    for image, step in examples():
        off, change = integer(image, step) - exact(image, step), exact(image, step) - image
        assert 0 < np.sqrt((off**2).mean()) < 0.1 * np.sqrt((change**2).mean())
