"""Radiometry: quantities, validity and decibels.

Everything downstream works on one scale: decibels, ``10·log10`` of intensity. Which pixels are valid is decided
once, on the values as they were read and before any logarithm or clip, because a filled or clipped pixel can no
longer be told from a measured one.
"""

from __future__ import annotations

import enum
import functools
import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.text import numerals

NOISE_FLOOR = 1e-10
"""Smallest intensity whose logarithm is taken (linear power; −100 dB)."""

FloatArray = npt.NDArray[np.float32]


class Quantity(enum.StrEnum):
    """What the numbers of a raster are."""

    INTENSITY = "intensity"
    """Linear power: sigma0, beta0, gamma0. Valid above zero."""
    DN = "dn"
    """Linear amplitude, as the digital numbers of a GRD product. Valid above zero."""
    DB = "db"
    """Decibels of intensity. Every finite value is valid."""

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Return the quantity called ``text``; raise InputError for an unknown name."""
        try:
            return cls(text.lower())
        except ValueError:
            raise errors.InputError(
                f"quantity: got {errors.plain(repr(text))}; pass one of {', '.join(q.value for q in cls)}"
            ) from None


class Fill(enum.IntEnum):
    """Why a pixel is invalid; stored losslessly so that its value comes back exactly."""

    VALID = 0
    NODATA = 1
    ZERO = 2
    NAN = 3
    POSITIVE_INFINITY = 4
    NEGATIVE_INFINITY = 5
    NEGATIVE = 6
    """A negative intensity or amplitude. Its value is not kept: it comes back as nodata, else NaN, else 0."""


_UNIT_WORDS = {
    Quantity.DB: ("db", "decibel"),
    Quantity.DN: ("amplitude", "dn", "digital number"),
    Quantity.INTENSITY: ("intensity", "power", "linear", "sigma0", "sigma nought", "gamma0", "beta0"),
}


def quantity_from_text(text: str) -> Quantity | None:
    """Read a quantity from a unit tag such as ``"sigma0 dB"``; None when it names none.

    Decibels win over the other words: "sigma0 dB" is in decibels.
    """
    words = re.findall(r"[a-z0-9]+", text.lower())
    joined = f" {' '.join(words)} "
    for quantity, names in _UNIT_WORDS.items():
        if any(f" {name} " in joined for name in names):
            return quantity
    return None


def detect_quantity(sample: npt.NDArray[Any], nodata: float | None = None, unit: str = "") -> Quantity:
    """Tell the quantity of a raster: :func:`decide_quantity` without the reason."""
    return decide_quantity(sample, nodata, unit)[0]


def decide_quantity(sample: npt.NDArray[Any], nodata: float | None = None, unit: str = "") -> tuple[Quantity, str]:
    """Tell the quantity of a raster from its unit tag, dtype and range, in that order, and by which of them.

    Parameters
    ----------
    sample : ndarray
        Pixels of the raster, any shape, in the dtype of the file; a thinned sample is enough.
    nodata : float, optional
        The raster's nodata value; such pixels are not looked at.
    unit : str
        Text of unit tags and band descriptions, for example ``"sigma0 dB"``.

    Returns
    -------
    Quantity, str
        The quantity and what it was told by, in a few words.

    Raises
    ------
    AmbiguousQuantity
        When the sample could be more than one quantity, or is of bytes; the message says what to pass.
    """
    named = quantity_from_text(unit)
    if named is not None:
        return named, f"unit {unit!r}"
    values = np.asarray(sample)
    if values.dtype.kind in "ui" and values.dtype.itemsize == 1:
        raise errors.AmbiguousQuantity(
            f"quantity: {values.dtype} pixels are rather a picture or a mask than backscatter; {_PASS_QUANTITY}"
        )
    if values.dtype.kind == "u":
        return Quantity.DN, f"dtype {values.dtype}"
    values = values[np.isfinite(values)]
    if nodata is not None:
        values = values[values != nodata]
    values = values[values != 0]
    what = f"{np.asarray(sample).dtype} pixels"
    if values.size == 0:
        raise errors.AmbiguousQuantity(f"quantity: {what} without a valid value tell nothing; {_PASS_QUANTITY}")
    low, first, median, high = (float(v) for v in np.percentile(values, [0, 1, 50, 100]))
    what += f" from {numerals.significant(low)} to {numerals.significant(high)}"
    if values.dtype.kind == "i":
        if low > 0:
            return Quantity.DN, what
        raise errors.AmbiguousQuantity(f"quantity: signed {what} are no amplitudes; {_PASS_QUANTITY}")
    if low >= -120 and high <= 60 and np.mean(values < 0) > 0.5:
        return Quantity.DB, what
    if low > 0 and np.all(values == np.round(values)) and median > 5:
        return Quantity.DN, what
    if 0 < median < 2 and first > -0.05 and np.mean(values < 0) < 0.1:  # noise subtraction leaves a few below zero
        return Quantity.INTENSITY, what
    raise errors.AmbiguousQuantity(
        f"quantity: {what} (median {numerals.significant(median)}) fit more than one; {_PASS_QUANTITY}"
    )


_PASS_QUANTITY = "pass quantity (--quantity) intensity, dn or db"


def classify(values: npt.NDArray[Any], quantity: Quantity, nodata: float | None = None) -> npt.NDArray[np.uint8]:
    """Tell valid pixels from the kinds of invalid ones.

    Parameters
    ----------
    values : ndarray
        Pixels as read, any shape and real dtype.
    quantity : Quantity
        Intensity and DN are valid above zero, dB wherever finite.
    nodata : float, optional
        Declared nodata value, NaN included.

    Returns
    -------
    ndarray of uint8
        :class:`Fill` codes of the same shape; 0 means valid.
    """
    codes = np.zeros(values.shape, np.uint8)
    if quantity is not Quantity.DB:
        codes[values < 0] = Fill.NEGATIVE
        codes[values == 0] = Fill.ZERO
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        codes[np.isnan(values)] = Fill.NAN
        codes[np.isposinf(values)] = Fill.POSITIVE_INFINITY
        codes[np.isneginf(values)] = Fill.NEGATIVE_INFINITY
    if nodata is not None:
        codes[np.isnan(values) if np.isnan(nodata) else values == nodata] = Fill.NODATA
    return codes


def fill_value(code: int, dtype: npt.DTypeLike, nodata: float | None = None) -> float:
    """Return the value with which an invalid pixel of kind ``code`` comes back.

    Raises FormatError for a code that is no :class:`Fill` or that pixels of ``dtype`` cannot have.
    """
    real = np.dtype(dtype).kind == "f"
    values = {Fill.ZERO: 0.0}
    if real:
        values |= {Fill.NAN: np.nan, Fill.POSITIVE_INFINITY: np.inf, Fill.NEGATIVE_INFINITY: -np.inf}
    if nodata is None or not (real or np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max):
        nodata = np.nan if real else 0.0
    values |= {Fill.NODATA: nodata, Fill.NEGATIVE: nodata}
    if code not in values:
        raise errors.FormatError(f"mask: code {code} is no kind of invalid {np.dtype(dtype)} pixel")
    return values[Fill(code)]


def to_db(values: npt.NDArray[Any], quantity: Quantity) -> FloatArray:
    """Convert pixels to decibels of intensity.

    ``10·log10(intensity)``, ``20·log10(DN)``, or unchanged for dB. The intensity is floored at
    :data:`NOISE_FLOOR` first, so invalid pixels must be told apart before (:func:`classify`); NaN stays NaN.

    Parameters
    ----------
    values : ndarray
        Any shape, real dtype, in ``quantity``.

    Returns
    -------
    ndarray of float32
        dB, same shape.
    """
    if quantity is Quantity.DB:
        return values.astype(np.float32)
    if values.dtype == np.uint16 and values.size > 1 << 16:
        found: FloatArray = _db_of_uint16(quantity)[values]
        return found
    linear = values.astype(np.float64)
    if quantity is Quantity.DN:
        return (20.0 * np.log10(np.maximum(linear, np.sqrt(NOISE_FLOOR)))).astype(np.float32)
    return (10.0 * np.log10(np.maximum(linear, NOISE_FLOOR))).astype(np.float32)


@functools.cache
def _db_of_uint16(quantity: Quantity) -> FloatArray:
    """Return the dB of all values: looking them up takes a tenth of the time."""
    return to_db(np.arange(1 << 16, dtype=np.uint16), quantity)


def from_db(
    db: npt.NDArray[np.floating[Any]], quantity: Quantity, dtype: npt.DTypeLike, nodata: float | None = None
) -> npt.NDArray[Any]:
    """Convert decibels back to ``quantity`` in ``dtype``: the inverse of :func:`to_db`.

    Integers are rounded to nearest and kept inside the dtype's range; a valid DN or intensity never becomes the
    invalid 0 but at least 1. A value that would be ``nodata`` takes the next one up (down at the top of the
    range), so that a valid pixel is never read as an invalid one.
    """
    target = np.dtype(dtype)
    # float32 is as exact as decibels are, but not as integers of more than 16 bits
    working = np.float32 if target.itemsize <= 2 or target == np.float32 else np.float64
    wide: npt.NDArray[Any] = db.astype(working, copy=False)
    if quantity is not Quantity.DB:
        decade = 20.0 if quantity is Quantity.DN else 10.0
        with np.errstate(over="ignore"):  # integers are clipped, others infinite
            wide = np.exp(wide * (math.log(10) / decade))  # sooner done than a power of ten
    if target.kind == "f":
        pixels: npt.NDArray[Any] = wide.astype(target)
    else:
        limits = np.iinfo(target)
        lowest = limits.min if quantity is Quantity.DB else 1
        pixels = np.clip(np.rint(wide), lowest, limits.max).astype(target)
    if nodata is not None and (taken := pixels == nodata).any():
        if target.kind == "f":
            pixels[taken] = np.nextafter(pixels[taken], np.array(np.inf, target))
        else:
            pixels[taken] = nodata - 1 if nodata == limits.max else nodata + 1
    return pixels


def fill_with_mean(db: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Give invalid pixels (any shape) the mean of the valid ones, 0 without one: cheap to code, thrown away after."""
    if valid.all():
        return db
    return np.where(valid, db, np.float32(db[valid].mean() if valid.any() else 0.0)).astype(np.float32)


def block_means(pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.float64]:
    """Return for every pixel (H, W) the mean of the valid ones of its block of ``side``², 0 where it has none."""
    rows, columns = (-(-length // side) for length in pixels.shape)
    shape = rows, side, columns, side
    missing = [(0, -length % side) for length in pixels.shape]
    counts = np.pad(valid, missing).reshape(shape).sum(axis=(1, 3))
    sums = np.pad(np.where(valid, pixels, 0.0), missing).reshape(shape).sum(axis=(1, 3), dtype=np.float64)
    means = np.repeat(np.repeat(sums / np.maximum(counts, 1), side, axis=0), side, axis=1)
    return means[: pixels.shape[0], : pixels.shape[1]]
