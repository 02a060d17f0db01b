"""The linear start: weights that are a linear autoencoder, no worse than the transform it begins at."""

from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from sarcodec import errors
from sarcodec.autoencoder import architecture, network, variants
from sarcodec.evaluation import bounds
from sarcodec.training import linear_start, loop, patches, train_config


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> patches.PatchSet:
    return patches.PatchSet(tiny.patch_set(tmp_path_factory.mktemp("linear") / "patches"), "train")


def started(train: patches.PatchSet, seed: int = 0, **settings: object) -> network.Autoencoder:
    torch.manual_seed(seed)
    config = architecture.ModelConfig(**{"arch": "residual", "base_channels": 8, "latent_channels": 4, **settings})  # type: ignore[arg-type]
    model = variants.build(config)
    linear_start.fit(model, train, seed)
    return model.eval()


def pixels_of(train: patches.PatchSet) -> torch.Tensor:
    return torch.from_numpy(np.stack([train.scaled(i) for i in range(len(train))]))[:, None]


def unclamped(model: network.Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """The model before its output is cut off, its mean taken away."""
    assert model.level is not None
    latent = model.encode(x * model.level.deviation + model.level.mean)
    return model.to_pixels(model.decoder(latent))


CONFIGS = [
    {},
    {"arch": "cbam"},
    {"arch": "plain"},
    {"stages": 3},
    {"stages": 5},
    {"arch": "plain", "stages": 3},
    {"bottleneck_blocks": True},
]


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_a_started_model_is_linear(train: patches.PatchSet, settings: dict[str, object]) -> None:
    model = started(train, **settings)
    torch.manual_seed(1)
    one, other = torch.randn(2, 1, 1, 96, 96)
    with torch.inference_mode():
        whole = unclamped(model, 2 * one - 3 * other)
        parts = 2 * unclamped(model, one) - 3 * unclamped(model, other)
    assert torch.allclose(whole, parts, atol=1e-3 * float(parts.std()) + 1e-5)
    assert float(parts.std()) > 0.1


@pytest.mark.parametrize("settings", [{}, {"arch": "plain", "base_channels": 32}], ids=str)
def test_no_worse_than_the_transform_it_begins_at(train: patches.PatchSet, settings: dict[str, object]) -> None:
    """16×16 blocks of the training patches, as many coefficients: overlap only adds."""
    model, pixels = started(train, **{"base_channels": 32, **settings}), pixels_of(train)
    with torch.inference_mode():
        mse = float((model(pixels)[0] - pixels).square().mean())
    klt = bounds.Klt.fit(pixels[:, 0].numpy())
    everywhere = np.ones((tiny.SIZE, tiny.SIZE), bool)
    linear = np.mean([np.square(klt.approximate(p, 4, everywhere) - p).mean() for p in pixels[:, 0].numpy()])
    assert mse < 1.01 * linear


def test_the_seed_decides_the_embeddings(train: patches.PatchSet) -> None:
    one, same, other = (started(train, seed).state_dict() for seed in (3, 3, 4))
    assert tiny.tensors_equal(one, same)
    assert not torch.equal(one["encoder.0.shortcut.1.weight"], other["encoder.0.shortcut.1.weight"])


@pytest.mark.parametrize(
    "settings", [{"shortcut": "strided"}, {"output": "sigmoid"}, {"arch": "plain", "output": "sigmoid"}], ids=str
)
def test_what_cannot_be_linear_is_refused(
    train: patches.PatchSet, tmp_path: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(errors.InputError, match=r"start: got linear.*pass random"):
        started(train, **settings)
    model = architecture.ModelConfig(**{"arch": "residual", "base_channels": 8, "latent_channels": 4, **settings})  # type: ignore[arg-type]
    folder = tiny.patch_set(tmp_path / "patches", train=4, val=1)
    config = train_config.TrainConfig(epochs=1, batch_size=4, start="linear", tensorboard=False)
    with pytest.raises(errors.InputError, match="start: got linear"):
        loop.start(tmp_path / "run", folder, model, config)
    assert not (tmp_path / "run").exists()
