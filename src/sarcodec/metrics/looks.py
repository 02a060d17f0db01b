"""Speckle kept? Equivalent number of looks."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors
from sarcodec.metrics import images as metric_images

Image = NDArray[np.float64]
ENL_WINDOW: Final = 15


def enl(intensity: ArrayLike) -> float:
    """Equivalent number of looks μ²/σ² of the values of a homogeneous area, in [0, inf].

    `intensity` is linear (not dB), of any shape, valid pixels only: a value that is not finite raises
    InputError. Infinite where all values are equal, NaN for none or all zero. σ² is the population variance.
    Source: Oliver, Quegan, "Understanding Synthetic Aperture Radar Images", SciTech 2004.
    """
    values = np.asarray(intensity, dtype=np.float64).reshape(1, -1)
    if not np.isfinite(values).all():
        raise errors.InputError("intensity: some values are not finite; pass valid pixels only")
    return float(_enl_rows(values)[0]) if values.size else math.nan


def enl_ratio(
    original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike, *, max_cv: float | None = None
) -> float:
    """Median over homogeneous windows of ENL(restored) / ENL(original), in [0, inf]; 1 keeps the speckle.

    The image is cut into 15×15 windows side by side from its top left corner; an incomplete window at the
    right or bottom, one with an invalid pixel and one whose original is constant (no speckle) are left out.
    Homogeneous are, on the original alone, the fifth of the windows with the highest ENL (at least one, and
    ties); with `max_cv` > 0, else InputError, those whose coefficient of variation σ/μ is at most that. NaN
    when no window is left. ENL is taken on linear intensity, dB clipped to ±300.
    """
    if max_cv is not None and not max_cv > 0:
        raise errors.InputError(f"max_cv: got {max_cv}; pass a positive number or None")
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    whole = metric_images.windows(mask, ENL_WINDOW).all(axis=1)
    looks = _enl_rows(metric_images.windows(metric_images.intensity(original), ENL_WINDOW)[whole])
    restored_looks = _enl_rows(metric_images.windows(metric_images.intensity(restored), ENL_WINDOW)[whole])
    speckled = np.isfinite(looks)
    looks, restored_looks = looks[speckled], restored_looks[speckled]
    fifth = np.sort(looks)[-math.ceil(looks.size / 5) :]
    chosen = looks >= (fifth.min(initial=math.inf) if max_cv is None else 1.0 / max_cv**2)
    return float(np.median(restored_looks[chosen] / looks[chosen])) if chosen.any() else math.nan


def _enl_rows(intensity: Image) -> Image:
    """μ²/σ² of each row: infinite for a constant one (judged exactly, not by rounding), NaN for zeros."""
    mean, variance = intensity.mean(axis=1), intensity.var(axis=1)
    varies = (intensity.max(axis=1, initial=-np.inf) > intensity.min(axis=1, initial=np.inf)) & (variance > 0)
    constant = np.where(mean > 0, np.inf, np.nan)
    return np.asarray(np.divide(mean * mean, variance, out=constant, where=varies))
