"""The ``.sarc`` file: an ordinary ZIP archive with a JSON header and one entry per band and tile.

``docs/format.md`` specifies it to the byte. ZIP gives a checksum per entry and an index for random access; the
header, written last, holds a digest over names, sizes and checksums of all other entries, so that an entry that was
lost, added or swapped for one of another file shows when the file is opened, before any pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors

FORMAT, VERSIONS = "sarcodec", (1, 2)
HEADER = "header.json"
MAX_HEADER_BYTES = 1 << 24
MAX_SIDE = 1 << 20
MAX_BANDS = 1024
MAX_TILE = 4096
MAX_CHANNELS = 4096

_EPOCH = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Band:
    """What one band needs besides its symbols.

    In version 1 the clipping bounds in dB and the share of pixels they clipped; in version 2 ``vmin`` alone, the dB
    that were taken away before coding, and ``vmax`` is one more.
    """

    vmin: float
    vmax: float
    clipped: float = 0.0


@dataclass(frozen=True)
class Header:
    """What a ``.sarc`` file says of itself.

    Parameters
    ----------
    raster : dict
        The source's description; see :class:`sarcodec.io.RasterInfo`.
    quantity : str
        ``intensity``, ``dn`` or ``db``.
    model : str
        Identity of the checkpoint that made the file.
    architecture : str
        Name of the model, for a reader without it.
    stride, channels : int
        Pixels per latent position along an axis, and latent channels.
    step : int
        Multiplier of the model's quantisation steps.
    tile : int
        Side of a tile in pixels, a multiple of ``stride``.
    bands : tuple of Band
        One per band.
    created_by : str
        Version of the package that wrote the file.
    version : int
        Of the format: 1 for autoencoders, 2 for what came after them.
    max_error_db : float, optional
        The error that no valid pixel exceeds, where one is guaranteed.
    seed : int, optional
        Of the speckle that may be rendered, where a file says what was lost.
    """

    raster: Mapping[str, Any]
    quantity: str
    model: str
    architecture: str
    stride: int
    channels: int
    step: int
    tile: int
    bands: tuple[Band, ...]
    created_by: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    max_error_db: float | None = None
    seed: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, height and width."""
        return int(self.raster["count"]), int(self.raster["height"]), int(self.raster["width"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "version": self.version,
            "created_by": self.created_by,
            "raster": dict(self.raster),
            "quantity": self.quantity,
            "model": [self.model, self.architecture, self.stride, self.channels],
            "step": self.step,
            "tile": self.tile,
            "bands": [[b.vmin, b.vmax, b.clipped] if self.version == 1 else [b.vmin] for b in self.bands],
        }
        for name in ("max_error_db", "seed"):
            if getattr(self, name) is not None:
                record[name] = getattr(self, name)
        return record | ({"extra": dict(self.extra)} if self.extra else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Header:
        """Inverse of :meth:`to_dict`, with every size checked against its limit; FormatError otherwise."""
        version = record.get("version")
        if record.get("format") != FORMAT:
            raise errors.FormatError(f"header: format is {record.get('format')!r}, not {FORMAT!r}")
        if isinstance(version, bool) or version not in VERSIONS:
            advice = "; install a newer sarcodec" if isinstance(version, int) and version > max(VERSIONS) else ""
            raise errors.FormatError(
                f"header: the file is of format version {version!r}, this package reads versions "
                f"{' and '.join(map(str, VERSIONS))}{advice}"
            )
        try:
            model, architecture, stride, channels = record["model"]
            header = cls(
                raster=dict(record["raster"]),
                quantity=str(record["quantity"]),
                model=str(model),
                architecture=str(architecture),
                stride=int(stride),
                channels=int(channels),
                step=int(record["step"]),
                tile=int(record["tile"]),
                bands=tuple(_band(band, version) for band in record["bands"]),
                created_by=str(record["created_by"]),
                extra=dict(record.get("extra", {})),
                version=version,
                max_error_db=None if record.get("max_error_db") is None else float(record["max_error_db"]),
                seed=None if record.get("seed") is None else int(record["seed"]),
            )
            bands, height, width = header.shape
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise errors.FormatError(f"header: incomplete or malformed ({cause})") from cause
        limits = [
            ("bands", bands, MAX_BANDS),
            ("height", height, MAX_SIDE),
            ("width", width, MAX_SIDE),
            ("stride", header.stride, 64),
            ("channels", header.channels, MAX_CHANNELS),
            ("tile", header.tile, MAX_TILE),
            ("step", header.step, 1 << 16),
        ]
        for name, value, most in limits:
            if not 1 <= value <= most:
                raise errors.FormatError(f"header: {name} is {value}; allowed are 1 to {most}")
        if not all(np.isfinite(b.vmin) and np.isfinite(b.vmax) and b.vmin < b.vmax for b in header.bands):
            raise errors.FormatError("header: bounds of a band are not finite numbers with vmin < vmax")
        if header.tile % header.stride or len(header.bands) != bands:
            raise errors.FormatError(
                f"header: tile {header.tile} for stride {header.stride}, "
                f"{len(header.bands)} band records for {bands} bands do not fit together"
            )
        return header


def _band(record: Sequence[Any], version: int) -> Band:
    """Return the record of a band of a header; TypeError or ValueError when it is malformed."""
    if version == 1:
        return Band(*map(float, record))
    (offset,) = record
    return Band(float(offset), float(offset) + 1.0)


def tile_name(band: int, row: int, column: int) -> str:
    """Return the name of a tile's symbols, for example ``"0/3.5"``."""
    return f"{band}/{row}.{column}"


def mask_name(band: int, row: int, column: int) -> str:
    """Return the name of a tile's validity mask, for example ``"0/3.5m"``."""
    return f"{band}/{row}.{column}m"


def speckle_name(band: int, row: int, column: int) -> str:
    """Return the name of what a tile lost of its speckle, for example ``"0/3.5s"``."""
    return f"{band}/{row}.{column}s"


class Writer:
    """Writes a ``.sarc`` file to a path or a buffer; entries first, :meth:`finish` with the header last."""

    def __init__(self, target: Path | io.BytesIO) -> None:
        self._zip = zipfile.ZipFile(target, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._zip.close()

    def add(self, name: str, data: bytes, *, deflate: bool = False) -> None:
        """Add an entry, stored as it is or deflated."""
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
        entry.create_system = 3
        self._zip.writestr(entry, data, compresslevel=9)

    def finish(self, header: Header) -> None:
        """Write the header with the digest of all entries before it."""
        record = header.to_dict() | {"digest": _digest(self._zip)}
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
        self.add(HEADER, text.encode(), deflate=True)


class Reader:
    """Reads a ``.sarc`` file; :attr:`header` is checked when it is opened.

    Raises
    ------
    FormatError
        When the file is missing, foreign, truncated, altered, of a newer version, or an entry is missing, extra or
        swapped.
    """

    def __init__(self, source: str | os.PathLike[str] | io.BytesIO) -> None:
        self.name = "the buffer" if isinstance(source, io.BytesIO) else str(source)
        try:
            self._zip = zipfile.ZipFile(source)
        except FileNotFoundError as cause:
            raise errors.FormatError(f"{self.name}: there is no such file") from cause
        except _DAMAGE as cause:
            raise errors.FormatError(f"{self.name}: not a .sarc file, or truncated ({cause})") from cause
        try:
            self.header = self._read_header()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _read_header(self) -> Header:
        entries = self._zip.infolist()
        if len({entry.filename for entry in entries}) != len(entries):
            raise errors.FormatError(f"{self.name}: holds an entry twice; it was altered")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise errors.FormatError(f"{self.name}: holds an entry that is neither stored nor deflated")
        try:
            record = json.loads(self.read(HEADER, MAX_HEADER_BYTES))
        except (ValueError, RecursionError) as cause:
            if isinstance(cause, errors.SarcodecError):
                raise
            raise errors.FormatError(f"{self.name}: {HEADER} is not JSON ({cause})") from cause
        if not isinstance(record, dict):
            raise errors.FormatError(f"{self.name}: {HEADER} is not a JSON object")
        digest = record.pop("digest", None)
        header = Header.from_dict(record)
        if digest != _digest(self._zip):
            raise errors.FormatError(
                f"{self.name}: its entries are not those it was written with: lost, added or from another file"
            )
        return header

    def __contains__(self, name: str) -> bool:
        """Tell whether there is an entry of that name."""
        return name in self._zip.NameToInfo

    def read(self, name: str, limit: int) -> bytes:
        """Return an entry of at most ``limit`` bytes, its checksum verified."""
        try:
            entry = self._zip.getinfo(name)
        except KeyError as cause:
            raise errors.FormatError(f"{self.name}: entry {name} is missing") from cause
        if entry.file_size > limit:
            raise errors.FormatError(f"{self.name}: entry {name} has {entry.file_size} bytes, more than {limit}")
        try:
            with self._zip.open(entry) as stream:
                return stream.read(entry.file_size + 1)  # a bound: the deflated data may be larger than it says
        except _DAMAGE as cause:
            raise errors.FormatError(f"{self.name}: entry {name} is damaged ({cause})") from cause

    def sizes(self) -> dict[str, int]:
        """Bytes in the file by purpose: symbols, masks, speckle records, header, and the ZIP structure around."""
        kinds = {"m": "masks", "s": "speckle"}
        found = {"symbols": 0, "masks": 0, "speckle": 0, "header": 0}
        for entry in self._zip.infolist():
            name = entry.filename
            found["header" if name == HEADER else kinds.get(name[-1:], "symbols")] += entry.compress_size
        stream: Any = self._zip.fp
        position = stream.tell()
        total = stream.seek(0, io.SEEK_END)
        stream.seek(position)
        return found | {"structure": total - sum(found.values()), "total": total}


def _digest(archive: zipfile.ZipFile) -> str:
    """First 16 hex digits of the SHA-256 of ``name size crc`` lines of all entries but the header, by name."""
    lines = [f"{e.filename} {e.file_size} {e.CRC}\n" for e in archive.infolist() if e.filename != HEADER]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]


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
