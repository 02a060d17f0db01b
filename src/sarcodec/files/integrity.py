"""Digests of model files: a bit that flipped in a weight must not make files that no sound copy decodes.

Files from before there were digests have none. Where such a file says that it is a model that is shipped, it is held
to that one's identity; where it is to read a ``.sarc`` file, to the identity of what made that. Of others nothing can
be told, which is said in a line.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors

Array = npt.NDArray[Any]

log = logging.getLogger("sarcodec")

KEY = "digest"
"""Entry of a model file's record; files from before have none."""

SHIPPED = {"lapped64": "ae95e22a1275fb4e", "residual16": "d412a7af7613b0c1", "residual64": "cc146a71b4105769"}
"""Identities of the models that are shipped, by name."""
TELLING = ("metrics", "training")
"""Entries of a record that no two models share."""


@dataclass(frozen=True)
class Told:
    """What is known of a model file: its name for messages, its identity, and that which made what it is to read."""

    name: str
    identity: str
    made: str = ""


def seal(tensors: Mapping[str, Array], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with the digest of itself and the tensors."""
    return {**record, KEY: digest(tensors, record)}


def check(tensors: Mapping[str, Array], record: Mapping[str, Any], told: Told, keys: Collection[str]) -> None:
    """Raise FormatError for a model whose content is not what was written.

    Parameters
    ----------
    tensors, record : mapping
        What was read.
    told : Told
        What is known of the file.
    keys : collection of str
        Entries that a record may have besides the digest: without this, damage to the digest's name would pass for a
        file from before there were digests.
    """
    if strangers := sorted(record.keys() - {*keys, KEY}):
        raise errors.FormatError(
            f"model {told.name}: has an entry {errors.plain(repr(strangers[0]))} that no model has, it is damaged or "
            "of a newer sarcodec; take another copy"
        )
    if KEY in record:
        if record[KEY] != digest(tensors, record):
            raise errors.FormatError(
                f"model {told.name}: its weights or settings are not those that were written, it is damaged; take "
                "another copy"
            )
    elif told.identity not in (*SHIPPED.values(), told.made):
        _check_by_identity(record, told)


def _check_by_identity(record: Mapping[str, Any], told: Told) -> None:
    """Raise FormatError when a record without a digest is that of a shipped model; else say that nothing is known."""
    for name, identity in SHIPPED.items():
        shipped = _shipped_record(name)
        if any(record.get(key) and record.get(key) == shipped.get(key) for key in TELLING):
            raise errors.FormatError(
                f"model {told.name}: is a copy of {name} that was damaged or changed, its identity is "
                f"{told.identity}, not {identity}; take another copy, or pass the name {name}"
            )
    log.warning(
        "model %s: was saved before models had digests, so damage to it cannot be told; compare it with another "
        "copy, and keep this very file for what is made with it",
        told.name,
    )


def _shipped_record(name: str) -> dict[str, Any]:
    """Return the record of a shipped model; nothing where it is not there."""
    path = resources.files("sarcodec.weights") / f"{name}.ckpt"
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found: dict[str, Any] = json.loads(header["__metadata__"]["sarcodec"])
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def digest(tensors: Mapping[str, Array], record: Mapping[str, Any]) -> str:
    """SHA-256 over name, dtype, shape and bytes of all tensors by name, and the JSON of the record without digest."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} torch.{value.dtype} {value.shape}\n".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    rest = {key: value for key, value in record.items() if key != KEY}
    found.update(json.dumps(rest, sort_keys=True).encode())
    return found.hexdigest()
