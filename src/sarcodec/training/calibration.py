"""Calibration: how finely a trained model's latents are quantised, and the tables that code them.

A decoder amplifies an error in one latent channel more than in another. Steps inversely proportional to the square
root of that gain spread the quantisation error evenly, which is optimal at high rate; their common scale is the
largest one that costs less than a given loss of PSNR on the training patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sarcodec import errors
from sarcodec.autoencoder import latents as autoencoder_latents
from sarcodec.autoencoder import network
from sarcodec.training import patches

LOSS_LIMIT_DB = 0.09
BATCH = 8


@dataclass(frozen=True)
class Calibration:
    """A fitted coder and what it costs: PSNR in dB on [0, 1], without and with quantised latents."""

    coder: autoencoder_latents.LatentCoder
    psnr_float: float
    psnr_quantised: float


def calibrate(
    model: network.Autoencoder,
    train: patches.PatchSet,
    *,
    loss_limit_db: float = LOSS_LIMIT_DB,
    multipliers: Sequence[int] = (1, 2, 4, 8),
    probes: int = 32,
) -> Calibration:
    """Choose quantisation steps and fit entropy tables on training patches.

    Parameters
    ----------
    model : Autoencoder
        Trained, in evaluation mode, float32.
    train : PatchSet
        The training split.
    loss_limit_db : float
        Largest loss of PSNR that quantisation may cost, in dB, above 0.
    multipliers : sequence of int
        Multiples of the steps to fit tables for as well.
    probes : int
        Patches, evenly spread over the set, on which gains and losses are measured.

    Raises
    ------
    InputError
        When ``loss_limit_db`` is not positive or the split is empty.
    """
    if not loss_limit_db > 0 or len(train) == 0:
        raise errors.InputError(
            f"calibration: got a loss limit of {loss_limit_db} dB and {len(train)} patches; both must be positive"
        )
    chosen = np.unique(np.linspace(0, len(train) - 1, min(probes, len(train))).astype(int))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        pixels = _pixels(train, chosen)
        latent = torch.cat([model.encode(batch) for batch in torch.split(pixels, BATCH)])
        relative = _relative_steps(model, latent)
        plain_mse = _mse(model, latent, pixels)
        scale = _largest_scale(model, latent, pixels, relative, plain_mse * 10 ** (loss_limit_db / 10))
        steps = (relative * scale).numpy()
        quantised_mse = _mse(model, _rounded(latent, relative * scale), pixels)
        latents = [
            model.encode(_pixels(train, chunk)).numpy()
            for chunk in np.array_split(np.arange(len(train)), -(-len(train) // BATCH))
        ]
    blocks: list[npt.NDArray[np.float32]] = [block for batch in latents for block in batch]
    coder = autoencoder_latents.LatentCoder.fit(blocks, steps.astype(np.float32), multipliers)
    return Calibration(coder, -10 * np.log10(plain_mse), -10 * np.log10(quantised_mse))


def _pixels(train: patches.PatchSet, chosen: npt.NDArray[np.int64]) -> torch.Tensor:
    stack = np.stack([train.scaled(int(index)) for index in chosen])
    return torch.from_numpy(stack)[:, None].contiguous(memory_format=torch.channels_last)


def _relative_steps(model: network.Autoencoder, latent: torch.Tensor) -> torch.Tensor:
    """Return steps up to a common scale: one over the square root of the decoder's gain, per channel."""
    spread = latent.std(dim=(0, 2, 3)).clamp_min(1e-6)
    restored = torch.cat([model.decode(batch) for batch in torch.split(latent, BATCH)])
    generator = torch.Generator().manual_seed(0)
    gains = []
    for channel, sd in enumerate(spread):
        signs = torch.randint(0, 2, latent[:, channel].shape, generator=generator) * 2.0 - 1.0
        shifted = latent.clone()
        shifted[:, channel] += signs * sd * 0.05
        moved = torch.cat([model.decode(batch) for batch in torch.split(shifted, BATCH)])
        gains.append(((moved - restored) ** 2).mean() / (sd * 0.05) ** 2)
    gain = torch.stack(gains)
    return 1.0 / torch.sqrt(gain.clamp_min(float(gain.max()) * 1e-6).clamp_min(1e-20))


def _largest_scale(
    model: network.Autoencoder,
    latent: torch.Tensor,
    pixels: torch.Tensor,
    relative: torch.Tensor,
    mse_limit: float,
) -> float:
    """Bisect the logarithm of the largest scale whose rounding keeps the MSE within its limit."""
    low, high = -12.0, 4.0
    for _ in range(12):
        middle = (low + high) / 2
        if _mse(model, _rounded(latent, relative * 10**middle), pixels) <= mse_limit:
            low = middle
        else:
            high = middle
    return float(10**low)


def _rounded(latent: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    grid = steps[None, :, None, None]
    return torch.round(latent / grid) * grid


def _mse(model: network.Autoencoder, latent: torch.Tensor, pixels: torch.Tensor) -> float:
    squared = [
        ((model.decode(z) - x) ** 2).mean().item() * len(z)
        for z, x in zip(torch.split(latent, BATCH), torch.split(pixels, BATCH), strict=True)
    ]
    return float(sum(squared) / len(latent))
