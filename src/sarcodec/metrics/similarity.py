"""SSIM and MS-SSIM."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec.metrics import images as metric_images
from sarcodec.metrics import structure

Image = NDArray[np.float64]
SSIM_WINDOW: Final = structure.WINDOW
MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Structural similarity, in [-1, 1]: mean over all 11×11 Gaussian windows (σ = 1.5) of valid pixels.

    Both images are shifted by the original's minimum over valid pixels, because the luminance term wants
    non-negative values; K1 = 0.01, K2 = 0.03, data range 30 dB. Only windows that lie inside the image and
    hold no invalid pixel count; NaN when there is none, as in an image smaller than 11 pixels.
    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 13 (4), 2004.
    """
    return structure.by_scale(*metric_images.checked(original_db, restored_db, valid), scales=1)[0][0]


def ms_ssim(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> float:
    """Multi-scale structural similarity over five scales, in [0, 1], on the shifted images of `ssim`.

    A pixel of the next scale is the mean of the valid pixels of its 2×2 block (cut at the image edge) and is
    valid when at least half of them are, so that a few lost pixels do not blot out the coarse scales.
    A negative term counts as 0. NaN unless every scale has a valid window, so both sides need 161 pixels.
    Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity", Asilomar 2003.
    """
    *finer, coarsest = structure.by_scale(
        *metric_images.checked(original_db, restored_db, valid), scales=len(MS_SSIM_WEIGHTS)
    )
    terms = np.array([contrast_structure for _, contrast_structure in finer] + [coarsest[0]])
    return float(np.prod(np.maximum(terms, 0.0) ** MS_SSIM_WEIGHTS))
