"""Digests of model files: a bit that flipped in a weight must not make files that no sound copy decodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from sarcodec import errors

KEY = "digest"
"""Entry of a model file's record; files from before have none."""


def seal(tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with the digest of itself and the tensors."""
    return {**record, KEY: digest(tensors, record)}


def check(tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any], name: str) -> None:
    """Raise FormatError when a record has a digest and it is not that of what was read."""
    if KEY in record and record[KEY] != digest(tensors, record):
        raise errors.FormatError(
            f"model {name}: its weights or settings are not those that were written, it is damaged; take another copy"
        )


def digest(tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> str:
    """SHA-256 over name, dtype, shape and bytes of all tensors by name, and the JSON of the record without digest."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    rest = {key: value for key, value in record.items() if key != KEY}
    found.update(json.dumps(rest, sort_keys=True).encode())
    return found.hexdigest()
