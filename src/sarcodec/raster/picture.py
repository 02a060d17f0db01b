"""Pictures as files: PNG, JPEG and WebP by GDAL's drivers."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
import rasterio.io

from sarcodec import errors
from sarcodec.files import atomic

DRIVERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""By the end of a name."""

QUALITY = {"JPEG": 90, "WEBP": 90}

Pixels = npt.NDArray[np.uint8]


def check_target(path: str | os.PathLike[str], source: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raise InputError where :func:`write` would refuse a target or it is its source, to ask before long work."""
    check_name(path)
    atomic.refuse_sources(path, [source])
    atomic.check(Path(path), overwrite=overwrite)


def check_name(path: str | os.PathLike[str]) -> str:
    """Return the driver for a name; InputError for one that is no picture's."""
    suffix = Path(path).suffix.lower()
    if suffix not in DRIVERS:
        raise errors.InputError(f"target {path}: pass a name that ends in {', '.join(DRIVERS)}")
    return DRIVERS[suffix]


def write(path: str | os.PathLike[str], rgba: Pixels, *, overwrite: bool = False) -> None:
    """Write a picture (rows, columns, 4), red, green, blue and opacity; in a JPEG what is transparent is white.

    Raises
    ------
    InputError, OutputError
        As :func:`check_name` and :func:`atomic.output`; also for more pixels on a side than the format holds.
    """
    driver = check_name(path)
    pixels = _on_white(rgba) if driver == "JPEG" else rgba
    rows, columns, bands = pixels.shape
    options = {"QUALITY": QUALITY[driver]} if driver in QUALITY else {}
    with warnings.catch_warnings(), rasterio.io.MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with memory.open(
                driver=driver, height=rows, width=columns, count=bands, dtype="uint8", **options
            ) as dataset:
                dataset.write(pixels.transpose(2, 0, 1))
        except rasterio.errors.RasterioError as cause:
            raise errors.InputError(
                f"target {path}: a {driver} cannot be of {columns}×{rows} pixels ({errors.plain(cause)}); pass a "
                "smaller size"
            ) from cause
        atomic.write_bytes(path, memory.read(), overwrite=overwrite)


def _on_white(rgba: Pixels) -> Pixels:
    opacity = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * opacity + 255 * (255 - opacity)) // 255).astype(np.uint8)
