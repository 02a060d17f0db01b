"""What a file holds of a band's validity, tile by tile, as rows of codes."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from sarcodec import tiling
from sarcodec.codec import boxes
from sarcodec.container import archive, masks


class MaskRows:
    """Validity codes of the columns of ``window`` of a band, read in rows.

    With ``reduce`` window and rows are of the image at 1/2^reduce of the resolution: a pixel of that is valid where
    at least half of those that it covers are, else it has the largest of their codes.
    """

    def __init__(self, reader: archive.Reader, band: int, window: tiling.Window, reduce: int = 0) -> None:
        self._reader, self._band, self._window, self._factor = reader, band, window, 1 << reduce
        self._grid = tiling.TileGrid(*reader.header.shape[1:], reader.header.tile)
        self._blocks: dict[tuple[int, int], npt.NDArray[np.uint8] | None] = {}

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return the codes of rows ``[top, bottom)``."""
        wanted = tiling.Window(top, bottom, self._window.left, self._window.right)
        codes = np.zeros(wanted.shape, np.uint8)
        for panel in wanted.panels(max(self._grid.tile // self._factor, 1)):
            area = panel.enlarged(self._factor, self._grid.height, self._grid.width)
            found = self._codes(area)
            if found is not None:
                codes[panel.inside(wanted)] = _majority(found, self._factor) if self._factor > 1 else found
        first = self._grid.rows_of(wanted.enlarged(self._factor, self._grid.height, self._grid.width))[-1]
        self._blocks = {place: block for place, block in self._blocks.items() if place[0] >= first}
        return codes

    def _codes(self, area: tiling.Window) -> npt.NDArray[np.uint8] | None:
        """Return the codes of a window of the full image; None where all pixels are valid."""
        codes = None
        for row, column in itertools.product(self._grid.rows_of(area), self._grid.columns_of(area)):
            block, core = self._block(row, column), self._grid.at(row, column).core
            if block is not None:
                codes = np.zeros(area.shape, np.uint8) if codes is None else codes
                shared = core.shared(area)
                codes[shared.inside(area)] = block[shared.inside(core)]
        return codes

    def _block(self, row: int, column: int) -> npt.NDArray[np.uint8] | None:
        """Return the codes of a tile; None where it has no mask, for all its pixels are valid."""
        if (row, column) not in self._blocks:
            name, found = archive.mask_name(self._band, row, column), None
            if name in self._reader:
                data = self._reader.read(name, masks.mask_limit(self._grid.tile))
                found = masks.unpack_mask(data, self._grid.at(row, column).core.shape)
            self._blocks[row, column] = found
        return self._blocks[row, column]


def _majority(codes: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Return 0 for boxes that are valid in at least half of their pixels, else the largest code."""
    valid, pixels = boxes.sums(codes == 0, factor), boxes.sizes(codes.shape, factor)
    return np.where(2 * valid >= pixels, 0, boxes.largest(codes, factor)).astype(np.uint8)
