"""Root mean square error and PSNR."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors
from sarcodec.metrics import images as metric_images

Image = NDArray[np.float64]
PEAK_DB: Final = 30.0


def rmse_db(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Root mean square error in dB over valid pixels, in [0, inf); NaN without a valid pixel."""
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    return rms((restored - original)[mask])


def psnr(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """PSNR in dB, 20·log10(30 / RMSE); infinite for identical images, NaN without a valid pixel."""
    return psnr_of(rmse_db(original_db, restored_db, valid))


def psnr_normalised(
    original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike, vmin_db: float, vmax_db: float
) -> float:
    """PSNR in dB of both images mapped from [vmin_db, vmax_db] to [0, 1] and clipped there, with peak 1.

    The scale of a study model, to be shown beside `psnr` together with both limits, never instead of it:
    clipping hides errors outside the range. Raises InputError also unless ``vmin_db < vmax_db``, both finite.
    """
    if not (math.isfinite(vmin_db) and math.isfinite(vmax_db) and vmin_db < vmax_db):
        raise errors.InputError(f"vmin_db, vmax_db: got {vmin_db}, {vmax_db}; pass finite vmin_db < vmax_db")
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    error = np.clip(restored, vmin_db, vmax_db) - np.clip(original, vmin_db, vmax_db)
    return _psnr(1.0, rms(error[mask] / (vmax_db - vmin_db)))


def psnr_of(rmse_db: float) -> float:
    """PSNR in dB, peak 30 dB, of a root mean square error in dB; infinite for 0."""
    return _psnr(PEAK_DB, rmse_db)


def rmse_of(psnr_db: float) -> float:
    """Inverse of :func:`psnr_of`."""
    return float(PEAK_DB * 10.0 ** (-psnr_db / 20.0))


def rms(error: Image) -> float:
    """Root mean square of an array; NaN of an empty one."""
    return math.sqrt(float(np.mean(error * error))) if error.size else math.nan


def _psnr(peak: float, rmse: float) -> float:
    return math.inf if rmse == 0.0 else 20.0 * math.log10(peak / rmse)
