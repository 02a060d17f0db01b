"""Outputs that appear whole or not at all: written without a name or beside their target, then given its name.

On Linux a file has no name until it is whole, so that a killed process leaves nothing. Folders, and files where the
file system can't do that, are temporaries beside the target until they are renamed. The name of a temporary tells who
writes it: ``.STEM.MACHINE-PROCESS-RANDOM.part``. What a killed process left is removed by the next that writes to a
target of that stem on the same machine; whether a process of another machine, container or time before a restart
still lives cannot be told, so what such a one left stays.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from sarcodec import errors

log = logging.getLogger("sarcodec")


@contextmanager
def output(path: str | os.PathLike[str], *, overwrite: bool = False, named: bool = False) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends without an error.

    The temporary may be the path of an open file of this process: it can be opened, but has no suffix or neighbours.

    Parameters
    ----------
    path : path
        The file to write. Its folder must exist.
    overwrite : bool
        Whether an existing file may be replaced.
    named : bool
        Whether the temporary must lie beside ``path`` with its suffix, for writers that make files beside theirs.

    Raises
    ------
    InputError
        When the folder is missing, ``path`` is a folder or device, or it exists and ``overwrite`` is false, also if
        another writer made it meanwhile.
    OutputError
        When the system refuses the write (no space left, no permission). The temporary file is removed.
    """
    target = Path(path)
    beside = _temporary(target, f"part{target.suffix}")
    try:
        with _as_output_error(target):
            check(target, overwrite=overwrite)
            _remove_abandoned(target)
            with nullcontext() if named else _unnamed(target.parent) as unnamed:
                yield unnamed or beside
                if unnamed is not None:
                    _name(unnamed, beside)
                _publish(beside, target, overwrite)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Yield a new folder beside a target that is removed when the block ends, however it does."""
    temporary = _temporary(target, "part")
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def folder(path: str | os.PathLike[str], *, overwrite: bool = False, mark: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that replaces it when the block ends without an error.

    Parameters
    ----------
    path : path
        The folder to write. Its parent must exist.
    overwrite : bool
        Whether an existing folder may be replaced: only an empty one, or one with a file named ``mark``, for its
        whole content goes.
    mark : str
        Name of a file by which a folder is known to be of the kind that is written.

    Raises
    ------
    InputError, OutputError
        As :func:`output`; InputError also for an existing file, or a folder of another kind.
    """
    target = Path(path)
    temporary, old = _temporary(target, "part"), _temporary(target, "old")
    try:
        with _as_output_error(target):
            check_folder(target, overwrite, mark)
            _remove_abandoned(target)
            temporary.mkdir()
            yield temporary
            check_folder(target, overwrite, mark)
            if overwrite and target.exists():
                target.replace(old)
            temporary.replace(target)
    finally:
        if old.exists() and not target.exists():
            with suppress(OSError):
                old.replace(target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _temporary(target: Path, end: str) -> Path:
    return target.parent / f".{target.stem[:32]}.{machine()}-{os.getpid()}-{secrets.token_hex(4)}.{end}"


@functools.cache
def machine() -> str:
    """Return 8 hex digits of where process numbers are unique: a machine since its start, a container on it."""
    parts = [platform.node()]
    with suppress(OSError):  # where there is no Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _remove_abandoned(target: Path) -> None:
    """Remove temporaries beside a target whose writers are dead, and name them in a warning."""
    pattern = re.compile(rf"\.{re.escape(target.stem[:32])}\.{machine()}-(\d{{1,9}})-[0-9a-f]{{8}}\.part.*")
    found: list[tuple[Path, re.Match[str] | None]] = []
    with suppress(OSError):  # a folder that may be written but not listed
        found = [(path, pattern.fullmatch(path.name)) for path in target.parent.iterdir()]
    for path, match in found:
        if match is None or lives(int(match[1])):
            continue
        with suppress(OSError):  # another was faster
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            log.warning("removed %s, which a writer that was killed had left", path)


def lives(process: int) -> bool:
    """Tell whether a process of this machine is alive; yes where that cannot be told."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@contextmanager
def _unnamed(folder: Path) -> Iterator[Path | None]:
    """Yield the path of an open file of no name, which is gone when the block ends; None where there is no such."""
    handle = -1
    with suppress(AttributeError, OSError):  # not Linux; a file system that has no such files
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    path = Path(f"/proc/self/fd/{handle}")
    try:
        yield path if handle >= 0 and path.exists() else None
    finally:
        if handle >= 0:
            os.close(handle)


def _name(unnamed: Path, path: Path) -> None:
    """Give an open file of no name a name."""
    if not unnamed.stat().st_size:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    os.link(unnamed, path, src_dir_fd=0)  # naming a folder, even unused, takes the system call that follows links


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    """Give a whole file its name; without ``overwrite`` only if no other took it meanwhile."""
    if not overwrite:
        try:
            target.hardlink_to(temporary)
            return
        except FileExistsError:
            check(target, overwrite=False)
        except OSError:  # a file system without links
            check(target, overwrite=False)
    temporary.replace(target)


@contextmanager
def _as_output_error(target: Path) -> Iterator[None]:
    """Turn what the system refuses into OutputError; errors of the package pass."""
    try:
        yield
    except OSError as cause:
        if isinstance(cause, errors.SarcodecError):
            raise
        reason = cause.strerror or str(cause)
        raise errors.OutputError(f"output {target}: {reason}; nothing was written there") from cause


def check_folder(target: Path, overwrite: bool, mark: str) -> None:
    """Raise InputError when :func:`folder` would refuse a target, for asking before long work."""
    if not target.parent.is_dir():
        raise errors.InputError(f"output {target}: the folder {target.parent} does not exist; create it first")
    if not (target.exists() or target.is_symlink()):
        return
    if target.is_symlink() or not target.is_dir():
        raise errors.InputError(f"output {target}: is a file or link; pass the name of a new folder")
    if not overwrite:
        raise errors.InputError(f"output {target}: exists already; pass overwrite (--overwrite) to replace it")
    if any(target.iterdir()) and not (target / mark).is_file():
        raise errors.InputError(f"output {target}: is a folder without {mark}; it is not replaced")


def check(target: Path, *, overwrite: bool) -> None:
    """Raise InputError when :func:`output` would refuse a target, for asking before long work."""
    if str(target) == "-":
        raise errors.InputError("output -: nothing is written to standard output; pass the name of a file")
    if not target.parent.is_dir():
        raise errors.InputError(f"output {target}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise errors.InputError(f"output {target}: is a folder; pass the name of a file")
    if target.exists() and not target.is_file():
        raise errors.InputError(f"output {target}: is a device, not a file; pass the name of a file")
    if target.exists() and not overwrite:
        raise errors.InputError(f"output {target}: exists already; pass overwrite (--overwrite) to replace it")


def refuse_sources(target: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Raise InputError when a target is one of its sources, by whatever name or link, or lies in or around it."""
    place = Path(target)
    for source in map(Path, sources):
        if _is_same(place, source) or _is_inside(place, source) or _is_inside(source, place):
            raise errors.InputError(
                f"output {target}: is the source, or holds it or lies in it, which would be lost; pass another name"
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _is_inside(path: Path, folder: Path) -> bool:
    return folder.is_dir() and folder.resolve() in path.resolve().parents


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write ``data`` to ``path`` whole or not at all; raises as :func:`output`."""
    with output(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
