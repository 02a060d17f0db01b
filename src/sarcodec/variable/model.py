"""The model of the variable-rate autoencoder as one file: linear transform, latent coder and decoder network.

A safetensors file with a JSON record, as :mod:`sarcodec.lapped.model` has it, and identified alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from sarcodec import _version, errors
from sarcodec.files import atomic, integrity, modelfile
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import decoder, linear

FORMAT, VERSION = "sarcodec variable-rate autoencoder", 1
LINEAR, CODER, NETWORK = "linear.", "coder.", "network."
RECORD = ("format", "version", "package_version", "channels", "rate_weight", "training")
"""Entries of the record besides the digest."""


@dataclass(frozen=True, eq=False)
class VariableModel:
    """All that the variable-rate autoencoder is trained.

    Parameters
    ----------
    transform : Overlapping
        The encoder, and the linear part of the decoder.
    coder : LatentCoder
        Symbols to bytes and back.
    network : Network
        The rest of the decoder.
    rate_weight : float
        λ of the trellis search in squared steps per bit, with which it was trained.
    training : dict
        How it was trained (JSON values).
    identity : str
        16 hex digits of the file's SHA-256; ``""`` for one that was never saved.
    """

    transform: linear.Overlapping
    coder: latent_coder.LatentCoder
    network: decoder.Network
    rate_weight: float
    training: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""
    package_version: str = _version.__version__

    def __post_init__(self) -> None:
        counts = self.transform.count, self.coder.contexts.count, self.network.latents
        if len(set(counts)) > 1:
            raise errors.FormatError(f"model: transform, coder and network have {counts} latents; they must agree")

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights of encoder and decoder by name."""
        transform = {LINEAR + name: array for name, array in self.transform.to_arrays().items()}
        return transform | {NETWORK + name: array for name, array in self.network.weights.items()}


def save(path: str | os.PathLike[str], model: VariableModel, *, overwrite: bool = False) -> str:
    """Write a model whole or not at all and return its identity; errors as :func:`atomic.output`."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "package_version": model.package_version,
        "channels": list(model.network.channels),
        "rate_weight": model.rate_weight,
        "training": dict(model.training),
    }
    coder = {CODER + name: array for name, array in model.coder.to_arrays().items()}
    arrays = {name: np.ascontiguousarray(array) for name, array in (model.weights() | coder).items()}
    sealed = json.dumps(integrity.seal(arrays, record), sort_keys=True)
    data = safetensors.numpy.save(arrays, {"sarcodec": sealed})
    atomic.write_bytes(path, data, overwrite=overwrite)
    return modelfile.identify(data)


def load(path: str | os.PathLike[str], *, made: str = "") -> VariableModel:
    """Read a model; FormatError when the file is missing, foreign, truncated, altered or of a newer version.

    ``made`` is the identity of the model that made a file which is to be read.
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

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

        transform = linear.Overlapping.from_arrays(part(LINEAR))
        weights = {name: value.astype(np.float32) for name, value in part(NETWORK).items()}
        return VariableModel(
            transform=transform,
            coder=latent_coder.LatentCoder.from_arrays(part(CODER)),
            network=decoder.Network(transform.count, tuple(record["channels"]), weights),
            rate_weight=float(record["rate_weight"]),
            training=dict(record["training"]),
            identity=identity,
            package_version=str(record["package_version"]),
        )
    except errors.SarcodecError:
        raise
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError) as cause:
        raise errors.FormatError(
            f"model {source}: not a variable-rate autoencoder of sarcodec, or damaged ({errors.plain(cause)})"
        ) from cause
