"""The codec: pixels to a ``.sarc`` file and back, window by window.

:meth:`Codec.compress` and :meth:`Codec.decompress` mirror each other. They know arrays and anything that reads and
writes windows (:mod:`sarcodec.codec.layout`), not rasters; :mod:`sarcodec.scene.files` brings the rasters.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import _version, errors, radiometry, tiling
from sarcodec.autoencoder import checkpoint
from sarcodec.codec import decoding, stored_tiles, validity
from sarcodec.codec import engine as codec_engine
from sarcodec.codec.layout import Layout, Sink, Source
from sarcodec.container import archive, masks, product
from sarcodec.container import header as container_header
from sarcodec.lapped import engine as lapped_engine
from sarcodec.lapped import model as lapped_model
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.runtime import threads
from sarcodec.scene import engines
from sarcodec.speckle import measure

DEFAULT_STEP = 1792
"""Step index of the lapped codec when none is asked for: 2 dB, an error of some 0.7 dB."""

MAX_EFFORT = 4
PANEL = 13312
"""Columns that are restored at once, as many whole tiles as they hold; the next ones after all rows of these."""

SEED = 1
"""Of rendered speckle; a file records it."""

Advance = Callable[[int], None]
"""Is told of pixels as they are done; a negative number takes back what was told, where work begins anew."""


@dataclass(frozen=True)
class Options:
    """How to compress.

    ``step`` is the engine's: a multiplier of an autoencoder's quantisation steps, an index of the lapped codec's; by
    default 1, or :data:`DEFAULT_STEP`. ``tile`` is the side of a tile in pixels. ``speckle`` says whether to keep a
    record of lost speckle, by default where much is lost. ``effort`` is how often the lapped codec searches for its
    symbols, 1 to 4: a second time makes files about half a per cent smaller, and takes half as long again.
    ``accept_loss`` compresses also where many valid pixels are what the quantity cannot hold: see
    :mod:`sarcodec.codec.validity`.
    """

    step: int | None = None
    tile: int = 1024
    speckle: bool | None = None
    effort: int = 1
    accept_loss: bool = False


@dataclass(frozen=True)
class Plan:
    """What all tiles of a file share: complete options, and what the engine found of every band."""

    options: Options
    bands: tuple[container_header.Band, ...]


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


class Codec:
    """A model ready to code with.

    Parameters
    ----------
    model : Checkpoint, LappedModel or BoundedEngine
        A calibrated autoencoder, the lapped codec, or an engine that needs no model.
    device : str
        A torch device.
    precision : str
        ``"auto"`` is bfloat16 where the processor computes in it, else float32.
    """

    def __init__(
        self,
        model: checkpoint.Checkpoint | lapped_model.LappedModel | nearlossless_engine.BoundedEngine,
        *,
        device: str = "cpu",
        precision: str = "auto",
    ) -> None:
        self.engine: codec_engine.Engine
        if isinstance(model, nearlossless_engine.BoundedEngine):
            self.engine = model
        else:
            self.engine = engines.open_engine(model, device=device, precision=precision)

    def compress(
        self,
        source: Source,
        layout: Layout,
        writer: archive.Writer,
        options: Options,
        advance: Advance | None = None,
    ) -> validity.Tally:
        """Code every band of ``source`` into ``writer``, tile by tile, and finish the file.

        Memory is bounded by the tile, not the image. ``advance`` is called with the number of pixels of every tile
        once it is coded. Returns the count of all pixels.

        Raises InputError for options the model cannot do, or where too many valid pixels are what the quantity
        cannot hold.
        """
        plan = self.plan(source, layout, options)
        for path, data in layout.files():
            writer.add(product.entry_name(path), data, deflate=True)
        clipped, tallies = [0] * layout.count, [validity.Tally()] * layout.count
        pixels, accept = layout.count * layout.height * layout.width, options.accept_loss
        with closing(self.coded_tiles(source, layout, plan)) as tiles:
            for coded in tiles:
                coded.write(writer)
                clipped[coded.band] += coded.clipped
                tallies[coded.band] += coded.tally
                validity.check(sum(tallies, validity.Tally()), layout.quantity, accept=accept, pixels=pixels)
                if advance:
                    advance(coded.pixels)
        tally = sum(tallies, validity.Tally())
        validity.check(tally, layout.quantity, accept=accept)
        bands = (
            replace(band, clipped=round(out / max(counted.valid, 1), 6))
            for band, out, counted in zip(plan.bands, clipped, tallies, strict=True)
        )
        writer.finish(self._header(layout, plan.options, tuple(bands)))
        return tally

    def plan(self, source: Source, layout: Layout, options: Options) -> Plan:
        """Decide what all tiles share; InputError for options the model cannot do, or a raster that no file holds."""
        options = self.complete(options)
        _check_tile(options.tile, self.engine.stride, layout)
        if layout.product is not None and self.engine.version == 1:
            raise errors.InputError(
                f"model: files of {self.engine.architecture} autoencoders cannot hold a product; leave --model "
                "out, or pass one of its measurement TIFFs"
            )
        bands = []
        for band in range(layout.count):
            sample = functools.partial(source.sample, band)
            about = codec_engine.BandInfo(sample, layout.quantity, layout.polarisations[band], layout.nodata)
            bands.append(self.engine.band(about))
        return Plan(options, tuple(bands))

    def coded_tiles(
        self, source: Source, layout: Layout, plan: Plan, part: tuple[int, int] | None = None
    ) -> Generator[CodedTile]:
        """Code the tiles of all bands in the order of the file, as many at once as the engine says.

        ``part``, a band and a row of the grid, are all that is coded where given. Closing the generator early drops
        what has not begun.
        """
        grid = tiling.TileGrid(layout.height, layout.width, plan.options.tile, margin=self.engine.margin)
        rows = itertools.product(range(layout.count), range(grid.rows)) if part is None else [part]
        pool = futures.ThreadPoolExecutor(self.engine.workers)
        pending: deque[futures.Future[CodedTile]] = deque()
        with threads.one_each():
            try:
                for band, row in rows:
                    for tile in grid.row_tiles(row):
                        pixels = source.read(band, tile.outer)
                        pending.append(pool.submit(self._code, band, tile, pixels, layout, plan))
                        if len(pending) > self.engine.workers:
                            yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def bounded(self, max_error_db: float) -> Codec:
        """Return a codec that guarantees an error, and codes where this one does."""
        return Codec(nearlossless_engine.BoundedEngine(max_error_db))

    def complete(self, options: Options) -> Options:
        """Fill in what the options leave to the engine; InputError for a step it cannot do."""
        lapped = isinstance(self.engine, lapped_engine.LappedEngine)
        step = options.step if options.step is not None else DEFAULT_STEP if lapped else 1
        self.engine.check_step(step)
        if not 1 <= options.effort <= MAX_EFFORT:
            raise errors.InputError(f"effort: got {options.effort}; pass 1 to {MAX_EFFORT}")
        speckle = self.engine.loses_speckle(step) if options.speckle is None else options.speckle
        if speckle and not lapped:
            raise errors.InputError("speckle: only the lapped codec keeps a record of lost speckle; leave it out")
        return replace(options, step=step, speckle=speckle)

    def _code(self, band: int, tile: tiling.Tile, pixels: npt.NDArray[Any], layout: Layout, plan: Plan) -> CodedTile:
        """Code one tile from the pixels of its outer window; touches nothing that other tiles use."""
        record, options = plan.bands[band], plan.options
        inside = tile.core.inside(tile.outer)
        codes = radiometry.classify(pixels, layout.quantity, layout.nodata)
        core = codes[inside]
        tally = validity.count(pixels[inside], core, layout.quantity)
        mask = masks.pack_mask(core) if core.any() else None
        near = tile.core.grow(self.engine.reach, layout.height, layout.width)
        if codes[near.inside(tile.outer)].all():
            return CodedTile(band, tile, mask, None, 0, tally)
        db = radiometry.to_db(pixels, layout.quantity)
        db = self.engine.fill(db, codes == radiometry.Fill.VALID, record)
        encoded = self.engine.encode(db, inside, record, options.step or 1, options.effort)
        valid = core == radiometry.Fill.VALID
        inner, lost = db[inside], None
        if options.speckle:
            place = {"seed": SEED, "top": tile.core.top, "left": tile.core.left}
            lost = measure.measure(inner, encoded.preview(), valid, **place).to_bytes() if valid.any() else b""
        entry = archive.join_tile(encoded.data, lost)
        outside = self.engine.outside(inner[valid], record)
        return CodedTile(band, tile, mask, entry, outside, tally)

    def decompress(
        self,
        reader: archive.Reader,
        sink: Sink,
        advance: Advance | None = None,
        *,
        speckle: bool = False,
        window: tiling.Window | None = None,
        bands: Sequence[int] | None = None,
    ) -> None:
        """Restore every band into ``sink``, in the quantity and dtype of the source; invalid pixels exactly.

        Memory is bounded by a row of tiles, of at most :data:`PANEL` columns. ``advance`` is called with the pixels
        of every strip that is written.
        ``speckle`` renders what was lost of it: see :mod:`sarcodec.speckle.record`. Of a ``window`` and of ``bands``
        (0-based) only what is asked for is decoded, and the sink counts pixels and bands from 0 there.

        Raises FormatError when the file is damaged, InputError for a window or band that is not in the image, or to
        render speckle of a file that has no record of it.
        """
        count, height, width = reader.header.shape
        window = window or tiling.Window(0, height, 0, width)
        panel_width = max(PANEL // reader.header.tile, 1) * reader.header.tile
        for place, band in enumerate(range(count) if bands is None else bands):
            for panel in window.panels(panel_width):
                columns = panel.left - window.left, panel.right - window.left
                for top, pixels in self.restore_rows(reader, band, panel, speckle=speckle):
                    first = top - window.top
                    sink.write(place, tiling.Window(first, first + len(pixels), *columns), pixels)
                    if advance:
                        advance(pixels.size)

    def restore_window(
        self, reader: archive.Reader, band: int, window: tiling.Window, *, speckle: bool = False
    ) -> npt.NDArray[Any]:
        """Restore a window of a band (0-based): the same pixels as of the whole band, from the tiles that it takes.

        Returns pixels (h, w) in the dtype of the source; raises as :meth:`decompress`.
        """
        return np.concatenate([pixels for _, pixels in self.restore_rows(reader, band, window, speckle=speckle)])

    def restore_rows(
        self,
        reader: archive.Reader,
        band: int,
        window: tiling.Window | None = None,
        *,
        speckle: bool = False,
        recent: stored_tiles.Recent | None = None,
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Restore a band or a window of it strip by strip: yields the first row, and pixels in the source's dtype.

        ``recent`` keeps decoded tiles of this file for windows to come.
        """
        bands, height, width = reader.header.shape
        window = window or tiling.Window(0, height, 0, width)
        window.check(height, width)
        if not 0 <= band < bands:
            raise errors.InputError(f"band: got {band}; the file has {bands}, pass 0 to {bands - 1}")
        if speckle and reader.header.seed is None:
            raise errors.InputError(
                f"speckle: {reader.name} has no record of lost speckle, for little was lost or none was asked for; "
                "compress it with --speckle keep, or leave this out"
            )
        return decoding.strips(reader, band, self.engine, window, speckle=speckle, recent=recent)

    def check(self, reader: archive.Reader) -> None:
        """Raise FormatError when this is not the model that made the file, or it has not all that it says it has.

        To be called before memory is taken for the pixels: a small file may claim to be a huge one.
        """
        header = reader.header
        if header.model != self.engine.identity:
            raise errors.ModelMissing(
                f"model: the file was made by model {header.model} ({header.architecture}), "
                f"this one is {self.engine.identity}; pass its checkpoint (--model)"
            )
        if (header.stride, header.channels) != (self.engine.stride, self.engine.channels):
            raise errors.FormatError(
                f"header: stride {header.stride} and {header.channels} channels are not those of its model"
            )
        try:
            self.engine.check_step(header.step)
        except errors.InputError as cause:
            raise errors.FormatError(f"header: the model cannot have coded this ({errors.plain(cause)})") from cause
        try:
            radiometry.Quantity.parse(header.quantity)
        except errors.InputError as cause:
            raise errors.FormatError(f"header: {errors.plain(cause)}") from cause
        bands, height, width = header.shape
        grid = tiling.TileGrid(height, width, header.tile)
        for band in range(bands):
            for tile in grid:
                place = band, tile.row, tile.column
                if archive.tile_name(*place) not in reader and archive.mask_name(*place) not in reader:
                    raise errors.FormatError(f"{reader.name}: entry {archive.tile_name(*place)} is missing")

    def _header(
        self, layout: Layout, options: Options, bands: tuple[container_header.Band, ...]
    ) -> container_header.Header:
        engine = self.engine
        return container_header.Header(
            raster=layout.record,
            quantity=layout.quantity.value,
            model=engine.identity,
            architecture=engine.architecture,
            stride=engine.stride,
            channels=engine.channels,
            step=options.step or 1,
            tile=options.tile,
            bands=bands,
            created_by=_version.__version__,
            version=engine.version,
            max_error_db=engine.max_error_db if isinstance(engine, nearlossless_engine.BoundedEngine) else None,
            seed=SEED if options.speckle else None,
            product=layout.product,
            extra=layout.extra,
        )


def _check_tile(tile: int, stride: int, layout: Layout) -> None:
    """Raise InputError for a tile size that does not fit the engine, or a raster that no file holds."""
    if tile % stride or not stride <= tile <= container_header.MAX_TILE:
        raise errors.InputError(f"tile: got {tile}; pass a multiple of {stride} up to {container_header.MAX_TILE}")
    if max(layout.height, layout.width) > container_header.MAX_SIDE or layout.count > container_header.MAX_BANDS:
        raise errors.InputError(
            f"raster: {layout.count} bands of {layout.height}×{layout.width} pixels are more than a file holds "
            f"({container_header.MAX_BANDS} bands, {container_header.MAX_SIDE} pixels a side); cut it into parts"
        )
