"""From tiles to pixels: which places of an image the 256×256 points of a tile are.

Two schemes, both XYZ with y from the top: web mercator (EPSG:3857) for images with a place on the Earth, and pixels
for all, where zoom :func:`most` is the full resolution and every zoom below it half of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.codec import stored_tiles
from sarcodec.raster import locator

SIDE = 256
MOST_ZOOM = 24
KNOTS = 17
"""Points along a side for which places are computed; those between are interpolated where that is exact enough."""
EXACT_ENOUGH = 0.1
"""Of a pixel of the tile: by how much interpolation from half the knots may be off."""
EARTH_M = 2 * math.pi * 6378137.0

FloatArray = npt.NDArray[np.float64]

POINTS: FloatArray = np.arange(SIDE, dtype=np.float64) + 0.5
"""Middles of the pixels of a tile, along a side."""


class Address(NamedTuple):
    """A tile: zoom, column from the west or left, row from the north or top."""

    z: int
    x: int
    y: int

    def check(self) -> None:
        """Raise InputError for a tile that no map has."""
        if not (0 <= self.z <= MOST_ZOOM and 0 <= self.x < 1 << self.z and 0 <= self.y < 1 << self.z):
            raise errors.InputError(
                f"tile: got {self.z}/{self.x}/{self.y}; pass zoom/x/y, zoom 0 to {MOST_ZOOM}, x and y below 2^zoom"
            )

    @property
    def bounds_m(self) -> tuple[float, float, float, float]:
        """West, south, east and north in metres of EPSG:3857."""
        side = EARTH_M / (1 << self.z)
        west, north = self.x * side - EARTH_M / 2, EARTH_M / 2 - self.y * side
        return west, north - side, west + side, north


@dataclass(frozen=True, eq=False)
class Places:
    """Of the points of a tile, rows and columns (256, 256) in the full image, NaN outside; and the level to read."""

    rows: FloatArray
    columns: FloatArray
    reduce: int


def levels(shape: tuple[int, int]) -> int:
    """Return how often an image is halved until it is a tile, at most as often as it can be."""
    return min(max(math.ceil(math.log2(max(shape) / SIDE)), 0), stored_tiles.MOST_REDUCED)


def of_pixels(shape: tuple[int, int], tile: Address) -> Places:
    """Return the places of a tile of pixels; InputError for one that the image has not."""
    most = levels(shape)
    reduce = most - tile.z
    height, width = stored_tiles.reduced_shape(shape, reduce) if 0 <= reduce <= most else (0, 0)
    if not (0 <= tile.x < math.ceil(width / SIDE) and 0 <= tile.y < math.ceil(height / SIDE)):
        raise errors.InputError(
            f"tile: got {tile.z}/{tile.x}/{tile.y}; the image of {shape[0]} rows and {shape[1]} columns has zooms 0 "
            f"to {most}, and at the last {math.ceil(shape[1] / SIDE)}×{math.ceil(shape[0] / SIDE)} tiles"
        )
    rows, columns = np.meshgrid(tile.y * SIDE + POINTS, tile.x * SIDE + POINTS, indexing="ij")
    inside = (rows < height) & (columns < width)
    factor = 1 << reduce
    return Places(np.where(inside, rows * factor, np.nan), np.where(inside, columns * factor, np.nan), reduce)


class Map:
    """The map of an image with a place on the Earth.

    Attributes
    ----------
    zoom : float
        At which a pixel of a tile is as large as one of the image, in its middle.
    """

    def __init__(self, place: locator.Locator) -> None:
        self.place = place
        row, column = (side / 2 for side in place.shape)
        x, y = world(*place.lonlat(row + np.array([0.0, 0.5, 0.0]), column + np.array([0.0, 0.0, 0.5])))
        area = 4 * abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
        self.zoom = min(-math.log2(SIDE * math.sqrt(area)), MOST_ZOOM) if area > 0 else float(MOST_ZOOM)

    def places(self, tile: Address) -> Places:
        """Return the places of a tile; InputError for one that no map has."""
        tile.check()
        reduce = min(max(round(self.zoom - tile.z), 0), stored_tiles.MOST_REDUCED)
        found = _interpolated(self.place, tile, EXACT_ENOUGH * 2.0 ** (self.zoom - tile.z))
        if found is None:
            found = _at(self.place, tile, POINTS, POINTS)
        rows, columns = found
        height, width = self.place.shape
        with np.errstate(invalid="ignore"):
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return Places(np.where(inside, rows, np.nan), np.where(inside, columns, np.nan), reduce)


def world(lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return places of the square world of web mercator, 0 to 1 from the west and from the north."""
    y = 0.5 - np.arcsinh(np.tan(np.radians(lat))) / (2 * np.pi)
    return lon / 360.0 + 0.5, y


def lonlat(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Invert :func:`world`."""
    return 360.0 * (x - 0.5), np.degrees(np.arctan(np.sinh(2 * np.pi * (0.5 - y))))


def _at(place: locator.Locator, tile: Address, down: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return rows and columns of all points so many pixels down and right of the corner of a tile."""
    side = 1 << tile.z
    x, y = np.meshgrid((tile.x + right / SIDE) / side, (tile.y + down / SIDE) / side)
    return place.pixels(*lonlat(x, y))


def _interpolated(place: locator.Locator, tile: Address, allowed: float) -> tuple[FloatArray, FloatArray] | None:
    """Interpolate places between knots; None where half of them do not tell the others within so many pixels."""
    knots = np.linspace(0, SIDE, KNOTS, dtype=np.float64)
    exact = np.stack(_at(place, tile, knots, knots))
    if not np.isfinite(exact).all():
        return None
    half = _weights(knots[::2], knots)
    if np.abs(_between(exact[:, ::2, ::2], half) - exact).max() > allowed:
        return None
    rows, columns = _between(exact, _weights(knots, POINTS))
    return rows, columns


def _between(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Interpolate values (k, n, n) to (k, m, m) by weights (m, n).

    Not by matrix products: the threads of BLAS wait for those that decode, and take ten times as long.
    """
    down = np.einsum("ij,kjl->kil", weights, values)
    return np.asarray(np.einsum("kil,ml->kim", down, weights))


def _weights(knots: FloatArray, points: FloatArray) -> FloatArray:
    """Return what each knot (n,) weighs at each point (m,) between them, (m, n)."""
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(points[:, None] - knots) / (knots[1] - knots[0])))
