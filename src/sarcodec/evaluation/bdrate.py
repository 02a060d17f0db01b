"""Average difference of two rate-distortion curves in bytes: the Bjøntegaard delta rate."""

import importlib
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate

from sarcodec import errors

BPP_RANGE: Final = (0.1, 2.0)
"""Bits per pixel between which curves are compared, where nothing else is said."""


def bd_rate(
    rates_a: ArrayLike,
    psnr_a: ArrayLike,
    rates_b: ArrayLike,
    psnr_b: ArrayLike,
    limits: tuple[float, float] = BPP_RANGE,
) -> float | None:
    """Rate that codec b needs against codec a at equal PSNR, on average, for one image.

    Logarithms of the rates are interpolated over PSNR by piecewise cubic Hermite polynomials (PCHIP) and compared
    over the PSNR that both curves reach between two limits of the rate (Bjøntegaard, ITU-T VCEG-M33, 2001; PCHIP
    as in ITU-T HSTP-VID-WPOM, 2020; by the package bjontegaard). A curve that crosses one of these limits is cut
    there, at a point that is interpolated too. Points that cost more than another and are not better are left out,
    so are lossless ones.

    Parameters
    ----------
    rates_a, rates_b : array_like, shape (N,) and (M,), real
        Bits per pixel, > 0, in any order.
    psnr_a, psnr_b : array_like, shape (N,) and (M,), real
        PSNR in dB at these rates.
    limits : pair of float
        Bits per pixel.

    Returns
    -------
    float or None
        Per cent; negative where b needs less. None if the curves have no PSNR in common within the limits.

    Raises
    ------
    InputError
        If a curve's arrays are not 1-D of one length, or a rate is not finite and positive or a PSNR NaN.
    MissingExtra
        If bjontegaard is not installed.
    """
    curve_a, curve_b = _curve(rates_a, psnr_a, limits), _curve(rates_b, psnr_b, limits)
    try:
        bjontegaard = importlib.import_module("bjontegaard")
    except ImportError as error:
        raise errors.MissingExtra("bjontegaard", "bench") from error
    if len(curve_a[0]) < 2 or len(curve_b[0]) < 2:
        return None
    if min(curve_a[1][-1], curve_b[1][-1]) <= max(curve_a[1][0], curve_b[1][0]):
        return None
    return float(
        bjontegaard.bd_rate(*curve_a, *curve_b, method="pchip", require_matching_points=False, min_overlap=0)
    )


def _curve(
    rates: ArrayLike, psnr: ArrayLike, limits: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sort a curve, leave out what is no better than a cheaper point, and cut it to the limits of the rate."""
    rate, quality = np.asarray(rates, dtype=np.float64), np.asarray(psnr, dtype=np.float64)
    if rate.ndim != 1 or rate.shape != quality.shape:
        raise errors.InputError(
            f"rates, psnr: got shapes {rate.shape}, {quality.shape}; pass 1-D arrays of one length"
        )
    if not (np.isfinite(rate) & (rate > 0.0)).all() or np.isnan(quality).any():
        raise errors.InputError(
            "rates, psnr: a rate is not finite and positive or a PSNR is NaN; leave such points out"
        )
    lossy = np.isfinite(quality)
    rate, quality = rate[lossy], quality[lossy]
    order = np.lexsort((-quality, rate))
    rate, quality = rate[order], quality[order]
    useful = quality > np.maximum.accumulate(np.concatenate([[-np.inf], quality]))[:-1]
    rate, quality = rate[useful], quality[useful]
    low, high = limits
    inside = (rate >= low) & (rate <= high)
    if len(rate) < 2 or rate[-1] <= low or rate[0] >= high:
        return rate[inside], quality[inside]
    ends = np.array([limit for limit in limits if rate[0] < limit < rate[-1] and limit not in rate])
    at_ends = interpolate.PchipInterpolator(np.log(rate), quality)(np.log(ends))
    rate, quality = np.append(rate[inside], ends), np.append(quality[inside], at_ends)
    order = np.argsort(rate)
    return rate[order], quality[order]
