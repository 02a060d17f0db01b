"""The ``.sarc`` file: an ordinary ZIP archive with a JSON header and one entry per band and tile.

``docs/format.md`` specifies it to the byte. ZIP gives a checksum per entry and an index for random access; the
header, written last, holds a digest over names, sizes and checksums of all other entries, so that an entry that was
lost, added or swapped for one of another file shows when the file is opened, before any pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from sarcodec import errors
from sarcodec.container import compact, product
from sarcodec.container.header import Header
from sarcodec.files import remote, vsi

HEADER = "header.json"
"""Name of the header of version 1: JSON, deflated."""

COMPACT_HEADER = "header"
"""Name of the header of version 2: the same JSON, deflated: see :mod:`sarcodec.container.compact`."""

MAX_HEADER_BYTES = 1 << 24

AHEAD = 16 << 20
"""Bytes of entries of a remote file that are fetched at once, and beyond which none are fetched ahead."""

AHEAD_ENTRIES = 1024
LOCAL_HEADER = 1024
"""Bytes that are fetched for what ZIP has before an entry: 30, its name, and what tools add."""

_LOCAL = 30
"""Bytes of what ZIP has before an entry's name."""
_ENTRY = re.compile(r"\d+/\d+\.\d+m?|product/.*[^/]|header(\.json)?", re.DOTALL)
_EPOCH = (1980, 1, 1, 0, 0, 0)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
"""What the zipfile module raises for archives that are damaged or foreign."""


def tile_name(band: int, row: int, column: int) -> str:
    """Return the name of a tile's symbols, for example ``"0/3.5"``."""
    return f"{band}/{row}.{column}"


def mask_name(band: int, row: int, column: int) -> str:
    """Return the name of a tile's validity mask, for example ``"0/3.5m"``."""
    return f"{band}/{row}.{column}m"


def join_tile(symbols: bytes, speckle: bytes | None) -> bytes:
    """Return a tile's entry: symbols, after a record of lost speckle and its length where there is one."""
    return symbols if speckle is None else len(speckle).to_bytes(2, "little") + speckle + symbols


def split_tile(entry: bytes, header: Header) -> tuple[bytes, bytes | None]:
    """Undo :func:`join_tile`: symbols, and the record if the file has such; FormatError when it is cut off."""
    if header.seed is None:
        return entry, None
    end = 2 + int.from_bytes(entry[:2], "little")
    if len(entry) < end:
        raise errors.FormatError(f"tile: an entry of {len(entry)} bytes is shorter than its record of lost speckle")
    return entry[end:], entry[2:end]


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
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
        if header.version == 1:
            self.add(HEADER, text, deflate=True)
        else:
            self.add(COMPACT_HEADER, compact.deflated(text))


class Reader:
    """Reads a ``.sarc`` file; :attr:`header` is checked when it is opened.

    Parameters
    ----------
    source : path, URL, binary file or Place
        What is remote is read through fsspec in few requests, a local or open file as it is; what was passed open is
        left open. See :mod:`sarcodec.files.remote`.

    Raises
    ------
    FormatError
        When the file is missing, foreign, truncated, altered, of a newer version, or an entry is missing, extra or
        swapped.
    RemoteError
        When a remote file cannot be fetched.
    InputError, MissingExtra
        For what is no file, or needs a package that is not installed.

    Attributes
    ----------
    name : str
        As it may be shown: without what a URL holds of credentials.
    header : Header
    identity : str
        16 hex digits of the SHA-256 of the header's text, which has a digest of all else: those of no other file.
    """

    def __init__(self, source: remote.Source | remote.Place) -> None:
        place = remote.located(source)
        self.name = remote.shown(place)
        self._remote = remote.RemoteFile(place) if isinstance(place, remote.Place) else None
        stream: Any = self._remote or place
        try:
            self._zip = zipfile.ZipFile(stream)
        except FileNotFoundError as cause:
            virtual = vsi.is_virtual(self.name)
            advice = "; pass a URL as text, https://… or s3://…" if virtual else ""
            missing = errors.FormatError(f"{self.name}: there is no such file{advice}")
            raise missing from (None if virtual else cause)  # which has the name as it is
        except errors.SarcodecError:
            raise
        except DAMAGE as cause:
            raise errors.FormatError(
                f"{self.name}: not a .sarc file, or truncated ({errors.plain(cause)})"
            ) from cause
        self.identity = ""
        self._written, self._ends = self._last_written(), dict[int, int]()
        try:
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read from it any more."""
        self._zip.close()
        if self._remote is not None:
            self._remote.close()

    def _read_header(self) -> Header:
        entries = self._zip.infolist()
        if len({entry.filename for entry in entries}) != len(entries):
            raise errors.FormatError(f"{self.name}: holds an entry twice; it was altered")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise errors.FormatError(f"{self.name}: holds an entry that is neither stored nor deflated")
        try:
            text = self._header_text()
            record = json.loads(text)
        except (ValueError, RecursionError) as cause:
            if isinstance(cause, errors.SarcodecError):
                raise
            raise errors.FormatError(f"{self.name}: its header is not JSON ({errors.plain(cause)})") from cause
        if not isinstance(record, dict):
            raise errors.FormatError(f"{self.name}: its header is not a JSON object")
        self.identity = hashlib.sha256(text).hexdigest()[:16]
        digest = record.pop("digest", None)
        header = Header.from_dict(record)
        if digest != _digest(self._zip):
            strangers = [entry.filename for entry in entries if not _ENTRY.fullmatch(entry.filename)]
            stranger = f" ({errors.plain(repr(strangers[0]))} is none of its kind)" if strangers else ""
            raise errors.FormatError(
                f"{self.name}: its entries are not those it was written with: lost, added, replaced, swapped or from "
                f"another file{stranger}; ZIP tools may list "
                "and extract, but not delete, update or pack again with folders: take the file as it was written"
            )
        product.check_files(header.product, self.product_files(), header.shape[0])
        return header

    def _header_text(self) -> bytes:
        if COMPACT_HEADER not in self:
            return self.read(HEADER, MAX_HEADER_BYTES)
        try:
            return compact.inflated(self.read(COMPACT_HEADER, MAX_HEADER_BYTES), MAX_HEADER_BYTES)
        except errors.FormatError as cause:
            raise errors.FormatError(f"{self.name}: {cause}") from cause

    def __contains__(self, name: str) -> bool:
        """Tell whether there is an entry of that name."""
        return name in self._zip.NameToInfo

    def read(self, name: str, limit: int) -> bytes:
        """Return an entry of at most ``limit`` bytes, its checksum verified."""
        try:
            entry = self._zip.getinfo(name)
        except KeyError as cause:
            raise errors.FormatError(f"{self.name}: entry {errors.plain(name)} is missing") from cause
        if entry.file_size > limit:
            raise errors.FormatError(
                f"{self.name}: entry {errors.plain(name)} has {entry.file_size} bytes, more than {limit}"
            )
        if self._remote is not None:
            self._remote.fetch([self._extent(entry)])
        try:
            with self._zip.open(entry) as stream:
                return stream.read(entry.file_size + 1)  # a bound: the deflated data may be larger than it says
        except errors.SarcodecError:
            raise
        except DAMAGE as cause:
            raise self._damaged(entry.filename, errors.plain(cause)) from cause

    def head(self, name: str, count: int) -> bytes | None:
        """Return the first bytes of a remote file's entry, ``count`` at most, where that spares reading all of it.

        They are not held to the entry's checksum, which is of all its bytes. None where the whole is to be read: of
        what is not remote, deflated, or not much larger.
        """
        extent = self._head_extent(name, count)
        if self._remote is None or extent is None:
            return None
        data = self._remote.part(*extent)
        begins = _LOCAL + sum(int.from_bytes(data[place : place + 2], "little") for place in (26, 28))
        if data[:4] != b"PK\3\4" or data[_LOCAL : _LOCAL + len(name)] != name.encode():
            raise self._damaged(name, "something else lies where it should")
        return data[begins:]

    def _head_extent(self, name: str, count: int) -> remote.Range | None:
        """Return where an entry's first bytes lie, with what ZIP has before them; None where to read the whole."""
        entry = self._zip.getinfo(name)
        if not 0 < 2 * count < entry.file_size or entry.compress_type != zipfile.ZIP_STORED:
            return None
        first, end = self._extent(entry)
        return first, min(first + _LOCAL + len(name) + count, end)

    def prefetch(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Fetch entries of a remote file that will be read next, together: the first of them, up to :data:`AHEAD`.

        ``wanted`` are names, and as of :meth:`head` how many bytes are to be read of each; 0 for the whole. Of
        another file nothing is read, and it is not looked at.
        """
        if self._remote is None:
            return
        ranges, room, gap = [], AHEAD, remote.GAP
        for name, count in itertools.islice(wanted, AHEAD_ENTRIES):
            head = self._head_extent(name, count)
            first, end = head or self._extent(self._zip.getinfo(name))
            gap = remote.HEAD_GAP if head else gap
            room -= end - first
            if room < 0:
                break
            ranges.append((first, end))
        self._remote.fetch(ranges, gap)

    def _extent(self, entry: zipfile.ZipInfo) -> tuple[int, int]:
        """Return where the bytes of an entry begin and end in the file, with what ZIP has before them."""
        if not self._ends:
            begins = sorted(e.header_offset for e in self._zip.infolist())
            self._ends = dict(itertools.pairwise([*begins, self._zip.start_dir]))
        size = min(entry.compress_size, entry.file_size + entry.file_size // 1000 + 64)
        first = entry.header_offset
        return first, max(min(self._ends[first], first + LOCAL_HEADER + size), first)

    def _last_written(self) -> tuple[int, int] | None:
        """Return what changes when an open local file is written to."""
        try:
            found = os.fstat(self._zip.fp.fileno())  # type: ignore[union-attr]
        except (AttributeError, OSError):  # in memory, or remote
            return None
        return found.st_size, found.st_mtime_ns

    def _damaged(self, name: str, said: str) -> errors.FormatError:
        """Return the error of an entry that cannot be read: the file was written anew meanwhile, or is damaged."""
        changed = self._last_written() != self._written if self._remote is None else self._remote.changed()
        if changed:
            return errors.FormatError(f"{self.name}: was written anew after it was opened; open it again")
        return errors.FormatError(f"{self.name}: entry {errors.plain(name)} is damaged ({said})")

    def check_entries(self) -> int:
        """Read every entry and return how many there are; FormatError for one whose checksum does not hold."""
        entries = sorted(self._zip.infolist(), key=lambda entry: entry.header_offset)
        for place, entry in enumerate(entries):
            if self._remote is not None and not self._remote.holds(self._extent(entry)):
                self.prefetch((following.filename, 0) for following in entries[place:])
            try:
                with self._zip.open(entry) as stream:
                    while stream.read(1 << 20):
                        pass
            except errors.SarcodecError:
                raise
            except DAMAGE as cause:
                raise self._damaged(entry.filename, errors.plain(cause)) from cause
        return len(entries)

    def product_files(self) -> dict[str, int]:
        """Bytes of the product's files that are kept as they are, by their path in the product."""
        start = len(product.PREFIX)
        entries = self._zip.infolist()
        return {e.filename[start:]: e.file_size for e in entries if e.filename.startswith(product.PREFIX)}

    def sizes(self) -> dict[str, int]:
        """Bytes in the file by purpose: symbols, masks, header, and the ZIP structure around them.

        Records of lost speckle count as symbols. Where there is a product, its other files are ``product``.
        """
        found = {"symbols": 0, "masks": 0, "header": 0} | ({"product": 0} if self.header.product else {})
        for entry in self._zip.infolist():
            found[_purpose(entry.filename)] += entry.compress_size
        stream: Any = self._zip.fp
        position = stream.tell()
        total = stream.seek(0, io.SEEK_END)
        stream.seek(position)
        return found | {"structure": total - sum(found.values()), "total": total}


def _purpose(name: str) -> str:
    if name in (HEADER, COMPACT_HEADER):
        return "header"
    if name.startswith(product.PREFIX):
        return "product"
    return "masks" if name.endswith("m") else "symbols"


def _digest(archive: zipfile.ZipFile) -> str:
    """First 16 hex digits of the SHA-256 of ``name size crc`` lines of all entries but the header, by name."""
    header = COMPACT_HEADER if COMPACT_HEADER in archive.NameToInfo else HEADER
    lines = [f"{e.filename} {e.file_size} {e.CRC}\n" for e in archive.infolist() if e.filename != header]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]
