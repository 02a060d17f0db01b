"""The codec: pixels to a ``.sarc`` file and back, window by window.

:func:`compress` and :func:`decompress` mirror each other. They know arrays and anything that reads and writes
windows (:class:`Source`, :class:`Sink`), not rasters; :mod:`sarcodec.scene` brings the rasters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sarcodec import _version, checkpoint, container, entropy, errors, normalization, radiometry, tiling
from sarcodec.inference import Transform

RAMP_STRIDES = 1
"""Half width of the cosine ramp between decoded windows, in latent positions."""

CONVERT_PIXELS = 1 << 20
"""Most pixels converted from dB at once; the conversion works in float64."""

FloatArray = npt.NDArray[np.float32]
Advance = Callable[[int], None]


class Source(Protocol):
    """Where pixels come from."""

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window of a band (0-based)."""
        ...

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Read a thinned copy of a band, any shape."""
        ...


class Sink(Protocol):
    """Where pixels go."""

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        """Write a window of a band (0-based)."""
        ...


@dataclass(frozen=True)
class Layout:
    """What is known of a source besides its pixels; ``record`` is the full description for the header."""

    count: int
    height: int
    width: int
    dtype: str
    nodata: float | None
    quantity: radiometry.Quantity
    polarisations: tuple[str, ...]
    record: dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How to compress: ``step`` multiplies the quantisation steps, ``tile`` is the side of a tile in pixels."""

    step: int = 1
    tile: int = 1024


class Codec:
    """A model ready to code with.

    Parameters
    ----------
    model : Checkpoint
        A calibrated model.
    device : str
        A torch device.
    precision : str
        ``"auto"`` is bfloat16 where the processor computes in it, else float32.
    """

    def __init__(self, model: checkpoint.Checkpoint, *, device: str = "cpu", precision: str = "auto") -> None:
        self.model = model
        self.coder = model.coder()
        self.transform = Transform(model.build(), device=device, precision=precision)

    def compress(
        self,
        source: Source,
        layout: Layout,
        writer: container.Writer,
        options: Options,
        advance: Advance | None = None,
    ) -> None:
        """Code every band of ``source`` into ``writer``, tile by tile, and finish the file.

        Memory is bounded by the tile, not the image. ``advance`` is called with the number of pixels of every tile
        once it is read. Raises InputError for options the model cannot do.
        """
        self.coder.check(options.step)
        if options.tile % self.transform.stride or not self.transform.stride <= options.tile <= container.MAX_TILE:
            raise errors.InputError(
                f"tile: got {options.tile}; pass a multiple of {self.transform.stride} up to {container.MAX_TILE}"
            )
        if max(layout.height, layout.width) > container.MAX_SIDE or layout.count > container.MAX_BANDS:
            raise errors.InputError(
                f"raster: {layout.count} bands of {layout.height}×{layout.width} pixels are more than a file holds "
                f"({container.MAX_BANDS} bands, {container.MAX_SIDE} pixels a side); cut it into parts"
            )
        grid = tiling.TileGrid(layout.height, layout.width, options.tile, margin=self.transform.margin)
        bands = []
        for band in range(layout.count):
            bounds = self.model.normalizer.select_for(
                functools.partial(source.sample, band), layout.quantity, layout.polarisations[band], layout.nodata
            )
            clipped = valid = 0
            for tile in grid:
                pixels = source.read(band, tile.outer)
                codes = radiometry.classify(pixels, layout.quantity, layout.nodata)
                core = codes[tile.core.inside(tile.outer)]
                if advance:
                    advance(core.size)
                if core.any():
                    packed = container.pack_mask(core)
                    writer.add(container.mask_name(band, tile.row, tile.column), packed, deflate=True)
                if core.all():
                    continue
                db = fill_invalid(radiometry.to_db(pixels, layout.quantity), codes == radiometry.Fill.VALID)
                latent = self.transform.encode(bounds.apply(db))
                symbols = self.coder.quantise(_core_latent(latent, tile, self.transform.stride), options.step)
                data = self.coder.encode(symbols, options.step)
                writer.add(container.tile_name(band, tile.row, tile.column), data)
                inner = db[tile.core.inside(tile.outer)][core == radiometry.Fill.VALID]
                clipped += int(np.count_nonzero((inner < bounds.vmin) | (inner > bounds.vmax)))
                valid += inner.size
            bands.append(container.Band(bounds.vmin, bounds.vmax, round(clipped / max(valid, 1), 6)))
        writer.finish(self._header(layout, options, tuple(bands)))

    def decompress(self, reader: container.Reader, sink: Sink, advance: Advance | None = None) -> None:
        """Restore every band into ``sink``, in the quantity and dtype of the source; invalid pixels exactly.

        Memory is bounded by a row of tiles. ``advance`` is called with the pixels of every strip that is written.
        Raises FormatError when the file is damaged.
        """
        bands, _, width = reader.header.shape
        for band in range(bands):
            for top, pixels in self.restore_rows(reader, band):
                sink.write(band, tiling.Window(top, top + len(pixels), 0, width), pixels)
                if advance:
                    advance(pixels.size)

    def restore_rows(self, reader: container.Reader, band: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Restore a band strip by strip: yields the first row and the pixels (rows, W) in the source's dtype."""
        raster = reader.header.raster
        quantity = radiometry.Quantity.parse(reader.header.quantity)
        nodata = float(raster["nodata"]) if "nodata" in raster else None
        masks = _MaskRows(reader, band)
        for top, db in self._decoded_rows(reader, band):
            rows = max(CONVERT_PIXELS // db.shape[1], 1)
            for first in range(0, len(db), rows):
                part = db[first : first + rows]
                pixels = radiometry.from_db(part, quantity, raster["dtype"], nodata)
                codes = masks.rows(top + first, top + first + len(part))
                for code in np.unique(codes[codes != radiometry.Fill.VALID]):
                    pixels[codes == code] = radiometry.fill_value(int(code), pixels.dtype, nodata)
                yield top + first, pixels

    def _decoded_rows(self, reader: container.Reader, band: int) -> Iterator[tuple[int, FloatArray]]:
        """Decode a band to dB, blending windows over the borders of tiles; yields finished rows."""
        grid = self.decode_grid(reader.header)
        latents = _LatentTiles(reader, band, self.coder)
        record = reader.header.bands[band]
        bounds = normalization.Bounds(record.vmin, record.vmax)
        top, pending = 0, np.zeros((0, grid.width), np.float32)
        for row in range(grid.rows):
            bottom = grid.at(row, 0).blend.bottom
            pending = np.concatenate([pending, np.zeros((bottom - top - len(pending), grid.width), np.float32)])
            strip = tiling.Window(top, bottom, 0, grid.width)
            for tile in grid.row_tiles(row):
                scaled = self.transform.decode(latents.window(tile.outer))
                db = bounds.invert(scaled[: tile.outer.shape[0], : tile.outer.shape[1]])
                pending[tile.blend.inside(strip)] += grid.weights(tile) * db[tile.blend.inside(tile.outer)]
            final = grid.at(row + 1, 0).blend.top if row + 1 < grid.rows else grid.height
            yield top, pending[: final - top]
            top, pending = final, pending[final - top :]
            latents.forget_rows_before(row)

    def decode_grid(self, header: container.Header) -> tiling.TileGrid:
        """Return the grid of overlapping windows in which a file is decoded."""
        _, height, width = header.shape
        ramp = min(RAMP_STRIDES * header.stride, header.tile // 2 // header.stride * header.stride)
        return tiling.TileGrid(height, width, header.tile, ramp=ramp, margin=self.transform.margin)

    def check(self, reader: container.Reader) -> None:
        """Raise FormatError when this is not the model that made the file, or it has not all that it says it has.

        To be called before memory is taken for the pixels: a small file may claim to be a huge one.
        """
        header = reader.header
        if header.model != self.model.identity:
            raise errors.ModelMissing(
                f"model: the file was made by model {header.model} ({header.architecture}), "
                f"this one is {self.model.identity}; pass its checkpoint (--model)"
            )
        if (header.stride, header.channels) != (self.transform.stride, self.coder.steps.size):
            raise errors.FormatError(
                f"header: stride {header.stride} and {header.channels} channels are not those of its model"
            )
        if header.step not in self.coder.tables:
            raise errors.FormatError(f"header: the model has no tables for step multiplier {header.step}")
        try:
            radiometry.Quantity.parse(header.quantity)
        except errors.InputError as cause:
            raise errors.FormatError(f"header: {cause}") from cause
        grid = self.decode_grid(header)
        for band in range(header.shape[0]):
            for tile in grid:
                place = band, tile.row, tile.column
                if container.tile_name(*place) not in reader and container.mask_name(*place) not in reader:
                    raise errors.FormatError(f"{reader.name}: entry {container.tile_name(*place)} is missing")

    def _header(self, layout: Layout, options: Options, bands: tuple[container.Band, ...]) -> container.Header:
        return container.Header(
            raster=layout.record,
            quantity=layout.quantity.value,
            model=self.model.identity,
            architecture=self.model.config.arch,
            stride=self.transform.stride,
            channels=self.model.config.latent_channels,
            step=options.step,
            tile=options.tile,
            bands=bands,
            created_by=_version.__version__,
        )


def fill_invalid(db: FloatArray, valid: npt.NDArray[np.bool_]) -> FloatArray:
    """Give invalid pixels the mean of the valid ones of the window: cheap to code, thrown away after decoding."""
    if valid.all():
        return db
    return np.where(valid, db, np.float32(db[valid].mean() if valid.any() else 0.0)).astype(np.float32)


def _core_latent(latent: FloatArray, tile: tiling.Tile, stride: int) -> FloatArray:
    """Cut the latent positions of a tile's core out of those of its outer window."""
    top, left = (tile.core.top - tile.outer.top) // stride, (tile.core.left - tile.outer.left) // stride
    height, width = latent_shape(tile.core.shape, stride)
    return latent[:, top : top + height, left : left + width]


def latent_shape(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """Latent positions that cover a window of ``shape`` pixels."""
    return -(-shape[0] // stride), -(-shape[1] // stride)


def tiles_with_symbols(reader: container.Reader) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Yield band, tile row, tile column and latent size (h, w) of every tile of a file that holds symbols."""
    bands, height, width = reader.header.shape
    for band in range(bands):
        for tile in tiling.TileGrid(height, width, reader.header.tile):
            if container.tile_name(band, tile.row, tile.column) in reader:
                yield band, tile.row, tile.column, latent_shape(tile.core.shape, reader.header.stride)


class _LatentTiles:
    """Dequantised latents of a band, read tile by tile when a window first needs them."""

    def __init__(self, reader: container.Reader, band: int, coder: entropy.LatentCoder) -> None:
        self._reader, self._band, self._coder = reader, band, coder
        _, height, width = reader.header.shape
        self._grid = tiling.TileGrid(height, width, reader.header.tile)
        self._cache: dict[tuple[int, int], FloatArray] = {}

    def window(self, window: tiling.Window) -> FloatArray:
        """Return the latents (C, h, w) of a window whose top and left are multiples of the stride."""
        stride, tile = self._reader.header.stride, self._reader.header.tile
        place = window.divided(stride)
        latent = np.zeros((self._coder.steps.size, *place.shape), np.float32)
        for row in range(window.top // tile, -(-window.bottom // tile)):
            for column in range(window.left // tile, -(-window.right // tile)):
                block = self._tile(row, column)
                top, left = row * tile // stride, column * tile // stride
                whole = tiling.Window(top, top + block.shape[1], left, left + block.shape[2])
                shared = tiling.Window(
                    max(whole.top, place.top),
                    min(whole.bottom, place.bottom),
                    max(whole.left, place.left),
                    min(whole.right, place.right),
                )
                latent[(slice(None), *shared.inside(place))] = block[(slice(None), *shared.inside(whole))]
        return latent

    def forget_rows_before(self, row: int) -> None:
        """Drop tiles of the rows above ``row``."""
        self._cache = {key: value for key, value in self._cache.items() if key[0] >= row}

    def _tile(self, row: int, column: int) -> FloatArray:
        if (row, column) not in self._cache:
            header = self._reader.header
            size = latent_shape(self._grid.at(row, column).core.shape, header.stride)
            name = container.tile_name(self._band, row, column)
            if name not in self._reader and container.mask_name(self._band, row, column) in self._reader:
                self._cache[row, column] = np.zeros((self._coder.steps.size, *size), np.float32)
            else:
                limit = 1024 + 8 * self._coder.steps.size * size[0] * size[1]
                symbols = self._coder.decode(self._reader.read(name, limit), size, header.step)
                self._cache[row, column] = self._coder.dequantise(symbols, header.step)
        return self._cache[row, column]


class _MaskRows:
    """Validity codes of a band, read in rows."""

    def __init__(self, reader: container.Reader, band: int) -> None:
        self._reader, self._band = reader, band
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
            for tile in self._grid.row_tiles(row):
                name = container.mask_name(self._band, row, tile.column)
                if name in self._reader:
                    data = self._reader.read(name, container.mask_limit(self._grid.tile))
                    blocks.append(container.unpack_mask(data, tile.core.shape))
                else:
                    blocks.append(np.zeros(tile.core.shape, np.uint8))
            self._row, self._codes = row, np.concatenate(blocks, axis=1)
        return self._codes
