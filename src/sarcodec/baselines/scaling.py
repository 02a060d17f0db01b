"""dB images as whole numbers: the mapping by minimum and maximum that image codecs need."""

import math
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors

SIDE_BYTES: Final = 8
"""Bytes at the head of an image codec's stream: the minimum and maximum of its mapping, float32 each."""

_TOP = 65535
_LIMITS = struct.Struct("<ff")


def fill(db: ArrayLike, valid: ArrayLike) -> NDArray[np.float32]:
    """Make a dB image finite everywhere, as peers need it.

    Parameters
    ----------
    db : array_like, shape (H, W), real
        Image in dB, finite wherever `valid` is True.
    valid : array_like, shape (H, W), bool
        True where a pixel counts.

    Returns
    -------
    ndarray, shape (H, W), float32
        The image with invalid pixels replaced by the mean of the valid ones, which costs a codec little.

    Raises
    ------
    InputError
        If the arrays are not 2-D and of one shape, `valid` is not bool or has no True, or a valid pixel is
        not finite.
    """
    return _filled(db, valid).astype(np.float32)


def to_uint16(db: ArrayLike, valid: ArrayLike) -> tuple[NDArray[np.uint16], float, float]:
    """Map a dB image to 16 bit by its minimum and maximum over valid pixels.

    Parameters
    ----------
    db, valid : array_like, shape (H, W)
        As in `fill`; invalid pixels are replaced as there.

    Returns
    -------
    image_u16 : ndarray, shape (H, W), uint16
        0 at `vmin_db`, 65535 at `vmax_db`; all 0 for a constant image.
    vmin_db, vmax_db : float
        Limits in dB, rounded outwards to float32, as they are stored.

    Raises
    ------
    InputError
        As `fill`.
    """
    filled = _filled(db, valid)
    vmin_db = -_float32_at_least(-float(filled.min()))
    vmax_db = _float32_at_least(float(filled.max()))
    return _codes(filled, vmin_db, vmax_db, _TOP), vmin_db, vmax_db


def from_uint16(image_u16: NDArray[np.uint16], vmin_db: float, vmax_db: float) -> NDArray[np.float64]:
    """Undo `to_uint16`: (H, W) uint16 to float64 in dB, within half a step of (vmax_db - vmin_db) / 65535."""
    return _decibels(image_u16, vmin_db, vmax_db, _TOP)


def pack(db: NDArray[np.floating[Any]], top: int, stretch: float = 1.0) -> tuple[NDArray[np.uint16], bytes]:
    """Map a finite dB image to codes 0…`top` and return them with the `SIDE_BYTES` bytes that `unpack` needs.

    `stretch` >= 1 widens the range upwards by that factor: the image then uses fewer of the codes.
    """
    vmin_db = -_float32_at_least(-float(db.min()))
    vmax_db = _float32_at_least(vmin_db + stretch * (float(db.max()) - vmin_db))
    return _codes(np.asarray(db, dtype=np.float64), vmin_db, vmax_db, top), _LIMITS.pack(vmin_db, vmax_db)


def unpack(codes: NDArray[np.uint16], head: bytes, top: int) -> NDArray[np.float32]:
    """Undo `pack` within half a step: (H, W) codes to float32 in dB, given a stream that starts with its bytes."""
    vmin_db, vmax_db = _LIMITS.unpack_from(head)
    return _decibels(codes, vmin_db, vmax_db, top).astype(np.float32)


def _filled(db: ArrayLike, valid: ArrayLike) -> NDArray[np.float64]:
    image, mask = np.asarray(db, dtype=np.float64), np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2 or image.shape != mask.shape:
        raise errors.InputError(
            f"db, valid: got shapes {image.shape}, {mask.shape} and valid of {mask.dtype}; "
            f"pass 2-D arrays of one shape, valid of bool"
        )
    values = image[mask]
    if not values.size or not np.isfinite(values).all():
        raise errors.InputError(
            f"db: {values.size} valid pixels, {np.count_nonzero(~np.isfinite(values))} of them not finite; "
            f"pass at least one valid pixel and only finite ones"
        )
    # rounding can carry a mean out of the range of its values
    return np.where(mask, image, np.clip(values.mean(), values.min(), values.max()))


def _codes(db: NDArray[np.float64], vmin_db: float, vmax_db: float, top: int) -> NDArray[np.uint16]:
    if vmin_db == vmax_db:
        return np.zeros(db.shape, np.uint16)
    return np.rint((db - vmin_db) / (vmax_db - vmin_db) * top).astype(np.uint16)


def _decibels(codes: NDArray[np.uint16], vmin_db: float, vmax_db: float, top: int) -> NDArray[np.float64]:
    return np.asarray(vmin_db + codes.astype(np.float64) * ((vmax_db - vmin_db) / top))


def _float32_at_least(value: float) -> float:
    rounded = np.float32(value)
    # compared as float: NumPy would round a Python number to float32 first and see no difference
    return float(rounded if float(rounded) >= value else np.nextafter(rounded, np.float32(math.inf)))
