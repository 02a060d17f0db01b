"""Losses: SSIM against scikit-image, weights, precision, and the missing extra."""

import math
import sys

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from sarcodec import errors
from sarcodec.training import losses
from tiny import BOUNDS, db


def pair(side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    original = torch.from_numpy(np.stack([BOUNDS.apply(db((side, side - 8), seed)) for seed in (0, 1)]))[:, None]
    noise = torch.from_numpy(np.random.default_rng(5).normal(0, 0.05, original.shape)).float()
    return (original + noise).clamp(0, 1), original


def test_ssim_of_identical_images() -> None:
    _, original = pair()
    assert losses.ssim(original, original).item() == pytest.approx(1, abs=1e-6)


def test_ssim_agrees_with_scikit_image() -> None:
    restored, original = pair()
    expected = [
        structural_similarity(
            a.numpy().astype(np.float64),
            b.numpy().astype(np.float64),
            gaussian_weights=True,
            sigma=1.5,
            win_size=11,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )[1][5:-5, 5:-5].mean()
        for a, b in zip(restored[:, 0], original[:, 0], strict=True)
    ]
    assert 0.3 < np.mean(expected) < 0.99
    assert losses.ssim(restored, original).item() == pytest.approx(np.mean(expected), abs=2e-5)


@pytest.mark.parametrize("weights", [*losses.PRESETS.values(), losses.LossWeights(0, 2)])
def test_weights_are_applied(weights: losses.LossWeights) -> None:
    restored, original = pair(side=184)
    loss, mse = losses.combined(restored, original, weights)
    plain = float(((restored - original) ** 2).mean())
    assert mse.item() == pytest.approx(plain, rel=1e-6)
    error = (restored - original).numpy()
    expected = (
        weights.mse * plain
        + weights.ssim * (1 - losses.ssim(restored, original).item())
        + weights.ms_ssim * (1 - losses.ms_ssim(restored, original).item())
        + weights.gradient * (np.abs(np.diff(error, axis=3)).mean() + np.abs(np.diff(error, axis=2)).mean())
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_presets() -> None:
    found = {name: (w.mse, w.ssim) for name, w in losses.PRESETS.items()}
    assert found == {
        "balanced": (0.5, 0.5),
        "ssim-heavy": (0.16, 0.84),
        "mse-heavy": (1.0, 0.1),
        "mse": (1.0, 0.0),
        "ms-ssim": (0.5, 0.0),
        "edges": (0.5, 0.4),
    }


def test_ms_ssim_is_of_five_scales_and_needs_room() -> None:
    restored, original = pair(side=184)
    assert losses.ms_ssim(original, original).item() == pytest.approx(1.0, abs=1e-6)
    assert losses.ms_ssim(restored, original).item() > losses.ssim(restored, original).item()
    with pytest.raises(errors.InputError, match="above 160"):
        losses.ms_ssim(*pair(side=160))


def test_float32_under_autocast() -> None:
    restored, original = pair()
    weights = losses.PRESETS["balanced"]
    exact, _ = losses.combined(restored.bfloat16().float(), original, weights)
    with torch.autocast("cpu", torch.bfloat16):
        loss, mse = losses.combined(restored.bfloat16(), original, weights)
    assert loss.dtype == mse.dtype == torch.float32
    assert loss.item() == exact.item()


def test_gradient_improves_the_image() -> None:
    restored, original = pair()
    restored.requires_grad_(True)
    loss, _ = losses.combined(restored, original, losses.PRESETS["balanced"])
    loss.backward()
    better, _ = losses.combined(restored - 0.1 * restored.grad, original, losses.PRESETS["balanced"])
    assert better < loss


@pytest.mark.parametrize("bad", [(-0.1, 1.0), (1.0, -0.1), (0.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_bad_weights(bad: tuple[float, float]) -> None:
    with pytest.raises(errors.InputError, match="loss weights"):
        losses.LossWeights(*bad)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    restored, original = pair()
    with pytest.raises(errors.MissingExtra, match=r'pip install "sarcodec\[train\]"'):
        losses.combined(restored, original, losses.PRESETS["balanced"])
    loss, mse = losses.combined(restored, original, losses.PRESETS["mse"])  # needs no SSIM
    assert loss == mse


@pytest.mark.parametrize("kind", ["ssim", "ms_ssim"])
def test_patches_as_channels_give_the_same_mean_and_gradient(kind: str) -> None:
    import pytorch_msssim

    restored, original = pair(side=184)
    gradients = []
    values = []
    for function in (
        getattr(losses, kind),
        lambda a, b: getattr(pytorch_msssim, kind)(a, b, data_range=1.0),
    ):
        leaf = restored.clone().requires_grad_()
        value = function(leaf, original)
        value.backward()
        values.append(value.item())
        gradients.append(leaf.grad)
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-8, rtol=1e-4)
    assert gradients[0].abs().max() > 1e-6
