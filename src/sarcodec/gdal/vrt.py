"""The VRT of a ``.sarc`` file: all that describes the raster, and bands whose pixels are asked of us."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.crs

from sarcodec import errors, tiling
from sarcodec.codec import stored_tiles
from sarcodec.container import archive
from sarcodec.files import atomic, vsi
from sarcodec.gdal import settings
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import model_store

FUNCTION = f"{settings.MODULE}.read"

BLOCK = 512
"""Sides of the blocks in which GDAL reads where it is not asked for a window."""

CHECKED = 256
"""Sides of the window that :func:`check` compares."""

TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float16": "Float32",  # which GDAL has since 3.11
    "float32": "Float32",
    "float64": "Float64",
    "float128": "Float64",
}
"""What GDAL calls a dtype, or the next that holds it."""


def write_vrt(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a VRT by which GDAL reads a ``.sarc`` file, once :func:`sarcodec.gdal.enable` was called.

    It has the size, dtype, nodata value, CRS, transform or ground control points, names, units and tags of the
    source; of a packed raster (:mod:`sarcodec.container.packing`) what it stands for, float32 with NaN. Its
    overviews are lower resolutions of the file, down to 1/64.

    Parameters
    ----------
    path : path
        The file. The VRT has its absolute path, for GDAL does not tell a pixel function where the VRT lies.
    target : path, optional
        The VRT to write; beside the file and of its name when not given.
    model : path, optional
        The checkpoint that reads the file, where it is not shipped; the VRT has its absolute path.
    overwrite : bool
        Whether an existing VRT may be replaced.

    Returns
    -------
    Path
        Of the VRT.

    Raises
    ------
    FormatError, ModelMissing
        For a damaged file or an unknown model.
    InputError, OutputError
        For a file that is not local, or a VRT that cannot be written.
    """
    if vsi.is_virtual(path):
        raise errors.InputError(
            f"path: got {vsi.public(path)}; pass the path of a local .sarc file, download it first"
        )
    source = Path(path).absolute()
    place = Path(target) if target is not None else Path(path).with_suffix(".vrt")
    atomic.refuse_sources(place, [source])
    given = {"path": str(source)}
    if model is not None:
        file = Path(model)
        given["model"] = str(file.absolute() if file.exists() else model)
    with archive.Reader(source) as reader:
        model_store.codec_for(reader, model)
        info = raster_info.RasterInfo.from_dict(reader.header.raster)
        root = _described(info, given | {"identity": reader.identity})
    ElementTree.indent(root)
    atomic.write_bytes(place, ElementTree.tostring(root, encoding="utf-8") + b"\n", overwrite=overwrite)
    return place


def check(
    target: str | os.PathLike[str], path: str | os.PathLike[str], model: str | os.PathLike[str] | None = None
) -> None:
    """Read a window of a VRT through rasterio's GDAL and compare it with the file's; FormatError says why not."""
    with archive.Reader(path) as reader:
        info = raster_info.RasterInfo.from_dict(reader.header.raster)
        window = tiling.Window(0, info.height, 0, info.width).shared(
            tiling.Window.at(info.height // 2, info.width // 2, CHECKED, CHECKED)
        )
        expected = model_store.codec_for(reader, model).restore_window(reader, info.count - 1, window)
    with rasterio.Env(**settings.options()), geotiff.open_raster(target) as raster:
        found = raster.read(info.count - 1, window)
    if not np.array_equal(found, expected.astype(found.dtype), equal_nan=True):
        raise errors.FormatError(f"{target}: GDAL reads other pixels than {path} holds")


def _described(info: raster_info.RasterInfo, given: dict[str, str]) -> ElementTree.Element:
    """Return the VRT of a raster whose pixels the function finds by what it is ``given`` and the band."""
    root = ElementTree.Element("VRTDataset", rasterXSize=str(info.width), rasterYSize=str(info.height))
    if info.crs:
        _add(root, "SRS", _wkt(info.crs))
    if info.transform is not None:
        a, b, c, d, e, f = info.transform
        _add(root, "GeoTransform", ", ".join(map(repr, (c, a, b, f, d, e))))
    if info.gcps:
        points = _add(root, "GCPList", **({"Projection": _wkt(info.gcp_crs)} if info.gcp_crs else {}))
        for row, column, x, y, z, name, text in info.gcps:
            place = {"Pixel": column, "Line": row, "X": x, "Y": y, "Z": z}
            _add(points, "GCP", Id=str(name), Info=str(text), **{key: repr(n) for key, n in place.items()})
    _add_tags(root, info.tags)
    factors = [1 << n for n in range(1, stored_tiles.MOST_REDUCED + 1) if min(info.height, info.width) >> n]
    if factors:
        _add(root, "OverviewList", " ".join(map(str, factors)), resampling="nearest")
    for band in range(info.count):
        _add_band(root, info, band, given)
    return root


def _add_band(root: ElementTree.Element, info: raster_info.RasterInfo, band: int, given: dict[str, str]) -> None:
    dtype = TYPES[np.dtype(info.working_dtype).name]
    sides = {"blockXSize": str(min(BLOCK, info.width)), "blockYSize": str(min(BLOCK, info.height))}
    about = _add(root, "VRTRasterBand", dataType=dtype, band=str(band + 1), subClass="VRTDerivedRasterBand", **sides)
    said = info.descriptions[band] if band < len(info.descriptions) else None
    unit = info.units[band] if band < len(info.units) else None
    if said:
        _add(about, "Description", said)
    _add_tags(about, info.band_tags[band] if band < len(info.band_tags) else {})
    nodata = info.working_nodata
    if nodata is not None and rasterio.dtypes.in_dtype_range(nodata, info.working_dtype):  # else no pixel can have it
        _add(about, "NoDataValue", repr(nodata))
    _add(about, "ColorInterp", "Gray" if band == 0 else "Undefined")
    if unit:
        _add(about, "UnitType", unit)
    _add(about, "PixelFunctionLanguage", "Python")
    _add(about, "PixelFunctionType", FUNCTION)
    _add(about, "PixelFunctionArguments", band=str(band + 1), **given)


def _wkt(crs: str) -> str:
    return str(rasterio.crs.CRS.from_user_input(crs).to_wkt())


def _add_tags(parent: ElementTree.Element, tags: Any) -> None:
    if tags:
        metadata = _add(parent, "Metadata")
        for key, text in tags.items():
            _add(metadata, "MDI", str(text), key=str(key))


def _add(parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, attributes)
    element.text = text
    return element
