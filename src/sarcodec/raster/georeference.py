"""Where the pixels of an array lie, as xarray and rioxarray say it: coordinates, and a variable of the grid mapping.

That variable has the CRS as WKT in ``crs_wkt`` or ``spatial_ref``, six numbers in ``GeoTransform`` in GDAL's order,
and ground control points as GeoJSON in ``gcps``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.crs
import rasterio.errors

from sarcodec import errors
from sarcodec.raster import info as raster_info

Axis = tuple[float, float]
"""Outer border of the first pixel, and the signed size of pixels."""

FloatArray = npt.NDArray[np.float64]

REGULAR = 1e-3
"""Part of a pixel by which coordinates may be off the regular grid."""


@dataclass(frozen=True)
class Place:
    """Where pixels lie: entries of :class:`info.RasterInfo`."""

    crs: str | None = None
    transform: tuple[float, ...] | None = None
    gcps: tuple[tuple[float | str, ...], ...] = ()
    gcp_crs: str | None = None


def centres(border: float, size: float, count: int) -> FloatArray:
    """Return the coordinates of pixel centres (count,), to the last bit as rioxarray does."""
    return np.arange(count, dtype=np.float64) * size + (size * 0.5 + border)


def place_of(mapping: Mapping[str, Any], crs: Any, rows: FloatArray | None, columns: FloatArray | None) -> Place:
    """Tell where an image lies.

    Parameters
    ----------
    mapping : mapping
        Attributes of the variable of the grid mapping.
    crs : anything rasterio makes a CRS of, optional
        Where the mapping has none.
    rows, columns : ndarray of float64, optional
        Coordinates of pixel centres, both or none. They count for more than ``GeoTransform``, which xarray leaves as
        it is where it takes a part of an image.

    Raises InputError for a CRS or transform that cannot be read, or coordinates that are not evenly spaced.
    """
    named = mapping.get("crs_wkt") or mapping.get("spatial_ref") or crs
    try:
        text = raster_info.crs_text(rasterio.crs.CRS.from_user_input(named)) if named else None
    except rasterio.errors.CRSError as cause:
        raise errors.InputError(f"crs: {errors.plain(named)} is none that can be read ({cause})") from cause
    transform = _transform(mapping.get("GeoTransform"))
    if rows is not None and columns is not None:
        known = (None, None) if transform is None else ((transform[5], transform[4]), (transform[2], transform[0]))
        (f, e), (c, a) = _axis("y", rows, known[0]), _axis("x", columns, known[1])
        transform = (a, 0.0, c, 0.0, e, f)
    points = _points(mapping.get("gcps"))
    if not points:
        return Place(text, transform)
    if transform is None:
        return Place(gcps=points, gcp_crs=text)
    a, b, c, d, e, f = transform
    if (a, b, d, e) == (1.0, 0.0, 0.0, 1.0):  # coordinates count pixels: it is the points that say where they lie
        moved = tuple((float(row) - f, float(column) - c, *rest) for row, column, *rest in points)
        return Place(gcps=moved, gcp_crs=text)
    return Place(text, transform)


def _transform(said: Any) -> tuple[float, ...] | None:
    if said is None:
        return None
    try:
        c, a, b, f, d, e = map(float, said.split() if isinstance(said, str) else said)
    except (TypeError, ValueError) as cause:
        raise errors.InputError(
            f"GeoTransform: got {errors.plain(repr(said))}; it is six numbers, as rio.write_transform writes them"
        ) from cause
    return a, b, c, d, e, f


def _axis(name: str, found: FloatArray, known: Axis | None) -> Axis:
    """Find the regular grid of the coordinates of an axis, by what is ``known`` where that says it exactly."""
    if found.size == 1:
        if known is None or not known[1]:
            raise errors.InputError(
                f"{name}: one coordinate does not tell the size of pixels; write it with rio.write_transform, or "
                f"drop the coordinate: .drop_vars({name!r})"
            )
        return float(found[0]) - known[1] / 2, known[1]
    size = float(found[-1] - found[0]) / (found.size - 1)
    grid = float(found[0]) + size * np.arange(found.size)
    off = float(np.abs(found - grid).max())
    if not (np.isfinite(off) and size) or off > REGULAR * abs(size) + np.finfo(np.float32).eps * np.abs(found).max():
        raise errors.InputError(
            f"{name}: coordinates are not evenly spaced, which no transform can say; put the pixels on a regular "
            f"grid, or drop them: .drop_vars({name!r})"
        )
    near = float(found[0]) - size / 2, size
    rounded = [(float(f"{near[0]:.{digits}g}"), float(f"{size:.{digits}g}")) for digits in (15, 12, 9)]
    candidates = [axis for axis in (known, near, *rounded) if axis is not None]
    exact = [axis for axis in candidates if np.array_equal(centres(*axis, found.size), found)]
    return exact[0] if exact else near


def _points(said: Any) -> tuple[tuple[float | str, ...], ...]:
    """Read ground control points; inverse of :func:`features`."""
    if not said:
        return ()
    try:
        points: list[tuple[float | str, ...]] = []
        for feature in json.loads(said)["features"]:
            about, (x, y, *z) = feature["properties"], feature["geometry"]["coordinates"]
            numbers = (float(n) for n in (about["row"], about["col"], x, y, *(z or [0.0])))
            points.append((*numbers, str(about.get("id") or ""), str(about.get("info") or "")))
    except (KeyError, TypeError, ValueError) as cause:
        raise errors.InputError(
            f"gcps: cannot be read ({errors.plain(cause)}); write them with rio.write_gcps"
        ) from cause
    return tuple(points)


def features(gcps: tuple[tuple[float | str, ...], ...]) -> str:
    """Return ground control points as GeoJSON, as rioxarray writes them."""
    collection = []
    for row, column, x, y, z, name, text in gcps:
        about = {"id": name, "info": text, "row": row, "col": column}
        geometry = {"type": "Point", "coordinates": [x, y, z]}
        collection.append({"type": "Feature", "properties": about, "geometry": geometry})
    return json.dumps({"type": "FeatureCollection", "features": collection})
