"""Where pixels lie on the Earth: rows and columns to longitude and latitude, and back."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.control
import rasterio.crs
import rasterio.errors
import rasterio.transform
import rasterio.warp
from affine import Affine
from rasterio._err import CPLE_BaseError

from sarcodec.raster import info as raster_info

FloatArray = npt.NDArray[np.float64]
Pair = tuple[FloatArray, FloatArray]

WGS84 = rasterio.crs.CRS.from_epsg(4326)
MOST_SPLINE_POINTS = 1000
"""Ground control points that a thin plate spline is solved for at most; products have some 200."""

FAULTS = (rasterio.errors.RasterioError, CPLE_BaseError, ValueError)


class Locator:
    """Places of an image with a CRS; made by :func:`of`.

    Rows and columns are continuous, 0 at the outer border of the first pixel. Longitudes and latitudes are degrees of
    WGS 84; the longitudes of an image are continuous, and so beyond ±180° where it lies across that meridian.

    By ground control points places come from a thin plate spline, which passes through all of them. The polynomial
    that GDAL takes by default is off by up to 28 pixels at the points of a Sentinel-1 product.

    Attributes
    ----------
    crs : CRS
        In which the image has its transform or its points.
    bounds : tuple of float
        West, south, east, north of the border of the image.
    straight : bool
        Whether the sides of the image are straight lines in longitude and latitude.
    """

    def __init__(self, crs: rasterio.crs.CRS, shape: tuple[int, int], grid: _Affine | _Points) -> None:
        self.crs, self.shape, self._grid = crs, shape, grid
        self.straight = crs.is_geographic and isinstance(grid, _Affine)
        middle = np.array([shape[0] / 2]), np.array([shape[1] / 2])
        self._centre = float(_transformed(crs, WGS84, *grid.forward(*middle))[0][0])
        lon, lat = self.border()
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            raise ValueError("a border without places on the Earth")
        self.bounds = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
        again = self.pixels(*self.lonlat(*middle))
        if not all(abs(b[0] - a[0]) <= max(shape) / 4 for a, b in zip(middle, again, strict=True)):
            raise ValueError("places that lead elsewhere, as those of points in a line")

    def lonlat(self, rows: FloatArray, columns: FloatArray) -> Pair:
        """Return longitudes and latitudes of places in the image, of the same shape; NaN where there are none."""
        x, y = self._grid.forward(rows, columns)
        lon, lat = _transformed(self.crs, WGS84, x, y)
        return self._continuous(lon), lat

    def pixels(self, lon: FloatArray, lat: FloatArray) -> Pair:
        """Return rows and columns of longitudes and latitudes, of the same shape.

        They are NaN where there are none, or further from the image than it is wide and high.
        """
        west, south, east, north = self.bounds
        wide, high = max(east - west, 1e-3), max(north - south, 1e-3)
        lon = self._continuous(lon)
        near = (lon > west - wide) & (lon < east + wide) & (lat > south - high) & (lat < north + high)
        rows, columns = np.full(lon.shape, np.nan), np.full(lon.shape, np.nan)
        if near.any():
            x, y = _transformed(WGS84, self.crs, lon[near], lat[near])
            rows[near], columns[near] = self._grid.backward(x, y)
        return rows, columns

    def border(self, points: int = 16) -> Pair:
        """Return longitudes and latitudes along the border, clockwise from the first pixel; ``points`` to a side."""
        height, width = self.shape
        along = np.arange(points) / points
        there, back, still = along, 1 - along, np.zeros(points)
        rows = np.concatenate([still, there, still + 1, back]) * height
        columns = np.concatenate([there, still + 1, back, still]) * width
        return self.lonlat(rows, columns)

    def _continuous(self, lon: FloatArray) -> FloatArray:
        return np.asarray(lon - 360.0 * np.round((lon - self._centre) / 360.0))


def of(info: raster_info.RasterInfo) -> Locator | None:
    """Return where the pixels of a raster lie; None where it does not say, or says what lies nowhere on the Earth."""
    named = info.crs if info.transform is not None else info.gcp_crs
    try:
        if info.transform is not None and info.crs:
            grid: _Affine | _Points = _Affine(Affine(*info.transform))
        elif info.gcps and info.gcp_crs:
            grid = _Points(info.gcps, rasterio.crs.CRS.from_user_input(info.gcp_crs).is_geographic)
        else:
            return None
        return Locator(rasterio.crs.CRS.from_user_input(named), (info.height, info.width), grid)
    except FAULTS:
        return None


class _Affine:
    """Places by six coefficients."""

    def __init__(self, transform: Affine) -> None:
        if not all(map(math.isfinite, transform[:6])) or transform.is_degenerate:
            raise ValueError("a transform without an inverse")
        self._forward, self._backward = transform, ~transform

    def forward(self, rows: FloatArray, columns: FloatArray) -> Pair:
        return _applied(self._forward, columns, rows)

    def backward(self, x: FloatArray, y: FloatArray) -> Pair:
        columns, rows = _applied(self._backward, x, y)
        return rows, columns


def _applied(transform: Affine, x: FloatArray, y: FloatArray) -> Pair:
    a, b, c, d, e, f = transform[:6]
    return a * x + b * y + c, d * x + e * y + f


class _Points:
    """Places by ground control points."""

    def __init__(self, gcps: tuple[tuple[Any, ...], ...], degrees: bool) -> None:
        if len(gcps) < 3:
            raise ValueError("too few ground control points")
        x = np.array([float(point[2]) for point in gcps])
        if degrees and np.ptp(x) > 180:  # across the meridian of ±180°
            x = np.where(x < 0, x + 360, x)
        points = [
            rasterio.control.GroundControlPoint(float(row), float(column), float(east), float(north), float(z))
            for east, (row, column, _, north, z, *_) in zip(x, gcps, strict=True)
        ]
        self._transformer = rasterio.transform.GCPTransformer(points, tps=len(points) <= MOST_SPLINE_POINTS)
        self._lock = threading.Lock()

    def forward(self, rows: FloatArray, columns: FloatArray) -> Pair:
        with self._lock:
            x, y = self._transformer.xy(rows.ravel(), columns.ravel(), offset="ul")
        return np.reshape(x, rows.shape), np.reshape(y, rows.shape)

    def backward(self, x: FloatArray, y: FloatArray) -> Pair:
        with self._lock:
            rows, columns = self._transformer.rowcol(x.ravel(), y.ravel(), op=np.positive)
        return np.reshape(rows, x.shape), np.reshape(columns, x.shape)


def _transformed(source: rasterio.crs.CRS, target: rasterio.crs.CRS, x: FloatArray, y: FloatArray) -> Pair:
    """Transform coordinates; NaN where that cannot be done, for one such point spoils a call."""
    if source == target:
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
    found = np.full((2, x.size), np.nan)
    parts = [slice(0, x.size)]
    flat = np.stack([x.ravel(), y.ravel()])
    while parts:
        part = parts.pop()
        try:
            found[:, part] = rasterio.warp.transform(source, target, *flat[:, part])
        except FAULTS:
            middle = (part.start + part.stop) // 2
            parts += [slice(part.start, middle), slice(middle, part.stop)] if part.stop - part.start > 1 else []
    found[~np.isfinite(found)] = np.nan
    return found[0].reshape(x.shape), found[1].reshape(x.shape)
