"""From a file to the pixels of a band or of a window of it, strip by strip; only the tiles that it takes are read.

A whole band is the window of all its pixels, so that both take the same path and agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import engine as codec_engine
from sarcodec.codec import stored_tiles
from sarcodec.container import archive, packing
from sarcodec.container import header as container_header
from sarcodec.speckle import record as speckle_record
from sarcodec.speckle import render

CONVERT_PIXELS = 1 << 20
"""Most pixels converted from dB at once; the conversion works in float64."""

FloatArray = npt.NDArray[np.float32]


def strips(
    reader: archive.Reader,
    band: int,
    engine: codec_engine.Engine,
    window: tiling.Window,
    *,
    speckle: bool,
    recent: stored_tiles.Recent | None = None,
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Restore a window of a band: yields the first row of a strip, and its pixels in the source's dtype.

    Of a packed raster (see :mod:`sarcodec.container.packing`) they are what it stands for, float32, as its integers
    can say it.

    Memory is bounded by a row of the tiles that the window touches.

    Parameters
    ----------
    reader : Reader
        A file that the engine's model made.
    band : int
        0-based.
    engine : Engine
        Decodes tiles.
    window : Window
        Inside the image.
    speckle : bool
        Whether to render lost speckle, of which the file must have a record.
    recent : Recent, optional
        Decoded tiles of earlier windows of this file, and a place for those of this one.

    Raises FormatError when the file is damaged.
    """
    raster = reader.header.raster
    quantity = radiometry.Quantity.parse(reader.header.quantity)
    dtype, nodata = packing.working(raster)
    packed = packing.Packing.of(raster, band)
    mask_rows = stored_tiles.MaskRows(reader, band, window)
    for top, db in _decoded(reader, band, engine, window, speckle, recent):
        rows = max(CONVERT_PIXELS // db.shape[1], 1)
        for first in range(0, len(db), rows):
            part = db[first : first + rows]
            pixels = radiometry.from_db(part, quantity, dtype, nodata)
            if packed is not None:
                pixels = packed.snap(pixels)
            codes = mask_rows.rows(top + first, top + first + len(part))
            for code in np.unique(codes[codes != radiometry.Fill.VALID]):
                pixels[codes == code] = radiometry.fill_value(int(code), pixels.dtype, nodata)
            yield top + first, pixels


def _decoded(
    reader: archive.Reader,
    band: int,
    engine: codec_engine.Engine,
    window: tiling.Window,
    speckle: bool,
    recent: stored_tiles.Recent | None,
) -> Iterator[tuple[int, FloatArray]]:
    """Decode a window to dB, blending over the borders of tiles; yields finished rows."""
    grid = _grid(reader.header, engine)
    rows, columns = grid.rows_of(window), grid.columns_of(window)
    first = _area(grid.at(rows[0], columns[0]), window, engine)
    last = _area(grid.at(rows[-1], columns[-1]), window, engine)
    needed = tiling.Window(first.top, last.bottom, first.left, last.right)
    top, pending = window.top, np.zeros((0, window.shape[1]), np.float32)
    with stored_tiles.LatentTiles(reader, band, engine, needed, recent) as latents:
        for row in rows:
            latents.ahead(row)
            latents.ahead(row + 1)
            bottom = min(grid.at(row, 0).blend.bottom, window.bottom)
            fresh = np.zeros((bottom - top - len(pending), window.shape[1]), np.float32)
            pending = np.concatenate([pending, fresh]) if len(pending) else fresh
            strip = tiling.Window(top, bottom, window.left, window.right)
            for tile, place, db in _windows(
                reader, band, engine, latents, [grid.at(row, c) for c in columns], window
            ):
                if speckle:
                    db = _with_speckle(reader, band, tile, place, db)
                if grid.ramp:
                    pending[place.inside(strip)] += grid.weights(tile)[place.inside(tile.blend)] * db
                else:
                    pending[place.inside(strip)] = db
            begins = grid.at(row + 1, 0).blend.top if row + 1 < grid.rows else grid.height
            final = min(max(begins, top), window.bottom)
            if final > top:
                yield top, pending[: final - top]
            top, pending = final, pending[final - top :]
            latents.forget_rows_before(row)


def _windows(
    reader: archive.Reader,
    band: int,
    engine: codec_engine.Engine,
    latents: stored_tiles.LatentTiles,
    tiles: list[tiling.Tile],
    window: tiling.Window,
) -> Iterator[tuple[tiling.Tile, tiling.Window, FloatArray]]:
    """Decode what tiles give to ``window``, several at once; yields tile, place and dB there, in order."""
    record, step = reader.header.bands[band], reader.header.step
    jobs: deque[tuple[tiling.Tile, tiling.Window, futures.Future[FloatArray]]] = deque()
    for tile in tiles:
        if not engine.ramp and stored_tiles.is_blank(reader, band, tile.row, tile.column):
            continue
        place, area = tile.blend.shared(window), _area(tile, window, engine)
        jobs.append((tile, place, latents.decode(area, record, step, place.inside(area))))
        if len(jobs) > engine.workers:
            done, place, job = jobs.popleft()
            yield done, place, job.result()
    for tile, place, job in jobs:
        yield tile, place, job.result()


def _grid(header: container_header.Header, engine: codec_engine.Engine) -> tiling.TileGrid:
    """Return the grid of overlapping windows in which a file is decoded."""
    _, height, width = header.shape
    ramp = min(engine.ramp, header.tile // 2 // header.stride * header.stride)
    return tiling.TileGrid(height, width, header.tile, ramp=ramp, margin=engine.margin)


def _area(tile: tiling.Tile, window: tiling.Window, engine: codec_engine.Engine) -> tiling.Window:
    """Return the window to decode for the pixels that a tile gives to ``window``."""
    if engine.whole:
        return tile.outer
    area = tile.blend.shared(window).aligned(engine.stride)
    return area.grow(engine.margin, tile.outer.bottom, tile.outer.right).shared(tile.outer)


def _with_speckle(
    reader: archive.Reader, band: int, tile: tiling.Tile, place: tiling.Window, db: FloatArray
) -> FloatArray:
    """Render the speckle that a part of a tile lost; a tile without valid pixels has no record and stays as it is."""
    name = archive.tile_name(band, tile.row, tile.column)
    if name not in reader:
        return db
    _, record = archive.split_tile(reader.read(name, stored_tiles.entry_limit(reader.header)), reader.header)
    if not record:
        return db
    lost = speckle_record.LostSpeckle.from_bytes(record)
    if (lost.height, lost.width) != tile.core.shape:
        raise errors.FormatError(f"{reader.name}: entry {name} has a record of another size; it was altered")
    start = place.top - tile.core.top, place.left - tile.core.left
    seed = reader.header.seed or 0
    return render.render(db, lost, seed=seed, top=tile.core.top, left=tile.core.left, start=start)
