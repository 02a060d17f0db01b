"""From the entries of a file to the pixels of a band, strip by strip: :mod:`sarcodec.codec.encoding` backwards.

Only the tiles that a window takes are read. A whole band is the window of all its pixels, so that both take the same
path and agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import boxes, mask_rows, stored_tiles
from sarcodec.codec import engine as engines
from sarcodec.container import archive, packing
from sarcodec.speckle import record, render

CONVERT_PIXELS = 1 << 20
"""Most pixels converted from dB at once; the conversion works in float64."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a file, which the engine's model made.

    ``band`` is 0-based, ``window`` inside the image. ``speckle`` renders lost speckle, of which the file must have a
    record. ``recent`` has decoded tiles of earlier windows of this file, and a place for those of this one. With
    ``reduce``, 0 to 6, it is the image at 1/2^reduce of the resolution, of which ``window`` is then; ``power`` makes
    its pixels means of power.
    """

    band: int
    window: tiling.Window
    speckle: bool = False
    recent: stored_tiles.Recent | None = None
    reduce: int = 0
    power: bool = False


def strips(reader: archive.Reader, engine: engines.Engine, wanted: Wanted) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Restore a window of a band: yields the first row of a strip, and its pixels in the source's dtype.

    Of a packed raster (see :mod:`sarcodec.container.packing`) they are what it stands for, float32, as its integers
    can say it. Memory is bounded by a row of the tiles that the window touches.

    At a lower resolution a pixel is the mean of those that it covers in dB, so for linear quantities their geometric
    mean; with ``power`` it is their mean power, as multilooking makes it. Engines that reduce themselves come near
    both without decoding all that is in the file; of the others it is exactly so, up to pixels that are invalid.

    Raises FormatError when the file is damaged.
    """
    raster = reader.header.raster
    quantity = radiometry.Quantity.parse(reader.header.quantity)
    dtype, nodata = packing.working(raster)
    packed = packing.Packing.of(raster, wanted.band)
    constant = _constant(reader, wanted.band, quantity, dtype, nodata)
    masks = mask_rows.MaskRows(reader, wanted.band, wanted.window, wanted.reduce)
    found = _decoded if wanted.reduce <= engine.reduces else _averaged
    for top, db in found(reader, engine, wanted):
        rows = max(CONVERT_PIXELS // db.shape[1], 1)
        for first in range(0, len(db), rows):
            part = db[first : first + rows]
            pixels = radiometry.from_db(part, quantity, dtype, nodata)
            if constant is not None:
                pixels[:] = constant
            elif packed is not None:
                pixels = packed.snap(pixels)
            codes = masks.rows(top + first, top + first + len(part))
            for code in np.unique(codes[codes != radiometry.Fill.VALID]):
                pixels[codes == code] = radiometry.fill_value(int(code), pixels.dtype, nodata)
            yield top + first, pixels


def _constant(
    reader: archive.Reader, band: int, quantity: radiometry.Quantity, dtype: str, nodata: float | None
) -> npt.NDArray[Any] | None:
    """Return the one value of a band's valid pixels, of shape (1,); None where the header tells of none."""
    value = reader.header.constant(band)
    if value is None:
        return None
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    if limits.min <= value <= limits.max:
        pixel = np.array([value], dtype)
        if pixel[0] == value and radiometry.classify(pixel, quantity, nodata)[0] == radiometry.Fill.VALID:
            return pixel
    raise errors.FormatError(
        f"{reader.name}: the header says that all pixels of band {band + 1} are {value:.9g}, which no valid {dtype} "
        f"pixel in {quantity.value} can be; it was altered"
    )


def _averaged(reader: archive.Reader, engine: engines.Engine, wanted: Wanted) -> Iterator[tuple[int, FloatArray]]:
    """Decode a window at the full resolution and average it; yields finished rows."""
    factor = 1 << wanted.reduce
    full = wanted.window.enlarged(factor, *reader.header.shape[1:])
    top, pending = wanted.window.top, np.zeros((0, full.shape[1]), np.float32)
    for first, db in _decoded(reader, engine, replace(wanted, window=full, reduce=0)):
        pending = np.concatenate([pending, db])
        ready = len(pending) if first + len(db) == full.bottom else len(pending) // factor * factor
        if ready:
            means = boxes.means_of_power if wanted.power else boxes.means
            rows = means(pending[:ready], factor)
            yield top, rows
            top, pending = top + len(rows), pending[ready:]


def _decoded(reader: archive.Reader, engine: engines.Engine, wanted: Wanted) -> Iterator[tuple[int, FloatArray]]:
    """Decode a window to dB, blending over the borders of tiles; yields finished rows."""
    window, grid = wanted.window, _grid(reader, engine, wanted.reduce)
    rows, columns = grid.rows_of(window), grid.columns_of(window)
    first = _area(grid.at(rows[0], columns[0]), window, engine, wanted.reduce)
    last = _area(grid.at(rows[-1], columns[-1]), window, engine, wanted.reduce)
    needed = tiling.Window(first.top, last.bottom, first.left, last.right)
    top, pending = window.top, np.zeros((0, window.shape[1]), np.float32)
    form = wanted.recent, wanted.reduce, wanted.power
    with stored_tiles.LatentTiles(reader, wanted.band, engine, needed, *form) as latents:
        for row in rows:
            latents.ahead(row)
            latents.ahead(row + 1)
            bottom = min(grid.at(row, 0).blend.bottom, window.bottom)
            fresh = np.zeros((bottom - top - len(pending), window.shape[1]), np.float32)
            pending = np.concatenate([pending, fresh]) if len(pending) else fresh
            strip = tiling.Window(top, bottom, window.left, window.right)
            for place, part, db in _windows(reader, engine, wanted, latents, [grid.at(row, c) for c in columns]):
                if grid.ramp:
                    pending[part.inside(strip)] += grid.weights(place)[part.inside(place.blend)] * db
                else:
                    pending[part.inside(strip)] = db
            latents.forget_rows_before(row)
            latents.ahead(row + 2)  # while what is done is converted and written
            begins = grid.at(row + 1, 0).blend.top if row + 1 < grid.rows else grid.height
            final = min(max(begins, top), window.bottom)
            if final > top:
                yield top, pending[: final - top]
            top, pending = final, pending[final - top :]


def _windows(
    reader: archive.Reader,
    engine: engines.Engine,
    wanted: Wanted,
    latents: stored_tiles.LatentTiles,
    places: list[tiling.Tile],
) -> Iterator[tuple[tiling.Tile, tiling.Window, FloatArray]]:
    """Decode what tiles give to the window, several at once; yields tile, part of it and dB there, in order."""
    jobs: deque[tuple[tiling.Tile, tiling.Window, futures.Future[FloatArray]]] = deque()
    for place in places:
        if not engine.ramp and stored_tiles.is_blank(reader, wanted.band, place.row, place.column):
            continue
        part, area = place.blend.shared(wanted.window), _area(place, wanted.window, engine, wanted.reduce)
        lost = _lost(reader, wanted.band, place) if wanted.speckle else None
        seen, seed = latents.window(area), reader.header.seed or 0
        jobs.append((place, part, latents.run(tile, seen, latents.coder, place, part, area, lost, seed)))
        if len(jobs) > engine.workers:
            done, part, job = jobs.popleft()
            yield done, part, job.result()
    for place, part, job in jobs:
        yield place, part, job.result()


def tile(
    latents: Sequence[FloatArray],
    coder: engines.TileCoder,
    place: tiling.Tile,
    part: tiling.Window,
    area: tiling.Window,
    lost: record.LostSpeckle | None,
    seed: int,
) -> FloatArray:
    """Decode ``part`` of a tile of the last band of a group from latents of ``area``, and add the speckle it lost."""
    db = coder.restore(latents, part.inside(area))[-1]
    if lost is None:
        return db
    start = part.top - place.core.top, part.left - place.core.left
    return render.render(db, lost, seed=seed, top=place.core.top, left=place.core.left, start=start)


def _grid(reader: archive.Reader, engine: engines.Engine, reduce: int) -> tiling.TileGrid:
    """Return the grid of overlapping windows in which a file is decoded."""
    side, stride = reader.header.tile, reader.header.stride
    ramp = min(engine.ramp, side // 2 // stride * stride)
    return stored_tiles.grid(reader, reduce, ramp=ramp >> reduce, margin=engine.margin >> reduce)


def _area(place: tiling.Tile, window: tiling.Window, engine: engines.Engine, reduce: int) -> tiling.Window:
    """Return the window to decode for the pixels that a tile gives to ``window``."""
    if engine.whole:
        return place.outer
    area = place.blend.shared(window).aligned(engine.stride >> reduce)
    return area.grow(engine.margin >> reduce, place.outer.bottom, place.outer.right).shared(place.outer)


def _lost(reader: archive.Reader, band: int, place: tiling.Tile) -> record.LostSpeckle | None:
    """Return the record of the speckle that a tile lost; a tile without valid pixels has none."""
    name = archive.tile_name(band, place.row, place.column)
    if name not in reader:
        return None
    _, data = archive.split_tile(reader.read(name, stored_tiles.entry_limit(reader.header)), reader.header)
    if not data:
        return None
    lost = record.LostSpeckle.from_bytes(data)
    if (lost.height, lost.width) != place.core.shape:
        raise errors.FormatError(f"{reader.name}: entry {name} has a record of another size; it was altered")
    return lost
