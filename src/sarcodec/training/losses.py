"""Training losses on pixels in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import torch

from sarcodec import errors


@dataclass(frozen=True)
class LossWeights:
    """Weights of ``mse·MSE + ssim·(1 − SSIM) + ms_ssim·(1 − MS-SSIM) + gradient·|∇x̂ − ∇x|``."""

    mse: float = 0.5
    ssim: float = 0.5
    ms_ssim: float = 0.0
    gradient: float = 0.0

    def __post_init__(self) -> None:
        values = astuple(self)
        if not all(type(value) in (int, float) for value in values) or not (
            min(values) >= 0 and 0 < sum(values) < math.inf
        ):
            raise errors.InputError(
                f"loss weights: got {errors.plain(', '.join(map(str, values)))}; all must be finite and >= 0, one of "
                "them > 0"
            )


PRESETS: Mapping[str, LossWeights] = {
    "balanced": LossWeights(0.5, 0.5),
    "ssim-heavy": LossWeights(0.16, 0.84),
    "mse-heavy": LossWeights(1.0, 0.1),
    "mse": LossWeights(1.0, 0.0),
    "ms-ssim": LossWeights(0.5, 0.0, 0.5),
    "edges": LossWeights(0.5, 0.4, 0.0, 0.1),
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
    return _similarity("ssim", restored, original)


def ms_ssim(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Multi-scale structural similarity over five scales (Wang et al. 2003, 10.1109/ACSSC.2003.1292216).

    As :func:`ssim`; sides must be above 160 pixels, InputError otherwise.
    """
    if min(original.shape[-2:]) <= 160:
        raise errors.InputError(
            f"loss: MS-SSIM needs patches above 160 pixels a side, got {tuple(original.shape[-2:])}; "
            "prepare larger ones or give ms_ssim no weight"
        )
    return _similarity("ms_ssim", restored, original)


def _similarity(kind: str, restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Call pytorch-msssim with the patches as channels of one image: the same mean, ten times as fast on a CPU."""
    try:
        import pytorch_msssim
    except ImportError as cause:
        raise errors.MissingExtra("pytorch-msssim", "train") from cause
    with torch.autocast(restored.device.type, enabled=False):
        pair = restored.float().transpose(0, 1), original.float().transpose(0, 1)
        value: torch.Tensor = getattr(pytorch_msssim, kind)(*pair, data_range=1.0)
    return value


def gradient_difference(restored: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the horizontal and vertical first differences of two (N, 1, H, W) images."""
    error = restored.float() - original.float()
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def combined(
    restored: torch.Tensor, original: torch.Tensor, weights: LossWeights
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss and the plain MSE, both scalars in float32."""
    mse = torch.mean((restored.float() - original.float()) ** 2)
    loss = weights.mse * mse
    if weights.ssim:
        loss = loss + weights.ssim * (1.0 - ssim(restored, original))
    if weights.ms_ssim:
        loss = loss + weights.ms_ssim * (1.0 - ms_ssim(restored, original))
    if weights.gradient:
        loss = loss + weights.gradient * gradient_difference(restored, original)
    return loss, mse
