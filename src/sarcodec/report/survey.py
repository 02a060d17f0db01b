"""One pass over a band of a scene of any size: everything that a report says of it, in memory that is bounded.

What is kept is thinned: sums over cells of at least 15 × 15 pixels, and a set of windows pixel by pixel for what can
only be told from whole images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from sarcodec.metrics import error, radiometric, summary
from sarcodec.metrics import looks as metric_looks
from sarcodec.pages import pictures
from sarcodec.report import likeness, pair, samples, seams, sums

BLOCK = radiometric.BIAS_WINDOW
"""Side of a block in pixels."""


class Overview:
    """Both images thinned: the mean intensity of ``factor`` × ``factor`` pixels."""

    def __init__(self, shape: tuple[int, int], side: int) -> None:
        self.factor = pictures.factor(shape, side)
        places = [sums.cuts(length, self.factor) for length in shape]
        self._count, self._before, self._after = (sums.Sums(*places) for _ in range(3))
        rows, columns = (np.diff(cut, append=length) for cut, length in zip(places, shape, strict=True))
        self._pixels = rows[:, None] * columns

    def add(self, strip: sums.Strip) -> None:
        """Take in a strip."""
        self._count.add(strip.top, strip.left, strip.valid)
        self._before.add(strip.top, strip.left, strip.before)
        self._after.add(strip.top, strip.left, strip.after)

    def images(self) -> tuple[pair.FloatArray, pair.FloatArray]:
        """Return original and restored in dB, NaN where fewer than half of the pixels are valid."""
        seen = 2 * self._count.total >= self._pixels
        return _mean_db(self._before.total, self._count.total, seen), _mean_db(
            self._after.total, self._count.total, seen
        )


def _mean_db(total: sums.Values, count: sums.Values, seen: pair.Mask) -> pair.FloatArray:
    mean = np.divide(total, count, out=np.ones_like(total), where=seen & (total > 0))
    return np.where(seen, 10.0 * np.log10(mean), np.nan).astype(np.float32)


class Blocks:
    """Blocks of :data:`BLOCK` × :data:`BLOCK` pixels side by side from the top left; the last ones may be cut.

    Sums over valid pixels, each float64 (R, C): ``count``, ``squared`` error in dB², intensity ``before`` and
    ``after``.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._sums = [sums.Sums(*(sums.cuts(length, BLOCK) for length in shape)) for _ in range(4)]
        self.count, self.squared, self.before, self.after = (part.total for part in self._sums)

    def add(self, strip: sums.Strip) -> None:
        """Take in a strip."""
        for part, values in zip(self._sums, (strip.valid, strip.squared, strip.before, strip.after), strict=True):
            part.add(strip.top, strip.left, values)

    def bias_db(self) -> sums.Values:
        """Return the bias in dB of every whole block that is at least half valid, as `metrics.radiometric_bias`."""
        whole = tuple(slice(length // BLOCK) for length in self._shape)
        used = self.count[whole] >= BLOCK**2 / 2
        return np.asarray(10.0 * np.log10(self.after[whole][used] / self.before[whole][used]))


class Looks:
    """ENL of both images in the windows of :func:`looks.enl_ratio`."""

    def __init__(self, shape: tuple[int, int]) -> None:
        size = metric_looks.ENL_WINDOW
        self._whole = tuple(slice(length // size) for length in shape)
        self._sums = [sums.Sums(*(sums.cuts(length, size) for length in shape)) for _ in range(5)]

    def add(self, strip: sums.Strip) -> None:
        """Take in a strip."""
        before, after = strip.before, strip.after
        for part, values in zip(
            self._sums, (strip.valid, before, before * before, after, after * after), strict=True
        ):
            part.add(strip.top, strip.left, values)

    def ratios(self) -> sums.Values:
        """Return the ratio of ENL, restored over original, in the most homogeneous fifth of the windows.

        float64 (R, C) of all windows, NaN in the others: in those that are cut or hold an invalid pixel, too.
        """
        size = metric_looks.ENL_WINDOW**2
        count, *moments = (part.total[self._whole] for part in self._sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            before, after = (
                mean**2 / np.where((spread := square / size - mean**2) > 1e-12 * mean**2, spread, 0.0)
                for mean, square in ((moments[i] / size, moments[i + 1]) for i in (0, 2))
            )
            ratio = after / before
        speckled = (count == size) & np.isfinite(before)
        if not speckled.any():
            return np.full(count.shape, np.nan)
        looks = np.sort(before[speckled])
        return np.where(speckled & (before >= looks[-math.ceil(looks.size / 5)]), ratio, np.nan)


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of a band after one pass; see the classes of its parts."""

    shape: tuple[int, int]
    overview: Overview
    blocks: Blocks
    looks: Looks
    borders: seams.Borders
    samples: samples.Samples
    likeness: likeness.Likeness

    @classmethod
    def take(cls, shape: tuple[int, int], tile: int, strips: Iterable[sums.Strip], side: int) -> Survey:
        """Go over all strips of a band of ``shape`` in tiles of ``tile`` pixels; the overview is at most ``side``."""
        found = cls(
            shape,
            Overview(shape, side),
            Blocks(shape),
            Looks(shape),
            seams.Borders(shape, tile),
            samples.Samples(shape),
            likeness.Likeness(shape),
        )
        for strip in strips:
            for part in (found.overview, found.blocks, found.looks, found.borders, found.samples, found.likeness):
                part.add(strip)
        return found

    @property
    def share(self) -> float:
        """Share of the pixels that lie in the sample windows; 1 where they are the whole image."""
        return samples.share(self.shape)

    def figures(self, mosaic: pair.Pair) -> summary.Metrics:
        """Measure the samples; where they are not the whole image, what sums tell is of the whole image."""
        found = summary.evaluate(mosaic.original, mosaic.restored, mosaic.valid)
        count = self.blocks.count.sum()
        if self.share == 1 or not count:
            return found
        rmse = math.sqrt(self.blocks.squared.sum() / count)
        local = np.abs(self.blocks.bias_db())
        ratios = self.looks.ratios()
        ratios = ratios[~np.isnan(ratios)]
        whole = replace(
            found,
            valid_pixels=int(count),
            rmse_db=rmse,
            psnr_db=psnr(rmse),
            enl_ratio=float(np.median(ratios)) if ratios.size else math.nan,
            bias_db=float(10.0 * np.log10(self.blocks.after.sum() / self.blocks.before.sum())),
            bias_median_abs_db=float(np.median(local)) if local.size else math.nan,
            bias_p95_abs_db=float(np.percentile(local, 95)) if local.size else math.nan,
        )
        return summary.lossless(whole) if rmse == 0 else whole


def psnr(rmse_db: float) -> float:
    """Return the PSNR in dB of a root mean square error in dB, as :func:`summary.psnr_db` defines it."""
    return error.psnr_of(rmse_db)
