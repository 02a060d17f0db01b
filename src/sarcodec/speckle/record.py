"""Speckle that a lossy codec took away, drawn anew: a rendering that looks and measures like the image, never data.

`measure` compares a tile with its decoded form and keeps a few bytes, a `LostSpeckle`; `render` draws a random field
from them and adds it to the decoded tile, so that number of looks, mean intensity and power spectrum come near those
of the original. Its pixels have nothing to do with the lost ones, so the error per pixel grows.

The spectrum drawn is that of the original minus that of the decoded image, as a short cosine series of its logarithm;
the field is a window of what `speckle_field.draw` draws, scaled and shifted. A window of a rendering equals the same
window of the whole, bit for bit.

All dB are 10·log10 of intensity. Tiles of a scene share seed and noise; each has a record of its own.
"""

from __future__ import annotations

import binascii
import dataclasses
import math
import struct
import zlib
from typing import Final

import numpy as np

from sarcodec import errors
from sarcodec.speckle import field as speckle_field

Place = tuple[int, int]
STD_BLOCK: Final = 64
OFFSET_BLOCK: Final = 32
MAX_SIDE: Final = 2**16 - 1
_VERSION, _HEAD = 1, struct.Struct("<BHHBb")
OFFSET_STEP_DB, TRIM_STEP_DB = 0.3, 0.01
MAX_LEVEL, MAX_OFFSET, STD_UNIT_DB, STD_STEP = 127, 8, 1 / 1024, 160


@dataclasses.dataclass(frozen=True)
class LostSpeckle:
    """What one tile lost, in whole numbers; made by `measure` or `from_bytes`.

    Parameters
    ----------
    height, width : int
        Size of the tile in pixels, 1 to 65535.
    std_step : int
        Size of a level of `std` in 1/1024 dB, 0 to 255.
    std : tuple of int
        Standard deviation of the field per block of 64×64 pixels, row by row, in levels of 0 to 127.
    offsets : tuple of int
        Correction of intensity per block of 32×32 pixels, row by row, in steps of 0.3 dB, within ±8.
    trim : int
        Correction of intensity of the whole tile in steps of 0.01 dB, within ±127.
    series : tuple of int
        Natural logarithm of the spectrum by `speckle_field.harmonics`, within ±127 steps of 1/32 (1/16 for those of
        one cycle).

    Raises InputError if a value is out of range or there are not as many as the size of the tile asks for.
    """

    height: int
    width: int
    std_step: int
    std: tuple[int, ...]
    offsets: tuple[int, ...]
    trim: int
    series: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = (self.height, self.width)
        for name, values, count, low, high in (
            ("height, width", shape, 2, 1, MAX_SIDE),
            ("std_step", (self.std_step,), 1, 0, 255),
            ("std", self.std, math.prod(block_grid(shape, STD_BLOCK)), 0, MAX_LEVEL),
            ("offsets", self.offsets, math.prod(block_grid(shape, OFFSET_BLOCK)), -MAX_OFFSET, MAX_OFFSET),
            ("trim", (self.trim,), 1, -127, 127),
            ("series", self.series, len(speckle_field.harmonics()), -MAX_LEVEL, MAX_LEVEL),
        ):
            if len(values) != count or min(values) < low or max(values) > high:
                got = f"{len(values)} values from {min(values, default=0)} to {max(values, default=0)}"
                raise errors.InputError(f"{name}: got {got}; pass {count} from {low} to {high}")

    def to_bytes(self) -> bytes:
        """Return the record: head, deflated values of a byte each, CRC-16 of all that; some 0.003 bit per pixel."""
        std = np.array(self.std).reshape(block_grid((self.height, self.width), STD_BLOCK))
        std[:, 1:] -= std[:, :-1].copy()  # from the left neighbour, and from above down the first column
        std[1:, 0] -= std[:-1, 0].copy()
        values = np.array([*std.flat, *self.offsets, *self.series], np.int8).tobytes()
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        body = _HEAD.pack(_VERSION, self.height, self.width, self.std_step, self.trim)
        body += deflate.compress(values) + deflate.flush()
        return body + struct.pack("<H", binascii.crc_hqx(body, 0))

    @classmethod
    def from_bytes(cls, data: bytes) -> LostSpeckle:
        """Inverse of `to_bytes`; raises FormatError for bytes that it did not make."""
        body, damage = data[:-2], f"speckle record: {len(data)} bytes that are damaged"
        if len(body) < _HEAD.size or struct.unpack("<H", data[-2:])[0] != binascii.crc_hqx(body, 0):
            raise errors.FormatError(f"{damage}: the checksum differs")
        version, height, width, std_step, trim = _HEAD.unpack_from(body)
        if version != _VERSION:
            raise errors.FormatError(f"speckle record: version {version}, not {_VERSION}; install a newer sarcodec")
        grid = block_grid((height, width), STD_BLOCK)
        ends = np.cumsum(
            [math.prod(grid), math.prod(block_grid((height, width), OFFSET_BLOCK)), len(speckle_field.harmonics())]
        )
        inflate = zlib.decompressobj(-15)
        try:
            values = np.frombuffer(inflate.decompress(body[_HEAD.size :], int(ends[2]) + 1), np.int8).astype(int)
            if values.size != ends[2] or not inflate.eof or inflate.unused_data:
                raise errors.InputError(f"not {ends[2]} values")
            std = values[: ends[0]].reshape(grid)
            std[:, 0] = np.cumsum(std[:, 0])
            values[: ends[0]] = np.cumsum(std, axis=1).ravel()
            levels, offsets, series, _ = (tuple(part.tolist()) for part in np.split(values, ends))
            return cls(height, width, std_step, levels, offsets, trim, series)
        except (zlib.error, errors.InputError) as error:
            raise errors.FormatError(f"{damage}: {error}") from error


def block_grid(shape: tuple[int, ...], block: int) -> Place:
    """Return how many blocks of a side cover a tile, down and across."""
    return -(-shape[0] // block), -(-shape[1] // block)
