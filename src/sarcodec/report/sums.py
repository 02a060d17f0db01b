"""Sums over the cells of a grid, gathered strip by strip: what a scene of any size is measured with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import codec, container, radiometry, tiling
from sarcodec.report.pair import FloatArray, Mask, Raster

STRIP_PIXELS = 1 << 20
"""Pixels of a strip that is read from a restored raster."""

Values = npt.NDArray[np.float64]
Cuts = npt.NDArray[np.intp]
Rows = Iterator[tuple[int, npt.NDArray[Any]]]

_NEPERS_PER_DB = np.log(10.0) / 10.0
_MAX_ABS_DB = 300.0  # as sarcodec.metrics


@dataclass(frozen=True, eq=False)
class Strip:
    """Some rows of a band of both images.

    Parameters
    ----------
    top : int
        The first row.
    original, restored : ndarray of float32
        (h, W) in dB, NaN where the original is invalid.
    valid : ndarray of bool
        (h, W), of the original.
    squared : ndarray of float64
        (h, W), squared error in dB², 0 where invalid.
    before, after : ndarray of float64
        (h, W), linear intensity of the original and the restored image, 0 where invalid.
    """

    top: int
    original: FloatArray
    restored: FloatArray
    valid: Mask
    squared: Values
    before: Values
    after: Values

    @classmethod
    def of(cls, top: int, original: FloatArray, restored: FloatArray, valid: Mask) -> Strip:
        """Make a strip of both images in dB, whatever they hold where ``valid`` is false."""
        before, after = (
            np.where(valid, np.exp(np.clip(image, -_MAX_ABS_DB, _MAX_ABS_DB) * _NEPERS_PER_DB), 0.0)
            for image in (original, restored)
        )
        squared = np.where(valid, restored - original.astype(np.float64), 0.0) ** 2
        nothing = np.float32(np.nan)
        original, restored = np.where(valid, original, nothing), np.where(valid, restored, nothing)
        return cls(top, original, restored, valid, squared, before, after)


def read(
    before: Raster, rows: Rows, header: container.Header, band: int, advance: codec.Advance | None = None
) -> Iterator[Strip]:
    """Read a band (0-based) of the original beside rows of the restored; only the original tells what is valid.

    ``advance`` is called with the pixels of every strip.
    """
    quantity = radiometry.Quantity.parse(header.quantity)
    for top, restored in rows:
        pixels = before.read(band, tiling.Window(top, top + len(restored), 0, restored.shape[1]))
        valid = radiometry.classify(pixels, quantity, before.info.nodata) == radiometry.Fill.VALID
        yield Strip.of(top, radiometry.to_db(pixels, quantity), radiometry.to_db(restored, quantity), valid)
        if advance:
            advance(valid.size)


def rows_of(raster: Raster, band: int) -> Rows:
    """Yield the first row and the pixels of every strip of a band (0-based) of a raster."""
    height, width = raster.info.height, raster.info.width
    count = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, count):
        yield top, raster.read(band, tiling.Window(top, min(top + count, height), 0, width))


def decoded_rows(coder: codec.Codec, reader: container.Reader, band: int) -> Rows:
    """Yield the same of a compressed file, at most :data:`STRIP_PIXELS` or a row at a time."""
    for top, pixels in coder.restore_rows(reader, band):
        count = max(STRIP_PIXELS // pixels.shape[1], 1)
        for first in range(0, len(pixels), count):
            yield top + first, pixels[first : first + count]


class Sums:
    """Sums of one quantity over cells: :attr:`total`, float64 (R, C).

    Parameters
    ----------
    rows, columns : ndarray of intp
        First row of every row of cells, first column of every column of them; ascending from 0.
    """

    def __init__(self, rows: Cuts, columns: Cuts) -> None:
        self._rows, self._columns = rows, columns
        self.total: Values = np.zeros((rows.size, columns.size))

    def add(self, top: int, values: npt.NDArray[Any]) -> None:
        """Add the values (h, W), float64 or bool, of the rows from ``top`` on."""
        cell = np.searchsorted(self._rows, np.arange(top, top + len(values)), side="right") - 1
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        short = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
        self.total[cell[starts]] += np.add.reduceat(short, self._columns, axis=1)


def cuts(length: int, cell: int) -> Cuts:
    """Return where cells of ``cell`` pixels begin along an axis; the last one may be shorter."""
    return np.arange(0, length, cell)
