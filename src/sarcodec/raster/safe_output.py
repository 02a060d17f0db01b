"""A product written anew as the folder that it came from."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sarcodec import errors, tiling
from sarcodec.container import archive as container_archive
from sarcodec.container import product
from sarcodec.files import atomic
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.raster.product_files import MANIFEST


def single(base: raster_info.RasterInfo) -> raster_info.RasterInfo:
    """Return what is common to the measurements of a product: one band, without what is said of bands."""
    return replace(base, count=1, descriptions=(), units=(), band_tags=())


def measurement_info(base: raster_info.RasterInfo, measurement: product.Measurement) -> raster_info.RasterInfo:
    """Describe a measurement's raster from the file's and its own; FormatError for another size or dtype."""
    merged = single(base).to_dict() | dict(measurement.raster)
    info = raster_info.RasterInfo.from_dict({key: value for key, value in merged.items() if value is not None})
    if (info.count, info.height, info.width, info.dtype) != (1, base.height, base.width, base.dtype):
        raise errors.FormatError(f"product: {measurement.path} is described in another size or type than its band")
    return info


def is_product_target(target: str | os.PathLike[str]) -> bool:
    """Tell whether an output is to be a product: its name ends in ``.SAFE`` or ``.zip``."""
    return Path(target).suffix.lower() in (".safe", ".zip")


class _Bands:
    """Writes band n to the n-th raster."""

    def __init__(self, rasters: list[geotiff.RasterWriter]) -> None:
        self._rasters = rasters

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        self._rasters[band].write(0, window, pixels)


@contextmanager
def create_product(
    target: str | os.PathLike[str],
    reader: container_archive.Reader,
    *,
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Iterator[_Bands]:
    """Create the product that a ``.sarc`` file was made from: a folder ``….SAFE`` or a zip file.

    Its files are those of the product byte for byte, its measurements what is written in the block, as uint16
    GeoTIFFs with the GCPs and tags they had, and ``tags``. It appears under its name when the block ends without an
    error. The manifest is kept as it is: sizes and checksums of measurements in it are those of the source.

    Raises
    ------
    InputError, OutputError
        As :func:`atomic.folder`; InputError also when the file holds no product.
    """
    record = reader.header.product
    if record is None:
        raise errors.InputError(
            f"output {target}: {reader.name} was not made from a product and holds no files of one; pass the name of "
            "a GeoTIFF"
        )
    base = raster_info.RasterInfo.from_dict(reader.header.raster)
    infos = [measurement_info(base, measurement) for measurement in record.measurements]
    with _product_folder(Path(target), record.name, overwrite) as folder, ExitStack() as stack:
        for path in reader.product_files():
            data = reader.read(product.entry_name(path), product.MAX_FILE_BYTES)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        rasters = []
        for measurement, info in zip(record.measurements, infos, strict=True):
            (folder / measurement.path).parent.mkdir(parents=True, exist_ok=True)
            own = replace(info, tags={**info.tags, **(tags or {})})
            rasters.append(stack.enter_context(geotiff.create_raster(folder / measurement.path, own)))
        yield _Bands(rasters)


@contextmanager
def _product_folder(target: Path, name: str, overwrite: bool) -> Iterator[Path]:
    """Yield a folder that becomes ``target``, packed where that is a zip file."""
    if target.suffix.lower() != ".zip":
        with atomic.folder(target, overwrite=overwrite, mark=MANIFEST) as folder:
            yield folder
        return
    with (
        atomic.output(target, overwrite=overwrite) as packed,
        atomic.scratch(target) as parent,
    ):
        folder = parent / name
        folder.mkdir()
        yield folder
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(parent))
