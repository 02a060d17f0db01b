"""Entries of the JSON files of a study, which anyone may have changed: each is checked before it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sarcodec import errors

MOST = 1e12
"""No figure of a study is larger."""


LONGEST_NAME = 255
"""Bytes of the longest name of a file or folder."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let whatever is wrong with a file be a FormatError of one line that names it."""
    try:
        yield
    except errors.SarcodecError as cause:
        raise errors.FormatError(f"study: {path}: {errors.plain(cause)}") from cause
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        said = f"no {cause}" if isinstance(cause, KeyError) else cause
        raise errors.FormatError(
            f"study: {path} is damaged or no file of a study ({errors.plain(said)}); measure it again"
        ) from cause


def read_json(path: Path) -> Any:
    """Read JSON; FormatError when the file is missing or damaged."""
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object; FormatError when the file is missing, damaged or something else."""
    with reading(path):
        return dict(_kind("the file", json.loads(path.read_text(encoding="utf-8")), dict))


def text(record: Any, key: str) -> str:
    """Return a text, which must be printable."""
    found = _kind(key, record[key], str)
    if not found.isprintable():
        raise ValueError(f"{key} is {errors.plain(repr(found))}")
    return str(found)


def whole(record: Any, key: str, least: int = 0) -> int:
    """Return a whole number, at least ``least``."""
    found = _kind(key, record[key], int)
    if not least <= found <= MOST:
        raise ValueError(f"{key} is out of range")
    return int(found)


def number(record: Any, key: str, *, above: float = -math.inf) -> float:
    """Return a finite number above ``above``."""
    found = figure(record, key)
    if not (math.isfinite(found) and found > above):
        raise ValueError(f"{key} is {found:g}")
    return found


def numbers(record: Any, key: str, *, above: float = -math.inf) -> tuple[float, ...]:
    """Return a list of finite numbers above ``above``, at least one."""
    found = _kind(key, record[key], list)
    if not found:
        raise ValueError(f"{key} is empty")
    return tuple(number({key: item}, key, above=above) for item in found)


def figure(record: Any, key: str) -> float:
    """Return a number; NaN for null, and infinities as they are."""
    value = record[key]
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {errors.plain(repr(value))}, not a number")
    if abs(value) > MOST and value not in (math.inf, -math.inf):
        raise ValueError(f"{key} is out of range")
    return float(value)


def path(name: str) -> Path:
    """Return a path, whose names must be such as a file system can have."""
    found = Path(name)
    if any(len(part.encode()) > LONGEST_NAME for part in found.parts):
        raise ValueError(f"a name of more than {LONGEST_NAME} bytes: {name}")
    return found


def mapping(record: Any, key: str) -> dict[str, Any]:
    """Return a JSON object."""
    return dict(_kind(key, record[key], dict))


def texts(record: Any, key: str) -> tuple[str, ...]:
    """Return a list of texts."""
    found = _kind(key, record[key], list)
    return tuple(text({key: item}, key) for item in found)


def _kind(key: str, value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{key} is {errors.plain(repr(value))}, not of type {kind.__name__}")
    return value
