"""TensorBoard logs of a run: figures, pictures of originals beside restored patches, latent histograms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sarcodec import errors
from sarcodec.autoencoder import network
from sarcodec.training import patches

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


def open_log(folder: Path, step: int) -> SummaryWriter:
    """Open the TensorBoard log of a run, dropping what an interrupted run wrote after ``step``."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as cause:
        raise errors.MissingExtra("tensorboard", "train") from cause
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)


def log_validation(
    log: SummaryWriter,
    model: network.Autoencoder,
    val: patches.PatchSet,
    position: tuple[int, int],
    measured: Mapping[str, float],
) -> None:
    """Log figures of a validation; every tenth epoch also pictures and latent histograms.

    ``position`` is the epoch and the step.
    """
    epoch, step = position
    for name, value in measured.items():
        log.add_scalar(f"val/{name}", value, step)
    if epoch % 10 != 1:
        return
    device = next(model.parameters()).device
    chosen = np.linspace(0, len(val) - 1, min(4, len(val))).astype(int)
    pixels = torch.from_numpy(np.stack([val.scaled(int(i)) for i in chosen]))[:, None].to(device)
    with torch.inference_mode():
        restored, latent = model(pixels)
    log.add_images("val/original_and_restored", torch.cat([pixels, restored], dim=3), step)
    for channel in range(latent.shape[1]):
        log.add_histogram(f"latent/{channel}", latent[:, channel], step)
