"""The linear start of a training: weights with which an autoencoder is the best linear one that its form can hold.

Pixels go isometrically through the shortcuts down to the last stage: a position there holds the ``4**stages`` pixels
below it, or their principal components where there are more than channels. Bottleneck and first shortcut of the
decoder overlap, and are fitted to the training patches by gradient descent from the Karhunen-Loève transform. What
else the network has starts at zero (residual variants) or at random beside it (plain).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from sarcodec import errors
from sarcodec.autoencoder import architecture, blocks, network, variants
from sarcodec.training import patches

MOST_PATCHES = 512
STEPS, BATCH, CROP = 1500, 32, 16
"""Steps that fit the bottleneck, windows a step, and their side in positions of the last stage."""
LEARNING_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class _Path:
    """The isometry that carries pixels to the last stage.

    ``components[s]`` (d', 4d) are the orthonormal rows that map the four positions of stage s, channel by channel, to
    the d' values of the next; ``content`` (N, d, h, w) are the training patches at the last stage.
    """

    components: tuple[torch.Tensor, ...]
    content: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Bottleneck:
    """The fitted ends: ``analysis`` (C, d, 5, 5) of stride 2, ``synthesis`` as the weight of its layer."""

    analysis: torch.Tensor
    synthesis: torch.Tensor


def can_carry(config: architecture.ModelConfig) -> bool:
    """Tell whether an architecture can hold a linear autoencoder."""
    return config.output == "clamp" and (config.arch == "plain" or config.shortcut == "rearranged")


def fit(model: network.Autoencoder, train: patches.PatchSet, seed: int) -> None:
    """Set a freshly built model's weights, in place.

    Parameters
    ----------
    model : Autoencoder
        On the CPU, float32. Residual with rearranged shortcuts, or plain; with a clamped output.
    train : PatchSet
        The training split; at most 512 patches, evenly spread, are used.
    seed : int
        Of embeddings and windows.

    Raises
    ------
    InputError
        For an architecture that cannot hold a linear autoencoder.
    """
    if model.level is None or not can_carry(model.config):
        raise errors.InputError(
            f"start: got linear for a {model.config.arch} model with {model.config.shortcut} shortcuts and "
            f"{model.config.output} output, which cannot be; pass random, or rearranged shortcuts and output clamp"
        )
    fit_level(model.level, train)
    centred = model.level.remove(_sample(train))
    plain = model.config.arch == "plain"
    with torch.no_grad():
        path = _descend(centred, _widths(model))
    ends = _fit_bottleneck(path.content, model.config.latent_channels, plain, seed)
    with torch.no_grad():
        if plain:
            _set_plain(model, path, ends)
            _set_norms(model, centred[:: max(len(centred) // 32, 1)])
        else:
            _set_residual(model, path, ends, seed)


def fit_level(level: network.Level, train: patches.PatchSet) -> None:
    """Fit mean and deviation to the training patches."""
    pixels = _sample(train)
    level.mean.fill_(pixels.mean().item())
    level.deviation.fill_(max(pixels.std().item(), 1e-3))


def _sample(train: patches.PatchSet) -> torch.Tensor:
    chosen = np.unique(np.linspace(0, len(train) - 1, min(MOST_PATCHES, len(train))).astype(int))
    return torch.from_numpy(np.stack([train.scaled(int(index)) for index in chosen]))[:, None]


def _widths(model: network.Autoencoder) -> list[int]:
    """Return how many values each stage can carry: its channels, or half of them where each needs both signs."""
    if model.config.arch == "plain":
        return [_convolution(stage).out_channels // 2 for stage in model.encoder]
    return [layer.out_channels for layer in _shortcuts(model.encoder, "down", 1)]


def _convolution(stage: nn.Module) -> nn.Conv2d:
    """Return the convolution that a stage begins with, or the module itself."""
    return cast(nn.Conv2d, stage[0] if isinstance(stage, nn.Sequential) else stage)


def _shortcuts(stages: Iterable[nn.Module], resample: str, place: int) -> list[nn.Conv2d]:
    """Return the convolutions of the shortcuts that change resolution."""
    found = [stage.shortcut for stage in stages if isinstance(stage, blocks.Residual) and stage.resample == resample]
    return [cast(nn.Conv2d, cast(nn.Sequential, shortcut)[place]) for shortcut in found]


def _descend(centred: torch.Tensor, widths: list[int]) -> _Path:
    """Fold four positions into one at every stage, with principal components where a stage is too narrow for all."""
    content, components = centred, []
    for width in widths:
        content = nn.functional.pixel_unshuffle(content, 2)
        rows = _principal(content, width) if width < content.shape[1] else torch.eye(content.shape[1])
        content = torch.einsum("ji,nihw->njhw", rows, content)
        components.append(rows)
    return _Path(tuple(components), content)


def _principal(content: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first principal directions (count, d) of positions (N, d, h, w), the mean taken as zero."""
    flat = content.movedim(1, -1).reshape(-1, content.shape[1])
    _, vectors = torch.linalg.eigh((flat.T @ flat).double())
    rows: torch.Tensor = vectors.T.flip(0)[:count].float()
    return rows


def _fit_bottleneck(content: torch.Tensor, channels: int, plain: bool, seed: int) -> _Bottleneck:
    """Fit both ends by gradient descent, starting at the Karhunen-Loève transform of the blocks below a latent."""
    width, side = content.shape[1], variants.FIRST_SHORTCUT
    analysis = nn.Conv2d(width, channels, 5, stride=2, padding=2, bias=False)
    synthesis: nn.Conv2d | nn.ConvTranspose2d = (
        nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1, bias=False)
        if plain
        else nn.Conv2d(channels, 4 * width, side, padding=side // 2, bias=False)
    )
    rows = torch.zeros(channels, 4 * width)
    found = _principal(nn.functional.pixel_unshuffle(content, 2), channels)
    rows[: len(found)] = found
    taps = rows.reshape(channels, width, 2, 2)
    with torch.no_grad():
        analysis.weight.zero_()[..., 2:4, 2:4] = taps
        synthesis.weight.zero_()
        if plain:
            synthesis.weight[..., 1:3, 1:3] = taps
        else:
            synthesis.weight[..., side // 2, side // 2] = rows.T
    optimizer = torch.optim.Adam([analysis.weight, synthesis.weight], lr=LEARNING_RATE, fused=True)
    random = np.random.default_rng([seed, STEPS])
    crop = min(CROP, *(side // 2 * 2 for side in content.shape[2:]))
    for step in range(STEPS):
        which = torch.from_numpy(random.integers(0, len(content), BATCH))
        top, left = (int(random.integers(0, (side - crop) // 2 + 1)) * 2 for side in content.shape[2:])
        window = content[which, :, top : top + crop, left : left + crop].contiguous(memory_format=torch.channels_last)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        restored = synthesis(analysis(window))
        loss = ((restored if plain else nn.functional.pixel_shuffle(restored, 2)) - window).square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    return _Bottleneck(analysis.weight.detach(), synthesis.weight.detach())


def _set_residual(model: network.Autoencoder, path: _Path, ends: _Bottleneck, seed: int) -> None:
    """Give the shortcuts random orthonormal embeddings of what the path carries, and set both ends."""
    generator = torch.Generator().manual_seed(seed)
    down, up = _shortcuts(model.encoder, "down", 1), _shortcuts(model.decoder, "up", 0)
    embedding, steps = torch.eye(1), []
    for rows, layer in zip(path.components, down, strict=True):
        wide = torch.kron(embedding, torch.eye(4))
        embedding = _orthonormal(layer.out_channels, len(rows), generator)
        step = embedding @ rows @ wide.T
        layer.weight.copy_(step[:, :, None, None])
        steps.append(step)
    blocks.zero(_convolution(model.to_latent))
    _convolution(model.to_latent).weight.copy_(torch.einsum("cdhw,od->cohw", ends.analysis, embedding))
    wide = torch.kron(embedding, torch.eye(4))
    up[0].weight.copy_(torch.einsum("od,dchw->ochw", wide, ends.synthesis))
    for step, layer in zip(steps[:0:-1], up[1:], strict=True):
        layer.weight.copy_(step.T[:, :, None, None])
    blocks.zero(model.to_pixels)
    model.to_pixels.weight[..., 1:3, 1:3] = steps[0].reshape(-1, 1, 2, 2)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Return a random matrix with orthonormal columns."""
    q, r = torch.linalg.qr(torch.randn(rows, columns, generator=generator))
    unique: torch.Tensor = (q * r.diagonal().sign()).contiguous()
    return unique


def _set_plain(model: network.Autoencoder, path: _Path, ends: _Bottleneck) -> None:
    """Carry every value twice, once of either sign: the difference of what activations leave of both is linear.

    LeakyReLU(x) − LeakyReLU(−x) = (1 + slope)·x. Channels that carry nothing keep their random weights, and nothing
    that carries sees them.
    """
    gain = 1.0
    for stage, rows in zip(model.encoder, path.components, strict=True):
        weight = rows.reshape(len(rows), -1, 2, 2) / gain
        _carry(_convolution(stage).weight, weight, slice(2, 4), first=gain == 1.0)
        gain = 1.0 + blocks.SLOPE
    signs = torch.tensor([1.0, -1.0])
    analysis = torch.einsum("cdhw,s->csdhw", ends.analysis, signs).flatten(1, 2) / gain
    blocks.zero(_convolution(model.to_latent))
    _convolution(model.to_latent).weight[:, : analysis.shape[1]] = analysis
    ups = [_convolution(stage) for stage in model.decoder]
    both = torch.cat([ends.synthesis, -ends.synthesis], dim=1)
    ups[0].weight[:, : both.shape[1]] = both
    for layer, rows in zip(ups[1:], path.components[:0:-1], strict=True):
        weight = rows.reshape(len(rows), -1, 2, 2)
        _carry(layer.weight.transpose(0, 1), weight.transpose(0, 1), slice(1, 3), first=False)
    last = path.components[0].reshape(-1, 1, 2, 2)
    blocks.zero(model.to_pixels)
    model.to_pixels.weight[: 2 * len(last), :, 1:3, 1:3] = torch.cat([last, -last])


def _carry(weight: torch.Tensor, values: torch.Tensor, taps: slice, *, first: bool) -> None:
    """Write a linear map (out, in, 2, 2) into the first rows of a weight, outputs and inputs of either sign."""
    signed = torch.cat([values, -values])
    signed = signed if first else torch.cat([signed, -signed], dim=1)
    weight[: len(signed)] = 0
    weight[: len(signed), : signed.shape[1], taps, taps] = signed


def _set_norms(model: network.Autoencoder, centred: torch.Tensor) -> None:
    """Give batch norms the statistics of their inputs, and the scale that undoes them."""
    handles = [m.register_forward_pre_hook(_undo) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    mode = model.training
    model.eval()
    model.decoder(model.to_latent(model.encoder(centred)))
    model.train(mode)
    for handle in handles:
        handle.remove()


def _undo(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    norm = cast(nn.BatchNorm2d, module)
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    cast(torch.Tensor, norm.running_mean).copy_(mean)
    cast(torch.Tensor, norm.running_var).copy_(variance)
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(mean)
