"""Validity masks: which pixels of a tile are invalid and why, packed without loss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sarcodec import errors


def pack_mask(codes: npt.NDArray[np.uint8]) -> bytes:
    """Pack the codes of a tile's pixels (0 valid, others why invalid) losslessly.

    One byte n, the n distinct codes in ascending order, then for each bit of the index into them, lowest first, a
    plane of bits: every row exclusive-or the row above it, rows joined, eight to a byte, most significant first.
    The archive deflates the result.

    Parameters
    ----------
    codes : ndarray of uint8
        (h, w).
    """
    distinct, index = np.unique(codes, return_inverse=True)
    index = index.reshape(codes.shape).astype(np.uint8)
    parts = [bytes([distinct.size]), distinct.astype(np.uint8).tobytes()]
    for bit in range(_planes(distinct.size)):
        plane = (index >> bit) & 1
        plane[1:] ^= plane[:-1].copy()
        parts.append(np.packbits(plane).tobytes())
    return b"".join(parts)


def unpack_mask(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Inverse of :func:`pack_mask` for a tile of ``shape`` (h, w); FormatError when it does not fit."""
    count = data[0] if data else 0
    distinct = np.frombuffer(data[1 : 1 + count], np.uint8)
    pixels = shape[0] * shape[1]
    plane_bytes = -(-pixels // 8)
    if not count or distinct.size != count or len(data) != 1 + count + _planes(count) * plane_bytes:
        raise errors.FormatError(f"mask: {len(data)} bytes do not fit a tile of {shape[0]}×{shape[1]} pixels")
    index = np.zeros(shape, np.uint8)
    for bit in range(_planes(count)):
        start = 1 + count + bit * plane_bytes
        plane = np.unpackbits(np.frombuffer(data[start : start + plane_bytes], np.uint8), count=pixels)
        index |= np.bitwise_xor.accumulate(plane.reshape(shape), axis=0) << bit
    if int(index.max()) >= count:
        raise errors.FormatError("mask: holds a code that it does not list; the entry is damaged")
    return distinct[index]


def mask_limit(tile: int) -> int:
    """Largest size in bytes of an honest mask entry for tiles of ``tile`` pixels."""
    return 1 + 255 + 8 * -(-tile * tile // 8)


def _planes(count: int) -> int:
    return (count - 1).bit_length()
