from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from runs import FILES, config
from sarcodec.autoencoder import architecture, variants
from sarcodec.training import learner, loop, muon


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_all_directions_get_steps_of_about_one_size(shape: tuple[int, int]) -> None:
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(1)), full_matrices=False)
    matrix = u @ torch.diag(torch.logspace(0, -1, min(shape))) @ v
    found = muon.orthogonal(matrix)
    sizes = torch.linalg.svdvals(found)
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3
    assert torch.allclose(u.T @ found @ v.T, torch.diag(torch.diag(u.T @ found @ v.T)), atol=1e-4)
    assert not muon.orthogonal(torch.zeros(shape)).any()


def test_a_step_is_as_large_as_adams_whatever_the_gradient() -> None:
    for layer, outputs in ((nn.Conv2d(16, 32, 3), 0), (nn.ConvTranspose2d(32, 16, 4), 1)):
        before = layer.weight.detach().clone()
        optimizer = muon.Muon([{"params": [layer.weight], "outputs": outputs}], lr=0.01)
        layer.weight.grad = 1e-6 * torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1))
        optimizer.step()
        moved = before - layer.weight.detach()
        assert moved.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.3)
        assert (moved * layer.weight.grad).sum() > 0  # against the gradient
        sizes = torch.linalg.svdvals(moved.movedim(outputs, 0).flatten(1))
        assert sizes.max() < 2 * sizes.min()


def test_weight_decay_shrinks() -> None:
    weight = nn.Parameter(torch.ones(4, 4, 3, 3))
    optimizer = muon.Muon([{"params": [weight]}], lr=0.1, weight_decay=0.5)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert torch.allclose(weight, torch.full_like(weight, 0.95))


def test_every_parameter_has_one_optimizer() -> None:
    for arch in ("plain", "residual", "cbam"):
        model = variants.build(architecture.ModelConfig(arch, base_channels=8, latent_channels=4))
        made = learner.Learner.build(model, config(optimizer="muon"))
        held = [id(p) for o in made.optimizers for group in o.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters())
        by_muon = [p for group in made.optimizers[0].param_groups for p in group["params"]]
        assert all(p.ndim == 4 and min(p.shape[:2]) > 1 for p in by_muon)
        assert len(by_muon) > 5


def test_interrupted_run_continues_exactly(tmp_path: Path) -> None:
    patch_set = tiny.patch_set(tmp_path / "patches")
    model = architecture.ModelConfig("plain", base_channels=4, latent_channels=4)
    settings = config(optimizer="muon", weight_decay=0.01)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    list(loop.start(whole, patch_set, model, settings))
    steps = loop.start(parts, patch_set, model, settings)
    for _ in range(5):
        next(steps)
    steps.close()
    list(loop.resume(parts))
    for name in FILES:
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
