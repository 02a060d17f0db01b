"""Pixels for GDAL: the function that a VRT names, and the files that it keeps open."""

from __future__ import annotations

import functools
import math
import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, tiling

if TYPE_CHECKING:
    from sarcodec.codec import codec, stored_tiles
    from sarcodec.container import archive

OPEN_FILES = 8
"""Files that are kept open; GDAL asks for one window after the other."""

CACHE_BYTES = 256 << 20
"""Decoded tiles that are kept of all files: two rows of them of a whole product, which GDAL copies row by row."""

LAST_BYTES = 4 << 20
"""The last window of a band is kept up to this size: GDAL asks for it again where it makes a mask of nodata."""

NEARLY = 1.05
"""A factor so little below a power of two counts as that: GDAL rounds windows to whole pixels."""


def read(_sources: Any, out_ar: npt.NDArray[Any], *where: Any, **given: bytes | str) -> None:
    """Fill what GDAL wants of a band; the pixel function of the VRTs of :func:`sarcodec.gdal.write_vrt`.

    Parameters
    ----------
    _sources : sequence
        Of which these bands have none.
    out_ar : ndarray (rows, columns)
        Is filled. Where it is smaller than the window, with what the file holds at the next finer of its lower
        resolutions (:func:`sarcodec.codec.decoding.strips`), nearest neighbours of that.
    *where : int
        First column and row, width and height of the window, width and height of the raster, and more.
    **given : bytes
        Arguments in the VRT: ``path``, ``identity`` of the file that the VRT was written for, ``band`` from 1, and
        ``model`` where it is not shipped.

    Raises
    ------
    FormatError
        When the file is gone, damaged or another than the VRT was written for; GDAL hands its text on.
    """
    said = {name: value.decode() if isinstance(value, bytes) else value for name, value in given.items()}
    left, top, width, height = map(int, where[:4])
    try:
        file = _opened(said["path"], said.get("model"))
        if file.identity != said["identity"]:
            raise errors.FormatError(
                f"{said['path']}: is not the file that the VRT was written for, it was changed since; write the VRT "
                "again: sarcodec vrt --overwrite"
            )
        file.fill(int(said["band"]) - 1, tiling.Window.at(top, left, height, width), out_ar)
    except errors.SarcodecError as cause:
        raise cause.with_traceback(None) from None  # GDAL hands on what a traceback says, too


class _OpenFile:
    """A file, the codec that reads it, and what was decoded of it; closed when nobody has it any more."""

    def __init__(self, path: str, model: str | None) -> None:
        from sarcodec.codec import stored_tiles
        from sarcodec.container import archive
        from sarcodec.scene import model_store

        self._reader: archive.Reader = archive.Reader(path)
        weakref.finalize(self, self._reader.close)
        self._codec: codec.Codec = model_store.codec_for(self._reader, model)
        self._recent = stored_tiles.Shared(_recent())
        self._last: dict[int, tuple[Any, npt.NDArray[Any]]] = {}
        self.identity = self._reader.identity

    def fill(self, band: int, window: tiling.Window, out: npt.NDArray[Any]) -> None:
        """Fill an array (rows, columns) with a window of a band (0-based), at the resolution that this needs."""
        asked = window, out.shape
        known, pixels = self._last.get(band, (None, out))
        if known == asked:
            out[:] = pixels
            return
        self._decode(band, window, out)
        if out.nbytes <= LAST_BYTES:
            self._last[band] = asked, out.copy()

    def _decode(self, band: int, window: tiling.Window, out: npt.NDArray[Any]) -> None:
        reduce = _reduction(window.shape, out.shape)
        place = window.reduced(1 << reduce)
        rows = _nearest(window.top, window.bottom, out.shape[0], reduce)
        columns = _nearest(window.left, window.right, out.shape[1], reduce) - place.left
        strips = self._codec.restore_rows(self._reader, band, place, recent=self._recent, reduce=reduce)
        for first, strip in strips:
            here = (rows >= first) & (rows < first + len(strip))
            out[here] = strip[np.ix_(rows[here] - first, columns)]


def _reduction(window: tuple[int, int], wanted: tuple[int, ...]) -> int:
    """Return how many times the resolution can be halved, for no fewer pixels than are wanted."""
    from sarcodec.codec import stored_tiles

    factor = min(side / pixels for side, pixels in zip(window, wanted, strict=True))
    return min(int(math.log2(max(factor * NEARLY, 1.0))), stored_tiles.MOST_REDUCED)


def _nearest(first: int, end: int, count: int, reduce: int) -> npt.NDArray[np.intp]:
    """Return the pixels of an axis at 1/2^reduce of the resolution that lie in the middle of ``count`` parts."""
    middles = first + (np.arange(count) + 0.5) * ((end - first) / count)
    return middles.astype(np.intp) >> reduce


@functools.cache
def _recent() -> stored_tiles.Recent:
    from sarcodec.codec import stored_tiles

    return stored_tiles.Recent(CACHE_BYTES)


_opening = threading.Lock()


def _opened(path: str, model: str | None) -> _OpenFile:
    """Return an open file: the one that lies there now, and of this process alone."""
    try:
        now = Path(path).stat()
    except OSError as cause:
        raise errors.FormatError(
            f"{path}: cannot be read ({cause.strerror}), and the VRT knows no other place; put the file there, or "
            "write the VRT again: sarcodec vrt"
        ) from None
    with _opening:
        return _kept(path, model, (now.st_ino, now.st_size, now.st_mtime_ns, os.getpid()))


@functools.lru_cache(OPEN_FILES)
def _kept(path: str, model: str | None, _state: tuple[int, ...]) -> _OpenFile:
    return _OpenFile(path, model)
