"""The model of the lapped codec as one file: integer network, tables, centroids and the restorer's weights.

A safetensors file with a JSON record, as :mod:`sarcodec.autoencoder.checkpoint` keeps autoencoders, and identified
alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from sarcodec import _version, errors
from sarcodec.files import atomic, integrity, modelfile
from sarcodec.lapped import coefficients, restorer

FORMAT, VERSION = "sarcodec lapped model", 1
CODER, RESTORER = "coder.", "restorer."
RECORD = ("format", "version", "package_version", "restorer", "rate_weight", "restored_below", "training")
"""Entries of the record besides the digest."""
EVERY_STEP = 1 << 16
"""Above every step index."""


@dataclass(frozen=True, eq=False)
class LappedModel:
    """All that the lapped codec is trained.

    Parameters
    ----------
    coder : CoefficientCoder
        Symbols to bytes and back.
    restorer : Restorer
        The restoring network.
    rate_weight : float
        λ of the trellis search in squared steps per bit, with which it was trained.
    training : dict
        How it was trained (JSON values).
    restored_below : int
        Step index from which on the restorer is left out, for it adds nothing worth its time.
    identity : str
        16 hex digits of the file's SHA-256; ``""`` for one that was never saved.
    in_integers : bytes, optional
        The restoring network in 8-bit integers as an ONNX file, where one is shipped for the model.
    """

    coder: coefficients.CoefficientCoder
    restorer: restorer.Restorer
    rate_weight: float
    training: Mapping[str, Any] = field(default_factory=dict)
    restored_below: int = EVERY_STEP
    identity: str = ""
    package_version: str = _version.__version__
    in_integers: bytes | None = None


def save(path: str | os.PathLike[str], model: LappedModel, *, overwrite: bool = False) -> str:
    """Write a model whole or not at all and return its identity; errors as :func:`atomic.output`."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "package_version": model.package_version,
        "restorer": model.restorer.config.to_dict(),
        "rate_weight": model.rate_weight,
        "restored_below": model.restored_below,
        "training": dict(model.training),
    }
    arrays = {CODER + name: np.array(array) for name, array in model.coder.to_arrays().items()}
    arrays |= {RESTORER + name: np.array(value, order="C") for name, value in model.restorer.weights.items()}
    sealed = json.dumps(integrity.seal(arrays, record), sort_keys=True)
    data = safetensors.numpy.save(arrays, {"sarcodec": sealed})
    atomic.write_bytes(path, data, overwrite=overwrite)
    return modelfile.identify(data)


def load(path: str | os.PathLike[str], *, made: str = "") -> LappedModel:
    """Read a model; FormatError when the file is missing, foreign, truncated, altered or of a newer version.

    ``made`` as of :func:`checkpoint.load`.
    """
    source = Path(path)
    data = modelfile.read_bytes(source)
    try:
        record = json.loads(modelfile.metadata(data)["sarcodec"])
        if (record["format"], record["version"]) != (FORMAT, VERSION):
            raise errors.FormatError(
                f"model {source}: is {record['format']!r} version {record['version']!r}; this package reads "
                f"{FORMAT!r} version {VERSION} here, a newer one needs a newer sarcodec"
            )
        arrays, identity = safetensors.numpy.load(data), modelfile.identify(data)
        integrity.check(arrays, record, integrity.Told(str(source), identity, made), RECORD)
        coder = {n.removeprefix(CODER): a for n, a in arrays.items() if n.startswith(CODER)}
        weights = {
            n.removeprefix(RESTORER): a.astype(np.float32) for n, a in arrays.items() if n.startswith(RESTORER)
        }
        return LappedModel(
            coder=coefficients.CoefficientCoder.from_arrays(coder),
            restorer=restorer.Restorer(restorer.RestorerConfig.from_dict(record["restorer"]), weights),
            rate_weight=float(record["rate_weight"]),
            training=dict(record["training"]),
            restored_below=int(record.get("restored_below", EVERY_STEP)),
            identity=identity,
            package_version=str(record["package_version"]),
            in_integers=integrity.network_of(identity),
        )
    except errors.SarcodecError:
        raise
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError, RecursionError) as cause:
        raise errors.FormatError(
            f"model {source}: not a lapped model of sarcodec, or damaged ({errors.plain(cause)})"
        ) from cause
