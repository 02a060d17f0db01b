"""Calibration of a checkpoint that is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sarcodec.autoencoder import checkpoint
from sarcodec.training import calibration, patches

if TYPE_CHECKING:
    pass


def calibrate(path: Path, patch_folder: Path, *, loss_limit_db: float = calibration.LOSS_LIMIT_DB) -> str:
    """Fit quantisation steps and entropy tables of a checkpoint on its training patches, in place.

    Returns the checkpoint's new identity. Errors as :func:`calibration.calibrate`.
    """
    plain = checkpoint.load(path)
    fitted = calibration.calibrate(
        plain.build(), patches.PatchSet(patch_folder, "train"), loss_limit_db=loss_limit_db
    )
    tables = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in fitted.coder.to_arrays().items()}
    cost = {"train_psnr_float": fitted.psnr_float, "train_psnr_quantised": fitted.psnr_quantised}
    return checkpoint.save(path, replace(plain, tables=tables, metrics={**plain.metrics, **cost}), overwrite=True)
