"""Images of any source in the size of a picture, in bounded memory: mean power over the area of each pixel, in dB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry, tiling
from sarcodec.codec import boxes, codec, stored_tiles
from sarcodec.container import archive
from sarcodec.raster import info as raster_info
from sarcodec.raster import source as raster_source
from sarcodec.scene import decision, model_store, transcoding
from sarcodec.scene import source as scene_source

STRIP_PIXELS = 1 << 22
"""Pixels of a raster that are read at once, or as many as a row of the reduced image takes."""

FloatArray = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]


class Small(Protocol):
    """A source that is open to be read small."""

    info: raster_info.RasterInfo

    def read(self, band: int, size: int) -> FloatArray:
        """Return a band (0-based) with a longest side of ``size`` pixels in dB, NaN where less than half is valid."""
        ...


@contextmanager
def open(source: str | os.PathLike[str], model: str | os.PathLike[str] | codec.Codec | None) -> Iterator[Small]:
    """Open a ``.sarc`` file, raster or product.

    Raises as :func:`scene_source.open`, :func:`decision.layout_of` and :func:`model_store.codec_for`.
    """
    if transcoding.is_file(source):
        with archive.Reader(source) as reader:
            yield SmallFile(reader, model_store.codec_for(reader, model))
    else:
        with scene_source.open(source) as raster:
            yield SmallRaster(raster)


class SmallFile:
    """A ``.sarc`` file, of which only low frequencies are decoded where the engine can."""

    def __init__(self, reader: archive.Reader, coder: codec.Codec) -> None:
        self._reader, self._coder = reader, coder
        self.info = raster_info.RasterInfo.from_dict(reader.header.raster)

    def read(self, band: int, size: int) -> FloatArray:
        """Decode the band at the resolution that is just finer, and average from there."""
        quantity = radiometry.Quantity.parse(self._reader.header.quantity)
        reduce = reduction((self.info.height, self.info.width), size)
        rows = self._coder.restore_rows(self._reader, band, reduce=reduce, power=True)
        power = np.concatenate([_power(pixels, quantity, self.info.working_nodata) for _, pixels in rows])
        return resampled(power, (self.info.height, self.info.width), reduce, size)


class SmallRaster:
    """Any other source, of which all pixels are read."""

    def __init__(self, raster: raster_source.Raster) -> None:
        self._raster, self.info = raster, raster.info
        self._quantity = decision.layout_of(raster, None).quantity

    def read(self, band: int, size: int) -> FloatArray:
        """Read the band in strips, and average them."""
        height, width = self.info.height, self.info.width
        reduce = reduction((height, width), size)
        factor = 1 << reduce
        rows = max(STRIP_PIXELS // width // factor, 1) * factor
        strips = []
        for top in range(0, height, rows):
            window = tiling.Window(top, min(top + rows, height), 0, width)
            power = _power(self._raster.read(band, window), self._quantity, self.info.working_nodata)
            strips.append(boxes.valid_means(power, factor))
        return resampled(np.concatenate(strips), (height, width), reduce, size)


def reduction(shape: tuple[int, int], size: int) -> int:
    """Return how often an image can be halved, at most 6 times, and its longest side still be ``size`` pixels."""
    halvings = range(stored_tiles.MOST_REDUCED + 1)
    return max((n for n in halvings if -(-max(shape) >> n) >= size), default=0)


def _power(pixels: npt.NDArray[Any], quantity: radiometry.Quantity, nodata: float | None) -> FloatArray:
    """Return the intensity of pixels, NaN where they are invalid."""
    valid = radiometry.classify(pixels, quantity, nodata) == radiometry.Fill.VALID
    power = 10 ** (radiometry.to_db(np.where(valid, pixels, 1), quantity) / 10)
    return np.where(valid, power, np.nan).astype(np.float32)


def resampled(power: FloatArray, shape: tuple[int, int], reduce: int, size: int) -> FloatArray:
    """Average a reduced image over the areas of a smaller one's pixels.

    Parameters
    ----------
    power : ndarray of float32
        Intensity at 1/2^reduce of the resolution of an image of ``shape``, NaN where it is invalid.
    shape : tuple of int
        Height and width of the full image.
    reduce, size : int
        As of :func:`reduction`.

    Returns
    -------
    ndarray of float32
        dB, NaN where less than half of the area is valid.
    """
    shrink = min(size / max(shape), 1.0)
    target = [max(round(side * shrink), 1) for side in shape]
    valid = np.isfinite(power)
    sums, areas = np.where(valid, power, 0).astype(np.float64), valid.astype(np.float64)
    for axis in (0, 1):
        sums, areas = (_summed(values, shape[axis], target[axis], 1 << reduce, axis) for values in (sums, areas))
    whole = shape[0] / target[0] * shape[1] / target[1]
    there = 2 * areas >= whole * (1 - 1e-9)
    means = np.maximum(sums / np.where(there, areas, 1), radiometry.NOISE_FLOOR)
    return np.where(there, 10 * np.log10(means), np.nan).astype(np.float32)


def _summed(values: Reals, side: int, count: int, factor: int, axis: int) -> Reals:
    """Integrate what is constant over boxes of ``factor`` of ``side`` pixels, along an axis, over ``count`` parts."""
    edges = np.minimum(np.arange(values.shape[axis] + 1) * factor, side)
    lines = np.moveaxis(values, axis, 0)
    total = np.concatenate([np.zeros((1, lines.shape[1])), np.cumsum(lines * np.diff(edges)[:, None], axis=0)])
    cuts = np.linspace(0, side, count + 1)
    before = np.clip(np.searchsorted(edges, cuts, side="right") - 1, 0, len(edges) - 2)
    share = ((cuts - edges[before]) / np.diff(edges)[before])[:, None]
    parts = np.diff(total[before] * (1 - share) + total[before + 1] * share, axis=0)
    return np.moveaxis(parts, 0, axis)
