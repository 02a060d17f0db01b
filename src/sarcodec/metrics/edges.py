"""Edges kept? Edge preservation index, and correlation of gradients."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sarcodec.metrics import images as metric_images
from sarcodec.metrics import structure

Image = NDArray[np.float64]


def epi(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Edge preservation index Σ|∇R||∇I| / sqrt(Σ|∇R|²·Σ|∇I|²) of Sobel magnitudes on dB, in [0, 1].

    Only pixels whose 3×3 neighbourhood lies inside the image and is valid count. NaN when there is none or
    the original is flat; 0 when only the restored image is flat, since every edge is lost.
    The index is not centred, so the mean gradient of speckle flatters it: read `gradient_correlation` beside
    it. Source: Sattar, Floreby, Salomonsson, Lövström, IEEE TIP 6 (6), 1997, here without the means.
    """
    original, restored = _gradients(original_db, restored_db, valid)
    return _cosine(original, restored)


def gradient_correlation(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Pearson correlation of the Sobel gradient magnitudes of both images, in [-1, 1].

    The centred counterpart of `epi`, over the same pixels. NaN when there is none or the gradient of the
    original is constant; 0 when only that of the restored image is.
    """
    original, restored = _gradients(original_db, restored_db, valid)
    return _cosine(_centred(original), _centred(restored)) if original.size else math.nan


def _gradients(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> tuple[Image, Image]:
    """Sobel magnitudes of both images, 1-D, where the 3×3 neighbourhood is valid and inside the image."""
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    inside = structure.whole_neighbourhood(mask, 3)
    vertical, horizontal = ([ndimage.sobel(i, axis)[inside] for i in (original, restored)] for axis in (0, 1))
    return np.hypot(vertical[0], horizontal[0]), np.hypot(vertical[1], horizontal[1])


def _cosine(original: Image, restored: Image) -> float:
    original_energy, restored_energy = float(np.sum(original**2)), float(np.sum(restored**2))
    if original_energy == 0.0 or restored_energy == 0.0:
        return math.nan if original_energy == 0.0 else 0.0
    return float(np.sum(original * restored)) / math.sqrt(original_energy * restored_energy)


def _centred(values: Image) -> Image:
    """Subtract the mean; a map that varies only by rounding becomes exactly zero."""
    centred = values - values.mean()
    return np.zeros_like(centred) if np.ptp(values) <= 1e-9 * np.abs(values).max() else centred
