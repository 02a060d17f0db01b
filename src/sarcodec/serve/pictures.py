"""A tile of dB as bytes: a picture, or numbers."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import rasterio

from sarcodec.pages import pictures
from sarcodec.serve import tiles

EFFORT = 1
"""Of zlib: speckle hardly gets smaller, and tiles go no further than this machine."""
LIMIT_DB = 3.0
"""Of a difference that is shown, where none is asked for."""

FloatArray = npt.NDArray[np.float32]


def difference_palette() -> pictures.Index:
    """Return a palette from blue over white to red behind the transparent entry; without matplotlib."""
    anchors = np.array([(5, 48, 97), (67, 147, 195), (247, 247, 247), (214, 96, 77), (103, 0, 31)], float)
    at = np.linspace(0, len(anchors) - 1, 255)
    colours = np.stack([np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.round(colours)]).astype(np.uint8)


def png(db: FloatArray, low: float, high: float, *, difference: bool = False) -> bytes:
    """Draw dB from black at ``low`` to white at ``high``, differences from blue to red; NaN is transparent."""
    palette = difference_palette() if difference else pictures.grey()
    return pictures.png_bytes(pictures.indexed(db, low, high), palette, EFFORT)


def npy(db: FloatArray) -> bytes:
    """Return dB as NumPy writes them: a header, then float32, little-endian, row by row."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(db, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def tif(db: FloatArray, tile: tiles.Address, factor: int | None) -> bytes:
    """Return dB as a GeoTIFF of float32 with NaN.

    A tile of the map has its place in EPSG:3857. One of pixels, at 1/``factor`` of the resolution, has no CRS, the
    column as x and minus the row as y.
    """
    height, width = db.shape
    if factor is None:
        west, south, east, north = tile.bounds_m
        place = {
            "crs": "EPSG:3857",
            "transform": rasterio.Affine((east - west) / width, 0, west, 0, (south - north) / height, north),
        }
    else:
        corner = tile.x * width * factor, -tile.y * height * factor
        place = {"transform": rasterio.Affine(factor, 0, corner[0], 0, -factor, corner[1])}
    shape = {"driver": "GTiff", "dtype": "float32", "nodata": float("nan"), "count": 1, "height": height}
    with rasterio.MemoryFile() as memory:
        with memory.open(width=width, **shape, **place) as dataset:
            dataset.write(db, 1)
            dataset.update_tags(UNITS="dB")
        return bytes(memory.read())
