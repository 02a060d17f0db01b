"""The model of the variable-rate autoencoder as one file: linear transform, latent coder and restoring network.

A safetensors file with a JSON record, as :mod:`sarcodec.lapped.model` has it, and identified alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import _version, errors
from sarcodec.files import sealed
from sarcodec.restoring import network
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import linear

FORMAT = "sarcodec variable-rate autoencoder"
LINEAR, CODER, RESTORER = "linear.", "coder.", "restorer."
KIND = sealed.Kind(FORMAT, 2, ("restorer", "rate_weight", "training"), "a variable-rate autoencoder")


@dataclass(frozen=True, eq=False)
class VariableModel:
    """All that the variable-rate autoencoder is trained.

    Parameters
    ----------
    transform : Overlapping
        The encoder, and the linear part of the decoder.
    coder : LatentCoder
        Symbols to bytes and back.
    restorer : Restorer
        The residual network that ends the decoder.
    rate_weight : float
        λ of the trellis search in squared steps per bit, with which it was trained.
    training : dict
        How it was trained (JSON values).
    identity : str
        16 hex digits of the file's SHA-256; ``""`` for one that was never saved.
    """

    transform: linear.Overlapping
    coder: latent_coder.LatentCoder
    restorer: network.Restorer
    rate_weight: float
    training: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""
    package_version: str = _version.__version__

    def __post_init__(self) -> None:
        counts = self.transform.count, self.coder.contexts.count
        if len(set(counts)) > 1:
            raise errors.FormatError(f"model: transform and coder have {counts} latents; they must agree")

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights of encoder and decoder by name."""
        transform = {LINEAR + name: array for name, array in self.transform.to_arrays().items()}
        return transform | {RESTORER + name: array for name, array in self.restorer.weights.items()}


def save(path: str | os.PathLike[str], model: VariableModel, *, overwrite: bool = False) -> str:
    """Write a model whole or not at all and return its identity; errors as :func:`atomic.output`."""
    record = {
        "restorer": model.restorer.config.to_dict(),
        "rate_weight": model.rate_weight,
        "training": dict(model.training),
    }
    coder = {CODER + name: array for name, array in model.coder.to_arrays().items()}
    return sealed.save(path, KIND, model.weights() | coder, record, model.package_version, overwrite=overwrite)


def load(path: str | os.PathLike[str], *, made: str = "") -> VariableModel:
    """Read a model; errors and ``made`` as of :func:`sealed.opened`."""
    with sealed.opened(path, KIND, made) as found:
        record = found.record
        weights = {name: value.astype(np.float32) for name, value in found.part(RESTORER).items()}
        return VariableModel(
            transform=linear.Overlapping.from_arrays(found.part(LINEAR)),
            coder=latent_coder.LatentCoder.from_arrays(found.part(CODER)),
            restorer=network.Restorer(network.RestorerConfig.from_dict(record["restorer"]), weights),
            rate_weight=float(record["rate_weight"]),
            training=dict(record["training"]),
            identity=found.identity,
            package_version=str(record["package_version"]),
        )
