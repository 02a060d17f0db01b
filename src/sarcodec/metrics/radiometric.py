"""Values kept? Bias of intensity, water masks and bright targets."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec.metrics import error as metric_error
from sarcodec.metrics import images as metric_images

Image = NDArray[np.float64]
BIAS_WINDOW: Final = 32
BRIGHT_FRACTION: Final = 0.001
_OTSU_BINS = 256


def radiometric_bias(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> tuple[float, float, float]:
    """Bias of the mean linear intensity, 10·log10(mean restored / mean original), in dB.

    Signed over all valid pixels; median and 95th percentile of its magnitude over 32×32 windows side by side
    from the top left corner. A window counts when at least half of its pixels are valid, and its means are
    over those. The overall figure is NaN without a valid pixel, the other two without a window (an image
    smaller than 32 pixels). Returned in that order. dB are clipped to ±300.
    """
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    if not mask.any():
        return math.nan, math.nan, math.nan
    sums = [np.where(mask, metric_images.intensity(image), 0.0) for image in (restored, original)]
    overall = float(10.0 * np.log10(sums[0].sum() / sums[1].sum()))
    used = metric_images.windows(mask, BIAS_WINDOW).mean(axis=1) >= 0.5
    if not used.any():
        return overall, math.nan, math.nan
    restored_sum, original_sum = (metric_images.windows(image, BIAS_WINDOW)[used].sum(axis=1) for image in sums)
    windows = np.abs(10.0 * np.log10(restored_sum / original_sum))
    return overall, float(np.median(windows)), float(np.percentile(windows, 95))


def water_iou(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Intersection over union of the water masks of both images, in [0, 1].

    Water is what is not above one threshold in dB, which best parts the valid pixels of the original in two
    classes (256 bins from its minimum to its maximum). NaN without a valid pixel or contrast in the original.
    Source: Otsu, "A threshold selection method from gray-level histograms", IEEE TSMC 9 (1), 1979.
    """
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    values = original[mask]
    if not values.size or values.min() == values.max():
        return math.nan
    threshold = _otsu(values)
    water, restored_water = values <= threshold, restored[mask] <= threshold
    return float(np.count_nonzero(water & restored_water) / np.count_nonzero(water | restored_water))


def bright_target_error(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Root mean square error in dB over the brightest 0.1 % of the valid pixels of the original.

    Rounded up, and every pixel as bright as the last one taken counts; NaN without a valid pixel.
    """
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    values = original[mask]
    if not values.size:
        return math.nan
    rank = values.size - math.ceil(values.size * BRIGHT_FRACTION)
    return metric_error.rms((restored[mask] - values)[values >= np.partition(values, rank)[rank]])


def _otsu(values: Image) -> float:
    """Centre of the last histogram bin of the lower class that Otsu's method finds; values must differ."""
    low, high = float(values.min()), float(values.max())
    bins = np.minimum((values - low) / (high - low) * _OTSU_BINS, _OTSU_BINS - 1).astype(np.intp)
    share = np.bincount(bins, minlength=_OTSU_BINS) / values.size
    weight, mean = np.cumsum(share)[:-1], np.cumsum(share * np.arange(_OTSU_BINS))
    between = (mean[-1] * weight - mean[:-1]) ** 2 / (weight * (1.0 - weight))
    return low + (int(np.argmax(between)) + 0.5) * (high - low) / _OTSU_BINS
