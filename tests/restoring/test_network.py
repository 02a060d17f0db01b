"""The restoring network: the identity at first, sees no further than 32 pixels, refuses odd shapes of itself."""

from concurrent import futures
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from sarcodec import errors
from sarcodec.lapped import model as lapped_model
from sarcodec.restoring import network, pytorch
from sarcodec.restoring.network import REACH
from sarcodec.scene import arrays, model_store
from sarcodec.variable import model as variable_model

SHAPES = [(8, 4), (4, 8), (2, 16)]
"""Layers and cells that see as far as is allowed."""


def awake(layers: int = 4, cell: int = 8) -> pytorch.Network:
    """Weights at random, in the last layer too."""
    torch.manual_seed(1)
    model = pytorch.Network(network.RestorerConfig(4, layers, cell))
    torch.nn.init.normal_(model.layers[-1].weight)
    return model.eval().requires_grad_(False)


def image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(tiny.db((height, width), 3) + 12)[None, None]


@pytest.mark.parametrize("layers", [2, 4, 8])
def test_starts_as_the_identity(layers: int) -> None:
    model = pytorch.Network(network.RestorerConfig(8, layers))
    pixels = image(64, 96)
    assert torch.equal(model(pixels, torch.tensor([2.0])), pixels)


@pytest.mark.parametrize(("layers", "cell"), SHAPES)
@pytest.mark.parametrize("place", [(64, 64), (67, 67), (65, 70)])
def test_sees_no_further_than_32_pixels(place: tuple[int, int], layers: int, cell: int) -> None:
    """A pixel that changes changes others within the margin that engines leave, and some of them far away."""
    model, pixels = awake(layers, cell), image(144, 144)
    changed = pixels.clone()
    changed[0, 0, place[0], place[1]] += 50.0
    step = torch.tensor([2.0])
    seen = torch.nonzero((model(pixels, step) != model(changed, step))[0, 0])
    for axis in (0, 1):
        distance = (seen[:, axis] - place[axis]).abs()
        # a window may begin at a multiple of 64 pixels: what counts are whole cells
        cells = (seen[:, axis] // cell - place[axis] // cell).abs()
        assert cells.max() <= REACH // cell
        assert distance.max() >= REACH - cell


@pytest.mark.parametrize(("layers", "cell"), SHAPES)
def test_a_window_with_margin_gives_the_same(layers: int, cell: int) -> None:
    model, pixels, step = awake(layers, cell), image(192, 192), torch.tensor([2.0])
    whole = model(pixels, step)[..., 64:128, 64:128]
    part = model(pixels[..., 32:160, 32:160], step)[..., 32:96, 32:96]
    torch.testing.assert_close(part, whole, atol=1e-4, rtol=1e-5)


def test_images_of_a_batch_have_steps_of_their_own() -> None:
    model, pixels = awake(), image(64, 64)
    both = model(pixels.repeat(2, 1, 1, 1), torch.tensor([1.0, 6.0]))
    for number, step in enumerate((1.0, 6.0)):
        alone = model(pixels, torch.tensor([step]))
        torch.testing.assert_close(both[number : number + 1], alone, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize(
    ("channels", "layers", "cell"),
    [
        (0, 2, 4),
        (513, 2, 4),
        (8, 0, 4),
        (8, 3, 4),
        (8, 10, 4),
        (-1, 8, 4),
        (8, 2, 6),
        (8, 8, 8),
        (8, 4, 1),
        (8, 4, 16),
        (8, 2, 32),
    ],
)
def test_shapes_it_cannot_have(channels: int, layers: int, cell: int) -> None:
    with pytest.raises(errors.InputError, match=f"{channels} channels, {layers} layers and cells of {cell}"):
        network.RestorerConfig(channels, layers, cell)


def test_config_round_trip() -> None:
    config = network.RestorerConfig(24, 4, 8)
    assert network.RestorerConfig.from_dict(config.to_dict()) == config


def test_config_of_a_file_that_does_not_name_cells() -> None:
    assert network.RestorerConfig.from_dict({"channels": 24, "layers": 6}).cell == 4


@pytest.mark.parametrize("record", [{"depth": 2}, {"channels": 0}, {"layers": 5}, {"channels": None}, {"cell": 5}])
def test_config_of_something_else(record: dict[str, Any]) -> None:
    with pytest.raises(errors.FormatError, match="restorer"):
        network.RestorerConfig.from_dict(record)


def running(*, layers: int = 4, cell: int = 8, precision: str = "float32") -> network.Restore:
    return network.start(awake(layers, cell).to_restorer(), "cpu", precision)


@pytest.mark.parametrize(("layers", "cell"), SHAPES)
@pytest.mark.parametrize("step", [0.3, 2.0])
def test_without_pytorch_as_with_it(layers: int, cell: int, step: float) -> None:
    pixels = image(128, 192)
    expected = awake(layers, cell)(pixels, torch.tensor([step]))[0, 0].numpy()
    found = running(layers=layers, cell=cell)(pixels[0, 0].numpy(), step)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
    assert np.abs(found - pixels[0, 0].numpy()).max() > 0.1


def test_there_and_back() -> None:
    model = awake(2, 16)
    again = pytorch.Network.of(model.to_restorer())
    assert tiny.tensors_equal(model.state_dict(), again.state_dict()) and not again.training


def shipped(name: str) -> lapped_model.LappedModel | variable_model.VariableModel:
    found = model_store.load_model(name)
    assert isinstance(found, lapped_model.LappedModel | variable_model.VariableModel)
    return found


@pytest.mark.parametrize("name", ["lapped64", "residual64"])
def test_a_window_is_the_same_to_the_last_bit(name: str) -> None:
    """Of the shipped networks, by whatever thread."""
    run = network.start(shipped(name).restorer, "cpu", "auto")
    pixels = image(192, 256)[0, 0].numpy()
    whole = run(pixels, 1.4)
    places = [(slice(32, 128), slice(64, 224)), (slice(64, 140), slice(0, 100))]
    with futures.ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda place: run(np.ascontiguousarray(pixels[place]), 1.4), places))
    for place, part in zip(places, parts, strict=True):
        inner = tuple(slice(side.start and 32, side.stop - side.start - 32) for side in place)
        np.testing.assert_array_equal(part[inner], whole[place][inner])


@pytest.mark.parametrize("name", ["lapped64", "residual64"])
def test_shipped_networks_restore(name: str) -> None:
    """At a step of 1 dB an image comes a tenth of a dB nearer to the original, at least."""
    db, squares = tiny.simulated_db((256, 256), 4), []
    for restorer in (True, False):
        model = model_store.open_codec(name, restorer=restorer)
        data = arrays.compress(db, quantity="db", model=model, step=1536)
        squares.append(np.mean((arrays.decompress(data, model=model) - db) ** 2))
    assert 10 * np.log10(squares[1] / squares[0]) > 0.1


def test_weights_of_another_shape() -> None:
    found = awake().to_restorer()
    for wrong in (
        {"layers.0.bias": np.zeros(5, np.float32)},
        {"layers.9.bias": np.zeros(4, np.float32)},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            network.Restorer(found.config, {**found.weights, **wrong})
    with pytest.raises(ValueError, match=r"layers\.0\.bias"):
        network.Restorer(found.config, {n: w for n, w in found.weights.items() if n != "layers.0.bias"})


def test_weights_that_are_no_numbers() -> None:
    """As of a training that diverged."""
    found = awake().to_restorer()
    bias = np.full(found.weights["layers.0.bias"].shape, np.nan, np.float32)
    with pytest.raises(ValueError, match="not a finite number"):
        network.Restorer(found.config, {**found.weights, "layers.0.bias": bias})


def test_precisions_there_are() -> None:
    found = awake().to_restorer()
    with pytest.raises(errors.InputError, match="precision: got 'int8'; pass auto, float32 or bfloat16"):
        network.start(found, "cpu", "int8")
    with pytest.raises(errors.InputError, match="device: got 'gpu'"):
        network.start(found, "gpu", "auto")
    pixels = image(64, 64)[0, 0].numpy()
    off = np.abs(running(precision="bfloat16")(pixels, 2.0) - running()(pixels, 2.0))
    assert 0 < off.max() < 0.5
