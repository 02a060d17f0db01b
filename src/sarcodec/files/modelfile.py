"""Model files before it is known what is in them: their bytes, their record, their identity."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from sarcodec import errors

MAX_BYTES = 2**30


def identify(data: bytes) -> str:
    """Return the identity of a checkpoint's bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_bytes(path: Path) -> bytes:
    """Return a model file's bytes; FormatError when it cannot be read or is larger than :data:`MAX_BYTES`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise errors.FormatError(f"checkpoint {path}: larger than {MAX_BYTES} bytes; not one of ours")
        return path.read_bytes()
    except OSError as cause:
        raise errors.FormatError(f"checkpoint {path}: {cause.strerror}") from cause


def metadata(data: bytes) -> dict[str, Any]:
    """Read the string metadata from the JSON header that a safetensors file starts with."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("header longer than the file")
    found: dict[str, Any] = json.loads(data[8 : 8 + length])["__metadata__"]
    return found


def kind(path: str | os.PathLike[str]) -> str:
    """Return what a model file says that it is; FormatError when it is no model at all."""
    data = read_bytes(Path(path))
    try:
        return str(json.loads(metadata(data)["sarcodec"])["format"])
    except (KeyError, ValueError, TypeError, RecursionError) as cause:
        raise errors.FormatError(
            f"model {path}: not a model of sarcodec, or damaged ({errors.plain(cause)})"
        ) from cause
