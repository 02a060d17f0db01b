"""Bytes of every tile of a compressed file."""

from __future__ import annotations

import os
import zipfile

import numpy as np

from sarcodec import tiling
from sarcodec.container import archive as container_archive
from sarcodec.container import header as container_header
from sarcodec.report import sums


def bits_per_pixel(compressed: str | os.PathLike[str], header: container_header.Header) -> sums.Values:
    """Return what every tile takes, symbols and mask, in bits per pixel of its core: float64 (bands, R, C).

    A ``.sarc`` file is an ordinary ZIP archive; ``header`` is that of this file, which :class:`archive.Reader` has
    checked.
    """
    bands, height, width = header.shape
    grid = tiling.TileGrid(height, width, header.tile)
    with zipfile.ZipFile(compressed) as archive:
        sizes = {entry.filename: entry.compress_size for entry in archive.infolist()}
    found = np.zeros((bands, grid.rows, grid.columns))
    for band in range(bands):
        for tile in grid:
            place = band, tile.row, tile.column
            size = sizes.get(container_archive.tile_name(*place), 0) + sizes.get(
                container_archive.mask_name(*place), 0
            )
            rows, columns = tile.core.shape
            found[place] = 8 * size / (rows * columns)
    return found
