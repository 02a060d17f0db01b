"""Files of models that need no PyTorch: named arrays and a JSON record with a digest, as safetensors.

Identified by their bytes, as all model files are: :mod:`sarcodec.files.modelfile`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from sarcodec import _version, errors
from sarcodec.files import atomic, integrity, modelfile

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Kind:
    """What files of a kind say that they are, and what is in their record.

    ``entries`` are those of the record besides format, version, package_version and the digest; ``called`` is the
    kind in words, with its article.
    """

    format: str
    version: int
    entries: tuple[str, ...]
    called: str


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds: its record and arrays by name, and its identity."""

    record: Mapping[str, Any]
    arrays: Arrays
    identity: str

    def part(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays whose names begin so, without that."""
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}


def save(
    path: str | os.PathLike[str],
    kind: Kind,
    arrays: Arrays,
    record: Mapping[str, Any],
    package_version: str = _version.__version__,
    *,
    overwrite: bool = False,
) -> str:
    """Write a model whole or not at all and return its identity; errors as :func:`atomic.output`."""
    if set(record) != set(kind.entries):
        raise ValueError(f"record: got {sorted(record)}; files of this kind have {sorted(kind.entries)}")
    whole = {**record, "format": kind.format, "version": kind.version, "package_version": package_version}
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    sealed = json.dumps(integrity.seal(kept, whole), sort_keys=True)
    data = safetensors.numpy.save(kept, {"sarcodec": sealed})
    atomic.write_bytes(path, data, overwrite=overwrite)
    return modelfile.identify(data)


@contextmanager
def opened(path: str | os.PathLike[str], kind: Kind, made: str = "") -> Iterator[Content]:
    """Read a model, to be made of its content in a ``with`` block, where KeyError and its like are its damage.

    FormatError when the file is missing, foreign, truncated, altered or of a newer version. ``made`` is the identity
    of the model that made a file which is to be read.
    """
    source = Path(path)
    data = modelfile.read_bytes(source)
    try:
        record = json.loads(modelfile.metadata(data)["sarcodec"])
        if (record["format"], record["version"]) != (kind.format, kind.version):
            raise errors.FormatError(
                f"model {source}: is {record['format']!r} version {record['version']!r}; this package reads "
                f"{kind.format!r} version {kind.version} here, a newer one needs a newer sarcodec"
            )
        arrays, identity = safetensors.numpy.load(data), modelfile.identify(data)
        told = integrity.Told(str(source), identity, made)
        integrity.check(arrays, record, told, ("format", "version", "package_version", *kind.entries))
        yield Content(record, arrays, identity)
    except errors.SarcodecError:
        raise
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as cause:
        raise errors.FormatError(
            f"model {source}: not {kind.called} of sarcodec, or damaged ({errors.plain(cause)})"
        ) from cause
