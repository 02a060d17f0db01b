"""Maps over a scene: what blocks or tiles have, drawn to scale, and tile borders on a dimmed image."""

from __future__ import annotations

import html
import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec.pages import markup, pictures
from sarcodec.report import classes, seams, survey
from sarcodec.text import numerals

SIDE = 560
"""Largest side of a map in pixels."""

_GREYS = 100


def to_scale(values: npt.NDArray[np.floating[Any]], cell: int, shape: tuple[int, int]) -> pictures.FloatArray:
    """Draw values of cells of ``cell`` pixels (R, C) over an image of ``shape``, thinned to :data:`SIDE`."""
    factor = pictures.factor(shape, SIDE)
    rows, columns = (np.arange(factor // 2, max(length, factor // 2 + 1), factor) for length in shape)
    places = (
        np.minimum(place // cell, count - 1) for place, count in zip((rows, columns), values.shape, strict=True)
    )
    return values[np.ix_(*places)].astype(np.float32)


def figure(heading: str, image: str, shape: tuple[int, ...], legend: str, caption: str) -> str:
    """Return a picture with a heading, what its colours mean and a caption; all HTML but the data URI ``image``."""
    framed = pictures.frame(shape)
    return markup.fill(
        "map.html", {"heading": heading, "image": image, "legend": legend, "caption": caption} | framed
    )


def scale(low: str, high: str, palette: pictures.Index) -> str:
    """Return a bar of colours between two labels."""
    gradient = pictures.gradient(palette)
    return f'<div class="scale">{low} <i style="background: linear-gradient(to right, {gradient})"></i> {high}</div>'


def brightness(name: str, found: survey.Survey) -> str:
    """Return the map of classes of brightness."""
    index = to_scale(classes.of_blocks(found.blocks) + 1.0, survey.BLOCK, found.shape)
    palette = pictures.steps(len(classes.NAMES))
    swatches = "".join(
        f'<span><i style="background: rgb({r} {g} {b})"></i>{text}</span>'
        for text, (r, g, b) in zip(classes.NAMES, palette[1:].tolist(), strict=True)
    )
    return figure(
        "Classes of brightness",
        pictures.png(index.astype(np.uint8), palette),
        index.shape,
        f'<div class="swatches">{swatches}</div>',
        f"{html.escape(name)}: blocks of 32 × 32 pixels by the mean backscatter of the original.",
    )


def errors(name: str, found: survey.Survey) -> str:
    """Return the map of the root mean square error of blocks."""
    count = found.blocks.count
    rmse = np.sqrt(np.divide(found.blocks.squared, count, out=np.full(count.shape, np.nan), where=count > 0))
    low, high = (float(v) for v in np.nanpercentile(rmse, [1, 99]))
    high = max(high, low + 0.05)
    drawn = to_scale(rmse, survey.BLOCK, found.shape)
    palette = pictures.sequential()
    return figure(
        "Root mean square error",
        pictures.png(pictures.indexed(drawn, low, high), palette),
        drawn.shape,
        scale(f"{low:.2f} dB", f"{high:.2f} dB", palette),
        f"{html.escape(name)}: of blocks of 32 × 32 pixels; the best and worst 1\u00a0% have the end colours. "
        "Lost speckle is spread evenly; what stands out is lost content, or the edge of nodata.",
    )


def borders(name: str, found: survey.Survey) -> str:
    """Return the map of tile borders over the dimmed image; there must be a border that can be judged."""
    ratios = found.borders.ratios()
    known = np.concatenate([part[~np.isnan(part)] for part in ratios])
    limit = math.ceil(20 * max(float(np.percentile(np.abs(known - 1.0), 95)), 0.05) - 1e-9) / 20
    index = _dimmed(found)
    side = found.overview.factor * pictures.factor(found.overview.images()[0].shape, SIDE)
    half = int(min(found.borders.tile / side / 8, 2))
    lines = [_coloured(part, limit) for part in ratios]
    axes = found.borders.columns.borders, found.borders.rows.borders
    for canvas, colours, places in ((index, lines[0], axes[0]), (index.T, lines[1].T, axes[1])):
        ends = [round(n * found.borders.tile / side) for n in range(len(colours) + 1)]
        for row, (start, stop) in enumerate(itertools.pairwise(ends)):
            for colour, place in zip(colours[row], places, strict=True):
                if colour:
                    middle = round(place / side)
                    canvas[start:stop, max(middle - half, 0) : middle + half + 1] = colour
    red_and_blue = pictures.diverging()[1:]
    chosen = red_and_blue[np.linspace(0, len(red_and_blue) - 1, 255 - _GREYS).round().astype(int)]
    greys = np.repeat(np.linspace(70, 175, _GREYS)[:, None], 3, axis=1).round()
    palette = np.concatenate([np.zeros((1, 3)), greys, chosen]).astype(np.uint8)
    return figure(
        "Error along the borders of tiles",
        pictures.png(index, palette),
        index.shape,
        scale(f"{1 - limit:.2f}", f"{1 + limit:.2f}", pictures.diverging()),
        f"{html.escape(name)}: every line is a border, coloured by the RMSE within {seams.BAND} pixels of it over "
        f"that of the pixels {seams.BAND} to {seams.REACH} from it. White is equal, red larger at the border. Seams "
        "would make nearly all lines red; a few red and blue ones are chance.",
    )


def _dimmed(found: survey.Survey) -> pictures.Index:
    """Return the original as palette entries of the first greys, 0 where invalid."""
    image = found.overview.images()[0]
    image = pictures.multilook(image, pictures.factor(image.shape, SIDE))
    low, high = np.nanpercentile(image, [2, 98]) if np.isfinite(image).any() else (0.0, 1.0)
    scaled = 1 + (_GREYS - 1) * np.clip((image - low) / max(high - low, 0.1), 0, 1)
    return np.where(np.isnan(scaled), 0, np.round(scaled)).astype(np.uint8)


def _coloured(ratios: npt.NDArray[np.float64], limit: float) -> pictures.Index:
    """Return palette entries after the greys; 0 for a border that cannot be judged."""
    scaled = np.clip((ratios - 1.0) / limit, -1.0, 1.0) * 0.5 + 0.5
    entries = 1 + _GREYS + np.nan_to_num(scaled) * (254 - _GREYS)
    return np.where(np.isnan(ratios), 0, np.round(entries)).astype(np.uint8)


def bits(
    name: str, values: npt.NDArray[np.float64], tile: int, shape: tuple[int, int], ends: tuple[float, float]
) -> str:
    """Return the map of bits per pixel by tile (R, C), coloured between ``ends``."""
    drawn = to_scale(values, tile, shape)
    palette = pictures.sequential()
    low, middle, most, *marks = (numerals.significant(v, 3) for v in (*np.percentile(values, [0, 50, 100]), *ends))
    return figure(
        f"Bits per pixel, {html.escape(name)}",
        pictures.png(pictures.indexed(drawn, *ends), palette),
        drawn.shape,
        scale(marks[0], f"{marks[1]} bits/pixel", palette),
        f"{values.size:,} tiles of {tile:,} × {tile:,} pixels: from {low} to {most} bits per pixel, half of "
        f"them above {middle}. Symbols and mask over all pixels of the tile.",
    )
