"""Structural similarity of two images in float64 by scale; :func:`sarcodec.metrics.similarity.ssim` defines it."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sarcodec.metrics import error

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]

WINDOW: Final = 11
_C1, _C2 = (0.01 * error.PEAK_DB) ** 2, (0.03 * error.PEAK_DB) ** 2
_TAPS = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / 1.5) ** 2)
_TAPS /= _TAPS.sum()


def by_scale(original: Image, restored: Image, mask: Mask, scales: int) -> list[tuple[float, float]]:
    """Return mean SSIM and mean contrast-structure term at full size, at half of it and so on.

    Images are (H, W) in dB, 0 where ``mask`` is false; both are shifted by the least valid value of the original. A
    scale without a window inside the image that is all valid has NaN.
    """
    low = original[mask].min() if mask.any() else 0.0
    original, restored = original - low, restored - low
    terms = [_terms(original, restored, mask)]
    for _ in range(scales - 1):
        count = _block_sums(mask)
        original, restored = (
            _block_sums(np.where(mask, image, 0.0)) / np.maximum(count, 1.0) for image in (original, restored)
        )
        mask = 2.0 * count >= _block_sums(np.ones_like(mask))
        terms.append(_terms(original, restored, mask))
    return terms


def _terms(original: Image, restored: Image, valid: Mask) -> tuple[float, float]:
    inside = whole_neighbourhood(valid, WINDOW)
    if not inside.any():
        return math.nan, math.nan
    mean_o, mean_r = _blurred(original), _blurred(restored)
    variance_o = _blurred(original * original) - mean_o * mean_o
    variance_r = _blurred(restored * restored) - mean_r * mean_r
    covariance = _blurred(original * restored) - mean_o * mean_r
    contrast_structure = (2.0 * covariance + _C2) / (variance_o + variance_r + _C2)
    luminance = (2.0 * mean_o * mean_r + _C1) / (mean_o * mean_o + mean_r * mean_r + _C1)
    return float((luminance * contrast_structure)[inside].mean()), float(contrast_structure[inside].mean())


def _blurred(image: Image) -> Image:
    return np.asarray(ndimage.correlate1d(ndimage.correlate1d(image, _TAPS, axis=0), _TAPS, axis=1))


def whole_neighbourhood(valid: Mask, size: int) -> Mask:
    """Tell where the size×size neighbourhood lies inside the image and is valid."""
    return np.asarray(ndimage.minimum_filter(valid.view(np.uint8), size, mode="constant") > 0)


def _block_sums(image: NDArray[Any]) -> Image:
    padded = np.pad(image.astype(np.float64), [(0, side % 2) for side in image.shape])
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
