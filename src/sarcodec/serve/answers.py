"""What a request asks for, and the answer: addresses in, bytes out, whatever carries them.

::

    /                                 the page, with /viewer.js and /viewer.css
    /info                             all files: names, kinds, sizes
    /FILE/info                        one: bands, size, CRS, bounds, zooms
    /FILE/stretch                     dB of black and white of a band, where no others are given
    /FILE/Z/X/Y.png                   a tile of the map (EPSG:3857, XYZ); .tif or .npy of float32 dB
    /FILE/pixels/Z/X/Y.png            a tile of pixels; zoom ``pixel_zoom`` of /FILE/info is the full resolution
    /FILE/quicklook.png               the whole image, small
    /FILE/value?lon=…&lat=…           the pixel there, of all bands; or row=…&column=…

Tiles, quick looks and stretches take ``band`` (a name, or a number from 1), pictures ``low`` and ``high`` (dB of
black and white), tiles ``minus`` (another file, for the difference in dB).
"""

from __future__ import annotations

import logging
import math
import re
import urllib.parse
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.serve import cache, images, library, pictures, tiles
from sarcodec.text import jsontext

PICTURE_BYTES = 64 << 20
"""Finished tiles that are kept."""
STATIC = {
    "/": ("viewer.html", "text/html; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/viewer.css": ("viewer.css", "text/css; charset=utf-8"),
    "/viewer.svg": ("viewer.svg", "image/svg+xml"),
}
log = logging.getLogger("sarcodec")

TILE = re.compile(r"(pixels/)?(\d{1,2})/(\d{1,9})/(\d{1,9})\.(png|npy|tif)")
TYPES = {"png": "image/png", "npy": "application/octet-stream", "tif": "image/tiff"}
WORDS = {"band", "low", "high", "minus", "lon", "lat", "row", "column"}

FloatArray = npt.NDArray[np.float32]
Query = Mapping[str, str]


class Answer(NamedTuple):
    """What goes back: a status of HTTP, a media type and bytes."""

    status: int
    kind: str
    body: bytes


class Answers:
    """Answers to requests for what is in a library, from several threads at once."""

    def __init__(self, shown: library.Library) -> None:
        self._library = shown
        self._pictures: cache.Cache[bytes] = cache.Cache(PICTURE_BYTES, len)

    def get(self, target: str) -> Answer:
        """Answer a request for a path and query; what goes wrong is an answer, too."""
        try:
            return self._found(target)
        except library.Gone as problem:
            return self._refused(404, problem)
        except errors.InputError as problem:
            return self._refused(400, problem)
        except (errors.SarcodecError, OSError) as problem:
            return self._refused(500, problem)
        except Exception as problem:  # one request must not end with a page that waits
            log.exception("%s", errors.plain(target))
            return refusal(500, f"this went wrong here: {type(problem).__name__}")

    def _refused(self, status: int, problem: Exception) -> Answer:
        return refusal(status, self._library.said(" ".join(str(problem).split())))

    def _found(self, target: str) -> Answer:
        path, _, text = target.partition("?")
        if path in STATIC:
            name, kind = STATIC[path]
            return Answer(200, kind, resources.files("sarcodec").joinpath("templates", name).read_bytes())
        query = _query(text)
        if path == "/info":
            return _json({"files": [self._listed(entry) for entry in self._library.entries.values()]})
        first, _, rest = path.removeprefix("/").partition("/")
        name = urllib.parse.unquote(first)
        image = self._library.open(name)
        if rest == "info":
            return _json(self._about(name, image))
        if rest == "stretch":
            low, high = image.stretch(image.band(query.get("band")))
            return _json({"low": low, "high": high})
        if rest == "value":
            return _json(_value(image, query))
        key: tuple[Any, ...]
        if rest == "quicklook.png":
            key = (image.identity, rest, *sorted(query.items()))
            return Answer(200, TYPES["png"], self._pictures.get(key, lambda: self._quicklook(image, query)))
        match = TILE.fullmatch(rest)
        if match is None:
            raise library.Gone(f"there is nothing at {errors.plain(path)}; tiles are at /FILE/ZOOM/X/Y.png")
        other = self._library.open(query["minus"]) if "minus" in query else None
        key = (image.identity, None if other is None else other.identity, rest, *sorted(query.items()))
        body = self._pictures.get(key, lambda: _tile(image, other, match, query))
        return Answer(200, TYPES[match[5]], body)

    def _listed(self, entry: library.Entry) -> dict[str, Any]:
        """Return what the list says of a file, without opening it."""
        return {
            "name": entry.name,
            "url": f"/{urllib.parse.quote(entry.name, safe='')}",
            "kind": "original" if entry.of else "sarc file",
        }

    def _about(self, name: str, image: images.Image) -> dict[str, Any]:
        info = image.info
        said = {
            "name": name,
            "url": f"/{urllib.parse.quote(name, safe='')}",
            "bands": image.bands,
            "height": info.height,
            "width": info.width,
            "quantity": image.pixels.quantity.value,
            "dtype": info.working_dtype,
            "nodata": info.working_nodata,
            "crs": info.crs or info.gcp_crs,
            "transform": info.transform,
            "pixel_zoom": tiles.levels(image.shape),
        }
        if image.map is not None:
            said |= {"bounds": image.map.place.bounds, "native_zoom": image.map.zoom}
            said["tiles"] = f"{said['url']}/{{z}}/{{x}}/{{y}}.png"
        return said | image.pixels.about()

    def _quicklook(self, image: images.Image, query: Query) -> bytes:
        band = image.band(query.get("band"))
        low, high = _limits(query) or image.stretch(band)
        return pictures.png(image.overview(band), low, high)


def refusal(status: int, text: str) -> Answer:
    """Return an answer that says what is wrong."""
    return _json({"error": text}, status)


def _json(record: Any, status: int = 200) -> Answer:
    return Answer(status, "application/json", jsontext.dumps(record).encode())


def _query(text: str) -> dict[str, str]:
    """Return the words of a query; InputError for one that is not known or comes twice."""
    pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=16) if text else []
    for name, _ in pairs:
        if name not in WORDS or sum(name == other for other, _ in pairs) > 1:
            raise errors.InputError(
                f"query: got {errors.plain(repr(name))}; pass each of {', '.join(sorted(WORDS))} once at most"
            )
    return dict(pairs)


def _number(query: Query, name: str) -> float | None:
    """Return a number of a query, None where it is not there."""
    if name not in query:
        return None
    try:
        value = float(query[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise errors.InputError(f"{name}: got {errors.plain(repr(query[name]))}; pass a number")
    return value


def _limits(query: Query) -> tuple[float, float] | None:
    """Return the dB of black and white, None where they are not given."""
    low, high = _number(query, "low"), _number(query, "high")
    if low is None and high is None:
        return None
    if low is None or high is None or not low < high:
        raise errors.InputError("low, high: pass both or none, low below high, in dB")
    return low, high


def _tile(image: images.Image, other: images.Image | None, match: re.Match[str], query: Query) -> bytes:
    """Return a tile as bytes of the form that is asked for."""
    tile, in_pixels, form = tiles.Address(*map(int, match.group(2, 3, 4))), match[1] is not None, match[5]
    band = image.band(query.get("band"))
    limits = _limits(query)
    db = _points(image, band, tile, in_pixels)
    if other is not None:
        if in_pixels and other.shape != image.shape:
            raise errors.InputError(f"minus: images of {image.shape} and {other.shape} pixels differ in size")
        db = db - _points(other, _same_band(image, other, band), tile, in_pixels)
    if form == "npy":
        return pictures.npy(db)
    if form == "tif":
        return pictures.tif(db, tile, 1 << (tiles.levels(image.shape) - tile.z) if in_pixels else None)
    if other is not None:
        return pictures.png(db, *(limits or (-pictures.LIMIT_DB, pictures.LIMIT_DB)), difference=True)
    return pictures.png(db, *(limits or image.stretch(band)))


def _same_band(image: images.Image, other: images.Image, band: int) -> int:
    """Return the band of another image that is to be compared: of the same name, else at the same place."""
    name = image.bands[band]
    return other.bands.index(name) if name in other.bands else other.band(str(band + 1))


def _points(image: images.Image, band: int, tile: tiles.Address, in_pixels: bool) -> FloatArray:
    if in_pixels:
        return image.at(band, tiles.of_pixels(image.shape, tile))
    return image.at(band, _map(image).places(tile))


def _map(image: images.Image) -> tiles.Map:
    if image.map is None:
        raise errors.InputError(
            "tile: the image has no place on the Earth, no CRS or none that leads there; ask for "
            "/FILE/pixels/ZOOM/X/Y.png"
        )
    return image.map


def _value(image: images.Image, query: Query) -> dict[str, Any]:
    """Return the pixel at a place, of all bands; None outside."""
    lon, lat, row, column = (_number(query, name) for name in ("lon", "lat", "row", "column"))
    if lon is not None and lat is not None:
        rows, columns = _map(image).place.pixels(np.array([lon]), np.array([lat]))
        row, column = float(rows[0]), float(columns[0])
    if row is None or column is None:
        raise errors.InputError("value: pass lon and lat in degrees, or row and column")
    if not (0 <= row < image.shape[0] and 0 <= column < image.shape[1]):
        return {"row": None, "column": None, "bands": {}}
    place = math.floor(row), math.floor(column)
    found = {band: image.value(number, *place) for number, band in enumerate(image.bands)}
    return {"row": place[0], "column": place[1], "quantity": image.pixels.quantity.value, "bands": found}
