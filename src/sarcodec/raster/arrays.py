"""Arrays in memory as a source of pixels and as a place for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, tiling
from sarcodec.container import packing
from sarcodec.raster import geotiff, reader
from sarcodec.raster import info as raster_info

FLAT = {"SARCODEC_ARRAY": "2-D"}
"""Tag of a single image that had no dimension of bands, and is restored without one."""


class ArraySource(reader.Raster):
    """An array (bands, H, W), read as a raster is; made by :func:`source_of`."""

    name = "array"

    def __init__(self, cube: npt.NDArray[Any], info: raster_info.RasterInfo) -> None:
        self.cube, self.info = cube, info

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Return a window of a band (0-based)."""
        pixels: npt.NDArray[Any] = self.cube[band][window.slices]
        return pixels

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Return a thinned copy of a band (0-based)."""
        pixels: npt.NDArray[Any] = self.cube[band][thinned(self.cube.shape[1:])]
        return pixels


class ArraySink:
    """An array (bands, H, W) that pixels are written to."""

    def __init__(self, cube: npt.NDArray[Any]) -> None:
        self.cube = cube

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        """Write a window of a band (0-based)."""
        self.cube[band][window.slices] = pixels


def source_of(pixels: Any, nodata: float | None = None) -> ArraySource:
    """Take an array (H, W) or (bands, H, W) as a source; the masked pixels of a masked one are invalid.

    InputError unless it is of real numbers, and not empty.
    """
    cube = np.ma.getdata(pixels)
    check_dtype("pixels", cube.dtype, cube.shape)
    if cube.ndim not in (2, 3) or cube.size == 0:
        raise errors.InputError(
            f"pixels: got {cube.dtype} of shape {cube.shape}; pass real numbers (H, W) or (bands, H, W), not empty"
        )
    flat, masked = cube.ndim == 2, np.ma.isMaskedArray(pixels)
    cube = cube[None] if flat else cube
    count, height, width = cube.shape
    info = raster_info.RasterInfo(
        count,
        height,
        width,
        str(cube.dtype),
        None if nodata is None else float(nodata),
        tags=FLAT if flat else {},
        mask="mask" if masked else None,
    )
    packed = packing.Packing.of(info.to_dict(), 0)
    if packed is not None:
        cube = packed.unpack(cube, ~np.ma.getmaskarray(pixels).reshape(cube.shape))
    return ArraySource(cube, info)


def room(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Return an array that is not filled; InputError where memory has no room for it."""
    try:
        return np.empty(shape, dtype)
    except MemoryError as cause:
        raise errors.InputError(
            f"data: got a file of {'×'.join(map(str, shape))} pixels of {dtype}, more than there is memory for; "
            "write it to a raster with decompress_file, or a window of it"
        ) from cause


def check_dtype(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise InputError unless numbers are real ones."""
    if dtype.kind in "uif":
        return
    advice = "; detect complex data first: abs(pixels) ** 2 is intensity" if dtype.kind == "c" else ""
    raise errors.InputError(f"{name}: got {dtype} of shape {shape}; pass real numbers{advice}")


def thinned(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the index that thins an image (H, W) to at most :data:`geotiff.SAMPLE_SIDE` pixels a side."""
    return tuple(slice(None, None, -(-side // geotiff.SAMPLE_SIDE)) for side in shape)
