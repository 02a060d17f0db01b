"""A quick look: one band in grey, or two polarisations and their ratio in colours, stretched in dB."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.codec import codec
from sarcodec.looks import legend as legends
from sarcodec.looks import shrink
from sarcodec.raster import info as raster_info
from sarcodec.raster import picture

SIZE = 1024
"""Pixels of the longest side, where nothing else is asked for."""

PERCENTILES = 2, 98
"""Between which valid pixels are stretched from black to bright."""

LEAST_RANGE_DB = 1.0
"""Of the stretch: an image that hardly varies stays grey."""

COMPOSITE = "composite"
PAIRS = ("VV", "VH"), ("HH", "HV")

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def quicklook(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    size: int = SIZE,
    band: str | None = None,
    stretch: tuple[float, float] | None = None,
    legend: bool = True,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    overwrite: bool = False,
) -> Pixels:
    """Make a picture of a file, and write it to a PNG, JPEG or WebP where a ``target`` is named.

    Memory is bounded by the picture. Pixels are means of power; of a ``.sarc`` file of the default codec what lies
    above the frequencies that are decoded is estimated (:mod:`sarcodec.lapped.lower`). The image is shown as it is
    stored, which of Sentinel-1 is in the order of acquisition: north need not be up.

    Parameters
    ----------
    source : path
        A ``.sarc`` file, a raster that GDAL opens, or a product.
    target : path, optional
        The picture to write, ``.png``, ``.jpg`` or ``.webp``; appears whole or not at all.
    size : int
        Pixels of the longest side, without the legend. Smaller images are not enlarged.
    band : str, optional
        A polarisation or name to show in grey, or ``"composite"``, which needs two polarisations: VV, VH and VV/VH
        (HH, HV and HH/HV) in red, green and blue. The composite where it can be had, else the first band, when not
        given.
    stretch : pair of float, optional
        dB that are black and bright, of the bands; the ratio, and all when not given, from their 2nd to their 98th
        percentile.
    legend : bool
        Whether to add a strip below that says so; needs the extra ``report``.
    model : path, str or Codec, optional
        Needed only for a ``.sarc`` file of a model that is not shipped.
    overwrite : bool
        Whether an existing ``target`` may be replaced.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 4): red, green, blue and opacity, 0 where there is no data. In a JPEG that is white.

    Raises
    ------
    InputError, FormatError, MissingExtra, OutputError
        For a source, band or size that cannot be shown, a legend without the extra, or a target that cannot be
        written.
    """
    if size < 1 or (stretch is not None and not stretch[0] < stretch[1]):
        what = f"size: got {size}; pass 1 or more" if size < 1 else f"stretch: got {stretch}; pass low and high in dB"
        raise errors.InputError(what)
    if target is not None:
        picture.check_target(target, source, overwrite=overwrite)
    with shrink.open(source, model) as small:
        names, bands = _chosen(small.info, band)
        images = [small.read(number, size) for number in bands]
    if len(images) == 2:
        images.append(images[0] - images[1])
        names.append("/".join(names))
    limits = [_limits(image, stretch if number < len(bands) else None) for number, image in enumerate(images)]
    drawn = _draw(images, limits)
    if legend:
        colours = ("grey",) if len(images) == 1 else ("red", "green", "blue")
        described = zip(names, colours, limits, strict=True)
        drawn = legends.below(drawn, [legends.Channel(name, colour, *ends) for name, colour, ends in described])
    if target is not None:
        picture.write(target, drawn, overwrite=overwrite)
    return drawn


def _chosen(info: raster_info.RasterInfo, band: str | None) -> tuple[list[str], list[int]]:
    """Return names and numbers of the bands to show: one in grey, or two of a composite."""
    found = [info.polarisation(number) for number in range(info.count)]
    pairs = [pair for pair in PAIRS if all(found.count(name) == 1 for name in pair)]
    if band == COMPOSITE and not pairs:
        there = ", ".join(filter(None, found)) or "none that is named"
        raise errors.InputError(f"band: a composite is of VV and VH, or HH and HV; the file has {there}, pass one")
    if pairs and band in (None, COMPOSITE):
        return list(pairs[0]), [found.index(name) for name in pairs[0]]
    number = 0 if band is None else info.find_band(band)
    said = info.descriptions[number] if number < len(info.descriptions) else None
    return [found[number] or said or f"band {number + 1}"], [number]


def _limits(db: FloatArray, stretch: tuple[float, float] | None) -> tuple[float, float]:
    """Return the dB that are black and bright; NaN where nothing is valid and nothing asked for."""
    if stretch is not None:
        return stretch
    valid = db[np.isfinite(db)]
    if not valid.size:
        return np.nan, np.nan
    low, high = (float(value) for value in np.percentile(valid, PERCENTILES))
    wider = max(LEAST_RANGE_DB - (high - low), 0.0) / 2
    return low - wider, high + wider


def _draw(images: Sequence[FloatArray], limits: Sequence[tuple[float, float]]) -> Pixels:
    """Return the picture (rows, columns, 4) of one band or three; transparent white where any is invalid."""
    there = np.isfinite(images).all(axis=0)
    drawn = np.full((*there.shape, 4), 255, np.uint8)
    drawn[..., 3] = np.where(there, 255, 0)
    if there.any():
        for channel in range(3):
            db, (low, high) = images[channel % len(images)], limits[channel % len(images)]
            bright = np.clip((db[there] - low) / (high - low), 0, 1)
            drawn[there, channel] = np.round(255 * bright)
    return drawn
