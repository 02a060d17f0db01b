"""What a file holds of a band, tile by tile: latents, decoded ahead in threads, and validity codes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent import futures

import numpy as np
import numpy.typing as npt

from sarcodec import tiling
from sarcodec.codec import engine as codec_engine
from sarcodec.container import archive, masks
from sarcodec.container import header as container_header
from sarcodec.runtime import threads

FloatArray = npt.NDArray[np.float32]


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


def entry_limit(header: container_header.Header) -> int:
    """Largest size in bytes of an honest entry of a tile."""
    rows, columns = latent_shape((header.tile, header.tile), header.stride)
    return (1 << 16) + 1024 + 8 * header.channels * rows * columns


def is_blank(reader: archive.Reader, band: int, row: int, column: int) -> bool:
    """Tell whether a tile has no symbols, for it and what lies near it hold no valid pixel."""
    return archive.tile_name(band, row, column) not in reader and archive.mask_name(band, row, column) in reader


class Recent:
    """Latents of the tiles of a file that were decoded last, for windows to come; shared by threads.

    Parameters
    ----------
    most : int
        Bytes that are kept at most.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._tiles: OrderedDict[tuple[int, int, int], FloatArray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: tuple[int, int, int]) -> FloatArray | None:
        """Return the latents of a band, row and column of the grid, where they are kept."""
        with self._lock:
            if place in self._tiles:
                self._tiles.move_to_end(place)
            return self._tiles.get(place)

    def keep(self, place: tuple[int, int, int], latent: FloatArray) -> None:
        """Keep latents, and forget those that were not asked for the longest."""
        with self._lock:
            if place in self._tiles:
                return
            self._tiles[place] = latent
            self._bytes += latent.nbytes
            while self._bytes > self._most:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


class LatentTiles:
    """Latents of a band, decoded tile by tile when first needed, or ahead of that in threads.

    Parameters
    ----------
    reader : Reader
        The file; entries are read in the thread that asks.
    band : int
        0-based.
    engine : Engine
        Decodes tiles; as many at once as it says.
    needed : Window
        All that will be asked for; tiles elsewhere are not decoded ahead.
    recent : Recent, optional
        Tiles that need not be decoded again, and a place for those that are.
    """

    def __init__(
        self,
        reader: archive.Reader,
        band: int,
        engine: codec_engine.Engine,
        needed: tiling.Window,
        recent: Recent | None = None,
    ) -> None:
        self._recent = recent or Recent(0)
        self._reader, self._band, self._engine = reader, band, engine
        _, height, width = reader.header.shape
        self._grid = tiling.TileGrid(height, width, reader.header.tile)
        self._rows, self._columns = self._grid.rows_of(needed), self._grid.columns_of(needed)
        self._pool, self._blas = futures.ThreadPoolExecutor(engine.workers), threads.one_each()
        self._cache: dict[tuple[int, int], futures.Future[FloatArray]] = {}

    def __enter__(self) -> LatentTiles:
        self._blas.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._blas.__exit__(None, None, None)

    def ahead(self, row: int) -> None:
        """Begin to decode the tiles of a row of the grid that are needed, if there are any."""
        if row in self._rows:
            for column in self._columns:
                self._begin(row, column)

    def decode(
        self, window: tiling.Window, record: container_header.Band, step: int, part: tuple[slice, slice]
    ) -> futures.Future[FloatArray]:
        """Turn the latents of a window into dB (H, W), of which ``part`` is wanted; in a thread if that is faster."""
        latent = self.window(window)
        if self._engine.has_network(step):
            done: futures.Future[FloatArray] = futures.Future()
            done.set_result(self._engine.decode_window(latent, record, step)[part])
            return done
        return self._pool.submit(lambda: self._engine.decode_window(latent, record, step)[part])

    def window(self, window: tiling.Window) -> FloatArray:
        """Return the latents (C, h, w) of a window whose top and left are multiples of the stride."""
        stride = self._reader.header.stride
        place = window.divided(stride)
        latent = np.zeros((self._engine.channels, *place.shape), np.float32)
        for row in self._grid.rows_of(window):
            for column in self._grid.columns_of(window):
                block = self._begin(row, column).result()
                whole = self._grid.at(row, column).core.divided(stride)
                shared = whole.shared(place)
                latent[(slice(None), *shared.inside(place))] = block[(slice(None), *shared.inside(whole))]
        return latent

    def forget_rows_before(self, row: int) -> None:
        """Drop tiles of the rows above ``row``."""
        self._cache = {key: value for key, value in self._cache.items() if key[0] >= row}

    def _begin(self, row: int, column: int) -> futures.Future[FloatArray]:
        if (row, column) not in self._cache:
            header = self._reader.header
            size = latent_shape(self._grid.at(row, column).core.shape, header.stride)
            name = archive.tile_name(self._band, row, column)
            known = self._recent.get((self._band, row, column))
            if is_blank(self._reader, self._band, row, column):
                known = np.zeros((self._engine.channels, *size), np.float32)
            if known is not None:
                self._cache[row, column] = futures.Future()
                self._cache[row, column].set_result(known)
            else:
                entry = self._reader.read(name, entry_limit(header))
                data, _ = archive.split_tile(entry, header)
                self._cache[row, column] = self._pool.submit(self._decode, data, (row, column), size)
        return self._cache[row, column]

    def _decode(self, data: bytes, place: tuple[int, int], size: tuple[int, int]) -> FloatArray:
        latent = self._engine.decode_tile(data, size, self._reader.header.step)
        self._recent.keep((self._band, *place), latent)
        return latent


class MaskRows:
    """Validity codes of the columns of ``window`` of a band, read in rows."""

    def __init__(self, reader: archive.Reader, band: int, window: tiling.Window) -> None:
        self._reader, self._band, self._window = reader, band, window
        _, height, width = reader.header.shape
        self._grid = tiling.TileGrid(height, width, reader.header.tile)
        self._row, self._codes = -1, np.zeros((0, 0), np.uint8)

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return the codes of rows ``[top, bottom)``."""
        parts = []
        while top < bottom:
            row = top // self._grid.tile
            window = self._grid.at(row, 0).core
            end = min(bottom, window.bottom)
            parts.append(self._tile_row(row)[top - window.top : end - window.top])
            top = end
        return np.concatenate(parts)

    def _tile_row(self, row: int) -> npt.NDArray[np.uint8]:
        if row != self._row:
            blocks = []
            columns = self._grid.columns_of(self._window)
            for column in columns:
                shape = self._grid.at(row, column).core.shape
                name = archive.mask_name(self._band, row, column)
                if name in self._reader:
                    data = self._reader.read(name, masks.mask_limit(self._grid.tile))
                    blocks.append(masks.unpack_mask(data, shape))
                else:
                    blocks.append(np.zeros(shape, np.uint8))
            first = columns.start * self._grid.tile
            inside = slice(self._window.left - first, self._window.right - first)
            self._row, self._codes = row, np.concatenate(blocks, axis=1)[:, inside]
        return self._codes
