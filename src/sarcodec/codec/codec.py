"""The codec: pixels to a ``.sarc`` file and back, window by window.

It knows arrays and anything that reads and writes windows (:mod:`sarcodec.codec.layout`), not rasters, and of engines
no more than their protocol (:mod:`sarcodec.codec.engine`). :mod:`sarcodec.scene` brings both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, tiling
from sarcodec.codec import decoding, encoding, stored_tiles, validity
from sarcodec.codec import engine as engines
from sarcodec.codec import layout as layouts
from sarcodec.container import archive, product

PANEL = 13312
"""Columns that are restored at once, as many whole tiles as they hold; the next ones after all rows of these."""

Advance = Callable[[int], None]
"""Is told of pixels as they are done; a negative number takes back what was told, where work begins anew."""


class Codec:
    """An engine ready to code with: :func:`sarcodec.open_codec` makes one of a model."""

    def __init__(self, engine: engines.Engine) -> None:
        self.engine = engine

    def compress(
        self,
        source: layouts.Source,
        layout: layouts.Layout,
        writer: archive.Writer,
        options: encoding.Options,
        advance: Advance | None = None,
    ) -> validity.Tally:
        """Code every band of ``source`` into ``writer``, tile by tile, and finish the file.

        Memory is bounded by the tile, not the image. ``advance`` is called with the number of pixels of every tile
        once it is coded. Returns the count of all pixels.

        Raises InputError for options the engine cannot do, or where too many valid pixels are what the quantity
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
        bands = tuple(
            replace(band, clipped=round(out / max(counted.valid, 1), 6))
            for band, out, counted in zip(plan.bands, clipped, tallies, strict=True)
        )
        constants = [counted.constant for counted in tallies]
        writer.finish(encoding.header_of(layout, self.engine, plan, bands).with_constants(constants))
        return tally

    def decompress(
        self,
        reader: archive.Reader,
        sink: layouts.Sink,
        advance: Advance | None = None,
        *,
        speckle: bool = False,
        window: tiling.Window | None = None,
        bands: Sequence[int] | None = None,
        reduce: int = 0,
        power: bool = False,
    ) -> None:
        """Restore every band into ``sink``, in the quantity and dtype of the source; invalid pixels exactly.

        Memory is bounded by a row of tiles, of at most :data:`PANEL` columns. ``advance`` is called with the pixels
        of every strip that is written.
        ``speckle`` renders what was lost of it: see :mod:`sarcodec.speckle`. Of a ``window`` and of ``bands``
        (0-based) only what is asked for is decoded, and the sink counts pixels and bands from 0 there. With
        ``reduce`` and ``power`` window and sink are of the image at a lower resolution: see :meth:`restore_rows`.

        Raises FormatError when the file is damaged, InputError for a window or band that is not in the image, or to
        render speckle of a file that has no record of it.
        """
        count = reader.header.shape[0]
        window = window or _whole(reader, reduce)
        panel_width = max(PANEL // reader.header.tile, 1) * reader.header.tile >> reduce
        for place, band in enumerate(range(count) if bands is None else bands):
            for panel in window.panels(panel_width):
                columns = panel.left - window.left, panel.right - window.left
                rows = self.restore_rows(reader, band, panel, speckle=speckle, reduce=reduce, power=power)
                for top, pixels in rows:
                    first = top - window.top
                    sink.write(place, tiling.Window(first, first + len(pixels), *columns), pixels)
                    if advance:
                        advance(pixels.size)

    def plan(self, source: layouts.Source, layout: layouts.Layout, options: encoding.Options) -> encoding.Plan:
        """Decide what all tiles share; InputError for options it cannot do, or a raster that no file holds."""
        step, speckle = encoding.settle(self.engine, options)
        layouts.check(layout, options.tile, self.engine.stride)
        if layout.product is not None and not self.engine.holds_products:
            raise errors.InputError(
                f"model: files of {self.engine.architecture} autoencoders cannot hold a product; leave --model "
                "out, or pass one of its measurement TIFFs"
            )
        bands = []
        for band in range(layout.count):
            sample = functools.partial(source.sample, band)
            about = engines.BandInfo(sample, layout.quantity, layout.polarisations[band], layout.nodata)
            bands.append(self.engine.band(about))
        return encoding.Plan(step, options.tile, speckle, options.effort, tuple(bands))

    def coded_tiles(
        self,
        source: layouts.Source,
        layout: layouts.Layout,
        plan: encoding.Plan,
        part: tuple[int, int] | None = None,
    ) -> Generator[encoding.CodedTile]:
        """Code the tiles of all bands in the order of the file, or ``part`` of them: see :func:`encoding.tiles`."""
        return encoding.tiles(source, layout, self.engine, plan, part)

    def with_engine(self, engine: engines.Engine) -> Codec:
        """Return a codec of another engine, which codes where this one does."""
        return Codec(engine)

    def restore_window(
        self,
        reader: archive.Reader,
        band: int,
        window: tiling.Window | None = None,
        *,
        speckle: bool = False,
        reduce: int = 0,
        power: bool = False,
    ) -> npt.NDArray[Any]:
        """Restore a window of a band (0-based): the same pixels as of the whole band, from the tiles that it takes.

        Returns pixels (h, w) in the dtype of the source; raises as :meth:`decompress`.
        """
        rows = self.restore_rows(reader, band, window, speckle=speckle, reduce=reduce, power=power)
        return np.concatenate([pixels for _, pixels in rows])

    def restore_rows(
        self,
        reader: archive.Reader,
        band: int,
        window: tiling.Window | None = None,
        *,
        speckle: bool = False,
        recent: stored_tiles.Recent | None = None,
        reduce: int = 0,
        power: bool = False,
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Restore a band or a window of it strip by strip: yields the first row, and pixels in the source's dtype.

        ``recent`` keeps decoded tiles of this file for windows to come. With ``reduce`` all is of the image at
        1/2^reduce of the resolution, in means of dB or of ``power``: see :func:`decoding.strips`.
        """
        bands = reader.header.shape[0]
        whole = _whole(reader, reduce)
        window = window or whole
        window.check(*whole.shape)
        if not 0 <= band < bands:
            raise errors.InputError(f"band: got {band}; the file has {bands}, pass 0 to {bands - 1}")
        if speckle and reduce:
            raise errors.InputError("speckle: is rendered at the full resolution alone; leave it out, or reduce")
        if speckle and reader.header.seed is None:
            raise errors.InputError(
                f"speckle: {reader.name} has no record of lost speckle, for little was lost or none was asked for; "
                "compress it with --speckle keep, or leave this out"
            )
        return decoding.strips(reader, self.engine, decoding.Wanted(band, window, speckle, recent, reduce, power))

    def check(self, reader: archive.Reader) -> None:
        """Raise FormatError when this is not the model that made the file, or it has not all that it says it has.

        To be called before memory is taken for the pixels: a small file may claim to be a huge one.
        """
        stored_tiles.check(reader, self.engine)


def _whole(reader: archive.Reader, reduce: int) -> tiling.Window:
    """Return the window of the whole image at 1/2^reduce of the resolution."""
    height, width = stored_tiles.reduced_shape(reader.header.shape[1:], reduce)
    return tiling.Window(0, height, 0, width)
