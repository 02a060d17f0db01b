"""How good a model in training is, and whether its output has collapsed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from sarcodec import errors
from sarcodec.training import losses, run_folder

if TYPE_CHECKING:
    pass
from sarcodec.training import loop

COLLAPSED_SHARE = 0.02
"""An output whose standard deviation is below this share of the original's has collapsed."""


def check_contrast(run: loop.Run, measured: Mapping[str, float]) -> None:
    """Raise TrainingError for an output that is constant; not in the first steps, where it may still be."""
    config, at = run.config, run.at
    early = at.step <= 3 * max(config.warmup_steps, run.steps // config.epochs)
    if measured["contrast"] < COLLAPSED_SHARE and not early:
        raise errors.TrainingError(
            f"the output is constant (collapsed) at epoch {at.epoch}; {run_folder.last_good(run.folder)}; "
            "try a lower learning rate or a longer warm-up"
        )


def validate(run: loop.Run) -> dict[str, float]:
    """Mean loss, PSNR on [0, 1], RMSE in dB and contrast (output σ over original σ) over the validation patches."""
    val, config = run.val, run.config
    run.learner.averaged.eval()
    sums = np.zeros(4)
    with torch.inference_mode():
        for first in range(0, len(val), config.batch_size):
            chosen = range(first, min(first + config.batch_size, len(val)))
            spans = [val.manifest.normalizer.bounds[val.locate(i)[0].key].span for i in chosen]
            pixels = torch.from_numpy(np.stack([val.scaled(i) for i in chosen]))[:, None].to(run.device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bfloat16):
                restored, _ = run.learner.averaged(pixels)
                loss, mse = losses.combined(restored, pixels, config.loss)
            squared = ((restored - pixels) ** 2).mean(dim=(1, 2, 3)).cpu().numpy()
            contrast = (restored.std(dim=(1, 2, 3)) / pixels.std(dim=(1, 2, 3)).clamp_min(1e-6)).sum().item()
            n = len(pixels)
            sums += [loss.item() * n, mse.item() * n, float(np.sum(squared * np.square(spans))), contrast]
    mean = sums / len(val)
    return {
        "loss": float(mean[0]),
        "psnr": -10 * math.log10(max(float(mean[1]), 1e-12)),
        "rmse_db": math.sqrt(float(mean[2])),
        "contrast": float(mean[3]),
    }
