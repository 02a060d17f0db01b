"""The sample windows of a scene: what is kept of it pixel by pixel, and which figures are of these alone."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np

from sarcodec import tiling
from sarcodec.container import header as container_header
from sarcodec.metrics import summary
from sarcodec.report import pair, sums

WHOLE_SIDE = 2048
"""Rows and columns up to which an image is kept whole."""

WINDOW_SIDE = 512
"""Side of the windows that are kept of a larger one; metrics take some 130 bytes a pixel."""

GAP = 32
"""Invalid pixels between windows that are set side by side: no figure reaches over them."""

WHOLE_FIGURES = (
    "valid_pixels", "rmse_db", "psnr_db", "enl_ratio", "bias_db", "bias_median_abs_db", "bias_p95_abs_db",
)  # fmt: skip
"""The figures that are of the whole image, whatever its size."""


class Samples:
    """The windows of an image (:func:`windows`) pixel by pixel.

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


def sampled_figures(shape: tuple[int, int]) -> frozenset[str]:
    """Return the names of the figures that are of the sample windows alone."""
    names = {field.name for field in fields(summary.Metrics)} - set(WHOLE_FIGURES)
    return frozenset(names if share(shape) < 1 else ())
