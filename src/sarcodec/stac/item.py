"""A ``.sarc`` file as an Item of STAC 1.1: where and when, what its pixels are, how it is coded, and its checksum.

Extensions: projection 2.0.0, raster 2.0.0, file 2.1.0, sar 1.3.2. Fields that begin with ``sarcodec:`` are our own.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rasterio.crs

from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.entropy import scale
from sarcodec.raster import info as raster_info
from sarcodec.raster import locator
from sarcodec.stac import geometry

VERSION = "1.1.0"
MEDIA_TYPE = "application/vnd.sarcodec"
EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "sar": "https://stac-extensions.github.io/sar/v1.3.2/schema.json",
}
SHA256 = "1220"
"""Begin of a multihash: the code of SHA-256 and its length of 32 bytes."""
FIRST_SAR = "1978-06-27T00:00:00Z"
"""Seasat's launch: no image from space is older. For a time that is not known STAC has no word but an interval."""
DATE_TAGS = ("ACQUISITION_DATETIME", "ACQUISITION_DATE", "ACQUISITION_TIME", "SENSING_TIME")
UNITS = {"intensity": "1", "dn": "1", "db": "dB"}
DATA_TYPES = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "float16",
    "float32",
    "float64",
}

_SENTINEL = re.compile(r"(S1[A-D])_(IW|EW|WV|S[1-6])_(GRD|SLC|OCN|RAW)._.{4}_(\d{8}T\d{6})_(\d{8}T\d{6})_")


def item(path: str | os.PathLike[str], href: str | None = None) -> dict[str, Any]:
    """Describe a file.

    Parameters
    ----------
    path : path
        The ``.sarc`` file. All of its bytes are read, for the checksum.
    href : str, optional
        The file as the item names it; ``./NAME.sarc`` when not given, for an item that lies beside the file.

    Returns
    -------
    dict
        The item. Its geometry is None where the file has no place on the Earth. Where it does not say when the image
        was taken, ``datetime`` is None and the interval is as wide as it can be.

    Raises FormatError when the file is damaged or missing.
    """
    place = Path(path)
    with archive.Reader(place) as reader:
        header, total = reader.header, reader.sizes()["total"]
    info = raster_info.RasterInfo.from_dict(header.raster)
    found = locator.of(info)
    properties = _when(header, info, place) | _projection(info) | _sar(header, info, place) | _coding(header, total)
    used = {key.partition(":")[0] for key in properties} | {"raster", "file"}
    record: dict[str, Any] = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [uri for name, uri in EXTENSIONS.items() if name in used],
        "id": place.stem,
        **geometry.of(found),
        "properties": properties,
        "links": [],
    }
    asset = {
        "href": f"./{urllib.parse.quote(place.name)}" if href is None else href,
        "type": MEDIA_TYPE,
        "roles": ["data"],
        "bands": [_band(header, info, band) for band in range(info.count)],
        "file:size": place.stat().st_size,
        "file:checksum": _checksum(place),
    }
    return record | {"assets": {"data": asset}}


def _checksum(place: Path) -> str:
    with place.open("rb") as stream:
        return SHA256 + hashlib.file_digest(stream, "sha256").hexdigest()


def _product(header: container_header.Header, place: Path) -> re.Match[str] | None:
    """Return the name of a Sentinel-1 product that the file is of, by its header or its own name."""
    names = [header.product.name] if header.product else []
    return next(filter(None, (_SENTINEL.match(name) for name in [*names, place.name])), None)


def _when(header: container_header.Header, info: raster_info.RasterInfo, place: Path) -> dict[str, Any]:
    """Return when the image was taken: by the product's name, else by tags; the widest interval where none says."""
    product = _product(header, place)
    if product is not None:
        start, end = (_utc(datetime.strptime(text, "%Y%m%dT%H%M%S")) for text in product.group(4, 5))
        return {"datetime": start, "start_datetime": start, "end_datetime": end}
    tags = {key.upper(): text for key, text in info.tags.items()}
    for text in (tags[name].strip() for name in DATE_TAGS if name in tags):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            continue
        if re.fullmatch(r"[\d-]{8,10}", text):
            day = time.date().isoformat()
            return {"datetime": None, "start_datetime": f"{day}T00:00:00Z", "end_datetime": f"{day}T23:59:59Z"}
        return {"datetime": _utc(time)}
    written = datetime.fromtimestamp(int(place.stat().st_mtime), UTC)
    return {"datetime": None, "start_datetime": FIRST_SAR, "end_datetime": _utc(written)}


def _utc(time: datetime) -> str:
    """Write a time, of UTC where it does not say."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.isoformat().replace("+00:00", "Z")


def _projection(info: raster_info.RasterInfo) -> dict[str, Any]:
    """Return CRS, transform and shape; ground control points are no projection, of them there is the shape."""
    found: dict[str, Any] = {"proj:shape": [info.height, info.width]}
    if info.transform is None or not info.crs:
        return {"proj:code": None} | found
    crs = rasterio.crs.CRS.from_user_input(info.crs)
    authority = crs.to_authority(confidence_threshold=100)
    code = {"proj:code": ":".join(authority)} if authority else {"proj:code": None, "proj:wkt2": _wkt2(crs)}
    return code | found | {"proj:transform": list(info.transform)}


def _wkt2(crs: rasterio.crs.CRS) -> str:
    return str(crs.to_wkt(version="WKT2_2019"))


def _sar(header: container_header.Header, info: raster_info.RasterInfo, place: Path) -> dict[str, Any]:
    """Return polarisations, and of a Sentinel-1 product platform, instrument, mode and type."""
    said = dict.fromkeys(filter(None, (info.polarisation(band) for band in range(info.count))))
    found: dict[str, Any] = {"sar:polarizations": list(said)} if said else {}
    product = _product(header, place)
    if product is None:
        return found
    return found | {
        "platform": f"sentinel-1{product[1][-1].lower()}",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        "sar:instrument_mode": product[2],
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:product_type": product[3],
    }


def _coding(header: container_header.Header, total: int) -> dict[str, Any]:
    """Return how the file is coded."""
    found: dict[str, Any] = {
        "sarcodec:quantity": header.quantity,
        "sarcodec:model": f"{header.architecture} {header.model}",
        "sarcodec:step": header.step,
        "sarcodec:bits_per_pixel": 8 * total / math.prod(header.shape),
        "sarcodec:created_by": header.created_by,
    }
    if header.promised_error_db is not None:
        return found | {"sarcodec:max_error_db": header.promised_error_db}
    return found | ({} if header.clips else {"sarcodec:quality": scale.quality_of_step(header.step)})


def _band(header: container_header.Header, info: raster_info.RasterInfo, band: int) -> dict[str, Any]:
    """Describe a band of the raster that is restored."""
    said = info.descriptions[band] if band < len(info.descriptions) else None
    unit = info.units[band] if band < len(info.units) else None
    found: dict[str, Any] = {
        "name": said or info.polarisation(band) or str(band + 1),
        "data_type": info.dtype if info.dtype in DATA_TYPES else "other",
        "unit": unit or UNITS[header.quantity],
    }
    if info.nodata is not None:
        found["nodata"] = info.nodata if math.isfinite(info.nodata) else str(info.nodata)
    for key, values in (("raster:scale", info.scales), ("raster:offset", info.offsets)):
        if band < len(values):
            found[key] = values[band]
    sampling = info.tags.get("AREA_OR_POINT", "").lower()
    return found | ({"raster:sampling": sampling} if sampling in ("area", "point") else {})
