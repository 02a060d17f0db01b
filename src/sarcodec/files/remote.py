"""Remote files, by URL or by what fsspec has opened, read in few requests: the end at once, then ranges asked for.

fsspec brings the protocols and credentials. Neither these nor what a URL holds of them may be seen: all that is said
of a remote file goes by :attr:`Place.name`, and errors of libraries are told anew, never chained.
"""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from sarcodec import errors
from sarcodec.files import vsi

TAIL = 256 << 10
"""Bytes at the end that are read first: in a ``.sarc`` file its header and the list of its entries."""

GAP = 64 << 10
"""Ranges that lie no further apart are one request, which reads what lies between them, too."""

HEAD_GAP = 4 << 10
"""The same where heads of entries alone are read, for what lies between them is nearly all of the file."""

KEPT = 64 << 20
"""Bytes of ranges that are kept at most; those fetched last are, however many."""

AT_ONCE = 32
"""Requests on their way at the same time: servers refuse, or keep waiting, those who come with hundreds."""

STATE = (
    *("size", "ETag", "etag", "Content-MD5", "Last-Modified", "LastModified"),
    *("last_modified", "mtime", "created", "updated", "generation"),
)
"""Keys of fsspec's descriptions that change when a file is written anew, by whatever system."""

Range = tuple[int, int]
Source = str | os.PathLike[str] | IO[bytes]


@dataclass(frozen=True)
class Place:
    """Where a remote file lies; it can be pickled, and shows no credentials.

    ``system`` is fsspec's file system, ``path`` the path in it.
    """

    system: Any = field(repr=False)
    path: str = field(repr=False)

    @property
    def url(self) -> str:
        """The URL as it is."""
        return str(self.system.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        """The URL as it may be shown."""
        return vsi.public(self.url)

    def __repr__(self) -> str:
        return f"<remote file {self.name}>"


def located(source: Source | Place, options: Mapping[str, Any] | None = None) -> str | Place | IO[bytes]:
    """Return where a file lies: a local path, a remote place, or an open file as it is.

    Parameters
    ----------
    source : path, URL, or file object
        What fsspec has opened, or is to open (``fsspec.open(…)``), is taken for what it stands for.
    options : mapping, optional
        For fsspec: its ``storage_options`` of a URL.

    Raises
    ------
    InputError
        For what is none of these, a file in text mode, one that cannot seek, or a protocol that is not known.
    MissingExtra
        When fsspec, or what it needs for http, is not installed.
    """
    if isinstance(source, Place):
        return source
    system, path = getattr(source, "fs", None), getattr(source, "path", None)
    if hasattr(system, "cat_ranges") and isinstance(path, str) and not getattr(source, "compression", None):
        return _local_or_remote(system, path)
    if isinstance(source, str) and vsi.is_url(source):
        return _local_or_remote(*_found(source, options or {}))
    if options:
        raise errors.InputError("storage_options: belong to a URL (s3://…, https://…); leave them out")
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    _check_stream(source)
    return source


def shown(source: Source | Place) -> str:
    """Return the name of a source as it may be shown."""
    if isinstance(source, Place):
        return source.name
    if isinstance(source, str | os.PathLike):
        return vsi.public(source)
    name = getattr(source, "name", None)
    return vsi.public(name) if isinstance(name, str) else "the buffer"


def local_paths(place: str | Place | IO[bytes]) -> list[str]:
    """Return the local path that a place is, or has been opened from, in a list; none of what is not local."""
    name = place if isinstance(place, str) else getattr(place, "name", None)
    return [name] if isinstance(name, str) and not isinstance(place, Place) and not vsi.is_virtual(name) else []


def _local_or_remote(system: Any, path: str) -> str | Place:
    protocol = system.protocol
    return path if "file" in ((protocol,) if isinstance(protocol, str) else protocol) else Place(system, path)


def _found(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    name = vsi.public(url)
    try:
        import fsspec
    except ImportError as cause:
        raise errors.MissingExtra("fsspec", "remote") from cause
    try:
        system, path = fsspec.core.url_to_fs(url, **options)
        return system, path
    except ImportError as cause:
        if "aiohttp" in str(cause):
            raise errors.MissingExtra("aiohttp", "remote") from None
        problem = errors.InputError(f"{name}: a package is missing ({errors.plain(cause)})")
    except Exception as cause:
        said = errors.plain(vsi.public_text(str(cause), url))
        problem = errors.InputError(f"{name}: fsspec cannot open such a URL ({said})")
    raise problem


def _check_stream(source: Any) -> None:
    """Raise InputError for what is no binary file that can seek."""
    if isinstance(source, io.TextIOBase):
        raise errors.InputError('file: got one in text mode; open it in binary mode ("rb")')
    if not all(hasattr(source, name) for name in ("read", "seek", "tell")):
        raise errors.InputError(
            f"file: got an object of type {type(source).__name__}; pass a path, a URL or a binary file (io.BytesIO "
            "of bytes)"
        )
    if hasattr(source, "seekable") and not source.seekable():
        raise errors.InputError("file: got a stream that cannot seek; read it whole, and pass io.BytesIO of that")


class RemoteFile(io.RawIOBase):
    """A remote file, read-only and binary: what was fetched is served from memory, anything else by a request each.

    Raises FormatError where there is no such file, RemoteError where it cannot be fetched.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.name, self._place, self._position = place.name, place, 0
        self._lock, self._parts = threading.Lock(), dict[int, bytes]()
        self._state, self._size = {}, 0
        self._state = self._describe()
        if not isinstance(self._state.get("size"), int):
            raise errors.RemoteError(f"{self.name}: the server does not say how large it is; download it first")
        self._size = self._state["size"]
        self._start = max(self._size - TAIL, 0)
        self._tail = self._read_tail() if self._size else b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can seek."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, and return it."""
        self._position = max(
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence], 0
        )
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what fits; nothing at the end."""
        first, end = self._position, min(self._position + len(buffer), self._size)
        if first >= end:
            return 0
        buffer[: end - first] = self.part(first, end)
        self._position = end
        return end - first

    def part(self, first: int, end: int) -> bytes:
        """Return a range [first, end) of the file, by a request where it was not fetched."""
        found = self._held(first, end)
        return self._ask([(first, end)])[0] if found is None else found

    def fetch(self, ranges: Iterable[Range], gap: int = GAP) -> None:
        """Read ranges [first, end) that will be asked for, all at once; those that lie within ``gap`` as one."""
        inside = [(max(first, 0), min(end, self._size)) for first, end in ranges]
        with self._lock:
            unknown = (part for part in inside if part[0] < part[1] and self._held(*part) is None)
            missing = merged(unknown, gap)
        if not missing:
            return
        found = self._ask(missing)
        with self._lock:
            kept = sum(map(len, self._parts.values())) + sum(map(len, found))
            while self._parts and kept > KEPT:
                kept -= len(self._parts.pop(next(iter(self._parts))))
            self._parts |= dict(zip([first for first, _ in missing], found, strict=True))

    def holds(self, wanted: Range) -> bool:
        """Tell whether a range was fetched and is kept."""
        return self._held(*wanted) is not None

    def changed(self) -> bool:
        """Ask whether the file was written anew since it was opened; no where that cannot be told."""
        try:
            self._place.system.invalidate_cache()
            return self._describe() != self._state
        except Exception:
            return False

    def _held(self, first: int, end: int) -> bytes | None:
        """Return a range that was fetched."""
        same = self._parts.get(first)  # nearly always there is one; there may be hundreds
        likely = [] if same is None else [(first, same)]
        for start, part in itertools.chain(likely, [(self._start, self._tail)], tuple(self._parts.items())):
            if start <= first and end <= start + len(part):
                return part[first - start : end - start]
        return None

    def _describe(self) -> dict[str, Any]:
        """Ask what is known of the file but its name and where a server sends those who want it."""
        try:
            about = self._place.system.info(self._place.path)
        except Exception as cause:
            problem = self._failure(cause)
        else:
            return {key: about[key] for key in STATE if key in about}
        raise problem

    def _read_tail(self) -> bytes:
        """Read the end: over http by an open file, which reads no more where a server sends all of it instead."""
        system = self._place.system
        if "https" not in system.protocol:
            return self._ask([(self._start, self._size)])[0]
        try:
            with system.open(self._place.path, "rb", cache_type="none", size=self._size) as stream:
                stream.seek(self._start)
                return self._whole(stream.read(self._size - self._start), self._size - self._start)
        except errors.SarcodecError:
            raise
        except Exception as cause:
            problem = self._failure(cause)
        raise problem

    def _ask(self, ranges: list[Range]) -> list[bytes]:
        """Ask for ranges, many at once."""
        firsts, ends = ([part[side] for part in ranges] for side in (0, 1))
        system, paths = self._place.system, [self._place.path] * len(ranges)
        settings = {"batch_size": AT_ONCE} if getattr(system, "async_impl", False) else {}
        try:
            found = system.cat_ranges(paths, firsts, ends, on_error="return", **settings)
        except Exception as cause:
            found = [cause] * len(ranges)
        for data in found:
            if isinstance(data, BaseException):
                raise self._failure(data)
        return [self._whole(data, end - first) for data, first, end in zip(found, firsts, ends, strict=True)]

    def _whole(self, data: bytes, size: int) -> bytes:
        """Return what came, if it is as much as was asked for."""
        if len(data) > size:
            raise errors.RemoteError(f"{self.name}: the server does not send parts of files; download it first")
        if len(data) < size:
            raise errors.RemoteError(
                f"{self.name}: {len(data)} bytes came where {size} were asked for: the file was changed, or the "
                "connection ended; open it again"
            )
        return data

    def _failure(self, problem: BaseException) -> errors.SarcodecError:
        """Tell an error of fsspec or below anew, without what it says of the URL."""
        cause = problem.__cause__  # http has a FileNotFoundError of everything
        root = cause if hasattr(cause, "status") or isinstance(cause, OSError) else problem
        status = getattr(root, "status", None)
        if status in (404, 410) or (isinstance(root, FileNotFoundError) and status is None):
            gone = f"{self.name}: is no longer there" if self._size else f"{self.name}: there is no such file"
            return errors.FormatError(gone)
        if status in (401, 403) or isinstance(root, PermissionError):
            what = "access is refused; pass what it takes, signed into the URL or as storage_options"
        elif isinstance(root, TimeoutError):
            what = "no answer came in time; try again"
        elif "range requests" in str(root):
            what = "the server does not send parts of files; download it first"
        else:
            what = "cannot be fetched"
        said = errors.plain(vsi.public_text(str(root), self._place.url)) or type(root).__name__
        return errors.RemoteError(f"{self.name}: {what} ({said})")


def merged(ranges: Iterable[Range], gap: int = GAP) -> list[Range]:
    """Return ranges in order, those that overlap or lie no further apart than ``gap`` as one."""
    found: list[Range] = []
    for first, end in sorted(ranges):
        if found and first <= found[-1][1] + gap:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((first, end))
    return found
