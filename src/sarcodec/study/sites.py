"""Where to look: crops of the test images that show a town, a coast, fields and sea."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sarcodec.evaluation import chips
from sarcodec.pages import pictures

SIDE = 128
"""Rows and columns of a crop."""
KINDS = ("town", "coast", "fields", "sea")
_LOOKS = 8

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """A crop: which band of which image, and its top left corner."""

    image: str
    band: str
    top: int
    left: int

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the crop."""
        return slice(self.top, self.top + SIDE), slice(self.left, self.left + SIDE)

    def overlaps(self, other: Place) -> bool:
        """Tell whether two crops show a common part of one image."""
        near = max(abs(self.top - other.top), abs(self.left - other.left)) < SIDE
        return near and self.image == other.image


def find(images: Sequence[chips.Chip]) -> dict[str, Place]:
    """Choose a town, a coast, fields and sea by statistics of the originals alone.

    Candidates are windows of 128×128 without a gap, every 64 pixels. Of each, 8×8 means of intensity in dB (speckle
    mostly gone) are looked at. **Town**: the most pixels above the 98th percentile of the image, times how far in dB
    that is above its median: many strong scatterers. **Sea**: how far the mean is below the brightest tenth of the
    image, over the deviation of the means: dark and even. **Coast**: the widest gap
    between the means of two classes (Otsu), the smaller with at least a quarter of the window. **Fields**: of windows
    with less σ/μ than most and nothing as dark as the darkest fifth of their image, the largest deviation of the
    means. Windows do not overlap, in whatever band.
    """
    candidates = [found for chip in images for found in _candidates(chip)]
    if not candidates:
        return {}
    usual = float(np.median([window.variation for window in candidates]))
    rules: dict[str, Callable[[_Window], float]] = {
        "coast": lambda w: w.gap,
        "town": lambda w: w.bright,
        "sea": lambda w: (w.light - w.mean) / max(w.deviation, 1e-6),
        "fields": lambda w: w.deviation if w.variation < usual and w.low > w.dim else -math.inf,
    }
    places: dict[str, Place] = {}
    for kind, rule in rules.items():
        free = (w for w in candidates if not any(w.place.overlaps(taken) for taken in places.values()))
        best = max(free, key=rule, default=None)
        if best is not None and rule(best) > -math.inf:
            places[kind] = best.place
    return {kind: places[kind] for kind in KINDS if kind in places}


@dataclass(frozen=True)
class _Window:
    place: Place
    bright: float
    variation: float
    mean: float
    low: float
    deviation: float
    gap: float
    dim: float
    light: float


def _candidates(chip: chips.Chip) -> list[_Window]:
    means = pictures.multilook(np.where(chip.valid, chip.db, np.float32(np.nan)), _LOOKS)
    known = means[np.isfinite(means)]
    if not known.size:
        return []
    dim, light = (float(v) for v in np.percentile(known, [20, 90]))
    middle, bright = (float(v) for v in np.percentile(chip.db[chip.valid], [50, 98]))
    found = []
    for top in range(0, chip.db.shape[0] - SIDE + 1, SIDE // 2):
        for left in range(0, chip.db.shape[1] - SIDE + 1, SIDE // 2):
            place = Place(chip.image, chip.band, top, left)
            if chip.valid[place.area].all():
                intensity = 10.0 ** (chip.db[place.area].astype(np.float64) / 10.0)
                inner = pictures.multilook(chip.db[place.area], _LOOKS)
                found.append(
                    _Window(
                        place,
                        bright=float((chip.db[place.area] > bright).mean()) * (bright - middle),
                        variation=float(intensity.std() / intensity.mean()),
                        mean=float(inner.mean()),
                        low=float(np.percentile(inner, 5)),
                        deviation=float(inner.std()),
                        gap=_gap(inner),
                        dim=dim,
                        light=light,
                    )
                )
    return found


def _gap(means: FloatArray) -> float:
    """Return the distance of the means of the two classes that part best, each with a quarter of the values."""
    ordered = np.sort(means, axis=None).astype(np.float64)
    cuts = np.arange(ordered.size // 4, ordered.size - ordered.size // 4)
    sums = np.cumsum(ordered)
    lower, upper = sums[cuts - 1] / cuts, (sums[-1] - sums[cuts - 1]) / (ordered.size - cuts)
    share = cuts / ordered.size
    best = int(np.argmax(share * (1 - share) * (upper - lower) ** 2))
    return float(upper[best] - lower[best])
