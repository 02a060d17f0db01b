"""Outputs that appear whole or not at all: written beside their target, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sarcodec import errors


@contextmanager
def output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error.

    Parameters
    ----------
    path : path
        The file to write. Its folder must exist.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        When the folder is missing, ``path`` is a folder or device, or it exists and ``overwrite`` is false.
    OutputError
        When the system refuses the write (no space left, no permission). The temporary file is removed.
    """
    target = Path(path)
    temporary = target.parent / f".{target.stem[:32]}.{secrets.token_hex(4)}.part{target.suffix}"
    try:
        with _as_output_error(target):
            check(target, overwrite=overwrite)
            yield temporary
            temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


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
    token = secrets.token_hex(4)
    temporary, old = (target.parent / f".{target.stem[:32]}.{token}.{end}" for end in ("part", "old"))
    try:
        with _as_output_error(target):
            _check_folder(target, overwrite, mark)
            temporary.mkdir()
            yield temporary
            if overwrite and target.exists():
                target.replace(old)
            temporary.replace(target)
    finally:
        if old.exists() and not target.exists():
            with suppress(OSError):
                old.replace(target)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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


def _check_folder(target: Path, overwrite: bool, mark: str) -> None:
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
    if not target.parent.is_dir():
        raise errors.InputError(f"output {target}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise errors.InputError(f"output {target}: is a folder; pass the name of a file")
    if target.exists() and not target.is_file():
        raise errors.InputError(f"output {target}: is a device, not a file; pass the name of a file")
    if target.exists() and not overwrite:
        raise errors.InputError(f"output {target}: exists already; pass overwrite (--overwrite) to replace it")


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write ``data`` to ``path`` whole or not at all; raises as :func:`output`."""
    with output(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
