"""Training losses on pixels in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sarcodec import errors


@dataclass(frozen=True)
class LossWeights:
    """Weights of ``mse·MSE + ssim·(1 − SSIM)``."""

    mse: float = 0.5
    ssim: float = 0.5

    def __post_init__(self) -> None:
        if not (self.mse >= 0 and self.ssim >= 0 and 0 < self.mse + self.ssim < math.inf):
            raise errors.InputError(
                f"loss weights: got mse {self.mse} and ssim {self.ssim}; both must be finite and >= 0, one > 0"
            )


PRESETS: Mapping[str, LossWeights] = {
    "balanced": LossWeights(0.5, 0.5),
    "ssim-heavy": LossWeights(0.16, 0.84),
    "mse-heavy": LossWeights(1.0, 0.1),
    "mse": LossWeights(1.0, 0.0),
}
"""Named weights; ``balanced`` is where to start."""


def ssim(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity, in float32 whatever the inputs are.

    11×11 Gaussian window with σ = 1.5 and data range 1 (Wang et al. 2004, 10.1109/TIP.2003.819861), by
    pytorch-msssim.

    Parameters
    ----------
    restored, original : Tensor
        (N, 1, H, W) in [0, 1], sides at least 11.

    Returns
    -------
    Tensor
        Scalar in (−1, 1].
    """
    try:
        import pytorch_msssim
    except ImportError as cause:
        raise errors.MissingExtra("pytorch-msssim", "train") from cause
    with torch.autocast(restored.device.type, enabled=False):
        value: torch.Tensor = pytorch_msssim.ssim(restored.float(), original.float(), data_range=1.0)
    return value


def combined(
    restored: torch.Tensor, original: torch.Tensor, weights: LossWeights
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss and the plain MSE, both scalars in float32."""
    mse = torch.mean((restored.float() - original.float()) ** 2)
    loss = weights.mse * mse
    if weights.ssim:
        loss = loss + weights.ssim * (1.0 - ssim(restored, original))
    return loss, mse
