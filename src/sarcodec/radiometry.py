"""Radiometry: quantities, validity, decibels, clipping bounds and the Normalizer.

Everything downstream works on one scale: decibels, ``10·log10`` of intensity. Which pixels are valid is decided
once, on the values as they were read and before any logarithm or clip, because a filled or clipped pixel can no
longer be told from a measured one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors

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
                f"quantity: got {text!r}; pass one of {', '.join(q.value for q in cls)}"
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
    """Tell the quantity of a raster from its unit tag, dtype and range, in that order.

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
    Quantity

    Raises
    ------
    AmbiguousQuantity
        When the sample could be more than one quantity; the message says what to pass.
    """
    named = quantity_from_text(unit)
    if named is not None:
        return named
    values = np.asarray(sample)
    if values.dtype.kind == "u":
        return Quantity.DN
    values = values[np.isfinite(values)]
    if nodata is not None:
        values = values[values != nodata]
    values = values[values != 0]
    what = f"{np.asarray(sample).dtype} pixels"
    if values.size == 0:
        raise errors.AmbiguousQuantity(f"quantity: {what} without a valid value tell nothing; {_PASS_QUANTITY}")
    low, median, high = (float(v) for v in np.percentile(values, [0, 50, 100]))
    what += f" from {low:.4g} to {high:.4g}"
    if values.dtype.kind == "i":
        if low > 0:
            return Quantity.DN
        raise errors.AmbiguousQuantity(f"quantity: signed {what} are no amplitudes; {_PASS_QUANTITY}")
    if low >= -120 and high <= 60 and np.mean(values < 0) > 0.5:
        return Quantity.DB
    if low > 0 and np.all(values == np.round(values)) and median > 5:
        return Quantity.DN
    if median > 0 and low > -0.05 and median < 2 and np.mean(values < 0) < 0.1:
        return Quantity.INTENSITY
    raise errors.AmbiguousQuantity(f"quantity: {what} (median {median:.4g}) fit more than one; {_PASS_QUANTITY}")


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
    if values.dtype.kind == "f":
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
    linear = values.astype(np.float64)
    if quantity is Quantity.DN:
        return (20.0 * np.log10(np.maximum(linear, np.sqrt(NOISE_FLOOR)))).astype(np.float32)
    return (10.0 * np.log10(np.maximum(linear, NOISE_FLOOR))).astype(np.float32)


def from_db(
    db: npt.NDArray[np.floating[Any]], quantity: Quantity, dtype: npt.DTypeLike, nodata: float | None = None
) -> npt.NDArray[Any]:
    """Convert decibels back to ``quantity`` in ``dtype``: the inverse of :func:`to_db`.

    Integers are rounded to nearest and kept inside the dtype's range; a valid DN or intensity never becomes the
    invalid 0 but at least 1. A value that would be ``nodata`` takes the next one up (down at the top of the
    range), so that a valid pixel is never read as an invalid one.
    """
    target = np.dtype(dtype)
    wide = db.astype(np.float64)
    if quantity is Quantity.DN:
        wide = 10.0 ** (wide / 20.0)
    elif quantity is Quantity.INTENSITY:
        wide = 10.0 ** (wide / 10.0)
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


@dataclass(frozen=True)
class Bounds:
    """Clipping bounds in dB; ``vmin`` maps to 0 and ``vmax`` to 1."""

    vmin: float
    vmax: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.vmin) and np.isfinite(self.vmax) and self.vmin < self.vmax):
            raise errors.InputError(
                f"bounds: got vmin {self.vmin} and vmax {self.vmax} dB; both must be finite and vmin < vmax"
            )

    @property
    def span(self) -> float:
        """Width of the bounds in dB."""
        return self.vmax - self.vmin

    def apply(self, db: FloatArray) -> FloatArray:
        """Clip dB to the bounds and scale to [0, 1]; float32 of the same shape, NaN stays NaN."""
        scaled = (np.clip(db, self.vmin, self.vmax) - np.float32(self.vmin)) / np.float32(self.span)
        capped: FloatArray = np.minimum(scaled, 1).astype(np.float32)  # rounding may have left vmax just above 1
        return capped

    def invert(self, scaled: FloatArray) -> FloatArray:
        """Scale [0, 1] back to dB; exact to float32 rounding for values that were inside the bounds."""
        return (scaled * np.float32(self.span) + np.float32(self.vmin)).astype(np.float32)


@dataclass(frozen=True)
class Clipping:
    """How bounds follow from a distribution of dB values.

    ``method`` is ``"percentile"`` (``low`` and ``high`` in percent), ``"sigma"`` (mean − low·σ and mean + high·σ)
    or ``"fixed"`` (``low`` and ``high`` in dB).
    """

    method: str = "percentile"
    low: float = 0.01
    high: float = 99.99

    def __post_init__(self) -> None:
        rules = {
            "percentile": 0 <= self.low < self.high <= 100,
            "sigma": self.low > 0 and self.high > 0,
            "fixed": self.low < self.high,
        }
        if not rules.get(self.method, False):
            raise errors.InputError(
                f"clipping: got {self.method} {self.low} {self.high}; allowed are percentile with "
                "0 <= low < high <= 100, sigma with two positive factors, fixed with low < high in dB"
            )


class Histogram:
    """A fine histogram of dB values, filled in one pass over data of any size.

    Bins of 0.01 dB from −120 to +120 dB; values outside count in the outermost bins. Mean and variance are of
    the exact values.
    """

    LOW, HIGH, STEP = -120.0, 120.0, 0.01

    def __init__(self) -> None:
        self.counts = np.zeros(round((self.HIGH - self.LOW) / self.STEP), np.int64)
        self.sum = 0.0
        self.sum_squares = 0.0

    def add(self, db: FloatArray) -> None:
        """Count values in dB; NaN and infinities are left out."""
        values = db[np.isfinite(db)].astype(np.float64)
        index = np.clip((values - self.LOW) / self.STEP, 0, self.counts.size - 1).astype(np.int64)
        self.counts += np.bincount(index, minlength=self.counts.size)
        self.sum += float(values.sum())
        self.sum_squares += float((values**2).sum())

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean in dB."""
        return self.sum / self.total

    @property
    def std(self) -> float:
        """Standard deviation in dB."""
        return float(np.sqrt(max(self.sum_squares / self.total - self.mean**2, 0.0)))

    def percentile(self, percent: float) -> float:
        """Percentile in dB, interpolated inside its bin; within one bin width of the exact one."""
        edges = np.concatenate([[0], np.cumsum(self.counts)])
        rank = percent / 100.0 * edges[-1]
        index = int(np.clip(np.searchsorted(edges, rank, side="left") - 1, 0, self.counts.size - 1))
        if self.counts[index] == 0:
            index = int(np.flatnonzero(self.counts)[0])
        inside = np.clip((rank - edges[index]) / self.counts[index], 0.0, 1.0)
        return self.LOW + (index + float(inside)) * self.STEP

    def bounds(self, clipping: Clipping) -> Bounds:
        """Derive clipping bounds; a constant distribution gets one bin width either side."""
        if clipping.method == "fixed":
            return Bounds(clipping.low, clipping.high)
        if self.total == 0:
            raise errors.InputError("histogram: no valid pixel to fit clipping bounds to; add an image with some")
        if clipping.method == "sigma":
            low, high = self.mean - clipping.low * self.std, self.mean + clipping.high * self.std
        else:
            low, high = self.percentile(clipping.low), self.percentile(clipping.high)
        if high - low < 1.5 * self.STEP:
            low, high = low - self.STEP, high + self.STEP
        return Bounds(round(low, 4), round(high, 4))


@dataclass(frozen=True)
class Normalizer:
    """Clipping bounds per quantity and polarisation, fitted on the training images only.

    ``bounds`` is keyed by ``"db/VV"``, ``"dn/VH"`` and so on; intensity shares the keys of dB because both are
    decibels of the same backscatter. It is saved in every checkpoint, and the bounds of a band in every file.
    """

    clipping: Clipping
    bounds: Mapping[str, Bounds]

    @staticmethod
    def key(quantity: Quantity, polarisation: str) -> str:
        """Name the entry of a quantity and polarisation; an unknown polarisation is ``""``."""
        return f"{'dn' if quantity is Quantity.DN else 'db'}/{polarisation}"

    @classmethod
    def fit(cls, histograms: Mapping[str, Histogram], clipping: Clipping) -> Normalizer:
        """Fit bounds to histograms (keyed as ``bounds``) of the training images."""
        if not histograms:
            raise errors.InputError("histograms: none given; a Normalizer is fitted on at least one training image")
        return cls(clipping, {key: histograms[key].bounds(clipping) for key in sorted(histograms)})

    def select(self, quantity: Quantity, polarisation: str, median_db: float) -> Bounds:
        """Return the bounds for a band.

        The entry of its quantity and polarisation where there is one; else, of the entries of its quantity (of
        all, where it has none), the one whose centre is nearest to the band's median in dB.
        """
        exact = self.bounds.get(self.key(quantity, polarisation))
        if exact is not None:
            return exact
        prefix = self.key(quantity, "")
        candidates = [b for key, b in self.bounds.items() if key.startswith(prefix)] or list(self.bounds.values())
        return min(candidates, key=lambda b: abs((b.vmin + b.vmax) / 2 - median_db))

    def select_for(
        self, sample: npt.NDArray[Any], quantity: Quantity, polarisation: str, nodata: float | None
    ) -> Bounds:
        """Return the bounds for a band of which ``sample`` is a thinned copy; see :meth:`select`."""
        valid = classify(sample, quantity, nodata) == Fill.VALID
        median_db = float(np.median(to_db(sample[valid], quantity))) if valid.any() else 0.0
        return self.select(quantity, polarisation, median_db)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "clipping": {
                "method": self.clipping.method,
                "low": self.clipping.low,
                "high": self.clipping.high,
            },
            "bounds": {key: [b.vmin, b.vmax] for key, b in self.bounds.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Normalizer:
        """Inverse of :meth:`to_dict`; raises FormatError for anything else."""
        try:
            if set(data) != {"clipping", "bounds"}:
                raise KeyError(f"keys {sorted(data)}")
            if not data["bounds"]:
                raise ValueError("no bounds")
            return cls(Clipping(**data["clipping"]), {k: Bounds(*map(float, v)) for k, v in data["bounds"].items()})
        except (KeyError, TypeError, AttributeError, ValueError) as cause:
            raise errors.FormatError(f"normalizer: not a valid Normalizer record ({cause})") from cause
