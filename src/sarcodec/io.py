"""GeoTIFF in and out through rasterio, window by window, with all that describes a raster."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

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
from rasterio.enums import ColorInterp

from sarcodec import atomic, errors, tiling, virtual

POLARISATIONS = ("VV", "VH", "HH", "HV")
SAMPLE_SIDE = 1024
"""Rows and columns of the thinned sample that detection looks at."""

CACHE_BYTES = 64 << 20
"""GDAL's block cache while a raster is open; its default is a share of the machine's memory."""

Item = TypeVar("Item")

_REAL_DTYPE = re.compile(r"[<>=|]?(u?int(8|16|32|64)|float(16|32|64|128)|[iuf](1|2|4|8|16))")


@dataclass(frozen=True)
class RasterInfo:
    """What describes a raster besides its pixels; goes into a ``.sarc`` header and comes back out of it.

    ``crs`` is WKT or an authority code, ``transform`` the six affine coefficients (a, b, c, d, e, f) or None,
    ``gcps`` rows of (row, col, x, y, z, id, info). ``nodata`` may be NaN.
    """

    count: int
    height: int
    width: int
    dtype: str
    nodata: float | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    gcps: tuple[tuple[float | str, ...], ...] = ()
    gcp_crs: str | None = None
    descriptions: tuple[str | None, ...] = ()
    units: tuple[str | None, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    band_tags: tuple[Mapping[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the entries that say nothing; NaN becomes the text ``"nan"``."""
        record = {key: value for key, value in asdict(self).items() if value not in (None, (), {})}
        if self.nodata is not None and not math.isfinite(self.nodata):
            record["nodata"] = str(self.nodata)
        for key in ("descriptions", "units"):
            if not any(record.get(key, ())):
                record.pop(key, None)
        if not any(self.band_tags):
            record.pop("band_tags", None)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RasterInfo:
        """Inverse of :meth:`to_dict`; raises FormatError for anything else."""
        try:
            values = dict(record)
            if "nodata" in values:
                values["nodata"] = float(values["nodata"])
            for key in ("transform", "descriptions", "units", "band_tags"):
                if key in values:
                    values[key] = tuple(values[key])
            values["gcps"] = tuple(tuple(row) for row in values.get("gcps", ()))
            info = cls(**values)
            if not _REAL_DTYPE.fullmatch(info.dtype):
                raise ValueError(f"dtype {info.dtype!r}")
            if any(type(n) is not int or n < 1 for n in (info.count, info.height, info.width)):
                raise ValueError(f"{info.count} bands of {info.height}×{info.width} pixels")
            if len(info.transform or range(6)) != 6 or any(len(row) != 7 for row in info.gcps):
                raise ValueError("transform or ground control points out of shape")
            for crs in filter(None, (info.crs, info.gcp_crs)):
                rasterio.crs.CRS.from_user_input(crs)
            return info
        except (TypeError, ValueError, KeyError, OverflowError) as cause:
            raise errors.FormatError(f"raster: not a valid raster description ({cause})") from cause

    def polarisation(self, band: int) -> str:
        """Polarisation of a band (0-based): from its description, or the file's own name in the tags; else ``""``."""
        text = self.descriptions[band] if band < len(self.descriptions) else None
        tag = self.band_tags[band].get("POLARISATION", "") if band < len(self.band_tags) else ""
        return polarisation_from_text(f"{text or ''} {tag}")

    def find_band(self, name: str) -> int:
        """Find the band (0-based) of a polarisation or description; InputError lists what there is."""
        said = [self.descriptions[band] if band < len(self.descriptions) else None for band in range(self.count)]
        known = [(text or "", self.polarisation(band)) for band, text in enumerate(said)]
        found = [band for band, names in enumerate(known) if name.upper() in map(str.upper, names) and name]
        if len(found) != 1:
            there = ", ".join(text or p or f"band {band} without a name" for band, (text, p) in enumerate(known, 1))
            fault = f"{len(found)} bands are called so" if found else "there is no such band"
            raise errors.InputError(f"polarisation: got {name!r}, but {fault}; the file has {there}")
        return found[0]

    def cropped(self, window: tiling.Window, bands: Sequence[int]) -> RasterInfo:
        """Describe a window of some bands (0-based) as a raster of its own."""
        window.check(self.height, self.width)
        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform
            c, f = c + a * window.left + b * window.top, f + d * window.left + e * window.top
            transform = (a, b, c, d, e, f)
        height, width = window.shape
        gcps = tuple((float(row) - window.top, float(col) - window.left, *rest) for row, col, *rest in self.gcps)
        return replace(
            self,
            count=len(bands),
            height=height,
            width=width,
            transform=transform,
            gcps=gcps,
            descriptions=_picked(self.descriptions, bands),
            units=_picked(self.units, bands),
            band_tags=_picked(self.band_tags, bands),
        )

    def unit_text(self) -> str:
        """Return all that the file says of its units, for :func:`radiometry.detect_quantity`."""
        named = [value for key, value in self.tags.items() if key.upper() in ("UNITS", "UNIT", "SARCODEC_QUANTITY")]
        return " ".join([*named, *(unit for unit in self.units if unit)])


def _picked(values: tuple[Item, ...], bands: Sequence[int]) -> tuple[Item, ...]:
    return tuple(values[band] for band in bands if band < len(values))


def polarisation_from_text(text: str) -> str:
    """Find VV, VH, HH or HV as a word of its own; ``""`` when there is none or more than one."""
    words = set(re.split(r"[^A-Z]+", text.upper()))
    found = [p for p in POLARISATIONS if p in words]
    return found[0] if len(found) == 1 else ""


class RasterReader:
    """An open raster: :attr:`info`, :meth:`read` of windows and a thinned :meth:`sample`.

    Made by :func:`open_raster`. :attr:`name` is fit to be shown: :func:`virtual.public`.
    """

    def __init__(self, dataset: rasterio.DatasetReader) -> None:
        self._dataset = dataset
        self.name = virtual.public(dataset.name)
        self.info = _describe(dataset)

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window of a band (0-based) in the dtype of the file; FormatError when the file is damaged."""
        area = rasterio.windows.Window(window.left, window.top, window.shape[1], window.shape[0])
        return self._read(band, window=area)

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Read a thinned copy (nearest neighbour, at most 1024×1024) of a band (0-based)."""
        shape = (min(self.info.height, SAMPLE_SIDE), min(self.info.width, SAMPLE_SIDE))
        return self._read(band, out_shape=shape)

    def _read(self, band: int, **how: Any) -> npt.NDArray[Any]:
        try:
            pixels: npt.NDArray[Any] = self._dataset.read(band + 1, **how)
        except rasterio.errors.RasterioError as cause:
            raise _fault(self._dataset.name, "cannot be read, it is damaged or truncated", cause) from None
        return pixels


@contextmanager
def open_raster(path: str | os.PathLike[str]) -> Iterator[RasterReader]:
    """Open a raster that GDAL can read: a local file, a URL (``https://…``, ``s3://…``) or a virtual file system's.

    Credentials in a URL appear in no error; see :mod:`sarcodec.virtual`.

    Raises
    ------
    FormatError
        When there is no such file, it is no raster, or its pixels are not real numbers.
    """
    try:
        dataset = _open(path)
    except rasterio.errors.RasterioError as cause:
        raise _fault(path, "cannot be opened", cause) from None
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), dataset:
        kinds = {np.dtype(d).kind if "complex_int" not in d else "c" for d in dataset.dtypes}
        if len(set(dataset.dtypes)) != 1 or not kinds <= set("uif"):
            raise errors.FormatError(
                f"raster {virtual.public(path)}: got bands of {', '.join(dataset.dtypes)}; "
                "all bands must share one real dtype (detect complex data first)"
            )
        yield RasterReader(dataset)


def _fault(place: str | os.PathLike[str], what: str, cause: Exception) -> errors.FormatError:
    said = virtual.public_text(str(cause), place)
    return errors.FormatError(f"raster {virtual.public(place)}: {what} ({said})")


class RasterWriter:
    """A GeoTIFF being written; made by :func:`create_raster`."""

    def __init__(self, dataset: rasterio.io.DatasetWriter) -> None:
        self._dataset = dataset

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        """Write a window of a band (0-based)."""
        area = rasterio.windows.Window(window.left, window.top, window.shape[1], window.shape[0])
        self._dataset.write(pixels, band + 1, window=area)


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
    with atomic.output(path, overwrite=overwrite) as temporary:
        plain = temporary if overviews is None else temporary.with_suffix(".plain.tif")
        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), _create(plain, info) as dataset:
                yield RasterWriter(dataset)
            _check_written(plain)
            if overviews is not None:
                _optimise(plain, temporary, overviews)
                _check_written(temporary)
        except rasterio.errors.RasterioError as cause:
            raise OSError(str(cause)) from cause
        finally:
            if plain != temporary:
                plain.unlink(missing_ok=True)


def _create(path: Path, info: RasterInfo) -> rasterio.io.DatasetWriter:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": info.count,
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
        dataset = _open(path, "w", **profile)
        try:
            _annotate(dataset, info)
        except BaseException:
            dataset.close()
            raise
    except (TypeError, ValueError, KeyError) as cause:
        raise errors.InputError(f"raster: its description cannot be written as a GeoTIFF ({cause})") from cause
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
    return RasterInfo(
        count=dataset.count,
        height=dataset.height,
        width=dataset.width,
        dtype=dataset.dtypes[0],
        nodata=dataset.nodata,
        crs=_crs_text(dataset.crs),
        transform=tuple(dataset.transform)[:6] if has_transform else None,
        gcps=tuple((p.row, p.col, p.x, p.y, p.z or 0.0, p.id or "", p.info or "") for p in gcps),
        gcp_crs=_crs_text(gcp_crs) if gcps else None,
        descriptions=tuple(dataset.descriptions),
        units=tuple(dataset.units),
        tags=tags,
        band_tags=tuple(dataset.tags(band) for band in dataset.indexes),
    )


def _crs_text(crs: rasterio.crs.CRS | None) -> str | None:
    """Return the shortest text from which the same CRS can be made again."""
    if not crs:
        return None
    short: str = crs.to_string()
    return short if rasterio.crs.CRS.from_user_input(short) == crs else str(crs.to_wkt())


def _annotate(dataset: rasterio.io.DatasetWriter, info: RasterInfo) -> None:
    if info.gcps:
        points = [
            rasterio.control.GroundControlPoint(row, col, x, y, z, str(name), str(text))
            for row, col, x, y, z, name, text in info.gcps
        ]
        crs = rasterio.crs.CRS.from_user_input(info.gcp_crs) if info.gcp_crs else rasterio.crs.CRS()
        dataset.gcps = (points, crs)
    dataset.update_tags(**info.tags)
    dataset.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (info.count - 1)
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
