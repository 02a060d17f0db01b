"""What describes a raster besides its pixels, and goes into a file's header."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import rasterio.crs

from sarcodec import errors, tiling
from sarcodec.container import packing

POLARISATIONS = ("VV", "VH", "HH", "HV")
MASKS = ("mask", "alpha")
"""What may take pixels out of a raster besides a nodata value."""

Item = TypeVar("Item")

_REAL_DTYPE = re.compile(r"[<>=|]?(u?int(8|16|32|64)|float(16|32|64|128)|[iuf](1|2|4|8|16))")


@dataclass(frozen=True)
class RasterInfo:
    """What describes a raster besides its pixels; goes into a ``.sarc`` header and comes back out of it.

    ``crs`` is WKT or an authority code, ``transform`` the six affine coefficients (a, b, c, d, e, f) or None,
    ``gcps`` rows of (row, col, x, y, z, id, info). ``nodata`` may be NaN. ``scales`` and ``offsets`` of the bands are
    empty where they do nothing; ``mask`` is ``"mask"`` or ``"alpha"`` where one of these takes pixels out. A raster
    with any of them is packed: see :mod:`sarcodec.container.packing`.
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
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    mask: str | None = None

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
            for key in ("transform", "descriptions", "units", "band_tags", "scales", "offsets"):
                if key in values:
                    values[key] = tuple(values[key])
            values["gcps"] = tuple(tuple(row) for row in values.get("gcps", ()))
            info = cls(**values)
            if not _REAL_DTYPE.fullmatch(info.dtype):
                raise ValueError(f"dtype {errors.plain(repr(info.dtype))}")
            if any(type(n) is not int or n < 1 for n in (info.count, info.height, info.width)):
                raise ValueError(f"{info.count} bands of {info.height}×{info.width} pixels")
            if not all(math.isfinite(s) and s != 0 for s in info.scales) or not all(map(math.isfinite, info.offsets)):
                raise ValueError("a scale that is 0 or not finite")
            if info.mask not in (None, *MASKS):
                raise ValueError(f"mask {errors.plain(repr(info.mask))}")
            if len(info.transform or range(6)) != 6 or any(len(row) != 7 for row in info.gcps):
                raise ValueError("transform or ground control points out of shape")
            for crs in filter(None, (info.crs, info.gcp_crs)):
                rasterio.crs.CRS.from_user_input(crs)
            return info
        except (TypeError, ValueError, KeyError, OverflowError) as cause:
            raise errors.FormatError(f"raster: not a valid raster description ({errors.plain(cause)})") from cause

    @property
    def working_dtype(self) -> str:
        """Dtype of the pixels as they are read and written here: float32 of a packed raster."""
        return packing.working(asdict(self))[0]

    @property
    def working_nodata(self) -> float | None:
        """Value of invalid pixels as they are read and written here: NaN of a packed raster."""
        return packing.working(asdict(self))[1]

    def polarisation(self, band: int) -> str:
        """Polarisation of a band (0-based): from its description, or the file's own name in the tags; else ``""``."""
        text = self.descriptions[band] if band < len(self.descriptions) else None
        tag = self.band_tags[band].get("POLARISATION", "") if band < len(self.band_tags) else ""
        return polarisation_from_text(f"{text or ''} {tag}")

    def band_names(self) -> list[str]:
        """Return what each band is called: its description, else its polarisation, else its number from 1."""
        said = [*self.descriptions, *[None] * self.count][: self.count]
        return [text or self.polarisation(band) or str(band + 1) for band, text in enumerate(said)]

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
            scales=_picked(self.scales, bands),
            offsets=_picked(self.offsets, bands),
        )

    def reduced(self, factor: int) -> RasterInfo:
        """Describe the raster at 1/factor of the resolution; the last pixels may reach beyond its borders."""
        transform = self.transform
        if transform is not None:
            a, b, c, d, e, f = transform
            transform = (a * factor, b * factor, c, d * factor, e * factor, f)
        return replace(
            self,
            height=-(-self.height // factor),
            width=-(-self.width // factor),
            transform=transform,
            gcps=tuple((float(row) / factor, float(col) / factor, *rest) for row, col, *rest in self.gcps),
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


def crs_text(crs: rasterio.crs.CRS | None) -> str | None:
    """Return the shortest text from which the same CRS can be made again."""
    if not crs:
        return None
    short: str = crs.to_string()
    return short if rasterio.crs.CRS.from_user_input(short) == crs else str(crs.to_wkt())
