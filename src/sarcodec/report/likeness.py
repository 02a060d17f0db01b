"""Is the original the image that the file was made of? What tells that it is evidently another one.

Coding never makes an image worse than a featureless one would be: a coefficient that is not worth its bits becomes 0,
and any other comes back nearer to what it was. So however low the rate, the error scatters no more than the original
itself. Beside another image it does: the variances of both add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import rasterio.crs

from sarcodec.container import header as container_header
from sarcodec.entropy import scale
from sarcodec.raster import info as raster_info
from sarcodec.report import sums
from sarcodec.text import numerals

LEAST_DB = 1.0
"""Error up to which two images are never called different; those of a constant image are a tenth of it."""

MORE_THAN_SPREAD = 1.02
"""Deviation of the error over that of the original from which on they are; the lowest rates of one image have 1."""

MUCH_MORE = 1.25
"""The same of the whole error, to which low rates add an offset: of a fortieth in the dimmest integers."""

DENSE = 0.5
"""Share of valid pixels from which on the quantisation step tells how large the error may be."""

LARGE_DB, LARGE_STEPS, LARGE_SHARE = 2.5, 1.5, 0.3
"""Error, in dB, in steps and as a share of the original's deviation, that is too large for it: coding leaves half a
step, and one among many bright points; restoring more where the contrast of pixel to pixel is that of no radar."""

BEYOND_DB = 1e-3
"""What rounding may add to a guaranteed error."""


class Likeness:
    """Moments of both images of a band in dB over all pixels that are valid in both."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._pixels = math.prod(shape)
        self._sums = np.zeros(6)  # of 1, original, restored, their squares and product
        self.unlike = 0
        self.worst_db = 0.0

    def add(self, strip: sums.Strip) -> None:
        """Take in a strip."""
        before, after = (image[strip.valid].astype(np.float64) for image in (strip.original, strip.restored))
        self._sums += [before.size, before.sum(), after.sum(), before @ before, after @ after, before @ after]
        self.worst_db = max(self.worst_db, math.sqrt(strip.squared.max(initial=0.0)))
        self.unlike += strip.unlike

    @property
    def dense(self) -> bool:
        """Whether half of the pixels or more are valid."""
        return bool(self._sums[0] >= DENSE * self._pixels)

    @property
    def spread_db(self) -> float:
        """Standard deviation of the original."""
        return math.sqrt(self._variances()[0])

    @property
    def rmse_db(self) -> float:
        """Root mean square error."""
        count, _, _, before, after, product = self._sums
        return math.sqrt(max(before + after - 2 * product, 0.0) / count) if count else 0.0

    @property
    def deviation_db(self) -> float:
        """Standard deviation of the error."""
        before, after, both = self._variances()
        return math.sqrt(max(before + after - 2 * both, 0.0))

    @property
    def correlation(self) -> float:
        """Pearson correlation of both images; NaN where one is constant."""
        before, after, both = self._variances()
        least = 1e-12 * max(1.0, *np.abs(self._sums[3:5]))  # what rounding leaves of a constant image
        return both / math.sqrt(before * after) if min(before, after) > least else math.nan

    def _variances(self) -> tuple[float, float, float]:
        """Return the variances of both images and their covariance; 0 without a pixel."""
        count = max(self._sums[0], 1.0)
        _, before, after, *squares = (float(value) for value in self._sums / count)
        found = np.array(squares) - [before * before, after * after, before * after]
        return max(found[0], 0.0), max(found[1], 0.0), float(found[2])


def doubt(found: Likeness, header: container_header.Header, *, errors: bool = True) -> str:
    """Say of a band what two images of the same scene cannot have between them; ``""`` where there is nothing.

    ``errors`` false leaves the size of the error aside, as of a restored image with rendered speckle.
    """
    said = []
    if found.unlike:
        said.append(f"{found.unlike:,} pixels are valid in one image alone, and a file keeps exactly which are valid")
    bound = header.promised_error_db
    error = f"the error is {found.rmse_db:.2f} dB"
    if errors and bound is not None and found.worst_db > bound + BEYOND_DB:
        said.append(f"errors reach {found.worst_db:.2f} dB, and the file guarantees {numerals.significant(bound)} dB")
    elif errors and _larger_than_spread(found):
        alike = "not defined" if math.isnan(found.correlation) else f"{found.correlation:.2f}"
        said.append(
            f"{error}, the original's own spread only {found.spread_db:.2f} dB; the correlation of both is {alike}"
        )
    elif errors and (step := _step(header)) is not None and _larger_than_step(found, step):
        said.append(
            f"{error}, and quantisation steps of {numerals.significant(step, 3)} dB leave less; the correlation of "
            f"both is {found.correlation:.2f}"
        )
    return "; ".join(said)


def warnings(names: tuple[str, str], doubts: Mapping[str, str], grid: str) -> list[str]:
    """Return a line of what :func:`doubt` says of bands, by their names, and one of :func:`other_grid`.

    ``names`` are those of the original and of the file.
    """
    original, file = names
    said = [f"{band}: {doubted}" for band, doubted in doubts.items() if doubted]
    lines = [f"{original} is hardly the image that {file} was made of. {'. '.join(said)}."] if said else []
    return [*lines, f"{original} does not lie on the grid of {file}: {grid}."] if grid else lines


def _larger_than_spread(found: Likeness) -> bool:
    spread = found.spread_db
    larger = found.deviation_db > MORE_THAN_SPREAD * spread or found.rmse_db > MUCH_MORE * spread
    return larger and found.rmse_db > LEAST_DB


def _larger_than_step(found: Likeness, step: float) -> bool:
    return found.dense and found.rmse_db > max(LARGE_DB, LARGE_STEPS * step, LARGE_SHARE * found.spread_db)


def _step(header: container_header.Header) -> float | None:
    """Return the quantisation step in dB of a file that has one."""
    return scale.step_db(header.step) if not header.clips and header.max_error_db is None else None


def other_grid(header: container_header.Header, info: raster_info.RasterInfo) -> str:
    """Say in what the grid of the file is not that of the original; ``""`` where they are the same."""
    file = raster_info.RasterInfo.from_dict(header.raster)
    said = []
    ours, theirs = file.crs or file.gcp_crs, info.crs or info.gcp_crs
    if not _same_crs(ours, theirs):
        said.append(f"the CRS of the file is {_named(ours)}, that of the original {_named(theirs)}")
    if not _close(file.transform, info.transform):
        said.append(
            f"the transform of the file is {_coefficients(file.transform)}, that of the original "
            f"{_coefficients(info.transform)}"
        )
    if [point[:5] for point in file.gcps] != [point[:5] for point in info.gcps]:
        said.append(
            f"the ground control points differ ({len(file.gcps):,} in the file, {len(info.gcps):,} in the original)"
        )
    return "; ".join(said)


def _same_crs(one: str | None, other: str | None) -> bool:
    if one == other or not (one and other):
        return one == other
    return bool(rasterio.crs.CRS.from_user_input(one) == rasterio.crs.CRS.from_user_input(other))


def _close(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    """Whether two transforms are the same but for rounding."""
    if one is None or other is None:
        return one == other
    return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(one, other, strict=True))


def _named(crs: str | None) -> str:
    """Name a CRS: its code, or of WKT the name that stands first in it."""
    if not crs:
        return "none"
    return crs if len(crs) < 40 else crs.split('"')[1] if '"' in crs else f"{crs[:40]}…"


def _coefficients(transform: tuple[float, ...] | None) -> str:
    return "none" if transform is None else f"({', '.join(map(numerals.exact, transform))})"
