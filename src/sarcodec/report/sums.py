"""Sums over the cells of a grid, gathered strip by strip: what a scene of any size is measured with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry, tiling
from sarcodec.codec import codec
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.raster import info as raster_info
from sarcodec.raster.source import Raster
from sarcodec.report.pair import FloatArray, Mask

STRIP_PIXELS = 1 << 18
"""Pixels that are compared at once, or a row if that has more."""

PANEL_COLUMNS = 8192
"""Columns that are decoded at once, or those of a tile: a row of tiles of a whole swath takes a gigabyte."""

Values = npt.NDArray[np.float64]
Cuts = npt.NDArray[np.intp]
Pieces = Iterator[tuple[tiling.Window, npt.NDArray[Any]]]

_NEPERS_PER_DB = np.log(10.0) / 10.0
_MAX_ABS_DB = 300.0  # as sarcodec.metrics.summary


@dataclass(frozen=True, eq=False)
class Strip:
    """A window of a band of both images.

    Parameters
    ----------
    top, left : int
        Its first row and column.
    original, restored : ndarray of float32
        (h, w) in dB, NaN where not ``valid``.
    valid : ndarray of bool
        (h, w), valid in both images.
    squared : ndarray of float64
        (h, w), squared error in dB², 0 where invalid.
    before, after : ndarray of float64
        (h, w), linear intensity of the original and the restored image, 0 where invalid.
    unlike : int
        Pixels that are valid in one of both images alone.
    """

    top: int
    left: int
    original: FloatArray
    restored: FloatArray
    valid: Mask
    squared: Values
    before: Values
    after: Values
    unlike: int = 0

    @classmethod
    def of(
        cls, top: int, original: FloatArray, restored: FloatArray, valid: Mask, left: int = 0, unlike: int = 0
    ) -> Strip:
        """Make a strip of both images in dB, whatever they hold where ``valid`` is false."""
        before, after = (
            np.where(valid, np.exp(np.clip(image, -_MAX_ABS_DB, _MAX_ABS_DB) * _NEPERS_PER_DB), 0.0)
            for image in (original, restored)
        )
        squared = np.where(valid, restored - original.astype(np.float64), 0.0) ** 2
        nothing = np.float32(np.nan)
        original, restored = np.where(valid, original, nothing), np.where(valid, restored, nothing)
        return cls(top, left, original, restored, valid, squared, before, after, unlike)


def read(
    before: Raster, pieces: Pieces, header: container_header.Header, band: int, advance: codec.Advance | None = None
) -> Iterator[Strip]:
    """Read a band (0-based) of the original beside pieces of the restored; what is valid in both is compared.

    ``advance`` is called with the pixels of every strip.
    """
    quantity = radiometry.Quantity.parse(header.quantity)
    nodata = raster_info.RasterInfo.from_dict(header.raster).working_nodata
    for window, restored in pieces:
        both: tuple[npt.NDArray[Any], ...] = before.read(band, window), restored
        valid = [radiometry.classify(pixels, quantity, nodata) == radiometry.Fill.VALID for pixels in both]
        original, after = (radiometry.to_db(pixels, quantity) for pixels in both)
        unlike = int(np.count_nonzero(valid[0] != valid[1]))
        yield Strip.of(window.top, original, after, valid[0] & valid[1], window.left, unlike)
        if advance:
            advance(restored.size)


def pieces_of(raster: Raster, band: int) -> Pieces:
    """Yield windows and pixels that cover a band (0-based) of a raster."""
    height, width = raster.info.height, raster.info.width
    count = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, count):
        window = tiling.Window(top, min(top + count, height), 0, width)
        yield window, raster.read(band, window)


def decoded_pieces(coder: codec.Codec, reader: archive.Reader, band: int) -> Pieces:
    """Yield the same of a compressed file, in panels of whole tiles: at once, a row of tiles of one is decoded."""
    _, height, width = reader.header.shape
    panel = max(PANEL_COLUMNS // reader.header.tile, 1) * reader.header.tile
    for window in tiling.Window(0, height, 0, width).panels(panel):
        count = max(STRIP_PIXELS // window.shape[1], 1)
        for top, pixels in coder.restore_rows(reader, band, window):
            for first in range(0, len(pixels), count):
                part = pixels[first : first + count]
                yield tiling.Window.at(top + first, window.left, *part.shape), part


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

    def add(self, top: int, left: int, values: npt.NDArray[Any]) -> None:
        """Add values (h, w), float64 or bool, whose first is that of row ``top``, column ``left``."""
        rows, row_starts = _cells(self._rows, top, values.shape[0])
        columns, column_starts = _cells(self._columns, left, values.shape[1])
        short = np.add.reduceat(values, row_starts, axis=0, dtype=np.float64)
        self.total[np.ix_(rows, columns)] += np.add.reduceat(short, column_starts, axis=1)


def _cells(cuts: Cuts, start: int, count: int) -> tuple[Cuts, Cuts]:
    """Return which cells a piece of an axis lies in, and where in the piece each of them begins."""
    cell = np.searchsorted(cuts, np.arange(start, start + count), side="right") - 1
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell[starts], starts


def cuts(length: int, cell: int) -> Cuts:
    """Return where cells of ``cell`` pixels begin along an axis; the last one may be shorter."""
    return np.arange(0, length, cell)
