"""Outputs that appear whole or not at all: written beside their target, then renamed."""

from __future__ import annotations

import os
import secrets
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
        check(target, overwrite=overwrite)
        yield temporary
        temporary.replace(target)
    except OSError as cause:
        if isinstance(cause, errors.SarcodecError):
            raise
        reason = cause.strerror or str(cause)
        raise errors.OutputError(f"output {target}: {reason}; nothing was written there") from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


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
