"""The restoring network: the identity at first, sees no further than 32 pixels, refuses odd shapes of itself."""

from typing import Any

import pytest
import torch

import tiny
from sarcodec import errors
from sarcodec.lapped import restorer
from sarcodec.lapped.restorer import REACH

SHAPES = [(8, 4), (4, 8), (2, 16)]
"""Layers and cells that see as far as is allowed."""


def awake(layers: int = 4, cell: int = 8) -> restorer.Restorer:
    """Weights at random, in the last layer too."""
    torch.manual_seed(1)
    model = restorer.Restorer(restorer.RestorerConfig(4, layers, cell))
    torch.nn.init.normal_(model.layers[-1].weight)
    return model.eval().requires_grad_(False)


def image(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(tiny.db((height, width), 3) + 12)[None, None]


@pytest.mark.parametrize("layers", [2, 4, 8])
def test_starts_as_the_identity(layers: int) -> None:
    model = restorer.Restorer(restorer.RestorerConfig(8, layers))
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
