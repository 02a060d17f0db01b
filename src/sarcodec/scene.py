"""Whole rasters and arrays: files in, files out, in bounded memory; the functions most people call."""

from __future__ import annotations

import io as bytes_io
import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import (
    atomic,
    checkpoint,
    codec,
    container,
    engines,
    errors,
    io,
    lapped_model,
    radiometry,
    rate_control,
    safe,
    tiling,
    virtual,
)
from sarcodec.output import Output

DEFAULT_MODEL = "lapped64"
MODEL_SUFFIX = ".ckpt"


@dataclass(frozen=True)
class Size:
    """Size of a compressed file against its pixels."""

    bytes: int
    bands: int
    height: int
    width: int

    @property
    def bits_per_pixel(self) -> float:
        """8 × bytes of the whole file / (bands·H·W)."""
        return 8 * self.bytes / (self.bands * self.height * self.width)

    @property
    def ratio(self) -> float:
        """True compression ratio: 16 bits per pixel, as Sentinel-1 GRD stores them, over bits per pixel."""
        return 16 / self.bits_per_pixel


def shipped_models() -> dict[str, Path]:
    """Checkpoints that come with the package, by name."""
    folder = Path(str(resources.files("sarcodec.weights")))
    return {path.stem: path for path in sorted(folder.glob(f"*{MODEL_SUFFIX}"))}


def load_model(
    model: str | os.PathLike[str] | None = None,
) -> checkpoint.Checkpoint | lapped_model.LappedModel:
    """Load a model by path, or a shipped one by name; the default model when none is named."""
    name = DEFAULT_MODEL if model is None else os.fspath(model)
    path = Path(name)
    shipped = shipped_models()
    if not path.exists() and name in shipped:
        path = shipped[name]
    if not path.exists():
        raise errors.InputError(
            f"model: {name!r} is neither a checkpoint file nor a shipped model ({', '.join(shipped) or 'none'})"
        )
    return lapped_model.load(path) if lapped_model.is_lapped(path) else checkpoint.load(path)


def open_codec(
    model: str | os.PathLike[str] | None = None, *, device: str = "cpu", precision: str = "auto"
) -> codec.Codec:
    """Return a codec for a model named as in :func:`load_model`."""
    return codec.Codec(load_model(model), device=device, precision=precision)


def codec_for(
    reader: container.Reader,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    *,
    device: str = "cpu",
    precision: str = "auto",
) -> codec.Codec:
    """Return the codec that made a file: the given model, else the shipped one of its identity.

    Raises
    ------
    ModelMissing
        When the model that made the file is not installed, or the given one did not make it.
    """
    header = reader.header
    if header.architecture == engines.BoundedEngine.architecture and header.max_error_db is not None:
        found = codec.Codec(bounded_engine(header.max_error_db))
        found.check(reader)
        return found
    if isinstance(model, codec.Codec):
        model.check(reader)
        return model
    if model is not None:
        chosen = load_model(model)
    elif (shipped := _shipped_with(header.model)) is not None:
        chosen = shipped
    else:
        raise errors.ModelMissing(
            f"{reader.name}: was made by model {reader.header.model} ({reader.header.architecture}), which is not "
            "installed here; pass its checkpoint (--model) or install the version of sarcodec that ships it"
        )
    found = codec.Codec(chosen, device=device, precision=precision)
    found.check(reader)
    return found


def _shipped_with(identity: str) -> checkpoint.Checkpoint | lapped_model.LappedModel | None:
    """Return the shipped model of an identity, reading no more of them than it takes."""
    return next((m for m in map(load_model, shipped_models().values()) if m.identity == identity), None)


def bounded_engine(max_error_db: float) -> engines.BoundedEngine:
    """Return the engine of a file's guaranteed error; FormatError where none has such."""
    try:
        return engines.BoundedEngine(max_error_db)
    except errors.InputError as cause:
        raise errors.FormatError(f"header: {cause}") from cause


def layout_of(
    source: codec.Source, info: io.RasterInfo, quantity: radiometry.Quantity | None, file_name: str = ""
) -> codec.Layout:
    """Describe a source for the codec; detects its quantity when none is given, but that of a product is known."""
    if isinstance(source, safe.ProductReader):
        quantity = quantity or source.quantity
    if quantity is None:
        quantity = radiometry.detect_quantity(source.sample(0), info.nodata, info.unit_text())
    named = io.polarisation_from_text(virtual.stem(file_name)) if info.count == 1 else ""
    layout = codec.Layout(
        count=info.count,
        height=info.height,
        width=info.width,
        dtype=info.dtype,
        nodata=info.nodata,
        quantity=quantity,
        polarisations=tuple(info.polarisation(band) or named for band in range(info.count)),
        record=info.to_dict(),
    )
    if isinstance(source, safe.ProductReader):
        return replace(layout, product=source.product, files=source.files)
    return layout


def compress_file(
    source: str | os.PathLike[str] | io.RasterReader | safe.ProductReader,
    target: str | os.PathLike[str],
    model: codec.Codec,
    *,
    quantity: radiometry.Quantity | None = None,
    options: codec.Options | None = None,
    goal: rate_control.Goal | None = None,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> Size:
    """Compress a raster or a product to a ``.sarc`` file.

    Parameters
    ----------
    source : path, RasterReader or ProductReader
        Anything GDAL reads, by path, URL or path of a virtual file system: intensity, amplitude DN or dB, any number
        of bands of one real dtype. Or a Sentinel-1 GRD product, a local SAFE folder or its zip file, whose other
        files are kept byte for byte. Or one that is open already: :func:`safe.open_source` opens one polarisation of
        a product.
    target : path
        The file to write; appears whole or not at all.
    model : Codec
        From :func:`open_codec`.
    quantity : Quantity, optional
        What the pixels are; detected from tags, dtype and range when not given.
    options : Options, optional
        Step, tile size, and whether to keep a record of lost speckle.
    goal : Goal, optional
        A size, quality or greatest error to meet; the step follows from it.
    overwrite : bool
        Whether an existing ``target`` may be replaced.
    advance : callable, optional
        Called with the number of pixels of every tile once it is coded. Towards a goal the image is gone over again
        and again; a negative number begins each pass anew.

    Raises
    ------
    InputError, FormatError, OutputError
        For unusable, damaged or ambiguous input, or an output that cannot be written.
    """
    opened = safe.open_source(source) if isinstance(source, str | os.PathLike) else nullcontext(source)
    with opened as raster:
        layout = layout_of(raster, raster.info, quantity, raster.name)
        with atomic.output(target, overwrite=overwrite) as temporary:
            if goal is None:
                with container.Writer(temporary) as writer:
                    model.compress(raster, layout, writer, options or codec.Options(), advance)
            else:
                rate_control.compress(model, raster, layout, temporary, options or codec.Options(), goal, advance)
            size = temporary.stat().st_size
    return Size(size, layout.count, layout.height, layout.width)


def decompress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    output: Output | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    precision: str = "auto",
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> Size:
    """Restore a ``.sarc`` file, or the part of it that ``output`` names, to a GeoTIFF; mirrors :func:`compress_file`.

    Where the name of ``target`` ends in ``.SAFE`` or ``.zip`` it is to be the whole product the file was made from:
    see :func:`safe.create_product`.

    The quantity, dtype, nodata, invalid pixels, CRS, transform or GCPs, band names and tags are those of the source
    of the file. ``model`` is needed only for files made by a model that is not shipped. Speckle that is drawn anew is
    told of in the tag ``SARCODEC_SPECKLE``. Returns the size of the whole file.

    Raises
    ------
    FormatError, ModelMissing, InputError, OutputError
        For a damaged file, an unknown model, a part that is not there, or an output that cannot be written.
    """
    output = output or Output()
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
    tags = {"SARCODEC_SPECKLE": "rendered, not measured"} if output.speckle else {}
    if safe.is_product_target(target):
        if output.window or output.bands or output.cog:
            raise errors.InputError(
                f"output {target}: a product is restored whole; leave out window, bands and cog, or name a .tif"
            )
        return safe.create_product(target, reader, tags=tags, overwrite=overwrite)
    part = info.cropped(output.window_of(info), output.bands_of(info))
    part = replace(part, tags={**part.tags, **tags})
    # Overviews are means of power, so of amplitudes the root mean square.
    resampling = "rms" if reader.header.quantity == radiometry.Quantity.DN else "average"
    return io.create_raster(target, part, overwrite=overwrite, overviews=resampling if output.cog else None)


def compress(
    pixels: npt.NDArray[Any],
    *,
    quantity: radiometry.Quantity | str | None = None,
    nodata: float | None = None,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    step: int | None = None,
    goal: rate_control.Goal | None = None,
) -> bytes:
    """Compress an array to the bytes of a ``.sarc`` file.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (bands, H, W), real; linear intensity, amplitude DN or dB.
    quantity : Quantity or str, optional
        ``"intensity"``, ``"dn"`` or ``"db"``; detected from dtype and range when not given.
    nodata : float, optional
        Value of invalid pixels. NaN, infinities and, but for dB, values ≤ 0 are invalid anyway.
    model : path, str or Codec, optional
        A checkpoint, a shipped model's name, or a codec; the default model when not given.
    step : int, optional
        The model's step, see :class:`codec.Options`; larger is smaller and coarser.
    goal : Goal, optional
        A size, quality or greatest error to meet instead, for example ``Goal.bpp(0.5)`` of
        :mod:`sarcodec.rate_control`.

    Returns
    -------
    bytes

    Raises
    ------
    InputError, AmbiguousQuantity
        For an unusable array, or one whose quantity cannot be told.
    """
    cube = np.asarray(pixels)
    if cube.ndim not in (2, 3) or cube.size == 0 or cube.dtype.kind not in "uif":
        raise errors.InputError(
            f"pixels: got {cube.dtype} of shape {cube.shape}; pass real numbers (H, W) or (bands, H, W), not empty"
        )
    source = _ArraySource(cube if cube.ndim == 3 else cube[None])
    count, height, width = source.cube.shape
    marked = None if nodata is None else float(nodata)
    info = io.RasterInfo(count, height, width, str(cube.dtype), marked, tags={} if cube.ndim == 3 else _FLAT)
    known = radiometry.Quantity.parse(quantity) if isinstance(quantity, str) else quantity
    layout = layout_of(source, info, known)
    coder = model if isinstance(model, codec.Codec) else open_codec(model)
    if goal is not None:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "array.sarc"
            rate_control.compress(coder, source, layout, target, codec.Options(step=step), goal)
            return target.read_bytes()
    buffer = bytes_io.BytesIO()
    with container.Writer(buffer) as writer:
        coder.compress(source, layout, writer, codec.Options(step=step))
    return buffer.getvalue()


def decompress(
    data: bytes, *, model: str | os.PathLike[str] | codec.Codec | None = None, speckle: bool = False
) -> npt.NDArray[Any]:
    """Restore the array that :func:`compress` was given: same shape, dtype and invalid pixels.

    Parameters
    ----------
    data : bytes
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
    with container.Reader(bytes_io.BytesIO(data)) as reader:
        coder = codec_for(reader, model)
        info = io.RasterInfo.from_dict(reader.header.raster)
        sink = _ArraySink(_room(reader.header.shape, info.dtype))
        coder.decompress(reader, sink, speckle=speckle)
    return sink.cube[0] if dict(info.tags) == _FLAT else sink.cube


_FLAT = {"SARCODEC_ARRAY": "2-D"}


def _room(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    try:
        return np.empty(shape, dtype)
    except MemoryError as cause:
        raise errors.InputError(
            f"data: got a file of {'×'.join(map(str, shape))} pixels of {dtype}, more than there is memory for; "
            "write it to a raster with decompress_file, or a window of it"
        ) from cause


class _ArraySource:
    def __init__(self, cube: npt.NDArray[Any]) -> None:
        self.cube = cube

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        pixels: npt.NDArray[Any] = self.cube[band][window.slices]
        return pixels

    def sample(self, band: int) -> npt.NDArray[Any]:
        rows, columns = (-(-side // io.SAMPLE_SIDE) for side in self.cube.shape[1:])
        thinned: npt.NDArray[Any] = self.cube[band, ::rows, ::columns]
        return thinned


class _ArraySink:
    def __init__(self, cube: npt.NDArray[Any]) -> None:
        self.cube = cube

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        self.cube[band][window.slices] = pixels
