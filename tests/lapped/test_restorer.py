"""The restoring network: the identity at first, sees no further than 32 pixels, refuses odd shapes of itself."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from sarcodec import errors
from sarcodec.entropy import scale
from sarcodec.files import integrity
from sarcodec.lapped import model as lapped_model
from sarcodec.lapped import pytorch, restorer
from sarcodec.lapped.restorer import REACH
from sarcodec.scene import model_store
from sarcodec.training import lapped_codec

SHAPES = [(8, 4), (4, 8), (2, 16)]
"""Layers and cells that see as far as is allowed."""

SHARE = 0.15
"""Of what the shipped network changes, by which it may be off in integers."""


def awake(layers: int = 4, cell: int = 8) -> pytorch.Network:
    """Weights at random, in the last layer too."""
    torch.manual_seed(1)
    model = pytorch.Network(restorer.RestorerConfig(4, layers, cell))
    torch.nn.init.normal_(model.layers[-1].weight)
    return model.eval().requires_grad_(False)


def image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(tiny.db((height, width), 3) + 12)[None, None]


@pytest.mark.parametrize("layers", [2, 4, 8])
def test_starts_as_the_identity(layers: int) -> None:
    model = pytorch.Network(restorer.RestorerConfig(8, layers))
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
        (8, 4, 16),
        (8, 2, 32),
    ],
)
def test_shapes_it_cannot_have(channels: int, layers: int, cell: int) -> None:
    with pytest.raises(errors.InputError, match=f"{channels} channels, {layers} layers and cells of {cell}"):
        restorer.RestorerConfig(channels, layers, cell)


def test_config_round_trip() -> None:
    config = restorer.RestorerConfig(24, 4, 8)
    assert restorer.RestorerConfig.from_dict(config.to_dict()) == config


def test_config_of_a_file_that_does_not_name_cells() -> None:
    assert restorer.RestorerConfig.from_dict({"channels": 24, "layers": 6}).cell == 4


@pytest.mark.parametrize("record", [{"depth": 2}, {"channels": 0}, {"layers": 5}, {"channels": None}, {"cell": 5}])
def test_config_of_something_else(record: dict[str, Any]) -> None:
    with pytest.raises(errors.FormatError, match="restorer"):
        restorer.RestorerConfig.from_dict(record)


def running(*, layers: int = 4, cell: int = 8, precision: str = "float32") -> restorer.Restore:
    return restorer.start(awake(layers, cell).to_restorer(), None, "cpu", precision)


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
    network = awake(2, 16)
    again = pytorch.Network.of(network.to_restorer())
    assert tiny.tensors_equal(network.state_dict(), again.state_dict()) and not again.training


def shipped() -> lapped_model.LappedModel:
    found = model_store.load_model("lapped64")
    assert isinstance(found, lapped_model.LappedModel)
    return found


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_window_is_the_same_to_the_last_bit(precision: str) -> None:
    """Of the shipped network, in integers and in floats."""
    model = shipped()
    run = restorer.start(model.restorer, model.in_integers, "cpu", precision)
    pixels = image(192, 256)[0, 0].numpy()
    whole = run(pixels, 1.4)
    for rows, columns in ((slice(32, 128), slice(64, 224)), (slice(64, 140), slice(0, 100))):
        inner = tuple(slice(part.start and 32, part.stop - part.start - 32) for part in (rows, columns))
        part = run(np.ascontiguousarray(pixels[rows, columns]), 1.4)
        np.testing.assert_array_equal(part[inner], whole[rows, columns][inner])


@pytest.mark.parametrize("step", [1408, 1536, 1664, 1792])
def test_integers_restore_as_floats_do(step: int) -> None:
    """They are off by a tenth of what the network changes, and gain as much to a hundredth of a dB."""
    model = shipped()
    db = tiny.simulated_db((256, 256), 4)
    decoded = lapped_codec.decode(model.coder, db, step)[0]
    exact, integer = (
        restorer.start(model.restorer, model.in_integers, "cpu", precision)(decoded, scale.step_db(step))
        for precision in ("float32", "auto")
    )
    assert 0 < np.std(integer - exact) < SHARE * np.std(exact - decoded)
    before, floats, integers = (
        10 * np.log10(np.mean((x - (db - np.median(db))) ** 2)) for x in (decoded, exact, integer)
    )
    assert before - integers > 0.05 and abs(floats - integers) < 0.01


def test_weights_of_another_shape() -> None:
    network = awake().to_restorer()
    for wrong in (
        {"layers.0.bias": np.zeros(5, np.float32)},
        {"layers.9.bias": np.zeros(4, np.float32)},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            restorer.Restorer(network.config, {**network.weights, **wrong})
    with pytest.raises(ValueError, match=r"layers\.0\.bias"):
        restorer.Restorer(network.config, {n: w for n, w in network.weights.items() if n != "layers.0.bias"})


def test_precisions_there_are() -> None:
    network = awake().to_restorer()
    with pytest.raises(errors.InputError, match="precision: got 'int8'; pass auto, float32 or bfloat16"):
        restorer.start(network, None, "cpu", "int8")
    with pytest.raises(errors.InputError, match="device: got 'gpu'"):
        restorer.start(network, None, "gpu", "auto")
    pixels = image(64, 64)[0, 0].numpy()
    off = np.abs(running(precision="bfloat16")(pixels, 2.0) - running()(pixels, 2.0))
    assert 0 < off.max() < 0.5


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_a_shipped_network_that_is_not_whole(harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = model_store.IDENTITIES["lapped64"]
    name, expected = integrity.NETWORKS[identity]
    entry = ("nothing.onnx", expected) if harm == "missing" else (name, "0" * 64)
    monkeypatch.setattr(integrity, "NETWORKS", {identity: entry})
    with pytest.raises(errors.FormatError, match=r"network .*\.onnx.*install sarcodec again"):
        model_store.load_model("lapped64")
