"""Near-lossless coding of an integer field: what is left of an image once every pixel must be within a bound.

Two uses share one coder, :func:`encode` and :func:`decode`, as in JPEG-LS (ITU-T T.87) with its parameter NEAR:

* ``near = 0`` is lossless. With a lossy layer below, :func:`quantise` gives the few integers that bring every pixel
  within the bound, and they come back exactly.
* ``near > 0`` codes the image itself, in fine units, and lets every value be off by up to ``near`` of them. The
  error is quantised inside the prediction loop, against values that the decoder has too. On 10 m Sentinel-1 scenes
  at bounds of 0.5, 1 and 2 dB this took fewer bytes than a lossy layer with corrections.

Values stand less ``offset`` and go through :mod:`sarcodec.nearlossless.prediction` with a step of 2·near + 1; its
symbols are coded by :mod:`sarcodec.nearlossless.adaptive`. What decides a symbol is integers alone, never the
approximation that is corrected, which may differ a little between machines.

**Stream.** Empty when all valid values are within ``near`` of 0. Otherwise::

    flags      1 byte    bits 0–1, 2–3, 4–5: weights for the spacings 1, 2 and all wider ones: 0 none (predict 0),
                         1 fixed, 2 stored; bit 6: offset present; bit 7: near present; what is not present is 0
    near       1 byte    if present
    offset     4 bytes   if present, little-endian int32
    weights    19 bytes  for each of the spacings with stored ones, int8
    words      4·n bytes little-endian 32-bit words of one range coder stream, frequencies of 24 bits
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.nearlossless import adaptive, prediction
from sarcodec.nearlossless.prediction import LIMIT
from sarcodec.text import numerals

MAX_NEAR: Final = 255
FINE: Final = 15
"""A ``near`` fine enough to code an image by itself: units of 1/31 of the quantisation step."""

Field = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.floating[Any]] | float

_STORE_FROM = 16384  # pixels of a spacing from which weights of its own pay
_SPARSE = 16  # fields with fewer than one in so many off zero are not predicted


def quantise(
    original_db: Pixels,
    decoded_db: Pixels,
    valid: Mask,
    max_error_db: float,
    tolerance_db: float,
    near: int = 0,
) -> Field:
    """Difference of an image and its approximation in units that :func:`encode` can code.

    Parameters
    ----------
    original_db : ndarray of float, shape (h, w)
        The image in dB, finite where valid.
    decoded_db : ndarray of float, shape (h, w), or scalar
        Its approximation in dB, finite where valid; 0 when there is none.
    valid : ndarray of bool, shape (h, w)
        True where a pixel counts.
    max_error_db : float
        The bound that is to be met at every valid pixel.
    tolerance_db : float
        Part of it kept back for rounding and for approximations that differ a little between machines;
        above 0 and below `max_error_db`.
    near : int
        What will be passed to :func:`encode`, 0 … 255.

    Returns
    -------
    ndarray of int32, shape (h, w)
        Units of ``2·(max_error_db − tolerance_db) / (2·near + 1)``; 0 where invalid.

    Raises
    ------
    InputError
        For bounds out of range, pixels not finite, or differences of more than 2^20 units.
    """
    unit = _unit_db(max_error_db, tolerance_db, near)
    difference = np.where(valid, np.asarray(original_db, np.float64) - decoded_db, 0.0)
    if difference.shape != valid.shape or not np.isfinite(difference).all():
        raise errors.InputError(
            f"original_db, decoded_db: got {np.shape(original_db)} and {np.shape(decoded_db)} with a mask of "
            f"{valid.shape}; pass arrays of one shape that are finite where valid"
        )
    units = np.rint(difference / unit)
    if units.size and np.abs(units).max() > LIMIT:
        raise errors.InputError(
            f"max_error_db: {max_error_db} dB is too fine for a difference of {np.abs(difference).max():.1f} dB "
            f"(at most {LIMIT} units of {numerals.significant(unit, 2)} dB); allow a larger error"
        )
    return units.astype(np.int32)


def apply(
    decoded_db: Pixels, residual: Field, max_error_db: float, tolerance_db: float, near: int = 0
) -> npt.NDArray[np.float32]:
    """Add decoded units to the approximation that they correct; the inverse of :func:`quantise`.

    Parameters
    ----------
    decoded_db : ndarray of float, shape (h, w), or scalar
        The approximation in dB; what is NaN stays NaN.
    residual : ndarray of int32, shape (h, w)
        What :func:`decode` gave.
    max_error_db, tolerance_db, near
        As they were for :func:`quantise`.

    Returns
    -------
    ndarray of float32, shape (h, w)
        dB, within `max_error_db` of the original where valid, so long as `decoded_db` is within `tolerance_db`
        (less a few millionths of a dB for float32) of what it was there; `decoded_db` where invalid.

    Raises
    ------
    InputError
        For bounds out of range.
    """
    unit = _unit_db(max_error_db, tolerance_db, near)
    corrected = np.asarray(decoded_db, np.float64) + unit * residual
    return np.asarray(corrected, np.float32)


def _unit_db(max_error_db: float, tolerance_db: float, near: int) -> float:
    if not (0 < tolerance_db < max_error_db < np.inf and 0 <= near <= MAX_NEAR):
        raise errors.InputError(
            f"max_error_db, tolerance_db, near: got {max_error_db}, {tolerance_db}, {near}; pass "
            f"0 < tolerance_db < max_error_db and near of 0 to {MAX_NEAR}"
        )
    return 2.0 * (max_error_db - tolerance_db) / (2 * near + 1)


def encode(residual: Field, valid: Mask, near: int = 0) -> bytes:
    """Encode an integer field, exactly or within a bound.

    Parameters
    ----------
    residual : ndarray of int32, shape (h, w)
        At most 2^20 in magnitude where valid; ignored elsewhere.
    valid : ndarray of bool, shape (h, w)
        True where a value counts; the decoder must be given the same.
    near : int
        Largest allowed difference of a restored value, 0 … 255; 0 is lossless.

    Returns
    -------
    bytes
        As the module's docstring describes; empty when zeros are good enough. The weights are fitted in floating
        point, so another machine may make other bytes of the same field; every machine decodes them alike.

    Raises
    ------
    InputError
        For arrays of other shapes or types, values beyond 2^20 and `near` out of range.
    """
    if residual.dtype.kind != "i" or valid.dtype != np.bool_ or residual.shape != valid.shape or valid.ndim != 2:
        raise errors.InputError(
            f"residual, valid: got {residual.dtype} of {residual.shape} and {valid.dtype} of {valid.shape}; "
            f"pass 2-D arrays of one shape, of int32 and bool"
        )
    values = residual[valid]
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if max(high, -low) > LIMIT or not 0 <= near <= MAX_NEAR:
        raise errors.InputError(
            f"residual, near: got values of {low} … {high} and near {near}; they may be ±{LIMIT} and 0 … {MAX_NEAR}"
        )
    if max(high, -low) <= near:
        return b""
    offset = int(np.median(values))
    sparse = near == 0 and int(np.count_nonzero(values - offset)) < values.size // _SPARSE
    target = np.where(valid, residual.astype(np.int32) - np.int32(offset), 0).astype(np.int32)
    weights = prediction.Weights(_weight_kinds(values.size, sparse))
    port = adaptive.Encoder(prediction.KINDS)
    prediction.walk(valid, 2 * near + 1, weights, port, target)
    return _header(weights, near, offset) + port.finish()


def decode(data: bytes, valid: Mask) -> Field:
    """Decode what :func:`encode` made.

    Parameters
    ----------
    data : bytes
        The stream.
    valid : ndarray of bool, shape (h, w)
        The mask that it was encoded with; the caller has checked its size against its limits.

    Returns
    -------
    ndarray of int32, shape (h, w)
        The values, each within the encoder's ``near``; 0 where invalid.

    Raises
    ------
    FormatError
        When the stream is damaged in a way that shows. Damage that does not is for checksums to find.
    """
    if not data:
        return np.zeros(valid.shape, np.int32)
    weights, near, offset, words = _parse(data)
    port = adaptive.Decoder(prediction.KINDS, words)
    restored = prediction.walk(valid, 2 * near + 1, weights, port)
    port.finish()
    return np.where(valid, restored + np.int32(offset), np.int32(0))


def _weight_kinds(pixels: int, sparse: bool) -> tuple[int, int, int]:
    if sparse:
        return (prediction.Weights.NONE,) * 3
    fixed, stored = prediction.Weights.FIXED, prediction.Weights.STORED
    return stored if pixels >= _STORE_FROM else fixed, stored if pixels >> 2 >= _STORE_FROM else fixed, fixed


def _header(weights: prediction.Weights, near: int, offset: int) -> bytes:
    flags = sum(kind << (2 * spacing) for spacing, kind in enumerate(weights.kinds))
    head = bytes([flags | bool(offset) << 6 | bool(near) << 7])
    return (
        head + (bytes([near]) if near else b"") + (struct.pack("<i", offset) if offset else b"") + weights.to_bytes()
    )


def _parse(data: bytes) -> tuple[prediction.Weights, int, int, bytes]:
    """Return weights, near, offset and the bytes of the words."""
    flags = data[0]
    kinds = [flags >> (2 * spacing) & 3 for spacing in range(3)]
    offset_at = 1 + (flags >> 7)
    weights_at = offset_at + 4 * (flags >> 6 & 1)
    words_at = weights_at + prediction.Weights.SIZE * kinds.count(prediction.Weights.STORED)
    if len(data) < words_at or (len(data) - words_at) % 4:
        raise errors.FormatError(f"residual: {len(data)} bytes with flags {flags:#04x}; the entry is damaged")
    weights = prediction.Weights(kinds, data[weights_at:words_at])
    near = data[1] if flags >> 7 else 0
    offset = struct.unpack("<i", data[offset_at:weights_at])[0] if flags >> 6 & 1 else 0
    if abs(offset) > LIMIT:
        raise errors.FormatError(f"residual: an offset of {offset} is out of range; the entry is damaged")
    return weights, near, offset, data[words_at:]
