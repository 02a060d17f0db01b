"""A ``.sarc`` file that is open for reading, as rasterio has it: what it is, and windows of its bands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from sarcodec import tiling
from sarcodec.codec import codec
from sarcodec.container import archive
from sarcodec.files import remote
from sarcodec.raster import info as raster_info
from sarcodec.scene import model_store
from sarcodec.scene.output import Output
from sarcodec.text import numerals


class OpenFile:
    """An open ``.sarc`` file; made by :func:`open`, best used in a ``with`` block.

    Attributes
    ----------
    shape : tuple of int
        Bands, rows and columns.
    bands : tuple of str
        Descriptions, else polarisations, else numbers from 1.
    dtype, nodata, crs, transform, quantity
        As the source has them; of a packed raster (:mod:`sarcodec.container.packing`) pixels are what it stands for,
        float32 with NaN. ``crs`` is WKT or an authority code, ``transform`` the six affine coefficients or None.
    """

    def __init__(self, reader: archive.Reader, coder: codec.Codec) -> None:
        self._reader, self._coder = reader, coder
        self._info = raster_info.RasterInfo.from_dict(reader.header.raster)
        self.name, self.shape, self.quantity = reader.name, reader.header.shape, reader.header.quantity
        self.dtype, self.nodata = self._info.working_dtype, self._info.working_nodata
        self.crs, self.transform = self._info.crs, self._info.transform
        self.bands = tuple(self._info.band_names())

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """Say what is in the file, in one line."""
        size = "×".join(map(str, self.shape))
        place = self.crs if self.crs and len(self.crs) < 40 else "a CRS" if self.crs else "no CRS"
        rate = 8 * self._reader.sizes()["total"] / max(int(np.prod(self.shape)), 1)
        return (
            f"<sarcodec file {self.name!r}: {', '.join(self.bands)}; {size} {self.dtype} {self.quantity}, {place}, "
            f"{numerals.significant(rate, 3)} bits per pixel>"
        )

    def close(self) -> None:
        """Close the file; nothing can be read from it any more."""
        self._reader.close()

    def read(
        self,
        band: int | str | None = None,
        window: tuple[tuple[int, int], tuple[int, int]] | tiling.Window | None = None,
        *,
        speckle: bool = False,
        reduce: int = 0,
        power: bool = False,
    ) -> npt.NDArray[Any]:
        """Decode a band or all of them; only the tiles that a window takes are read.

        Parameters
        ----------
        band : int or str, optional
            From 1, as rasterio counts, or a polarisation or description; all bands when not given.
        window : pair of pairs, or Window, optional
            ``((first row, end), (first column, end))``; the whole image when not given.
        speckle : bool
            Whether to draw lost speckle anew; see :mod:`sarcodec.speckle.record`.
        reduce : int
            0 to 6: the image at 1/2^reduce of the resolution, quickly; see :func:`sarcodec.codec.decoding.strips`.
            The window counts pixels of the full image, and is widened to whole pixels of the reduced one.
        power : bool
            Whether its pixels are means of power, as multilooking makes them, or means of decibels.

        Returns
        -------
        ndarray
            (rows, columns) of one band, (bands, rows, columns) of all.

        Raises
        ------
        InputError
            For a band or window that is not there, or speckle of a file without a record of it.
        FormatError
            When the file is damaged.
        """
        area = (
            window if isinstance(window, tiling.Window) or window is None else tiling.Window(*window[0], *window[1])
        )
        if band is None:
            chosen: tuple[int | str, ...] = tuple(range(self._info.count))
        else:
            chosen = (band - 1 if isinstance(band, int) else band,)
        wanted = Output(area, chosen, speckle, reduce=reduce, power=power)
        place, numbers = wanted.window_of(self._info), wanted.bands_of(self._info)
        found = [
            self._coder.restore_window(self._reader, number, place, speckle=speckle, reduce=reduce, power=power)
            for number in numbers
        ]
        return np.stack(found) if band is None else found[0]


def open(
    path: remote.Source,
    *,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **running: Unpack[model_store.Running],
) -> OpenFile:
    """Open a ``.sarc`` file for reading.

    Parameters
    ----------
    path : path, URL, or binary file object
        The file. By URL (``https://``, ``s3://``, whatever fsspec knows) or from ``fsspec.open`` only the directory
        and the tiles that are asked for are fetched; a file object is left open.
    model : path, str or Codec, optional
        Needed only for a file of a model that is not shipped.
    storage_options : mapping, optional
        What fsspec needs besides a URL, credentials for example.
    **running
        ``device``, ``precision`` and ``restorer``: see :class:`model_store.Running`.

    Raises
    ------
    FormatError, ModelMissing
        For a damaged file or an unknown model.
    RemoteError, MissingExtra, InputError
        For a remote file that cannot be fetched, a protocol whose package is missing, or what is no file.
    """
    reader = archive.Reader(remote.located(path, storage_options))
    try:
        return OpenFile(reader, model_store.codec_for(reader, model, **running))
    except BaseException:
        reader.close()
        raise
