"""JPEG 2000 on amplitude, as a GDAL user would do it."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors
from sarcodec.baselines import images, peer


def dn_jpeg2000(dn: ArrayLike, valid: ArrayLike, target_bytes: int) -> tuple[NDArray[np.float64], int]:
    """Code 16-bit amplitude with JPEG 2000 as it is, without going through dB.

    Parameters
    ----------
    dn : array_like, shape (H, W), uint16
        Amplitude as digital numbers, coded as stored, zeros of invalid pixels included.
    valid : array_like, shape (H, W), bool
        True where a pixel counts; `dn` is positive there.
    target_bytes : int
        Budget for the whole codestream.

    Returns
    -------
    restored_db : ndarray, shape (H, W), float64
        20·log10 of the decoded DN, to compare with `restore`; a decoded 0 counts as 1. NaN where `valid` is False.
    n_bytes : int
        Length of the codestream, at most `target_bytes`.

    Raises
    ------
    InputError
        If the arrays are not 2-D and of one shape, `dn` is not uint16, `valid` is not bool, a valid pixel is 0,
        or the budget is too small.
    MissingExtra
        If imagecodecs is not installed.
    """
    image, mask = np.asarray(dn), np.asarray(valid)
    if image.dtype != np.uint16 or mask.dtype != np.bool_ or image.shape != mask.shape or image.ndim != 2:
        raise errors.InputError(
            f"dn, valid: got {image.dtype} of shape {image.shape}, {mask.dtype} of shape {mask.shape}; "
            f"pass 2-D arrays of one shape, dn of uint16 and valid of bool"
        )
    if not mask.any() or not image[mask].all():
        raise errors.InputError("dn: pass at least one valid pixel and no valid pixel of DN 0, which has no dB")
    codec = images.Jpeg2000()
    data = peer.largest_within(lambda level: codec.encode_u16(image, level), codec, target_bytes)
    restored_dn = np.maximum(codec.decode_u16(data), 1).astype(np.float64)
    return np.where(mask, 20.0 * np.log10(restored_dn), math.nan), len(data)
