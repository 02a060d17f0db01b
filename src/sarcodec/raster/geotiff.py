"""GeoTIFF in and out through rasterio, window by window, with all that describes a raster."""

from __future__ import annotations

import errno
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.control
import rasterio.crs
import rasterio.errors
import rasterio.shutil
import rasterio.windows
from rasterio._err import CPLE_BaseError
from rasterio.dtypes import in_dtype_range
from rasterio.enums import ColorInterp, MaskFlags

from sarcodec import errors, tiling
from sarcodec.container import packing
from sarcodec.files import atomic, vsi
from sarcodec.raster import reader
from sarcodec.raster.info import RasterInfo, crs_text
from sarcodec.text import numerals

SAMPLE_SIDE = 1024
"""Rows and columns of the thinned sample that detection looks at."""

CACHE_BYTES = 64 << 20
"""GDAL's block cache while a raster is open; its default is a share of the machine's memory."""


FAULTS = (rasterio.errors.RasterioError, CPLE_BaseError)
"""What rasterio raises for damaged files; it lets some of GDAL's own errors through."""


class RasterReader(reader.Raster):
    """An open raster: :attr:`info`, :meth:`read` of windows and a thinned :meth:`sample`.

    Made by :func:`open_raster`; what else it has: :class:`sarcodec.raster.reader.Raster`.
    """

    def __init__(self, dataset: rasterio.DatasetReader, nodata: float | None = None) -> None:
        self._dataset = dataset
        self.name = vsi.public(dataset.name)
        self.info = _with_nodata(_describe(dataset), nodata, self.name)
        self.places = () if vsi.is_virtual(dataset.name) else tuple(map(str, dataset.files))
        self.picture = _picture(dataset)
        self._packings = tuple(packing.Packing.of(asdict(self.info), band) for band in range(self.info.count))

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window of a band (0-based) in the working dtype; FormatError when the file is damaged."""
        area = rasterio.windows.Window(window.left, window.top, window.shape[1], window.shape[0])
        return self._read(band, window=area)

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Read a thinned copy (nearest neighbour, at most 1024×1024) of a band (0-based)."""
        shape = (min(self.info.height, SAMPLE_SIDE), min(self.info.width, SAMPLE_SIDE))
        return self._read(band, out_shape=shape)

    def _read(self, band: int, **how: Any) -> npt.NDArray[Any]:
        packed = self._packings[band]
        try:
            pixels: npt.NDArray[Any] = self._dataset.read(band + 1, **how)
            if packed is None:
                return pixels
            valid = self._dataset.read_masks(band + 1, **how) != 0 if self.info.mask else None
        except FAULTS as cause:
            raise _fault(self._dataset.name, "cannot be read, it is damaged or truncated", cause) from None
        return packed.unpack(pixels, valid)


def _with_nodata(info: RasterInfo, nodata: float | None, name: str) -> RasterInfo:
    """Give a raster the nodata value that the user names, unless it declares another one."""
    if nodata is None:
        return info
    if info.nodata is not None and not math.isnan(info.nodata) and info.nodata != nodata:
        raise errors.InputError(
            f"nodata: got {numerals.exact(nodata)}, but {name} declares {numerals.exact(info.nodata)}; leave "
            "it out, or change the file's (gdal_edit.py -a_nodata)"
        )
    return replace(info, nodata=nodata)


def _picture(dataset: rasterio.DatasetReader) -> str | None:
    """Say what kind of picture a raster is, by its colours or its driver; None for one that may be backscatter."""
    colours = set(dataset.colorinterp)
    if {ColorInterp.red, ColorInterp.green, ColorInterp.blue} <= colours:
        return "a colour picture (red, green, blue)"
    if ColorInterp.palette in colours:
        return "a picture with a palette"
    if dataset.driver in ("JPEG", "GIF", "WEBP", "BMP"):
        return f"a {dataset.driver} picture"
    return None


@contextmanager
def open_raster(path: str | os.PathLike[str], *, nodata: float | None = None) -> Iterator[RasterReader]:
    """Open a raster that GDAL can read: a local file, a URL (``https://…``, ``s3://…``) or a virtual file system's.

    ``nodata`` is the value of pixels that hold nothing where the file does not declare it. A mask, an alpha band,
    scales and offsets are honoured: see :mod:`sarcodec.container.packing`.
    Credentials in a URL appear in no error; see :mod:`sarcodec.files.vsi`.

    Raises
    ------
    FormatError
        When there is no such file, it is no raster, or its pixels are not real numbers.
    InputError
        When ``nodata`` contradicts the file.
    """
    try:
        dataset = _open(path)
    except FAULTS as cause:
        raise _fault(path, "cannot be opened", cause) from None
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), dataset:
        kinds = {np.dtype(d).kind if "complex_int" not in d else "c" for d in dataset.dtypes}
        if len(set(dataset.dtypes)) != 1 or not kinds <= set("uif"):
            raise errors.FormatError(
                f"raster {vsi.public(path)}: got bands of {', '.join(dataset.dtypes)}; "
                "all bands must share one real dtype (detect complex data first)"
            )
        try:
            raster = RasterReader(dataset, nodata)
        except FAULTS as cause:
            raise _fault(path, "cannot be described, it is damaged", cause) from None
        yield raster


def _fault(place: str | os.PathLike[str], what: str, cause: Exception) -> errors.FormatError:
    said = errors.plain(vsi.public_text(str(cause), place))
    return errors.FormatError(f"raster {vsi.public(place)}: {what} ({said})")


class RasterWriter:
    """A GeoTIFF being written; made by :func:`create_raster`. Pixels are given in the working dtype of ``info``."""

    def __init__(self, dataset: rasterio.io.DatasetWriter, info: RasterInfo) -> None:
        self._dataset, self._mask, self._count = dataset, info.mask, info.count
        self._packings = tuple(packing.Packing.of(asdict(info), band) for band in range(info.count))

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        """Write a window of a band (0-based), and with the first band the mask, where there is one."""
        area = rasterio.windows.Window(window.left, window.top, window.shape[1], window.shape[0])
        packed = self._packings[band]
        if packed is not None and band == 0 and self._mask is not None:
            there = np.isfinite(pixels)
            if self._mask == "mask":
                self._dataset.write_mask(there, window=area)
            else:
                full = np.iinfo(packed.dtype).max if np.dtype(packed.dtype).kind in "ui" else 255
                self._dataset.write(np.where(there, full, 0).astype(packed.dtype), self._count + 1, window=area)
        self._dataset.write(pixels if packed is None else packed.pack(pixels), band + 1, window=area)


@contextmanager
def create_raster(
    path: str | os.PathLike[str], info: RasterInfo, *, overwrite: bool = False, overviews: str | None = None
) -> Iterator[RasterWriter]:
    """Create a GeoTIFF described by ``info``; it appears under its name when the block ends without an error.

    BigTIFF when it may pass 4 GiB; tiled from 1024 pixels on; one band after the other. With ``overviews``, the name
    of a resampling of GDAL's, it is a Cloud Optimized GeoTIFF, deflated, copied from a plain one beside it.

    Raises
    ------
    InputError, OutputError
        As :func:`atomic.output`; InputError also when ``info`` cannot be written as a GeoTIFF.
    """
    with atomic.output(path, overwrite=overwrite, named=overviews is not None) as temporary:
        plain = temporary if overviews is None else temporary.with_suffix(".plain.tif")
        try:
            settings = {"GDAL_CACHEMAX": CACHE_BYTES, "GDAL_TIFF_INTERNAL_MASK": True}
            with rasterio.Env(**settings), _create(plain, info, Path(path).parent) as dataset:
                yield RasterWriter(dataset, info)
            _check_written(plain)
            if overviews is not None:
                _optimise(plain, temporary, overviews)
                _check_written(temporary)
        except rasterio.errors.RasterioError as cause:
            raise OSError(str(cause.__cause__ or cause)) from cause
        finally:
            if plain != temporary:
                plain.unlink(missing_ok=True)


def _check_room(folder: Path, info: RasterInfo) -> None:
    """Raise OSError where there is no room for a raster: GDAL finds out late, and says so in lines of its own."""
    bands = info.count + (info.mask == "alpha")
    need, usage = bands * info.height * info.width * np.dtype(info.dtype).itemsize, shutil.disk_usage(folder)
    if usage.total > 0 and usage.free < need:
        raise OSError(errno.ENOSPC, f"no space left on device: {need:,} bytes are needed, {usage.free:,} are free")


def _create(path: Path, info: RasterInfo, folder: Path) -> rasterio.io.DatasetWriter:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": info.count + (info.mask == "alpha"),
        "height": info.height,
        "width": info.width,
        "dtype": info.dtype,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }
    if min(info.height, info.width) >= 1024:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    try:
        if info.nodata is not None and in_dtype_range(info.nodata, info.dtype):  # else no pixel can have it
            profile["nodata"] = info.nodata
        if info.crs is not None:
            profile["crs"] = rasterio.crs.CRS.from_user_input(info.crs)
        if info.transform is not None:
            profile["transform"] = rasterio.Affine(*info.transform)
        _check_room(folder, info)
        dataset = _open(path, "w", **profile)
        try:
            _annotate(dataset, info)
        except BaseException:
            dataset.close()
            raise
    except (TypeError, ValueError, KeyError) as cause:
        raise errors.InputError(
            f"raster: its description cannot be written as a GeoTIFF ({errors.plain(cause)})"
        ) from cause
    return dataset


def _optimise(plain: Path, target: Path, overviews: str) -> None:
    """Copy a GeoTIFF to a Cloud Optimized one."""
    options = {"compress": "deflate", "predictor": "yes", "bigtiff": "if_safer", "num_threads": "all_cpus"}
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        try:
            rasterio.shutil.copy(plain, target, driver="COG", overview_resampling=overviews, **options)
        except CPLE_BaseError as cause:  # which rasterio lets through here
            raise OSError(str(cause)) from cause


def _open(path: str | os.PathLike[str], mode: str = "r", **profile: Any) -> Any:
    """Open with rasterio, which warns of every raster without a CRS; that is no fault here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)


def _describe(dataset: rasterio.DatasetReader) -> RasterInfo:
    gcps, gcp_crs = dataset.gcps
    gcps = [] if dataset.crs else gcps
    has_transform = bool(dataset.crs) or dataset.transform != rasterio.Affine.identity()
    tags = {k: v for k, v in dataset.tags().items() if k != "AREA_OR_POINT" or v != "Area"}
    mask = _mask_of(dataset)
    count = dataset.count - (mask == "alpha")
    scales, offsets = tuple(dataset.scales[:count]), tuple(dataset.offsets[:count])
    packed = set(scales) != {1.0} or set(offsets) != {0.0}
    return RasterInfo(
        count=count,
        height=dataset.height,
        width=dataset.width,
        dtype=dataset.dtypes[0],
        nodata=dataset.nodata,
        crs=crs_text(dataset.crs),
        transform=tuple(dataset.transform)[:6] if has_transform else None,
        gcps=tuple((p.row, p.col, p.x, p.y, p.z or 0.0, p.id or "", p.info or "") for p in gcps),
        gcp_crs=crs_text(gcp_crs) if gcps else None,
        descriptions=tuple(dataset.descriptions[:count]),
        units=tuple(dataset.units[:count]),
        tags=tags,
        band_tags=tuple(dataset.tags(band) for band in dataset.indexes[:count]),
        scales=scales if packed else (),
        offsets=offsets if packed else (),
        mask=mask,
    )


def _mask_of(dataset: rasterio.DatasetReader) -> str | None:
    """Say what takes pixels out besides nodata: a mask of the whole raster, or an alpha band, which is the last."""
    flags = set(dataset.mask_flag_enums[0])
    if MaskFlags.alpha in flags and dataset.count > 1 and dataset.colorinterp[-1] == ColorInterp.alpha:
        return "alpha"
    return "mask" if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags else None


def _annotate(dataset: rasterio.io.DatasetWriter, info: RasterInfo) -> None:
    if info.gcps:
        points = [
            rasterio.control.GroundControlPoint(row, col, x, y, z, str(name), str(text))
            for row, col, x, y, z, name, text in info.gcps
        ]
        crs = rasterio.crs.CRS.from_user_input(info.gcp_crs) if info.gcp_crs else rasterio.crs.CRS()
        dataset.gcps = (points, crs)
    dataset.update_tags(**info.tags)
    alpha = [ColorInterp.alpha] * (info.mask == "alpha")
    dataset.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (info.count - 1) + alpha
    if info.scales or info.offsets:
        dataset.scales = (*info.scales, *[1.0] * len(alpha))
        dataset.offsets = (*info.offsets, *[0.0] * len(alpha))
    for band in range(info.count):
        if band < len(info.descriptions) and info.descriptions[band]:
            dataset.set_band_description(band + 1, info.descriptions[band])
        if band < len(info.units) and info.units[band]:
            dataset.set_band_unit(band + 1, info.units[band])
        if band < len(info.band_tags) and info.band_tags[band]:
            dataset.update_tags(band + 1, **info.band_tags[band])


def _check_written(path: Path) -> None:
    """Look for every block in the file: GDAL may report a full disk only by leaving some out or cutting the last."""
    size = path.stat().st_size
    with _open(path) as dataset:
        for band, (rows, columns) in zip(dataset.indexes, dataset.block_shapes, strict=True):
            for row, column in np.ndindex(-(-dataset.height // rows), -(-dataset.width // columns)):
                offset, length = (
                    dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band)
                    for what in ("OFFSET", "SIZE")
                )
                if offset is None or length is None or int(offset) + int(length) > size:
                    raise OSError(f"only {size} bytes were written; is the disk full?")
