"""Networks as ONNX: files that others understand, run as they say, from float32 to float32."""

import numpy as np
import onnx as official

from sarcodec.runtime import onnx


def file_of(weight: np.ndarray, bias: np.ndarray) -> bytes:
    nodes = [
        onnx.node("Conv", ["in", "w", "b"], "sums", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        onnx.node("DepthToSpace", ["sums"], "out", blocksize=2),
    ]
    return onnx.model(nodes, {"w": weight, "b": bias}, {"in": (1, weight.shape[1])}, {"out": (1, 1)})


def test_a_file_is_what_the_package_onnx_calls_valid() -> None:
    weight = np.arange(4 * 200 * 9, dtype=np.float32).reshape(4, 200, 3, 3)  # lengths of more than a byte
    data = file_of(weight, np.ones(4, np.float32))
    official.checker.check_model(data, full_check=True)
    model = official.load_from_string(data)
    np.testing.assert_array_equal(official.numpy_helper.to_array(model.graph.initializer[0]), weight)
    assert [node.op_type for node in model.graph.node] == ["Conv", "DepthToSpace"]
    assert list(model.graph.node[0].attribute[1].ints) == [1, 1, 1, 1]


def test_it_is_run_at_any_size() -> None:
    weight = np.zeros((4, 1, 3, 3), np.float32)
    weight[:, 0, 1, 1] = [1, 2, 3, 4]
    weight[0, 0, 0, 1] = 10  # of the pixel above, of which there is none in the first row
    run = onnx.Session(file_of(weight, np.array([0.5, 0, 0, 0], np.float32)))
    for height, width in ((1, 1), (3, 5), (40, 2)):
        pixels = np.random.default_rng(0).normal(size=(1, 1, height, width)).astype(np.float32)
        found = run(pixels)
        assert (found.shape, found.dtype) == ((1, 1, 2 * height, 2 * width), np.float32)
        np.testing.assert_allclose(found[0, 0, 1::2, 1::2], 4 * pixels[0, 0], rtol=1e-6)
        above = np.pad(pixels[0, 0], [(1, 0), (0, 0)])[:-1]
        np.testing.assert_allclose(found[0, 0, ::2, ::2], pixels[0, 0] + 10 * above + 0.5, rtol=1e-5, atol=1e-6)
