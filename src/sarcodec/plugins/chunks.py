"""A chunk of an array store: settings, one image to the bytes of a ``.sarc`` file, and a window of it back.

What the codecs of zarr 3 (:mod:`sarcodec.plugins.zarr_codec`) and numcodecs (:mod:`sarcodec.plugins.numcodecs_codec`)
share; this module knows neither. Engines are loaded with the first chunk, not when a store is opened.
"""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.raster import info as raster_info
from sarcodec.scene import asking

DTYPES = ("float32", "int16", "uint16")
TILE_STRIDE = 64

_codecs: dict[tuple[str | None, str | None], codec.Codec] = {}


@dataclass(frozen=True)
class Settings:
    """How chunks are coded; what a store keeps of its codec.

    ``quantity`` is ``"intensity"``, ``"dn"`` or ``"db"``. Either ``quality``, 1 (smallest) to 100 (best), 50 when
    neither is given, or ``max_error``, in dB, which no valid pixel exceeds. ``tile`` is the side of a tile in pixels,
    1024 when not given. ``model`` is a checkpoint's path or a shipped model's name. ``accept_loss`` codes also chunks
    of which many pixels are what the quantity cannot hold: see :mod:`sarcodec.codec.validity`.

    Raises InputError for anything else.
    """

    quantity: str
    quality: float | None = None
    max_error: float | None = None
    tile: int | None = None
    model: str | None = None
    accept_loss: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantity", radiometry.Quantity.parse(str(self.quantity)).value)
        goals = {"quality": self.quality, "max_error": self.max_error}
        if None not in goals.values():
            raise errors.InputError(
                f"quality: got {self.quality} and max_error {self.max_error}; pass one of them, not both"
            )
        for name, value in goals.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise errors.InputError(f"{name}: got {errors.plain(repr(value))}; pass a number")
        asking.step_or_goal(goals)
        if self.max_error is not None:
            nearlossless_engine.BoundedEngine(self.max_error)
        side, most = self.tile, container_header.MAX_TILE
        if side is not None and (type(side) is not int or side % TILE_STRIDE or not 0 < side <= most):
            raise errors.InputError(
                f"tile: got {errors.plain(repr(side))}; pass a multiple of {TILE_STRIDE} up to {most}"
            )
        if self.model is not None and not isinstance(self.model, str):
            raise errors.InputError(f"model: got {errors.plain(repr(self.model))}; pass a path or a name as text")
        if not isinstance(self.accept_loss, bool):
            raise errors.InputError(f"accept_loss: got {errors.plain(repr(self.accept_loss))}; pass true or false")

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Settings:
        """Inverse of :meth:`to_dict`; InputError for other keys, or no quantity."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(record) - set(known)):
            named = errors.plain(", ".join(map(str, unknown)))
            raise errors.InputError(f"sarcodec configuration: got {named}; allowed are {', '.join(known)}")
        if "quantity" not in record:
            raise errors.InputError("sarcodec configuration: has no quantity; pass intensity, dn or db")
        return cls(**record)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without those that say nothing."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise InputError unless pixels of a dtype come back in it."""
    if dtype.name not in DTYPES:
        advice = "; convert it first, astype('float32')" if dtype.kind == "f" or dtype.itemsize > 2 else ""
        raise errors.InputError(f"dtype: got {dtype}; sarcodec takes chunks of {', '.join(DTYPES)}{advice}")


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise InputError unless a chunk is one image: (H, W), or with leading dimensions of 1."""
    most = container_header.MAX_SIDE
    if len(shape) < 2 or math.prod(shape[:-2]) != 1 or not all(0 < side <= most for side in shape):
        raise errors.InputError(
            f"chunks: got a chunk of shape {shape}; pass chunks of one image each, rows and columns last and 1 along "
            "every other dimension, such as (1, 512, 512)"
        )


def encode(pixels: npt.NDArray[Any], settings: Settings, nodata: float | None) -> bytes:
    """Code a chunk, (…, H, W), to the bytes of a ``.sarc`` file; warns of pixels that the quantity cannot hold.

    Raises InputError for a chunk that is no image of :data:`DTYPES`, or of which too much would be lost.
    """
    from sarcodec.scene import files

    check_dtype(pixels.dtype)
    check_shape(pixels.shape)
    native = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    options = encoding.Options() if settings.tile is None else encoding.Options(tile=settings.tile)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "chunk.sarc"
        size = files.compress_file(
            native.reshape(1, *native.shape[-2:]),
            target,
            _encoder(settings.model),
            quantity=settings.quantity,
            options=options,
            nodata=nodata,
            quality=settings.quality,
            max_error=settings.max_error,
            accept_loss=settings.accept_loss,
        )
        data = target.read_bytes()
    if size.decision is not None and (size.decision.tally.lost or size.decision.tally.out_of_range):
        warnings.warn(
            f"sarcodec: a chunk has pixels that are no {settings.quantity}: negative intensities and amplitudes come "
            "back as fill value, decibels that no backscatter has are not kept exactly",
            stacklevel=2,
        )
    return data


def decode(
    source: io.BytesIO,
    settings: Settings,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    window: tiling.Window | None = None,
) -> npt.NDArray[Any]:
    """Restore a chunk of ``shape``, (…, H, W), or a window of its last two dimensions.

    Raises FormatError for bytes that are no ``.sarc`` file, or one of another shape, dtype or quantity.
    """
    with archive.Reader(source) as reader:
        found = reader.header
        info = raster_info.RasterInfo.from_dict(found.raster)
        held = found.shape, info.working_dtype, found.quantity
        if held != ((1, *shape[-2:]), dtype.name, settings.quantity):
            raise errors.FormatError(
                f"chunk: holds {'×'.join(map(str, held[0]))} pixels of {held[1]} {errors.plain(held[2])}, the array "
                f"wants {'×'.join(map(str, (1, *shape[-2:])))} of {dtype.name} {settings.quantity}; it is of another "
                "array, or was replaced"
            )
        pixels = _decoder(reader, settings.model).restore_window(reader, 0, window)
    return pixels.astype(dtype, copy=False).reshape(*shape[:-2], *pixels.shape)


def merge(
    held: npt.NDArray[Any], selection: Any, pixels: npt.NDArray[Any], settings: Settings, nodata: float | None
) -> npt.NDArray[Any]:
    """Put pixels into a chunk that was decoded, which is to be coded again as a whole.

    The valid pixels that it keeps are then coded twice: warns of that, and raises InputError where an error is
    guaranteed, for it would not be kept.
    """
    kept = radiometry.classify(held, radiometry.Quantity(settings.quantity), nodata) == radiometry.Fill.VALID
    kept[selection] = False
    if kept.any():
        what = "a part of a chunk was written; what else it holds would be coded twice"
        if settings.max_error is not None:
            raise errors.InputError(
                f"chunks: {what}, and err by more than {settings.max_error} dB; write whole chunks"
            )
        warnings.warn(
            f"sarcodec: {what.replace('would be', 'is')}, and errs by more; write whole chunks", stacklevel=2
        )
    merged = held.copy()
    merged[selection] = pixels if pixels.ndim == 0 else pixels.reshape(merged[selection].shape)
    return merged


def decode_any(data: bytes, settings: Settings) -> npt.NDArray[Any]:
    """Restore the image of a chunk whose shape and dtype are not known, (H, W).

    Raises FormatError for bytes that are no ``.sarc`` file of one band of :data:`DTYPES`, or of another quantity.
    """
    with archive.Reader(io.BytesIO(data)) as reader:
        info = raster_info.RasterInfo.from_dict(reader.header.raster)
    if info.working_dtype not in DTYPES:
        raise errors.FormatError(f"chunk: holds {info.working_dtype}; chunks are of {', '.join(DTYPES)}")
    return decode(io.BytesIO(data), settings, (info.height, info.width), np.dtype(info.working_dtype))


def entries(reader: archive.Reader, settings: Settings, window: tiling.Window) -> list[str]:
    """Return the names of the entries that a window takes: of its own tiles, and of those near it."""
    _, height, width = reader.header.shape
    grid = tiling.TileGrid(height, width, reader.header.tile)
    engine = _decoder(reader, settings.model).engine
    near = window.grow(engine.margin + engine.ramp + engine.whole * grid.tile, height, width)
    places = [(0, row, column) for row in grid.rows_of(near) for column in grid.columns_of(near)]
    names = [make(*place) for place in places for make in (archive.mask_name, archive.tile_name)]
    return [name for name in names if name in reader]


def _encoder(model: str | None) -> codec.Codec:
    """Return the codec of a model, loaded once."""
    from sarcodec.scene import model_store

    key = None, model
    if key not in _codecs:
        _codecs[key] = model_store.open_codec(model)
    return _codecs[key]


def _decoder(reader: archive.Reader, model: str | None) -> codec.Codec:
    """Return the codec that made a chunk, its model loaded once."""
    from sarcodec.scene import model_store

    key = reader.header.model, model
    coder = model_store.codec_for(reader, _codecs.get(key, model))
    return _codecs.setdefault(key, coder) if coder.engine.max_error_db is None else coder
