"""Where an image lies, as GeoJSON says it (RFC 7946): WGS 84, counter-clockwise, cut at ±180°."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec.raster import locator

DIGITS = 7
"""Of degrees: a centimetre."""
POINTS = 8
"""To a side, of an image whose sides are not straight in longitude and latitude."""

Ring = npt.NDArray[np.float64]


def of(place: locator.Locator | None) -> dict[str, Any]:
    """Return geometry and bbox of an image; of one without a place no bbox."""
    if place is None:
        return {"geometry": None}
    ring = np.stack(place.border(1 if place.straight else POINTS), axis=1)
    if _area(ring) < 0:
        ring = ring[::-1]
    parts = [
        np.column_stack([part[:, 0] + turn, part[:, 1]])
        for turn in (0.0, 360.0, -360.0)
        if len(part := _between(ring, -180.0 - turn, 180.0 - turn)) > 2 and abs(_area(part)) > 0
    ]
    parts.sort(key=lambda part: -part[:, 0].min())  # across ±180° the bbox begins in the east
    west, east = float(parts[0][:, 0].min()), float(parts[-1][:, 0].max())
    south, north = (float(end) for end in (ring[:, 1].min(), ring[:, 1].max()))
    rings = [[[_rounded(x), _rounded(y)] for x, y in [*part, part[0]]] for part in parts]
    shape: dict[str, Any] = {"type": "Polygon", "coordinates": [rings[0]]}
    if len(rings) > 1:
        shape = {"type": "MultiPolygon", "coordinates": [[one] for one in rings]}
    return {"geometry": shape, "bbox": [_rounded(number) for number in (west, south, east, north)]}


def _rounded(number: float) -> float:
    return round(float(number), DIGITS)


def _area(ring: Ring) -> float:
    x, y = (ring - ring[0]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def _between(ring: Ring, west: float, east: float) -> Ring:
    """Cut a ring at two meridians, keeping what lies between them."""
    for border, sign in ((west, 1.0), (east, -1.0)):
        kept: list[npt.NDArray[np.float64]] = []
        for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            inside = [sign * (point[0] - border) >= 0 for point in (start, end)]
            if inside[0]:
                kept.append(start)
            if inside[0] != inside[1]:
                kept.append(start + (end - start) * (border - start[0]) / (end[0] - start[0]))
        ring = np.array(kept).reshape(-1, 2)
    return ring
