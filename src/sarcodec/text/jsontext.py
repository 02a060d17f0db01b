"""JSON that every reader accepts: no NaN, no infinities."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def dumps(record: Any, *, indent: int | None = None) -> str:
    """Return strict JSON text; an undefined figure (NaN or infinite) is null, as JSON has no other word for it."""
    return json.dumps(_strict(record), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
