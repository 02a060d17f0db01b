"""A ``.sarc`` file as a source: decoded window by window, to be coded again at another quality.

What comes of it says so: its header has a history of what it was coded from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec
from sarcodec.container import archive, product
from sarcodec.raster import geotiff, reader
from sarcodec.raster import info as raster_info
from sarcodec.scene import model_store

SUFFIX = ".sarc"
HISTORY = "history"
"""Key of a header's ``extra``: what a file was coded from, the oldest first."""


class FileSource(reader.Raster):
    """An open ``.sarc`` file, read as a raster is; made by :func:`open_file`."""

    def __init__(self, file: archive.Reader, coder: codec.Codec, place: str) -> None:
        self._reader, self._coder = file, coder
        self.name, self.places = file.name, (place,)
        self.info = raster_info.RasterInfo.from_dict(file.header.raster)
        self.product = file.header.product
        self._quantity = radiometry.Quantity.parse(file.header.quantity)

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Decode a window of a band (0-based)."""
        return self._coder.restore_window(self._reader, band, window)

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Decode the middle of a band (0-based), at most 1024×1024 pixels."""
        height, width = (min(side, geotiff.SAMPLE_SIDE) for side in (self.info.height, self.info.width))
        top, left = (self.info.height - height) // 2, (self.info.width - width) // 2
        return self.read(band, tiling.Window.at(top=top, left=left, height=height, width=width))

    def known_quantity(self) -> reader.Known:
        """Return what the header says."""
        return reader.Known(self._quantity, "header")

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of the files of a product that the file keeps."""
        for path in self._reader.product_files():
            yield path, self._reader.read(product.entry_name(path), product.MAX_FILE_BYTES)

    def extra(self) -> dict[str, Any]:
        """Return the history: what the file was coded from and, last, how it was coded itself."""
        header = self._reader.header
        here = {"model": header.model, "step": header.step, "created_by": header.created_by}
        here |= {} if header.max_error_db is None else {"max_error_db": header.max_error_db}
        known = header.extra.get(HISTORY, [])
        return {HISTORY: [*(known if isinstance(known, list) else []), here]}


def is_file(source: object) -> bool:
    """Tell whether a source is a local ``.sarc`` file, by its name."""
    return isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == SUFFIX and Path(source).is_file()


@contextmanager
def open_file(
    source: str | os.PathLike[str], model: str | os.PathLike[str] | codec.Codec | None = None
) -> Iterator[FileSource]:
    """Open a ``.sarc`` file as a source.

    Raises
    ------
    FormatError, ModelMissing
        When the file is damaged, or its model is neither shipped nor given.
    """
    with archive.Reader(source) as file:
        try:
            coder = model_store.codec_for(file, model)
        except errors.ModelMissing as cause:
            raise errors.ModelMissing(
                f"{file.name}: as a source it must be of a model that is shipped, and is of "
                f"{errors.plain(file.header.model)}; restore it first (sarcodec decompress --model)"
            ) from cause
        yield FileSource(file, coder, os.fspath(source))
