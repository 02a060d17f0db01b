"""The model of the lapped codec as one file: integer network, tables, centroids and the restorer's weights.

A safetensors file with a JSON record, as :mod:`sarcodec.autoencoder.checkpoint` keeps autoencoders, and identified
alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sarcodec import _version
from sarcodec.files import sealed
from sarcodec.lapped import coefficients
from sarcodec.restoring import network

FORMAT = "sarcodec lapped model"
CODER, RESTORER = "coder.", "restorer."
KIND = sealed.Kind(FORMAT, 1, ("restorer", "rate_weight", "restored_below", "training"), "a lapped model")
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
    """

    coder: coefficients.CoefficientCoder
    restorer: network.Restorer
    rate_weight: float
    training: Mapping[str, Any] = field(default_factory=dict)
    restored_below: int = EVERY_STEP
    identity: str = ""
    package_version: str = _version.__version__


def save(path: str | os.PathLike[str], model: LappedModel, *, overwrite: bool = False) -> str:
    """Write a model whole or not at all and return its identity; errors as :func:`atomic.output`."""
    record = {
        "restorer": model.restorer.config.to_dict(),
        "rate_weight": model.rate_weight,
        "restored_below": model.restored_below,
        "training": dict(model.training),
    }
    arrays = {CODER + name: array for name, array in model.coder.to_arrays().items()}
    arrays |= {RESTORER + name: value for name, value in model.restorer.weights.items()}
    return sealed.save(path, KIND, arrays, record, model.package_version, overwrite=overwrite)


def load(path: str | os.PathLike[str], *, made: str = "") -> LappedModel:
    """Read a model; errors and ``made`` as of :func:`sealed.opened`."""
    with sealed.opened(path, KIND, made) as found:
        record = found.record
        weights = {name: array.astype(np.float32) for name, array in found.part(RESTORER).items()}
        return LappedModel(
            coder=coefficients.CoefficientCoder.from_arrays(found.part(CODER)),
            restorer=network.Restorer(network.RestorerConfig.from_dict(record["restorer"]), weights),
            rate_weight=float(record["rate_weight"]),
            training=dict(record["training"]),
            restored_below=int(record.get("restored_below", EVERY_STEP)),
            identity=found.identity,
            package_version=str(record["package_version"]),
        )
