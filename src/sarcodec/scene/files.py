"""Rasters and products to ``.sarc`` files and back, in bounded memory."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Unpack

import numpy.typing as npt

from sarcodec import errors, radiometry
from sarcodec.codec import codec, encoding
from sarcodec.codec import layout as codec_layout
from sarcodec.container import archive
from sarcodec.files import atomic, remote, vsi
from sarcodec.raster import geotiff, labelled, safe_output
from sarcodec.raster import info as raster_info
from sarcodec.raster import source as raster_source
from sarcodec.scene import asking, rate_control
from sarcodec.scene import decision as scene_decision
from sarcodec.scene import source as scene_source
from sarcodec.scene.model_store import Running, codec_for, open_codec
from sarcodec.scene.output import Output


def compress_file(
    source: str | os.PathLike[str] | npt.NDArray[Any] | labelled.Labelled | raster_source.Raster,
    target: str | os.PathLike[str],
    model: str | os.PathLike[str] | codec.Codec | None = None,
    *,
    quantity: radiometry.Quantity | str | None = None,
    options: encoding.Options | None = None,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
    **asked: Unpack[asking.Asked],
) -> scene_decision.Size:
    """Compress a raster, a product or an array to a ``.sarc`` file.

    Parameters
    ----------
    source : path, ndarray, xarray.DataArray, xarray.Dataset, or a source that is open
        Anything GDAL reads, by path, URL or path of a virtual file system: intensity, amplitude DN or dB, any number
        of bands of one real dtype. Or a Sentinel-1 GRD product, a local SAFE folder or its zip file, whose other
        files are kept byte for byte. Or a ``.sarc`` file of a shipped model, which is decoded and coded again. Or an
        array, as :func:`compress` takes it. Or one that is open already:
        :func:`sarcodec.scene.source.open` opens one polarisation of a product.
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
        For unusable, damaged or ambiguous input, for a product whose files are not what its manifest says, for
        pixels that the quantity cannot hold (:mod:`sarcodec.codec.validity`), or an output that cannot be written or
        is the source.
    """
    options, goal = asking.resolve(asked, options)
    known = radiometry.Quantity.parse(quantity) if isinstance(quantity, str) else quantity
    coder = model if isinstance(model, codec.Codec) else open_codec(model)
    with _opened(source, asked.get("nodata")) as raster:
        atomic.refuse_sources(target, raster.places)
        if not options.accept_loss:
            raster.check()
        layout = scene_decision.layout_of(raster, known, accept_loss=options.accept_loss)
        with atomic.output(target, overwrite=overwrite) as temporary:
            if goal is None:
                with archive.Writer(temporary) as writer:
                    tally = coder.compress(raster, layout, writer, options, advance)
            else:
                tally = rate_control.compress(coder, raster, layout, temporary, options, goal, advance)
            size = temporary.stat().st_size
        decision = scene_decision.Decision(layout.quantity, layout.reason, raster.info.nodata, tally)
    return scene_decision.Size(size, layout.count, layout.height, layout.width, decision)


def _opened(source: raster_source.Place | raster_source.Raster, nodata: float | None) -> raster_source.Opened:
    """Open a source that is not open already."""
    if isinstance(source, raster_source.Raster):
        return nullcontext(source)
    return scene_source.open(source, nodata=nodata)


def decompress_file(
    source: remote.Source,
    target: str | os.PathLike[str],
    *,
    output: Output | None = None,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
    **running: Unpack[Running],
) -> scene_decision.Size:
    """Restore a ``.sarc`` file, or the part of it that ``output`` names, to a GeoTIFF; mirrors :func:`compress_file`.

    ``source`` is a path, a URL or a binary file: see :func:`sarcodec.open`.
    Where the name of ``target`` ends in ``.SAFE`` or ``.zip`` it is to be the whole product the file was made from:
    see :func:`safe_output.create_product`.

    The quantity, dtype, nodata, invalid pixels, CRS, transform or GCPs, band names and tags are those of the source
    of the file. ``model``, a codec too, is needed only for files made by a model that is not shipped. Speckle that is
    drawn anew is told of in the tag ``SARCODEC_SPECKLE``, a lower resolution in ``SARCODEC_REDUCED``. ``device``,
    ``precision`` and ``restorer`` are as of :class:`model_store.Running`. Returns the size of the whole file.

    Raises
    ------
    FormatError, ModelMissing, InputError, OutputError
        For a damaged file, an unknown model, a part that is not there, or an output that cannot be written.
    RemoteError, MissingExtra
        As :func:`sarcodec.open`.
    """
    output = output or Output()
    if vsi.is_virtual(target):
        raise errors.InputError(f"output {vsi.public(target)}: is not local; pass the path of a local file")
    place = remote.located(source)
    atomic.refuse_sources(target, remote.local_paths(place))
    with archive.Reader(place) as reader:
        info = raster_info.RasterInfo.from_dict(reader.header.raster)
        found = codec_for(reader, model, **running)
        window, bands = output.window_of(info), output.bands_of(info)
        with _create(target, reader, info, output, overwrite) as raster:
            found.decompress(
                reader,
                raster,
                advance,
                speckle=output.speckle,
                window=window,
                bands=bands,
                reduce=output.reduce,
                power=output.power,
            )
        size = reader.sizes()["total"]
    return scene_decision.Size(size, info.count, info.height, info.width)


def _create(
    target: str | os.PathLike[str],
    reader: archive.Reader,
    info: raster_info.RasterInfo,
    output: Output,
    overwrite: bool,
) -> AbstractContextManager[codec_layout.Sink]:
    if safe_output.is_product_target(target):
        if not output.is_whole:
            raise errors.InputError(
                f"output {target}: a product is restored whole; leave out window, bands, reduce and cog, or name a "
                ".tif"
            )
        return safe_output.create_product(target, reader, tags=output.tags, overwrite=overwrite)
    if Path(target).suffix.lower() not in (".tif", ".tiff"):
        raise errors.InputError(
            f"output {target}: only GeoTIFFs are written; pass a name that ends in .tif, or in .SAFE or .zip for the "
            "product that a file was made from"
        )
    part = output.describe(info)
    # Overviews are means of power, so of amplitudes the root mean square.
    resampling = "rms" if reader.header.quantity == radiometry.Quantity.DN else "average"
    return geotiff.create_raster(target, part, overwrite=overwrite, overviews=resampling if output.cog else None)
