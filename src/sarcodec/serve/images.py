"""Images that are open: in dB at any level, and pixels as they are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import boxes, codec, stored_tiles
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.pages import pictures
from sarcodec.raster import info as raster_info
from sarcodec.raster import locator
from sarcodec.scene import model_store, verify
from sarcodec.serve import cache, tiles

BLOCK = 512
"""Rows and columns of what is decoded and kept at once, in pixels of its level."""
STRIP_PIXELS = 1 << 22
"""Of an original, read at once where it is averaged."""
RECENT_BYTES = 32 << 20
"""Decoded symbols that an open file keeps: blocks beside one another take the same."""
MOST_PIXELS = 1 << 24
"""Of a level, looked at for one tile."""
OVERVIEW = 512
"""Side of the image that percentiles and quick looks are taken of."""

FloatArray = npt.NDArray[np.float32]
Blocks = cache.Cache[FloatArray]


class Pixels(Protocol):
    """Where an image's pixels come from."""

    info: raster_info.RasterInfo
    quantity: radiometry.Quantity

    def db(self, band: int, window: tiling.Window, reduce: int) -> FloatArray:
        """Return a window, in pixels of a level, of a band (0-based) in dB, NaN where there is nothing."""
        ...

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Return a window of a band (0-based) as it is."""
        ...

    def sample(self, band: int) -> FloatArray | None:
        """Return some of a band (0-based) in dB, where that is quicker to have than all at a low level."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what else there is to say of it."""
        ...


class Coded:
    """The pixels of a ``.sarc`` file; ``opener`` gives the codec for a reader."""

    def __init__(self, path: Path, opener: Callable[[archive.Reader], codec.Codec]) -> None:
        self._reader = archive.Reader(path)
        try:
            self._coder = opener(self._reader)
            self.info = raster_info.RasterInfo.from_dict(self._reader.header.raster)
        except BaseException:
            self._reader.close()
            raise
        self.header = self._reader.header
        self.quantity = radiometry.Quantity.parse(self.header.quantity)
        self._recent = stored_tiles.Recent(RECENT_BYTES)

    def db(self, band: int, window: tiling.Window, reduce: int) -> FloatArray:
        """Decode a window at a level; of linear quantities that is a mean in dB, too."""
        return in_db(self._decoded(band, window, reduce), self.quantity, self.info.working_nodata)

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Decode a window."""
        return self._decoded(band, window, 0)

    def sample(self, band: int) -> FloatArray | None:
        """Return None: low levels are quick."""
        return None

    def about(self) -> dict[str, Any]:
        """Return size, model and step."""
        bands, height, width = self.header.shape
        size = self._reader.sizes()["total"]
        said = {"kind": "sarc file", "bytes": size, "bits_per_pixel": 8 * size / (bands * height * width)}
        return said | {
            "model": f"{self.header.architecture} {self.header.model}",
            "step": self.header.step,
            "max_error_db": self.header.promised_error_db,
        }

    def _decoded(self, band: int, window: tiling.Window, reduce: int) -> npt.NDArray[Any]:
        rows = self._coder.restore_rows(self._reader, band, window, recent=self._recent, reduce=reduce)
        return np.concatenate([pixels for _, pixels in rows])


class Original:
    """The pixels of what a file was made from, taken for what the file says they are.

    It is opened for every block: GDAL's environment belongs to a thread, and each request has its own.
    """

    def __init__(self, path: str | os.PathLike[str], header: container_header.Header) -> None:
        self._path, self._header = path, header
        with verify.open_original(path, header) as raster:
            self.info, self.quantity = raster.info, radiometry.Quantity.parse(header.quantity)

    def db(self, band: int, window: tiling.Window, reduce: int) -> FloatArray:
        """Read a window at a level: the mean in dB of each box, where at least half of its pixels are valid."""
        factor = 1 << reduce
        full = window.enlarged(factor, self.info.height, self.info.width)
        rows = factor * max(STRIP_PIXELS // (full.shape[1] * factor), 1)
        strips = []
        with verify.open_original(self._path, self._header) as raster:
            for top in range(full.top, full.bottom, rows):
                strip = tiling.Window(top, min(top + rows, full.bottom), full.left, full.right)
                db = in_db(raster.read(band, strip), self.quantity, self.info.working_nodata)
                strips.append(boxes.valid_means(db, factor) if factor > 1 else db)
        return np.concatenate(strips)

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window."""
        with verify.open_original(self._path, self._header) as raster:
            return raster.read(band, window)

    def sample(self, band: int) -> FloatArray | None:
        """Read a thinned copy, or the middle, of at most 1024×1024 pixels."""
        with verify.open_original(self._path, self._header) as raster:
            return in_db(raster.sample(band), self.quantity, self.info.working_nodata)

    def about(self) -> dict[str, Any]:
        """Return that it is the original."""
        return {"kind": "original"}


def in_db(pixels: npt.NDArray[Any], quantity: radiometry.Quantity, nodata: float | None) -> FloatArray:
    """Return pixels in dB, NaN where they are not valid."""
    valid = radiometry.classify(pixels, quantity, nodata) == radiometry.Fill.VALID
    return np.where(valid, radiometry.to_db(pixels, quantity), np.float32(np.nan)).astype(np.float32)


class Image:
    """An open image.

    Parameters
    ----------
    identity : tuple
        Of this file as it is now, for what is kept of it.
    pixels : Pixels
        Where they come from.
    blocks : Cache
        For decoded blocks of all images.

    Attributes
    ----------
    bands : list of str
        Names, each only once.
    map : Map or None
        Of an image with a place on the Earth.
    """

    def __init__(self, identity: tuple[Any, ...], pixels: Pixels, blocks: Blocks) -> None:
        self.identity, self.pixels, self._blocks = identity, pixels, blocks
        self.info = pixels.info
        self.shape = self.info.height, self.info.width
        place = locator.of(self.info)
        self.map = None if place is None else tiles.Map(place)
        names = self.info.band_names()
        self.bands = [name if names.count(name) == 1 else f"{name} ({n + 1})" for n, name in enumerate(names)]

    def band(self, name: str | None) -> int:
        """Return a band (0-based) by its name or its number from 1, the first of none; InputError for another."""
        if name is None:
            return 0
        if name in self.bands:
            return self.bands.index(name)
        if name.isdecimal() and name.isascii() and 1 <= int(name[:9]) <= len(self.bands):
            return int(name) - 1
        raise errors.InputError(
            f"band: got {errors.plain(repr(name))}; the image has {', '.join(map(errors.plain, self.bands))}"
        )

    def level(self, band: int, window: tiling.Window, reduce: int) -> FloatArray:
        """Return a window, in pixels of a level, in dB with NaN."""
        height, width = stored_tiles.reduced_shape(self.shape, reduce)
        window.check(height, width)
        grid = tiling.TileGrid(height, width, BLOCK)
        found = np.empty(window.shape, np.float32)
        for row in grid.rows_of(window):
            for column in grid.columns_of(window):
                core = grid.at(row, column).core
                shared = core.shared(window)
                found[shared.inside(window)] = self._block(band, reduce, core)[shared.inside(core)]
        return found

    def _block(self, band: int, reduce: int, core: tiling.Window) -> FloatArray:
        key = (*self.identity, band, reduce, core.top, core.left)
        return self._blocks.get(key, lambda: self.pixels.db(band, core, reduce))

    def at(self, band: int, places: tiles.Places) -> FloatArray:
        """Return the dB at places, each of the pixel of the level that holds it; NaN outside."""
        inside = np.isfinite(places.rows)
        found = np.full(inside.shape, np.nan, np.float32)
        if not inside.any():
            return found
        rows, columns = (
            (p[inside].astype(np.int64) >> places.reduce).astype(np.intp) for p in (places.rows, places.columns)
        )
        window = tiling.Window(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        if window.shape[0] * window.shape[1] > MOST_PIXELS:
            raise errors.InputError(f"tile: {window.shape[0]}×{window.shape[1]} pixels lie in it; zoom in")
        found[inside] = self.level(band, window, places.reduce)[rows - window.top, columns - window.left]
        return found

    def overview(self, band: int) -> FloatArray:
        """Return the whole band in dB, at most some 512 pixels wide and high unless it is huge."""
        reduce = min(tiles.levels(self.shape), stored_tiles.MOST_REDUCED)
        while reduce and max(stored_tiles.reduced_shape(self.shape, reduce - 1)) <= OVERVIEW:
            reduce -= 1
        return self.level(band, tiling.Window(0, -(-self.shape[0] >> reduce), 0, -(-self.shape[1] >> reduce)), reduce)

    def stretch(self, band: int) -> tuple[float, float]:
        """Return the dB of black and white: the 2nd and the 98th percentile."""
        sample = self.pixels.sample(band)
        values = self.overview(band) if sample is None else sample
        return pictures.stretch(values, (-25.0, 0.0))

    def value(self, band: int, row: int, column: int) -> dict[str, float | None]:
        """Return a pixel as it is, and in dB; None where it is not valid. It must lie in the image."""
        pixel = self.pixels.read(band, tiling.Window(row, row + 1, column, column + 1))
        db = in_db(pixel, self.pixels.quantity, self.info.working_nodata)
        valid = bool(np.isfinite(db[0, 0]))
        return {"value": float(pixel[0, 0]) if valid else None, "db": float(db[0, 0]) if valid else None}


def codec_opener() -> Callable[[archive.Reader], codec.Codec]:
    """Return what gives the codec of a file, and loads a model once for all files of it."""
    known: dict[tuple[str, float | None], codec.Codec] = {}
    lock = threading.Lock()

    def opener(reader: archive.Reader) -> codec.Codec:
        key = reader.header.model, reader.header.max_error_db
        with lock:
            if key not in known:
                known[key] = model_store.codec_for(reader)
            return model_store.codec_for(reader, known[key])

    return opener
