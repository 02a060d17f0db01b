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
from numpy.typing import ArrayLike

from sarcodec import errors
from sarcodec.metrics import edges, radiometric, similarity
from sarcodec.metrics import error as metric_error
from sarcodec.metrics import images as metric_images
from sarcodec.metrics import looks as metric_looks


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
    original, restored, mask = metric_images.checked(original_db, restored_db, valid)
    bias_db, bias_median_abs_db, bias_p95_abs_db = radiometric.radiometric_bias(original, restored, mask)
    found = Metrics(
        valid_pixels=int(np.count_nonzero(mask)),
        rmse_db=metric_error.rmse_db(original, restored, mask),
        psnr_db=metric_error.psnr(original, restored, mask),
        ssim=similarity.ssim(original, restored, mask),
        ms_ssim=similarity.ms_ssim(original, restored, mask),
        enl_ratio=metric_looks.enl_ratio(original, restored, mask),
        epi=edges.epi(original, restored, mask),
        gradient_correlation=edges.gradient_correlation(original, restored, mask),
        bias_db=bias_db,
        bias_median_abs_db=bias_median_abs_db,
        bias_p95_abs_db=bias_p95_abs_db,
        water_iou=radiometric.water_iou(original, restored, mask),
        bright_target_error_db=radiometric.bright_target_error(original, restored, mask),
    )
    return lossless(found) if found.rmse_db == 0.0 else found


def lossless(figures: Metrics) -> Metrics:
    """Replace what is not defined of an exact copy, as of a constant image: agreements are 1, differences 0."""
    unknown: dict[str, Any] = {name: best for name, best in _LOSSLESS.items() if math.isnan(getattr(figures, name))}
    return dataclasses.replace(figures, **unknown)


def grade(name: str, value: float) -> Literal["excellent", "good", "poor"]:
    """Grade a figure by `TARGETS`; NaN is poor. Raises InputError for a name that has no target."""
    if name not in TARGETS:
        raise errors.InputError(f"name: no target for {name!r}; use one of {', '.join(sorted(TARGETS))}")
    (good, best), (excellent, highest) = TARGETS[name]["good"], TARGETS[name]["excellent"]
    if excellent <= value <= highest:
        return "excellent"
    return "good" if good <= value <= best else "poor"
