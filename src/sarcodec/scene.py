"""Whole rasters and arrays: files in, files out, in bounded memory; the functions most people call."""

from __future__ import annotations

import io as bytes_io
import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
import numpy.typing as npt

from sarcodec import (
    arrays,
    asking,
    atomic,
    codec,
    container,
    errors,
    io,
    labelled,
    numerals,
    packing,
    radiometry,
    rate_control,
    safe,
    transcoding,
    validity,
    virtual,
)
from sarcodec.model_store import DEFAULT_MODEL as DEFAULT_MODEL
from sarcodec.model_store import bounded_engine as bounded_engine
from sarcodec.model_store import codec_for as codec_for
from sarcodec.model_store import load_model as load_model
from sarcodec.model_store import open_codec as open_codec
from sarcodec.model_store import shipped_models as shipped_models
from sarcodec.output import Output

SPECKLE_TAG = "SARCODEC_SPECKLE"
"""Tag of a raster whose lost speckle was drawn anew."""

Opened = io.RasterReader | safe.ProductReader | transcoding.FileSource | arrays.ArraySource | labelled.LabelledSource
"""A source that is open."""


@dataclass(frozen=True)
class Decision:
    """What a source was taken for: its quantity and why, its nodata value, and the count of its pixels."""

    quantity: radiometry.Quantity
    reason: str
    nodata: float | None = field(compare=False)  # NaN is not equal to itself
    tally: validity.Tally

    def __str__(self) -> str:
        """Return one line for people."""
        name = {"db": "dB", "dn": "amplitude DN"}.get(self.quantity.value, self.quantity.value)
        nodata = "none" if self.nodata is None else numerals.exact(self.nodata)
        valid = numerals.significant(100 * self.tally.valid_share)
        return f"quantity: {name} ({self.reason}), valid {valid} %, nodata {nodata}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        shares = {"valid_share": self.tally.valid_share, "lost_share": self.tally.lost_share}
        return {"quantity": self.quantity.value, "quantity_reason": self.reason, "nodata": self.nodata, **shares}


@dataclass(frozen=True)
class Size:
    """Size of a compressed file against its pixels."""

    bytes: int
    bands: int
    height: int
    width: int
    decision: Decision | None = None

    @property
    def bits_per_pixel(self) -> float:
        """8 × bytes of the whole file / (bands·H·W)."""
        return 8 * self.bytes / (self.bands * self.height * self.width)

    @property
    def ratio(self) -> float:
        """True compression ratio: 16 bits per pixel, as Sentinel-1 GRD stores them, over bits per pixel."""
        return 16 / self.bits_per_pixel


def layout_of(
    source: codec.Source,
    info: io.RasterInfo,
    quantity: radiometry.Quantity | None,
    file_name: str = "",
    *,
    accept_loss: bool = False,
) -> codec.Layout:
    """Describe a source for the codec; detects its quantity when none is given, but that of a product is known.

    InputError for a picture, or a quantity that contradicts the source's own tags unless ``accept_loss``.
    """
    if isinstance(source, io.RasterReader) and source.picture is not None:
        raise errors.InputError(
            f"source {source.name}: is {source.picture}, no backscatter; pass a raster of intensity, amplitude DN "
            "or dB"
        )
    reason = "as asked"
    if isinstance(source, safe.ProductReader | transcoding.FileSource) and quantity is None:
        quantity, reason = source.quantity, "product" if isinstance(source, safe.ProductReader) else "header"
    if isinstance(source, labelled.LabelledSource) and quantity is None:
        quantity, reason = source.told_quantity(), "attributes"
    if quantity is None:
        quantity, reason = radiometry.decide_quantity(source.sample(0), info.working_nodata, info.unit_text())
    elif not accept_loss:
        validity.check_named(quantity, info.unit_text())
    named = io.polarisation_from_text(virtual.stem(file_name)) if info.count == 1 else ""
    layout = codec.Layout(
        count=info.count,
        height=info.height,
        width=info.width,
        dtype=info.working_dtype,
        nodata=info.working_nodata,
        quantity=quantity,
        polarisations=tuple(info.polarisation(band) or named for band in range(info.count)),
        record=info.to_dict(),
        reason=reason,
    )
    if isinstance(source, safe.ProductReader):
        return replace(layout, product=source.product, files=source.files)
    if isinstance(source, transcoding.FileSource):
        history = {transcoding.HISTORY: source.history()}
        return replace(layout, product=source.product, files=source.files, extra=history)
    return layout


def compress_file(
    source: str | os.PathLike[str] | npt.NDArray[Any] | labelled.Labelled | Opened,
    target: str | os.PathLike[str],
    model: str | os.PathLike[str] | codec.Codec | None = None,
    *,
    quantity: radiometry.Quantity | str | None = None,
    options: codec.Options | None = None,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
    **asked: Unpack[asking.Asked],
) -> Size:
    """Compress a raster, a product or an array to a ``.sarc`` file.

    Parameters
    ----------
    source : path, ndarray, xarray.DataArray, xarray.Dataset, or a source that is open
        Anything GDAL reads, by path, URL or path of a virtual file system: intensity, amplitude DN or dB, any number
        of bands of one real dtype. Or a Sentinel-1 GRD product, a local SAFE folder or its zip file, whose other
        files are kept byte for byte. Or a ``.sarc`` file of a shipped model, which is decoded and coded again. Or an
        array, as :func:`compress` takes it. Or one that is open already: :func:`open_source` opens one polarisation
        of a product.
    target : path
        The file to write; appears whole or not at all.
    model : path, str or Codec, optional
        A checkpoint, a shipped model's name, or a codec of :func:`open_codec`; the default model when not given.
    quantity : Quantity or str, optional
        What the pixels are: ``"intensity"``, ``"dn"`` or ``"db"``; by default told by tags, dtype and range.
    options : Options, optional
        Step, tile size, and whether to keep a record of lost speckle.
    overwrite : bool
        Whether an existing ``target`` may be replaced; never the source.
    advance : callable, optional
        Called with the number of pixels of every tile once it is coded. Towards a goal the image is gone over again
        and again; a negative number begins each pass anew.
    **asked
        ``quality``, ``bpp``, ``ratio``, ``psnr``, ``rmse`` ``max_error`` or ``goal``, instead of a step; ``nodata``
        and ``accept_loss``: see :class:`asking.Asked`.

    Raises
    ------
    InputError, FormatError, OutputError
        For unusable, damaged or ambiguous input, for pixels that the quantity cannot hold (:mod:`sarcodec.validity`),
        or an output that cannot be written or is the source.
    """
    options, goal = asking.resolve(asked, options)
    known = radiometry.Quantity.parse(quantity) if isinstance(quantity, str) else quantity
    coder = model if isinstance(model, codec.Codec) else open_codec(model)
    with _opened(source, asked.get("nodata")) as raster:
        atomic.refuse_sources(target, raster.places)
        if isinstance(raster, safe.ProductReader) and not options.accept_loss:
            raster.check()
        layout = layout_of(raster, raster.info, known, raster.name, accept_loss=options.accept_loss)
        with atomic.output(target, overwrite=overwrite) as temporary:
            if goal is None:
                with container.Writer(temporary) as writer:
                    tally = coder.compress(raster, layout, writer, options, advance)
            else:
                tally = rate_control.compress(coder, raster, layout, temporary, options, goal, advance)
            size = temporary.stat().st_size
        decision = Decision(layout.quantity, layout.reason, raster.info.nodata, tally)
    return Size(size, layout.count, layout.height, layout.width, decision)


def _opened(source: Any, nodata: float | None) -> AbstractContextManager[Opened]:
    if isinstance(source, str | os.PathLike):
        return open_source(source, nodata=nodata)
    if labelled.is_labelled(source):
        return labelled.open_array(source, nodata=nodata)
    return nullcontext(arrays.source_of(source, nodata) if isinstance(source, np.ndarray) else cast(Opened, source))


def open_source(
    place: str | os.PathLike[str], polarisation: str | None = None, *, nodata: float | None = None
) -> AbstractContextManager[Opened]:
    """Open a raster, a product or a ``.sarc`` file to be compressed; raises as :func:`safe.open_source`."""
    if transcoding.is_file(place):
        return transcoding.open_file(place)
    return safe.open_source(place, polarisation, nodata=nodata)


def decompress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    output: Output | None = None,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    device: str = "cpu",
    precision: str = "auto",
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> Size:
    """Restore a ``.sarc`` file, or the part of it that ``output`` names, to a GeoTIFF; mirrors :func:`compress_file`.

    Where the name of ``target`` ends in ``.SAFE`` or ``.zip`` it is to be the whole product the file was made from:
    see :func:`safe.create_product`.

    The quantity, dtype, nodata, invalid pixels, CRS, transform or GCPs, band names and tags are those of the source
    of the file. ``model``, a codec too, is needed only for files made by a model that is not shipped. Speckle that is
    drawn anew is told of in the tag ``SARCODEC_SPECKLE``. Returns the size of the whole file.

    Raises
    ------
    FormatError, ModelMissing, InputError, OutputError
        For a damaged file, an unknown model, a part that is not there, or an output that cannot be written.
    """
    output = output or Output()
    atomic.refuse_sources(target, [source])
    with container.Reader(source) as reader:
        info = io.RasterInfo.from_dict(reader.header.raster)
        found = codec_for(reader, model, device=device, precision=precision)
        window, bands = output.window_of(info), output.bands_of(info)
        with _create(target, reader, info, output, overwrite) as raster:
            found.decompress(reader, raster, advance, speckle=output.speckle, window=window, bands=bands)
    return Size(Path(source).stat().st_size, info.count, info.height, info.width)


def _create(
    target: str | os.PathLike[str], reader: container.Reader, info: io.RasterInfo, output: Output, overwrite: bool
) -> AbstractContextManager[codec.Sink]:
    tags = {SPECKLE_TAG: "rendered, not measured"} if output.speckle else {}
    if safe.is_product_target(target):
        if not output.is_whole:
            raise errors.InputError(
                f"output {target}: a product is restored whole; leave out window, bands and cog, or name a .tif"
            )
        return safe.create_product(target, reader, tags=tags, overwrite=overwrite)
    if Path(target).suffix.lower() not in (".tif", ".tiff"):
        raise errors.InputError(
            f"output {target}: only GeoTIFFs are written; pass a name that ends in .tif, or in .SAFE or .zip for the "
            "product that a file was made from"
        )
    part = info.cropped(output.window_of(info), output.bands_of(info))
    part = replace(part, tags={**part.tags, **tags})
    # Overviews are means of power, so of amplitudes the root mean square.
    resampling = "rms" if reader.header.quantity == radiometry.Quantity.DN else "average"
    return io.create_raster(target, part, overwrite=overwrite, overviews=resampling if output.cog else None)


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
        are kept as well: see :mod:`sarcodec.labelled`.
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
        compress_file(source, target, model, quantity=quantity, **asked)
        return target.read_bytes()


def decompress(
    data: bytes | str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    speckle: bool = False,
) -> npt.NDArray[Any]:
    """Restore the array that :func:`compress` was given: same shape, dtype and invalid pixels.

    Of a packed raster (scale, offset or mask: :mod:`sarcodec.packing`) it is what that stands for, float32; a masked
    array comes back as one, in its dtype.

    Parameters
    ----------
    data : bytes or path
        A ``.sarc`` file.
    model : path, str or Codec, optional
        Needed only for a model that is not shipped.
    speckle : bool
        Whether to draw lost speckle anew; see :mod:`sarcodec.rendering`.

    Raises
    ------
    FormatError, ModelMissing, InputError
        For damaged bytes, an unknown model, speckle of a file without a record of it, or more pixels than memory.
    """
    with container.Reader(bytes_io.BytesIO(data) if isinstance(data, bytes) else data) as reader:
        coder = codec_for(reader, model)
        info = io.RasterInfo.from_dict(reader.header.raster)
        sink = arrays.ArraySink(arrays.room(reader.header.shape, info.working_dtype))
        coder.decompress(reader, sink, speckle=speckle)
    cube = sink.cube
    if info.mask and not info.crs and info.transform is None:
        packed = [packing.Packing.of(reader.header.raster, band) for band in range(info.count)]
        raw = [one.pack(band) for one, band in zip(packed, cube, strict=True) if one is not None]
        cube = np.ma.MaskedArray(np.stack(raw), ~np.isfinite(cube))
    return cube[0] if info.count == 1 and arrays.FLAT.items() <= info.tags.items() else cube
