"""Arrays to the bytes of a ``.sarc`` file and back."""

from __future__ import annotations

import io as bytes_io
import os
import tempfile
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.codec import codec, stored_tiles
from sarcodec.container import archive, packing
from sarcodec.files import remote
from sarcodec.raster import arrays, labelled
from sarcodec.raster import info as raster_info
from sarcodec.scene import asking, files
from sarcodec.scene.model_store import Running, codec_for


def compress(
    pixels: npt.ArrayLike | labelled.Labelled,
    *,
    quantity: radiometry.Quantity | str | None = None,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    **asked: Unpack[asking.Asked],
) -> bytes:
    """Compress an array to the bytes of a ``.sarc`` file.

    Parameters
    ----------
    pixels : ndarray, xarray.DataArray or xarray.Dataset
        (H, W) or (bands, H, W), real; linear intensity, amplitude DN or dB. The masked pixels of a masked array are
        invalid, and it comes back as one. Of xarray the CRS, coordinates, names, units, nodata value and attributes
        are kept as well: see :mod:`sarcodec.raster.labelled`.
    quantity : Quantity or str, optional
        ``"intensity"``, ``"dn"`` or ``"db"``; detected from dtype and range when not given.
    model : path, str or Codec, optional
        A checkpoint, a shipped model's name, or a codec; the default model when not given.
    **asked
        ``quality``, ``bpp``, ``ratio``, ``psnr``, ``rmse``, ``max_error``, ``step`` or ``goal``; ``nodata``, the
        value of invalid pixels (NaN, infinities and, but for dB, values ≤ 0 are invalid anyway); ``accept_loss``: see
        :class:`asking.Asked`.

    Returns
    -------
    bytes

    Raises
    ------
    InputError, AmbiguousQuantity
        For an unusable array, or one whose quantity cannot be told.
    """
    asking.resolve(asked)
    source: Any = pixels if labelled.is_labelled(pixels) else arrays.source_of(pixels, asked.get("nodata"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "array.sarc"
        files.compress_file(source, target, model, quantity=quantity, **asked)
        return target.read_bytes()


def decompress(
    data: bytes | remote.Source,
    *,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    speckle: bool = False,
    reduce: int = 0,
    power: bool = False,
    **running: Unpack[Running],
) -> npt.NDArray[Any]:
    """Restore the array that :func:`compress` was given: same shape, dtype and invalid pixels.

    Of a packed raster (scale, offset or mask: :mod:`sarcodec.container.packing`) it is what that stands for, float32;
    a masked array comes back as one, in its dtype.

    Parameters
    ----------
    data : bytes, path, URL or binary file
        A ``.sarc`` file; see :func:`sarcodec.open`.
    model : path, str or Codec, optional
        Needed only for a model that is not shipped.
    speckle : bool
        Whether to draw lost speckle anew; see :mod:`sarcodec.speckle.record`.
    reduce, power
        0 to 6: the array at 1/2^reduce of the resolution, in means of decibels or of power: see
        :class:`sarcodec.scene.output.Output`.
    **running
        ``device``, ``precision`` and ``restorer``: see :class:`model_store.Running`.

    Raises
    ------
    FormatError, ModelMissing, InputError
        For damaged bytes, an unknown model, speckle of a file without a record of it, or more pixels than memory.
    """
    with archive.Reader(bytes_io.BytesIO(data) if isinstance(data, bytes) else data) as reader:
        coder = codec_for(reader, model, **running)
        info = raster_info.RasterInfo.from_dict(reader.header.raster)
        shape = info.count, *stored_tiles.reduced_shape((info.height, info.width), reduce)
        sink = arrays.ArraySink(arrays.room(shape, info.working_dtype))
        coder.decompress(reader, sink, speckle=speckle, reduce=reduce, power=power)
    cube = sink.cube
    if info.mask and not info.crs and info.transform is None:
        packed = [packing.Packing.of(reader.header.raster, band) for band in range(info.count)]
        raw = [one.pack(band) for one, band in zip(packed, cube, strict=True) if one is not None]
        cube = np.ma.MaskedArray(np.stack(raw), ~np.isfinite(cube))
    return cube[0] if info.count == 1 and arrays.FLAT.items() <= info.tags.items() else cube
