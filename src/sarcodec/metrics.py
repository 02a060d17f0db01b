"""How good a restored SAR image is: every quality figure of the project, defined once.

Functions compare two 2-D images in dB (10·log10 of intensity) and compute in float64. Where a docstring says
no more, parameters and errors are those of `evaluate`. Three rules hold throughout:

* ``valid`` is a bool array, True where a pixel counts. An invalid pixel never changes a figure, whatever it
  holds: it is overwritten first, and windows that touch one are left out unless a docstring says otherwise.
* A figure that is not defined for an image (nothing valid, too small, no contrast) is NaN, never an error. Where
  nothing at all is lost, `evaluate` says so instead: see `lossless`.
* The scale is fixed: peak and data range are ``PEAK_DB`` = 30 dB, whatever a model clips or scales. They are
  never taken from the restored image, which would let a collapsed reconstruction grade itself.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sarcodec import errors, similarity

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]

PEAK_DB: Final = similarity.PEAK_DB
SSIM_WINDOW: Final = similarity.WINDOW
ENL_WINDOW: Final = 15
BIAS_WINDOW: Final = 32
BRIGHT_FRACTION: Final = 0.001
MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first
_MAX_ABS_DB = 300.0  # intensities beyond 1e±30 would overflow when squared; no radar measures them
_OTSU_BINS = 256


@dataclasses.dataclass(frozen=True)
class Metrics:
    """All quality figures of one restored image; a figure that is not defined is NaN.

    Fields are the results of the functions of their names, in dB where they say so.
    """

    valid_pixels: int
    rmse_db: float
    psnr_db: float
    ssim: float
    ms_ssim: float
    enl_ratio: float
    epi: float
    gradient_correlation: float
    bias_db: float
    bias_median_abs_db: float
    bias_p95_abs_db: float
    water_iou: float
    bright_target_error_db: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name, in the order of the fields; NaN and infinity stay floats."""
        return dataclasses.asdict(self)


_LOSSLESS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ssim", "ms_ssim", "enl_ratio", "epi", "gradient_correlation", "water_iou"), 1.0),
    **dict.fromkeys(("bias_median_abs_db", "bias_p95_abs_db"), 0.0),
}

TARGETS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "psnr_db": {"good": (30.0, math.inf), "excellent": (35.0, math.inf)},
    "ssim": {"good": (0.85, math.inf), "excellent": (0.95, math.inf)},
    "enl_ratio": {"good": (0.8, 1.2), "excellent": (0.9, 1.1)},
    "epi": {"good": (0.85, math.inf), "excellent": (0.95, math.inf)},
}
"""What the field calls good and excellent: closed intervals by the name of the field of `Metrics`."""


def evaluate(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike | None = None) -> Metrics:
    """Compute every quality figure of one restored image.

    Parameters
    ----------
    original_db, restored_db : array_like, shape (H, W), real
        Images in dB, finite wherever `valid` is True.
    valid : array_like, shape (H, W), bool, optional
        True where a pixel counts; by default where both images are finite.

    Returns
    -------
    Metrics
        All figures, each by the function of its name with default settings; of an exact copy as `lossless` has it.

    Raises
    ------
    InputError
        If an array is not 2-D, the shapes differ, `valid` is not bool, or a valid pixel is not finite.
    """
    if valid is None:
        valid = np.isfinite(np.asarray(original_db)) & np.isfinite(np.resize(restored_db, np.shape(original_db)))
    original, restored, mask = _checked(original_db, restored_db, valid)
    bias_db, bias_median_abs_db, bias_p95_abs_db = radiometric_bias(original, restored, mask)
    found = Metrics(
        valid_pixels=int(np.count_nonzero(mask)),
        rmse_db=rmse_db(original, restored, mask),
        psnr_db=psnr(original, restored, mask),
        ssim=ssim(original, restored, mask),
        ms_ssim=ms_ssim(original, restored, mask),
        enl_ratio=enl_ratio(original, restored, mask),
        epi=epi(original, restored, mask),
        gradient_correlation=gradient_correlation(original, restored, mask),
        bias_db=bias_db,
        bias_median_abs_db=bias_median_abs_db,
        bias_p95_abs_db=bias_p95_abs_db,
        water_iou=water_iou(original, restored, mask),
        bright_target_error_db=bright_target_error(original, restored, mask),
    )
    return lossless(found) if found.rmse_db == 0.0 else found


def lossless(figures: Metrics) -> Metrics:
    """Replace what is not defined of an exact copy, as of a constant image: agreements are 1, differences 0."""
    unknown = {name: best for name, best in _LOSSLESS.items() if math.isnan(getattr(figures, name))}
    return dataclasses.replace(figures, **unknown)  # type: ignore[arg-type]


def grade(name: str, value: float) -> Literal["excellent", "good", "poor"]:
    """Grade a figure by `TARGETS`; NaN is poor. Raises InputError for a name that has no target."""
    if name not in TARGETS:
        raise errors.InputError(f"name: no target for {name!r}; use one of {', '.join(sorted(TARGETS))}")
    (good, best), (excellent, highest) = TARGETS[name]["good"], TARGETS[name]["excellent"]
    if excellent <= value <= highest:
        return "excellent"
    return "good" if good <= value <= best else "poor"


def rmse_db(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Root mean square error in dB over valid pixels, in [0, inf); NaN without a valid pixel."""
    original, restored, mask = _checked(original_db, restored_db, valid)
    return _rms((restored - original)[mask])


def psnr(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """PSNR in dB, 20·log10(30 / RMSE); infinite for identical images, NaN without a valid pixel."""
    return _psnr(PEAK_DB, rmse_db(original_db, restored_db, valid))


def psnr_normalised(
    original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike, vmin_db: float, vmax_db: float
) -> float:
    """PSNR in dB of both images mapped from [vmin_db, vmax_db] to [0, 1] and clipped there, with peak 1.

    The scale of a study model, to be shown beside `psnr` together with both limits, never instead of it:
    clipping hides errors outside the range. Raises InputError also unless ``vmin_db < vmax_db``, both finite.
    """
    if not (math.isfinite(vmin_db) and math.isfinite(vmax_db) and vmin_db < vmax_db):
        raise errors.InputError(f"vmin_db, vmax_db: got {vmin_db}, {vmax_db}; pass finite vmin_db < vmax_db")
    original, restored, mask = _checked(original_db, restored_db, valid)
    error = np.clip(restored, vmin_db, vmax_db) - np.clip(original, vmin_db, vmax_db)
    return _psnr(1.0, _rms(error[mask] / (vmax_db - vmin_db)))


def ssim(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Structural similarity, in [-1, 1]: mean over all 11×11 Gaussian windows (σ = 1.5) of valid pixels.

    Both images are shifted by the original's minimum over valid pixels, because the luminance term wants
    non-negative values; K1 = 0.01, K2 = 0.03, data range 30 dB. Only windows that lie inside the image and
    hold no invalid pixel count; NaN when there is none, as in an image smaller than 11 pixels.
    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 13 (4), 2004.
    """
    return similarity.by_scale(*_checked(original_db, restored_db, valid), scales=1)[0][0]


def ms_ssim(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Multi-scale structural similarity over five scales, in [0, 1], on the shifted images of `ssim`.

    A pixel of the next scale is the mean of the valid pixels of its 2×2 block (cut at the image edge) and is
    valid when at least half of them are, so that a few lost pixels do not blot out the coarse scales.
    A negative term counts as 0. NaN unless every scale has a valid window, so both sides need 161 pixels.
    Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity", Asilomar 2003.
    """
    *finer, coarsest = similarity.by_scale(*_checked(original_db, restored_db, valid), scales=len(MS_SSIM_WEIGHTS))
    terms = np.array([contrast_structure for _, contrast_structure in finer] + [coarsest[0]])
    return float(np.prod(np.maximum(terms, 0.0) ** MS_SSIM_WEIGHTS))


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
    original, restored, mask = _checked(original_db, restored_db, valid)
    whole = _windows(mask, ENL_WINDOW).all(axis=1)
    looks = _enl_rows(_windows(_intensity(original), ENL_WINDOW)[whole])
    restored_looks = _enl_rows(_windows(_intensity(restored), ENL_WINDOW)[whole])
    speckled = np.isfinite(looks)
    looks, restored_looks = looks[speckled], restored_looks[speckled]
    fifth = np.sort(looks)[-math.ceil(looks.size / 5) :]
    chosen = looks >= (fifth.min(initial=math.inf) if max_cv is None else 1.0 / max_cv**2)
    return float(np.median(restored_looks[chosen] / looks[chosen])) if chosen.any() else math.nan


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


def radiometric_bias(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> tuple[float, float, float]:
    """Bias of the mean linear intensity, 10·log10(mean restored / mean original), in dB.

    Signed over all valid pixels; median and 95th percentile of its magnitude over 32×32 windows side by side
    from the top left corner. A window counts when at least half of its pixels are valid, and its means are
    over those. The overall figure is NaN without a valid pixel, the other two without a window (an image
    smaller than 32 pixels). Returned in that order. dB are clipped to ±300.
    """
    original, restored, mask = _checked(original_db, restored_db, valid)
    if not mask.any():
        return math.nan, math.nan, math.nan
    sums = [np.where(mask, _intensity(image), 0.0) for image in (restored, original)]
    overall = float(10.0 * np.log10(sums[0].sum() / sums[1].sum()))
    used = _windows(mask, BIAS_WINDOW).mean(axis=1) >= 0.5
    if not used.any():
        return overall, math.nan, math.nan
    restored_sum, original_sum = (_windows(image, BIAS_WINDOW)[used].sum(axis=1) for image in sums)
    windows = np.abs(10.0 * np.log10(restored_sum / original_sum))
    return overall, float(np.median(windows)), float(np.percentile(windows, 95))


def water_iou(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Intersection over union of the water masks of both images, in [0, 1].

    Water is what is not above one threshold in dB, which best parts the valid pixels of the original in two
    classes (256 bins from its minimum to its maximum). NaN without a valid pixel or contrast in the original.
    Source: Otsu, "A threshold selection method from gray-level histograms", IEEE TSMC 9 (1), 1979.
    """
    original, restored, mask = _checked(original_db, restored_db, valid)
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
    original, restored, mask = _checked(original_db, restored_db, valid)
    values = original[mask]
    if not values.size:
        return math.nan
    rank = values.size - math.ceil(values.size * BRIGHT_FRACTION)
    return _rms((restored[mask] - values)[values >= np.partition(values, rank)[rank]])


def _checked(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> tuple[Image, Image, Mask]:
    """Validate the arguments; images come back as float64 with every invalid pixel overwritten by 0."""
    mask = np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise errors.InputError(f"valid: got {mask.dtype} of shape {mask.shape}; pass a 2-D bool array")
    images: list[Image] = []
    for name, image in (("original_db", np.asarray(original_db)), ("restored_db", np.asarray(restored_db))):
        if image.dtype.kind not in "fiu":
            raise errors.InputError(f"{name}: got dtype {image.dtype}; pass real numbers in dB")
        if image.shape != mask.shape:
            raise errors.InputError(f"{name}: shape {image.shape}, valid: {mask.shape}; pass one 2-D shape")
        if lost := int(np.count_nonzero(~np.isfinite(image) & mask)):
            raise errors.InputError(f"{name}: {lost} valid pixels are not finite; repair or invalidate them")
        images.append(np.where(mask, image, 0).astype(np.float64))
    return images[0], images[1], mask


def _windows(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Cut (H, W) into side-by-side windows, shape (n, size²); incomplete ones are dropped."""
    rows, columns = (side // size for side in image.shape)
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return blocks.swapaxes(1, 2).reshape(rows * columns, size * size)


def _enl_rows(intensity: Image) -> Image:
    """μ²/σ² of each row: infinite for a constant one (judged exactly, not by rounding), NaN for zeros."""
    mean, variance = intensity.mean(axis=1), intensity.var(axis=1)
    varies = (intensity.max(axis=1, initial=-np.inf) > intensity.min(axis=1, initial=np.inf)) & (variance > 0)
    constant = np.where(mean > 0, np.inf, np.nan)
    return np.asarray(np.divide(mean * mean, variance, out=constant, where=varies))


def _intensity(image_db: Image) -> Image:
    return np.asarray(10.0 ** (np.clip(image_db, -_MAX_ABS_DB, _MAX_ABS_DB) / 10.0))


def _otsu(values: Image) -> float:
    """Centre of the last histogram bin of the lower class that Otsu's method finds; values must differ."""
    low, high = float(values.min()), float(values.max())
    bins = np.minimum((values - low) / (high - low) * _OTSU_BINS, _OTSU_BINS - 1).astype(np.intp)
    share = np.bincount(bins, minlength=_OTSU_BINS) / values.size
    weight, mean = np.cumsum(share)[:-1], np.cumsum(share * np.arange(_OTSU_BINS))
    between = (mean[-1] * weight - mean[:-1]) ** 2 / (weight * (1.0 - weight))
    return low + (int(np.argmax(between)) + 0.5) * (high - low) / _OTSU_BINS


def _gradients(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> tuple[Image, Image]:
    """Sobel magnitudes of both images, 1-D, where the 3×3 neighbourhood is valid and inside the image."""
    original, restored, mask = _checked(original_db, restored_db, valid)
    inside = similarity.whole_neighbourhood(mask, 3)
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


def _rms(error: Image) -> float:
    return math.sqrt(float(np.mean(error * error))) if error.size else math.nan


def _psnr(peak: float, rmse: float) -> float:
    return math.inf if rmse == 0.0 else 20.0 * math.log10(peak / rmse)
