"""What a file holds of a band, tile by tile: latents, decoded ahead in threads, and validity codes."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, ParamSpec, cast

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import engine as engines
from sarcodec.container import archive, header
from sarcodec.runtime import threads

FloatArray = npt.NDArray[np.float32]
Latents = list[FloatArray]
"""Of the bands of a group, in its order up to the one that is wanted."""

MOST_REDUCED = 6

BRIEF = 4
"""From 1/2^BRIEF of the resolution on, handing a tile to another thread takes longer than decoding it."""

Arguments = ParamSpec("Arguments")


def latent_shape(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """Latent positions that cover a window of ``shape`` pixels."""
    return -(-shape[0] // stride), -(-shape[1] // stride)


def tiles_with_symbols(reader: archive.Reader) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Yield band, tile row, tile column and latent size (h, w) of every tile of a file that holds symbols."""
    bands, height, width = reader.header.shape
    for band in range(bands):
        for tile in tiling.TileGrid(height, width, reader.header.tile):
            if archive.tile_name(band, tile.row, tile.column) in reader:
                yield band, tile.row, tile.column, latent_shape(tile.core.shape, reader.header.stride)


def entry_limit(about: header.Header) -> int:
    """Largest size in bytes of an honest entry of a tile."""
    rows, columns = latent_shape((about.tile, about.tile), about.stride)
    return (1 << 16) + 1024 + 8 * about.channels * rows * columns


def is_blank(reader: archive.Reader, band: int, row: int, column: int) -> bool:
    """Tell whether a tile has no symbols, for it and what lies near it hold no valid pixel."""
    return archive.tile_name(band, row, column) not in reader and archive.mask_name(band, row, column) in reader


def grid(reader: archive.Reader, reduce: int = 0, *, ramp: int = 0, margin: int = 0) -> tiling.TileGrid:
    """Return the grid of a file's tiles, in pixels of the image at 1/2^reduce of the resolution."""
    height, width = reduced_shape(reader.header.shape[1:], reduce)
    return tiling.TileGrid(height, width, reader.header.tile >> reduce, ramp=ramp, margin=margin)


def reduced_shape(shape: tuple[int, ...], reduce: int) -> tuple[int, int]:
    """Return height and width of an image at 1/2^reduce of the resolution; InputError for other than 0 to 6."""
    if not 0 <= reduce <= MOST_REDUCED:
        raise errors.InputError(f"reduce: got {reduce}; pass 0 to {MOST_REDUCED}, for 1 to 1/{1 << MOST_REDUCED}")
    height, width = (-(-side >> reduce) for side in shape)
    return height, width


def check(reader: archive.Reader, engine: engines.Engine) -> None:
    """Raise FormatError when an engine is not the one that made a file, or a tile of the file is missing."""
    found = reader.header
    if found.model != engine.identity:
        raise errors.ModelMissing(
            f"model: the file was made by model {found.model} ({found.architecture}), "
            f"this one is {engine.identity}; pass its checkpoint (--model)"
        )
    if (found.stride, found.channels) != (engine.stride, engine.channels):
        raise errors.FormatError(
            f"header: stride {found.stride} and {found.channels} channels are not those of its model"
        )
    try:
        engine.check_step(found.step)
    except errors.InputError as cause:
        raise errors.FormatError(f"header: the model cannot have coded this ({cause})") from cause
    try:
        radiometry.Quantity.parse(found.quantity)
    except errors.InputError as cause:
        raise errors.FormatError(f"header: {cause}") from cause
    bands, height, width = found.shape
    grid = tiling.TileGrid(height, width, found.tile)
    for band in range(bands):
        for tile in grid:
            place = band, tile.row, tile.column
            if archive.tile_name(*place) not in reader and archive.mask_name(*place) not in reader:
                raise errors.FormatError(f"{reader.name}: entry {archive.tile_name(*place)} is missing")


class Recent:
    """Latents of the tiles of a file that were decoded last, for windows to come; shared by threads.

    Parameters
    ----------
    most : int
        Bytes that are kept at most.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._tiles: OrderedDict[tuple[int, ...], Latents] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: tuple[int, ...]) -> Latents | None:
        """Return the latents of a resolution, band, row and column of the grid, where they are kept."""
        with self._lock:
            if place in self._tiles:
                self._tiles.move_to_end(place)
            return self._tiles.get(place)

    def keep(self, place: tuple[int, ...], latents: Latents) -> None:
        """Keep latents, and forget those that were not asked for the longest."""
        with self._lock:
            if place in self._tiles:
                return
            self._tiles[place] = latents
            self._bytes += _size(latents)
            while self._bytes > self._most:
                self._bytes -= _size(self._tiles.popitem(last=False)[1])


class Shared(Recent):
    """A file's share of what is kept of several files; what is kept of one that is closed is forgotten in time."""

    _numbers = itertools.count()

    def __init__(self, kept: Recent) -> None:
        self._kept, self._number = kept, next(self._numbers)

    def get(self, place: tuple[int, ...]) -> Latents | None:
        """Return latents of this file, as :meth:`Recent.get`."""
        return self._kept.get((self._number, *place))

    def keep(self, place: tuple[int, ...], latents: Latents) -> None:
        """Keep latents of this file, as :meth:`Recent.keep`."""
        self._kept.keep((self._number, *place), latents)


class _AtOnce(futures.Executor):
    """Does everything in the thread that asks, when it asks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        done: futures.Future[Any] = futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except errors.SarcodecError as problem:
            done.set_exception(problem)
        return done


class LatentTiles:
    """Latents of a band, decoded tile by tile when first needed, or ahead of that in threads.

    Parameters
    ----------
    reader : Reader
        The file; entries are read in the thread that asks.
    band : int
        0-based; of its group, the bands before it are decoded with it.
    engine : Engine
        Decodes tiles; as many at once as it says.
    needed : Window
        All that will be asked for; tiles elsewhere are not decoded ahead.
    recent : Recent, optional
        Tiles that need not be decoded again, and a place for those that are.
    reduce : int
        Windows are of the image at 1/2^reduce of the resolution; at most ``engine.reduces``.
    power : bool
        Whether its pixels are means of power.

    Attributes
    ----------
    coder : TileCoder
        Of the group up to the band.
    """

    def __init__(
        self,
        reader: archive.Reader,
        band: int,
        engine: engines.Engine,
        needed: tiling.Window,
        recent: Recent | None = None,
        reduce: int = 0,
        power: bool = False,
    ) -> None:
        self._recent, self._form = recent or Recent(0), (reduce, int(power))
        self._reader = reader
        bands = reader.header.shape[0]
        group = next(group for group in engines.groups(bands) if band in group)
        self._group = group[: group.index(band) + 1]
        records = [reader.header.bands[number] for number in self._group]
        self.coder = engine.at(records, reader.header.step, reduce=reduce, power=power)
        self._grid = grid(reader, reduce)
        whole = latent_shape((self._grid.tile, self._grid.tile), self.coder.stride)
        self._head = self.coder.head(whole) if isinstance(self.coder, engines.HeadCoder) else 0
        self._rows, self._columns = self._grid.rows_of(needed), self._grid.columns_of(needed)
        brief = reduce >= BRIEF and not power
        self._pool: futures.Executor = _AtOnce() if brief else futures.ThreadPoolExecutor(engine.workers)
        self._blas = threads.one_each()
        self._cache: dict[tuple[int, int], futures.Future[Latents | None]] = {}

    def __enter__(self) -> LatentTiles:
        self._blas.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._blas.__exit__(None, None, None)

    def ahead(self, row: int) -> None:
        """Begin to decode the tiles of a row of the grid that are needed, if there are any."""
        if row in self._rows:
            self._reader.prefetch(self._wanted(row if self._cache else self._rows.start))
            for column in self._columns:
                self._begin(row, column)

    def run(
        self, work: Callable[Arguments, FloatArray], *given: Arguments.args, **named: Arguments.kwargs
    ) -> futures.Future[FloatArray]:
        """Do what turns latents into pixels: in a thread, unless a network takes all threads itself."""
        pool = _AtOnce() if self.coder.networked else self._pool
        return pool.submit(work, *given, **named)

    def window(self, window: tiling.Window) -> Latents:
        """Return the latents (C, h, w) of a window whose top and left are multiples of the stride."""
        stride = self.coder.stride
        place = window.divided(stride)
        latents = [np.zeros((self.coder.channels, *place.shape), np.float32) for _ in self._group]
        for row in self._grid.rows_of(window):
            for column in self._grid.columns_of(window):
                whole = self._grid.at(row, column).core.divided(stride)
                shared = whole.shared(place)
                for latent, block in zip(latents, self._found(row, column), strict=True):
                    latent[(slice(None), *shared.inside(place))] = block[(slice(None), *shared.inside(whole))]
        return latents

    def forget_rows_before(self, row: int) -> None:
        """Drop tiles of the rows above ``row``."""
        self._cache = {key: value for key, value in self._cache.items() if key[0] >= row}

    def _found(self, row: int, column: int) -> Latents:
        """Return the latents of a tile once they are decoded, from all its bytes where the first ones did not do."""
        found = self._begin(row, column).result()
        return self._decode(self._entries(row, column), row, column) if found is None else found

    def _wanted(self, first: int) -> Iterator[tuple[str, int]]:
        """Yield what will be read from a row of the grid on: entries, and how many bytes of each; 0 for the whole."""
        for row in range(first, self._rows.stop):
            for column in self._columns:
                known = self._recent.get((*self._form, self._group[-1], row, column)) is not None
                for band in self._group:
                    mask, tile = archive.mask_name(band, row, column), archive.tile_name(band, row, column)
                    if mask in self._reader:
                        yield mask, 0
                    if tile in self._reader and not known:
                        yield tile, self._head

    def _begin(self, row: int, column: int) -> futures.Future[Latents | None]:
        """Decode a tile in a thread; what it returns is None where the first bytes did not tell all."""
        if (row, column) not in self._cache:
            known = self._recent.get((*self._form, self._group[-1], row, column)) or self._blank(row, column)
            if known is None:
                heads = self._heads(row, column)
                work = self._decode if heads is None else self._decode_heads
                entries = self._entries(row, column) if heads is None else heads
                self._cache[row, column] = self._pool.submit(work, entries, row, column)
            else:
                self._cache[row, column] = futures.Future()
                self._cache[row, column].set_result(known)
        return self._cache[row, column]

    def _size(self, row: int, column: int) -> tuple[int, int]:
        return latent_shape(self._grid.at(row, column).core.shape, self.coder.stride)

    def _blank(self, row: int, column: int) -> Latents | None:
        """Return latents of zero for a tile without symbols."""
        if not is_blank(self._reader, self._group[-1], row, column):
            return None
        return [np.zeros((self.coder.channels, *self._size(row, column)), np.float32) for _ in self._group]

    def _entries(self, row: int, column: int) -> list[bytes]:
        """Read the symbols of a tile, of every band of the group."""
        about, limit = self._reader.header, entry_limit(self._reader.header)
        names = (archive.tile_name(band, row, column) for band in self._group)
        return [archive.split_tile(self._reader.read(name, limit), about)[0] for name in names]

    def _heads(self, row: int, column: int) -> list[bytes] | None:
        """Read the first symbols of a tile; None where they would not do, or cost as much as all."""
        if not self._head:
            return None
        names = (archive.tile_name(band, row, column) for band in self._group)
        found = [self._reader.head(name, self._head) for name in names]
        try:
            heads = [archive.split_tile(head, self._reader.header)[0] for head in found if head is not None]
        except errors.FormatError:  # the record of lost speckle alone is longer
            return None
        return heads if len(heads) == len(found) else None

    def _decode(self, entries: list[bytes], row: int, column: int) -> Latents:
        return self._kept(self.coder.decode(entries, self._size(row, column)), row, column)

    def _decode_heads(self, heads: list[bytes], row: int, column: int) -> Latents | None:
        coder = cast(engines.HeadCoder, self.coder)
        found = coder.decode_heads(heads, self._size(row, column))
        return None if found is None else self._kept(found, row, column)

    def _kept(self, latents: Latents, row: int, column: int) -> Latents:
        self._recent.keep((*self._form, self._group[-1], row, column), latents)
        return latents


def _size(latents: Latents) -> int:
    return sum(latent.nbytes for latent in latents)
