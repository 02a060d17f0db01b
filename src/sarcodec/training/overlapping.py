"""The linear part of the variable-rate autoencoder: an overlapping transform of blocks, fitted to training images.

Of every block of 16×16 pixels it keeps some numbers, each an inner product with a filter of 48×48 pixels; the image
is the sum of as many basis functions of 48×48 pixels, of norm one. It starts as the Karhunen-Loève transform of the
blocks and is trained by gradient descent with noise on the latents. Filters are even or odd about both axes, so that
an image that is mirrored at its borders has mirrored latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sarcodec.variable import linear
from sarcodec.variable.linear import BLOCK

CROP, BATCH = 192, 16
"""Side of the training windows in pixels, of which a block at every side is context; and windows a step."""
LEARNING_RATE = 1e-3
NOISE_DB = 2.0 / math.sqrt(12)
"""Standard deviation of the noise on every latent: that of rounding to whole steps of 2 dB."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Directions of blocks: ``rows`` (n, 256) orthonormal, ``parity`` (n, 2) of each about both axes."""

    rows: FloatArray
    parity: npt.NDArray[np.int32]


def fit(
    images: Sequence[FloatArray], stages: Sequence[int], steps: int, seed: int
) -> Iterator[str | linear.Overlapping]:
    """Fit the transform; yields lines to show, and the transform last.

    Parameters
    ----------
    images : sequence of ndarray of float32
        (H, W) in dB about their medians.
    stages : sequence of int
        How many latents are fitted together: the first ones alone, then those that are added to them, and so on.
    steps : int
        Optimiser steps of every stage.
    seed : int
        Of windows and noise.
    """
    model = _Transform(np.zeros((0, BLOCK * BLOCK), np.float32), np.zeros((0, 2), np.int32))
    for number, count in enumerate(stages):
        random = np.random.default_rng((seed, number))
        torch.manual_seed(seed * 1000 + number)
        residuals = [model.residual(image) for image in images] if number else images
        found = _principal(residuals, count)
        added = _Transform(found.rows, found.parity)
        for line in _train(added, model if number else None, images, steps, random):
            yield f"latents {model.count + 1} to {model.count + count}: {line}"
        model = model.joined(added)
    yield model.export()


def _principal(images: Sequence[FloatArray], count: int) -> _Blocks:
    """Return the directions of most power in 16×16 blocks, each even or odd about both axes."""
    blocks = np.concatenate([_blocks(image) for image in images])
    values, rows, parities = [], [], []
    for parity in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        part = (blocks + parity[0] * blocks[:, ::-1]) / 2
        part = ((part + parity[1] * part[:, :, ::-1]) / 2).reshape(len(part), -1).astype(np.float64)
        power, vectors = np.linalg.eigh(part.T @ part)
        values.append(power)
        rows.append(vectors.T)
        parities += [parity] * len(power)
    best = np.argsort(np.concatenate(values))[::-1][:count]
    return _Blocks(np.concatenate(rows)[best].astype(np.float32), np.array(parities, np.int32)[best])


def _blocks(image: FloatArray) -> FloatArray:
    height, width = (side // BLOCK for side in image.shape)
    cut = image[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    return cut.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


class _Transform(nn.Module):
    """Analysis and synthesis filters (n, 48, 48), made even or odd as ``parity`` says."""

    def __init__(self, rows: FloatArray, parity: npt.NDArray[np.int32]) -> None:
        super().__init__()
        start = torch.zeros(len(rows), 3 * BLOCK, 3 * BLOCK)
        start[:, BLOCK : 2 * BLOCK, BLOCK : 2 * BLOCK] = torch.from_numpy(rows.reshape(-1, BLOCK, BLOCK))
        self.analysis, self.synthesis = nn.Parameter(start), nn.Parameter(start.clone())
        self.parity = torch.from_numpy(parity.astype(np.float32))
        self.count = len(rows)

    def joined(self, other: _Transform) -> _Transform:
        """Return the transform of the latents of both."""
        both = _Transform(np.zeros((self.count + other.count, BLOCK**2), np.float32), np.zeros((0, 2), np.int32))
        both.parity = torch.cat([self.parity, other.parity])
        with torch.no_grad():
            both.analysis.copy_(torch.cat([self.analysis, other.analysis]))
            both.synthesis.copy_(torch.cat([self.synthesis, other.synthesis]))
        return both

    def filters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both as convolutions over blocks: (n, 256, 3, 3), and (256, n, 3, 3) of norm 1."""
        analysis, synthesis = (self._even_or_odd(part) for part in (self.analysis, self.synthesis))
        norm = synthesis.square().sum(dim=(1, 2), keepdim=True).sqrt()
        analysis, synthesis = analysis * norm, synthesis / norm
        into = analysis.reshape(-1, 3, BLOCK, 3, BLOCK).permute(0, 2, 4, 1, 3)
        out = synthesis.reshape(-1, 3, BLOCK, 3, BLOCK).permute(2, 4, 0, 1, 3).flip(3, 4)
        return into.reshape(-1, BLOCK**2, 3, 3), out.reshape(BLOCK**2, -1, 3, 3)

    def _even_or_odd(self, part: torch.Tensor) -> torch.Tensor:
        part = (part + self.parity[:, 0, None, None] * part.flip(1)) / 2
        return (part + self.parity[:, 1, None, None] * part.flip(2)) / 2

    def residual(self, image: FloatArray) -> FloatArray:
        """Return an image (H, W), cut to whole blocks, less what the transform keeps of it."""
        with torch.no_grad():
            found = self.export()
            image = linear.whole_blocks(image)
            kept: FloatArray = image - found.synthesise(found.analyse(image))
        return kept

    def export(self) -> linear.Overlapping:
        """Return the transform as the codec has it."""
        with torch.no_grad():
            analysis, synthesis = self.filters()
        parity = self.parity.numpy().astype(np.int32)
        return linear.Overlapping(analysis.numpy().copy(), synthesis.numpy().copy(), parity)


def _train(
    added: _Transform,
    before: _Transform | None,
    images: Sequence[FloatArray],
    steps: int,
    random: np.random.Generator,
) -> Iterator[str]:
    """Train what is added; what there is before stays, and its latents have no noise."""
    optimiser = torch.optim.Adam(added.parameters(), LEARNING_RATE, fused=True)
    fixed = None
    if before is not None:
        with torch.no_grad():
            fixed = before.filters()
    share = np.array([image.size for image in images], np.float64)
    share /= share.sum()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = torch.from_numpy(np.stack([_window(images, share, random) for _ in range(BATCH)]))
        pixels = nn.functional.pixel_unshuffle(batch[:, None], BLOCK)
        analysis, synthesis = added.filters()
        latents = nn.functional.conv2d(pixels, analysis)
        noisy = latents + NOISE_DB * torch.randn_like(latents)
        restored = nn.functional.conv2d(noisy, synthesis)
        target = pixels[..., 2:-2, 2:-2]
        if fixed is not None:
            target = target - nn.functional.conv2d(nn.functional.conv2d(pixels, fixed[0]), fixed[1])
        loss = (restored - target).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if (step + 1) % 500 == 0:
            yield f"step {step + 1} of {steps}: error {math.sqrt(loss.item()):.3f} dB with noise"


def _window(images: Sequence[FloatArray], share: npt.NDArray[np.float64], random: np.random.Generator) -> FloatArray:
    """Cut a window, flipped at random; in images that are smaller it is mirrored."""
    image = images[random.choice(len(images), p=share)]
    top, left = (int(random.integers(0, side - CROP + 1)) for side in image.shape)
    window = image[top : top + CROP, left : left + CROP]
    flips = slice(None, None, int(random.choice((1, -1)))), slice(None, None, int(random.choice((1, -1))))
    return np.ascontiguousarray(window[flips])
