"""The codec ``sarcodec`` of zarr 3: every chunk of an array is a ``.sarc`` file.

It takes the place of the serializer, without compressors after it, and zarr finds it by its entry point::

    zarr.create_array(store, …, serializer=SarcCodec(quantity="intensity", quality=50), compressors=None)

Pixels of the array's fill value hold nothing, and come back exactly. A chunk that is written in parts is decoded,
changed and coded again, and what it held errs by more: that is warned of, and refused where an error is guaranteed.
"""

from __future__ import annotations

import asyncio
import functools
import io
import os
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from sarcodec import errors, tiling
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.plugins import chunks, partial
from sarcodec.runtime import threads

try:
    from zarr.abc.codec import (
        ArrayBytesCodec,
        ArrayBytesCodecPartialDecodeMixin,
        ArrayBytesCodecPartialEncodeMixin,
    )
    from zarr.abc.store import RangeByteRequest, SuffixByteRequest
    from zarr.storage import StorePath
except ImportError as cause:
    raise errors.MissingExtra("zarr", "zarr") from cause

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter, ByteSetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "sarcodec"

MOST_BYTES_PER_PIXEL = 16
"""Of a chunk that is read in parts; no honest one has more."""

Result = TypeVar("Result")
Box = tuple[slice, ...]


@dataclass(frozen=True)
class SarcCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin, ArrayBytesCodecPartialEncodeMixin):
    """Chunks of one image each, float32, int16 or uint16, as ``.sarc`` files; keywords are :class:`chunks.Settings`.

    Where a chunk is of several tiles (``tile``), a part of it is read by two rounds of requests to the store: for its
    end, and for the tiles that the part takes.

    Raises InputError, a ValueError, for settings that there are not, and when an array is created of another dtype or
    shape of chunks.
    """

    settings: chunks.Settings
    is_fixed_size = False

    def __init__(
        self,
        *,
        quantity: str,
        quality: float | None = None,
        max_error: float | None = None,
        tile: int | None = None,
        model: str | None = None,
        accept_loss: bool = False,
    ) -> None:
        settings = chunks.Settings(quantity, quality, max_error, tile, model, accept_loss)
        object.__setattr__(self, "settings", settings)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make one of what an array's metadata say: ``{"name": "sarcodec", "configuration": {…}}``."""
        settings = chunks.Settings.from_dict(dict(data.get("configuration") or {}))
        return cls(**settings.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return what an array's metadata keep."""
        return {"name": NAME, "configuration": self.settings.to_dict()}

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Return the codec as it is; InputError for a dtype that it does not take."""
        chunks.check_dtype(array_spec.dtype.to_native_dtype())
        return self

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise InputError for a dtype or chunks that it does not take."""
        chunks.check_dtype(dtype.to_native_dtype())
        if (side := getattr(chunk_grid, "chunk_shape", None)) is not None:
            chunks.check_shape(tuple(side))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise NotImplementedError: it depends on the pixels."""
        raise NotImplementedError("the size of a .sarc file depends on its pixels")

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        data = chunks.encode(chunk_data.as_numpy_array(), self.settings, float(chunk_spec.fill_value))
        return chunk_spec.prototype.buffer.from_bytes(data)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return _buffer(self._restore(io.BytesIO(chunk_data.to_bytes()), chunk_spec), chunk_spec)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        return await _in_thread(self._encode_sync, chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await _in_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _encode_partial_single(
        self, byte_setter: ByteSetter, chunk_array: NDBuffer, selection: Any, chunk_spec: ArraySpec
    ) -> None:
        box = _box(selection, chunk_spec.shape)
        whole = box is not None and _is_solid(selection) and tuple(s.stop - s.start for s in box) == chunk_spec.shape
        held = None if whole else await byte_setter.get(chunk_spec.prototype)
        data = await _in_thread(self._encode_part, held, chunk_array, selection, chunk_spec)
        await (byte_setter.delete() if data is None else byte_setter.set(data))

    def _encode_part(
        self, held: Buffer | None, chunk_array: NDBuffer, selection: Any, chunk_spec: ArraySpec
    ) -> Buffer | None:
        """Code a chunk of which a part is new; None of one that need not be kept, for all of it is fill value."""
        fill = chunk_spec.fill_value
        if held is None:
            before = np.full(chunk_spec.shape, fill, chunk_spec.dtype.to_native_dtype())
        else:
            before = self._restore(io.BytesIO(held.to_bytes()), chunk_spec)
        pixels = np.asarray(chunk_array.as_ndarray_like())
        merged = _buffer(chunks.merge(before, selection, pixels, self.settings, float(fill)), chunk_spec)
        if not chunk_spec.config.write_empty_chunks and merged.all_equal(fill):
            return None
        return self._encode_sync(merged, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        shape, box = chunk_spec.shape, _box(selection, chunk_spec.shape)
        window = None if box is None else _window(box)
        whole = window is None or window.shape == shape[-2:]
        pixels = None
        if window and not whole and self._tiles(shape) > 1 and isinstance(byte_getter, StorePath):
            pixels = await self._restore_part(byte_getter, window, chunk_spec)
        if pixels is None:
            data = await byte_getter.get(chunk_spec.prototype)
            if data is None:
                return None
            pixels = await _in_thread(self._restore, io.BytesIO(data.to_bytes()), chunk_spec, window)
        return _buffer(pixels[selection if box is None else _moved(selection, box)], chunk_spec)

    async def _restore_part(
        self, stored: StorePath, window: tiling.Window, chunk_spec: ArraySpec
    ) -> npt.NDArray[Any] | None:
        """Restore a window from the tiles that it takes; None where the whole chunk must be read for it."""

        def wanted(reader: archive.Reader) -> list[str]:
            fits = reader.header.shape == (1, *chunk_spec.shape[-2:])
            return chunks.entries(reader, self.settings, window) if fits else []

        most = (1 << 20) + MOST_BYTES_PER_PIXEL * chunk_spec.shape[-2] * chunk_spec.shape[-1]
        prototype, length = chunk_spec.prototype, partial.tail_bytes(self._tiles(chunk_spec.shape))
        end = await stored.get(prototype, SuffixByteRequest(length))
        if end is None:
            return None
        tail = end.to_bytes()
        found = await _in_thread(partial.missing, tail, most, wanted)
        if found is None:
            return None
        size, ranges = found
        parts = await asyncio.gather(*(stored.get(prototype, RangeByteRequest(*ends)) for ends in ranges))
        pieces = [
            (start, part.to_bytes()) for (start, _), part in zip(ranges, parts, strict=True) if part is not None
        ]
        try:
            source = partial.assembled(size, [*pieces, (size - len(tail), tail)])
            return await _in_thread(self._restore, source, chunk_spec, window)
        except errors.FormatError:  # damaged, or replaced meanwhile: the whole tells
            return None

    def _restore(
        self, source: io.BytesIO, chunk_spec: ArraySpec, window: tiling.Window | None = None
    ) -> npt.NDArray[Any]:
        dtype = chunk_spec.dtype.to_native_dtype()
        return chunks.decode(source, self.settings, chunk_spec.shape, dtype, window)

    def _tiles(self, shape: tuple[int, ...]) -> int:
        """Return how many tiles a chunk has, if it was coded with these settings."""
        tile = self.settings.tile or encoding.Options().tile
        return -(-shape[-2] // tile) * -(-shape[-1] // tile)


def _buffer(pixels: npt.NDArray[Any], chunk_spec: ArraySpec) -> NDBuffer:
    return chunk_spec.prototype.nd_buffer.from_numpy_array(np.asarray(pixels))


async def _in_thread(work: Callable[..., Result], *given: Any) -> Result:
    """Do work in one of as many threads as there are cores, apart from those in which stores read and write."""
    return await asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), work, *given)


@functools.cache
def _pool(_process: int) -> futures.ThreadPoolExecutor:
    """Return the threads of a process; one that was forked has none of its parent's."""
    return futures.ThreadPoolExecutor(threads.count(), "sarcodec-zarr")


def _box(selection: Any, shape: tuple[int, ...]) -> Box | None:
    """Return the smallest block that holds all that is selected; None where that is not simple to tell."""
    if not isinstance(selection, tuple) or len(selection) != len(shape):
        return None
    found = []
    for part, side in zip(selection, shape, strict=True):
        if isinstance(part, slice):
            places = np.arange(side)[part]
        elif isinstance(part, int | np.integer) or (isinstance(part, np.ndarray) and part.dtype.kind in "iu"):
            places = np.asarray(part) % side
        else:
            return None
        if places.size == 0:
            return None
        found.append(slice(int(places.min()), int(places.max()) + 1))
    return tuple(found)


def _is_solid(selection: Any) -> bool:
    """Tell whether all of the block is selected."""
    return all(part.step in (None, 1) if isinstance(part, slice) else isinstance(part, int) for part in selection)


def _window(box: Box) -> tiling.Window:
    rows, columns = box[-2:]
    return tiling.Window(rows.start, rows.stop, columns.start, columns.stop)


def _moved(selection: tuple[Any, ...], box: Box) -> tuple[Any, ...]:
    """Return a selection as it is of its block."""
    return tuple(
        slice(part.indices(ends.stop)[0] - ends.start, part.indices(ends.stop)[1] - ends.start, part.step)
        if isinstance(part, slice)
        else part - ends.start
        for part, ends in zip(selection, box, strict=True)
    )
