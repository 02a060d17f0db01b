"""Normalisation: clipping bounds fitted to the training images, and the scale from dB to [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry

FloatArray = npt.NDArray[np.float32]


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
    def key(quantity: radiometry.Quantity, polarisation: str) -> str:
        """Name the entry of a quantity and polarisation; an unknown polarisation is ``""``."""
        return f"{'dn' if quantity is radiometry.Quantity.DN else 'db'}/{polarisation}"

    @classmethod
    def fit(cls, histograms: Mapping[str, Histogram], clipping: Clipping) -> Normalizer:
        """Fit bounds to histograms (keyed as ``bounds``) of the training images."""
        if not histograms:
            raise errors.InputError("histograms: none given; a Normalizer is fitted on at least one training image")
        return cls(clipping, {key: histograms[key].bounds(clipping) for key in sorted(histograms)})

    def select(self, quantity: radiometry.Quantity, polarisation: str, median_db: float) -> Bounds:
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
        self,
        sample: Callable[[], npt.NDArray[Any]],
        quantity: radiometry.Quantity,
        polarisation: str,
        nodata: float | None,
    ) -> Bounds:
        """Return the bounds for a band; see :meth:`select`.

        ``sample`` reads a thinned copy of the band, and is called only where its median decides.
        """
        exact = self.bounds.get(self.key(quantity, polarisation))
        if exact is not None:
            return exact
        values = sample()
        valid = radiometry.classify(values, quantity, nodata) == radiometry.Fill.VALID
        median_db = float(np.median(radiometry.to_db(values[valid], quantity))) if valid.any() else 0.0
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
            raise errors.FormatError(f"normalizer: not a valid Normalizer record ({errors.plain(cause)})") from cause
