"""One pass over a band of a scene of any size: everything that a report says of it, in memory that is bounded.

What is kept is thinned: sums over cells of at least 15 × 15 pixels, and a set of windows pixel by pixel for what can
only be told from whole images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from sarcodec import tiling
from sarcodec.container import header as container_header
from sarcodec.metrics import error, radiometric, summary
from sarcodec.metrics import looks as metric_looks
from sarcodec.pages import pictures
from sarcodec.report import likeness, pair, seams, sums

WHOLE_SIDE = 2048
"""Rows and columns up to which an image is kept whole."""

WINDOW_SIDE = 512
"""Side of the windows that are kept of a larger one; metrics take some 130 bytes a pixel."""

BLOCK = radiometric.BIAS_WINDOW
"""Side of a block in pixels."""

GAP = 32
"""Invalid pixels between windows that are set side by side: no figure reaches over them."""


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


class Samples:
    """The :func:`windows` of an image pixel by pixel.

    They are set side by side in a mosaic with gaps of invalid pixels, so that one call measures them all.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape, self._spans = shape, _spans(shape)
        sides = [sum(stop - start for start, stop in spans) + GAP * (len(spans) - 1) for spans in self._spans]
        self._original, self._restored = (np.full(sides, np.nan, np.float32) for _ in range(2))
        self._valid = np.zeros(sides, bool)

    def add(self, strip: sums.Strip) -> None:
        """Take in a strip."""
        height, width = strip.valid.shape
        for (start, stop), rows in zip(self._spans[0], _places(self._spans[0]), strict=True):
            source_rows, target_rows = _overlap(start, stop, rows.start, strip.top, height)
            for (left, right), columns in zip(self._spans[1], _places(self._spans[1]), strict=True):
                source_columns, target_columns = _overlap(left, right, columns.start, strip.left, width)
                source, target = (source_rows, source_columns), (target_rows, target_columns)
                self._original[target] = strip.original[source]
                self._restored[target] = strip.restored[source]
                self._valid[target] = strip.valid[source]

    def mosaic(self, number: int, header: container_header.Header) -> pair.Pair:
        """Return all windows of band ``number`` (from 1) as one pair."""
        _, height, width = header.shape
        return pair.Pair(
            number,
            self._original,
            self._restored,
            self._valid,
            tiling.Window(0, height, 0, width),
            header.bands[number - 1],
            clips=header.clips,
        )

    def core(self, mosaic: pair.Pair) -> pair.Pair:
        """Return one window of the mosaic: the central one, or if half of it is invalid the one with most to see."""
        found = windows(self._shape)
        if len(found) == 1:
            return mosaic
        places = [(rows, columns) for rows in _places(self._spans[0]) for columns in _places(self._spans[1])]
        shares = [float(mosaic.valid[place].mean()) for place in places]
        chosen = len(found) // 2
        if shares[chosen] < 0.5:
            chosen = int(np.argmax(shares))
        place = places[chosen]
        cut = {name: getattr(mosaic, name)[place] for name in ("original", "restored", "valid")}
        return replace(mosaic, window=found[chosen], **cut)


def windows(shape: tuple[int, int]) -> list[tiling.Window]:
    """Return the windows that are kept of an image pixel by pixel: all of it, or three by three spread evenly."""
    rows, columns = _spans(shape)
    return [tiling.Window(*row, *column) for row in rows for column in columns]


def share(shape: tuple[int, int]) -> float:
    """Return the share of the pixels that lie in the windows; 1 where these are the whole image."""
    return sum(math.prod(window.shape) for window in windows(shape)) / math.prod(shape)


def _spans(shape: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """Return where the windows begin and end along both axes."""
    found = []
    for length in shape:
        starts = [(2 * n + 1) * length // 6 - WINDOW_SIDE // 2 for n in range(3)]
        whole = max(shape) <= WHOLE_SIDE or length <= 3 * WINDOW_SIDE
        found.append([(0, length)] if whole else [(start, start + WINDOW_SIDE) for start in starts])
    return found


def _overlap(start: int, stop: int, place: int, top: int, count: int) -> tuple[slice, slice]:
    """Return where a span lies in a piece of ``count`` pixels from ``top``, and that part in the mosaic."""
    first = max(start, top)
    last = max(min(stop, top + count), first)
    return slice(first - top, last - top), slice(place + first - start, place + last - start)


def _places(spans: list[tuple[int, int]]) -> list[slice]:
    """Return where the spans lie in the mosaic."""
    places, start = [], 0
    for first, last in spans:
        places.append(slice(start, start + last - first))
        start += last - first + GAP
    return places


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of a band after one pass; see the classes of its parts."""

    shape: tuple[int, int]
    overview: Overview
    blocks: Blocks
    looks: Looks
    borders: seams.Borders
    samples: Samples
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
            Samples(shape),
            likeness.Likeness(shape),
        )
        for strip in strips:
            for part in (found.overview, found.blocks, found.looks, found.borders, found.samples, found.likeness):
                part.add(strip)
        return found

    @property
    def share(self) -> float:
        """Share of the pixels that lie in the sample windows; 1 where they are the whole image."""
        return share(self.shape)

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


WHOLE_FIGURES = (
    "valid_pixels", "rmse_db", "psnr_db", "enl_ratio", "bias_db", "bias_median_abs_db", "bias_p95_abs_db",
)  # fmt: skip
"""The figures that are of the whole image, whatever its size."""


def sampled_figures(shape: tuple[int, int]) -> frozenset[str]:
    """Return the names of the figures that are of the sample windows alone."""
    names = {field.name for field in fields(summary.Metrics)} - set(WHOLE_FIGURES)
    return frozenset(names if share(shape) < 1 else ())


def psnr(rmse_db: float) -> float:
    """Return the PSNR in dB of a root mean square error in dB, as :func:`summary.psnr_db` defines it."""
    return error.psnr_of(rmse_db)
