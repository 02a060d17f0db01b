"""A part of a ``.sarc`` file that lies in a store: its end, which lists the rest, and the entries that are wanted."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterable

from sarcodec import errors
from sarcodec.container import archive

Range = tuple[int, int]
"""Bytes [start, end) of the file."""

HEADER_BYTES = 1024
"""Of a header and the end of the directory, most times."""
ENTRY_BYTES = 64
"""Of an entry in the directory; there are two for a tile."""

_SIGNATURE, _END = b"PK\5\6", struct.Struct("<4s4H2LH")
_LARGE = 0xFFFFFFFF


def tail_bytes(tiles: int) -> int:
    """Return how much to ask for of the end of a file of so many tiles, to have header and directory."""
    return HEADER_BYTES + 2 * ENTRY_BYTES * tiles


def missing(
    tail: bytes, most: int, wanted: Callable[[archive.Reader], Iterable[str]]
) -> tuple[int, list[Range]] | None:
    """Tell the size of the file whose last bytes are ``tail``, and which others to get for the wanted entries.

    None where that cannot be told, and of files of more than ``most`` bytes: take the whole.
    """
    size = _size(tail)
    if size is None or not len(tail) <= size <= most:
        return None
    start, source = size - len(tail), assembled(size, [(size - len(tail), tail)])
    try:
        with archive.Reader(source) as reader, zipfile.ZipFile(source) as listed:
            names = set(wanted(reader))
            places = sorted((entry.header_offset, entry.filename) for entry in listed.infolist())
    except (errors.FormatError, *archive.DAMAGE):
        return None
    ends = [*(offset for offset, _ in places[1:]), size]
    ranges: list[Range] = []
    for (begin, name), end in zip(places, ends, strict=True):
        if name in names and begin < start:
            joined = ranges and ranges[-1][1] == begin
            ranges.append((ranges.pop()[0] if joined else begin, min(end, start)))
    return size, ranges


def assembled(size: int, pieces: Iterable[tuple[int, bytes]]) -> io.BytesIO:
    """Return a file of ``size`` bytes of which pieces are there, by the place of their first byte; the rest is 0."""
    whole = bytearray(size)
    for start, piece in pieces:
        whole[start : start + len(piece)] = piece
    return io.BytesIO(whole)


def _size(tail: bytes) -> int | None:
    """Return the size of an archive by its end; None where that is not there, or of the kind for large ones."""
    place = tail.rfind(_SIGNATURE)
    if place < 0 or len(tail) - place < _END.size:
        return None
    *_, directory, start, _comment = _END.unpack_from(tail, place)
    return None if _LARGE in (directory, start) else int(start + directory + len(tail) - place)
