"""From the pixels of a source to the entries of a file, tile by tile: :mod:`sarcodec.codec.decoding` backwards."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import _version, errors, radiometry, tiling
from sarcodec.codec import engine as engines
from sarcodec.codec import layout as layouts
from sarcodec.codec import validity
from sarcodec.container import archive, header, masks
from sarcodec.runtime import threads
from sarcodec.speckle import measure

MAX_EFFORT = 4
SEED = 1
"""Of rendered speckle; a file records it."""


@dataclass(frozen=True)
class Options:
    """How to compress.

    ``step`` is the engine's, its default one when not given. ``tile`` is the side of a tile in pixels. ``speckle``
    says whether to keep a record of lost speckle, by default where much is lost. ``effort`` is how often codecs
    for all rates search for their symbols, 1 to 4: a second time saves about half a per cent of the bytes at equal
    error, and takes a quarter longer; with the variable-rate autoencoder, which decodes between searches, 1.3 per
    cent, and twice as long. ``accept_loss`` compresses also where many valid pixels are what the quantity cannot
    hold: see :mod:`sarcodec.codec.validity`.
    """

    step: int | None = None
    tile: int = 1024
    speckle: bool | None = None
    effort: int = 1
    accept_loss: bool = False


@dataclass(frozen=True)
class Plan:
    """What all tiles of a file share: step and other options, complete, and what the engine found of bands."""

    step: int
    tile: int
    speckle: bool
    effort: int
    bands: tuple[header.Band, ...]


@dataclass(frozen=True)
class CodedTile:
    """A tile's entries, those that it has, the count of its pixels, and how many of the valid ones were clipped."""

    band: int
    tile: tiling.Tile
    mask: bytes | None
    entry: bytes | None
    clipped: int
    tally: validity.Tally

    @property
    def pixels(self) -> int:
        """Pixels of the tile."""
        return self.tally.pixels

    def write(self, writer: archive.Writer) -> None:
        """Add the entries to a file."""
        place = self.band, self.tile.row, self.tile.column
        if self.mask is not None:
            writer.add(archive.mask_name(*place), self.mask, deflate=True)
        if self.entry is not None:
            writer.add(archive.tile_name(*place), self.entry)


def settle(engine: engines.Engine, options: Options) -> tuple[int, bool]:
    """Return step and whether to record speckle, as options say or leave it to an engine.

    InputError for what it cannot do.
    """
    step = engine.default_step if options.step is None else options.step
    engine.check_step(step)
    if not 1 <= options.effort <= MAX_EFFORT:
        raise errors.InputError(f"effort: got {options.effort}; pass 1 to {MAX_EFFORT}")
    since = engine.speckle_step
    if options.speckle and since is None:
        raise errors.InputError("speckle: only the lapped codec keeps a record of lost speckle; leave it out")
    return step, (since is not None and step >= since) if options.speckle is None else options.speckle


def tiles(
    source: layouts.Source,
    layout: layouts.Layout,
    engine: engines.Engine,
    plan: Plan,
    part: tuple[int, int] | None = None,
) -> Generator[CodedTile]:
    """Code the tiles of all bands in the order of the file, as many at once as the engine says.

    ``part``, a group of bands and a row of the grid, are all that is coded where given. Closing the generator early
    drops what has not begun.
    """
    groups = engines.groups(layout.count)
    grid = tiling.TileGrid(layout.height, layout.width, plan.tile, margin=engine.margin)
    rows = itertools.product(range(len(groups)), range(grid.rows)) if part is None else [part]
    pool = futures.ThreadPoolExecutor(engine.workers)
    pending: deque[futures.Future[list[CodedTile]]] = deque()
    with threads.one_each():
        try:
            for number, row in rows:
                for place in grid.row_tiles(row):
                    pixels = [source.read(band, place.outer) for band in groups[number]]
                    pending.append(pool.submit(tile, pixels, groups[number], place, layout, engine, plan))
                    if len(pending) > engine.workers:
                        yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def tile(
    pixels: Sequence[npt.NDArray[Any]],
    group: Sequence[int],
    place: tiling.Tile,
    layout: layouts.Layout,
    engine: engines.Engine,
    plan: Plan,
) -> list[CodedTile]:
    """Code a tile of a group of bands from the pixels of its outer window; touches nothing that other tiles use."""
    inside = place.core.inside(place.outer)
    near = place.core.grow(engine.reach, layout.height, layout.width).inside(place.outer)
    codes = [radiometry.classify(image, layout.quantity, layout.nodata) for image in pixels]
    blank = all(code[near].all() for code in codes)  # no valid pixel in the tile, nor near it
    entries: Sequence[bytes | None] = [None] * len(group)
    clipped = [0] * len(group)
    if not blank:
        coder = engine.at([plan.bands[band] for band in group], plan.step, plan.effort)
        valid = [code == radiometry.Fill.VALID for code in codes]
        db = coder.fill([radiometry.to_db(image, layout.quantity) for image in pixels], valid)
        encoded = coder.encode(db, inside, valid)
        inner = [(image[inside], known[inside]) for image, known in zip(db, valid, strict=True)]
        clipped = coder.outside([image[known] for image, known in inner])
        entries = [
            archive.join_tile(one.data, _lost(one, image, known, place.core) if plan.speckle else None)
            for one, (image, known) in zip(encoded, inner, strict=True)
        ]
    coded = []
    for number, band in enumerate(group):
        core = codes[number][inside]
        tally = validity.count(pixels[number][inside], core, layout.quantity)
        mask = masks.pack_mask(core) if core.any() else None
        coded.append(CodedTile(band, place, mask, entries[number], clipped[number], tally))
    return coded


def _lost(encoded: engines.Encoded, db: npt.NDArray[np.float32], valid: engines.Mask, core: tiling.Window) -> bytes:
    """Return the record of the speckle that a tile lost; empty without a valid pixel."""
    if not valid.any():
        return b""
    return measure.measure(db, encoded.preview(), valid, seed=SEED, top=core.top, left=core.left).to_bytes()


def header_of(
    layout: layouts.Layout, engine: engines.Engine, plan: Plan, bands: tuple[header.Band, ...]
) -> header.Header:
    """Return the header of a file of which all tiles are coded."""
    return header.Header(
        raster=layout.record,
        quantity=layout.quantity.value,
        model=engine.identity,
        architecture=engine.architecture,
        stride=engine.stride,
        channels=engine.channels,
        step=plan.step,
        tile=plan.tile,
        bands=bands,
        created_by=_version.__version__,
        version=engine.version,
        max_error_db=engine.max_error_db,
        seed=SEED if plan.speckle else None,
        product=layout.product,
        extra=layout.extra,
    )
