"""Checkpoints: one safetensors file with weights, entropy tables and a JSON record. No pickle anywhere.

The record stands in the safetensors metadata under ``"sarcodec"``, with a digest of all that is in the file, which is
checked before anything is used (:mod:`sarcodec.files.integrity`). A checkpoint is identified by the SHA-256 of its
bytes; a ``.sarc`` file names the model it was made by with the first 16 hex digits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import safetensors
import safetensors.torch
import torch

from sarcodec import _version, errors
from sarcodec.autoencoder import architecture, latents, network, normalization, variants
from sarcodec.files import atomic, integrity, modelfile

VERSION = 1
WEIGHTS, TABLES, STATE = "model.", "entropy.", "state."
RECORD = ("format", "version", "package_version", "config", "normalizer", "training", "metrics")
"""Entries of the record besides the digest."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that is needed to use it, or to train on.

    Parameters
    ----------
    config : ModelConfig
        Architecture.
    normalizer : Normalizer
        Fitted on its training images.
    weights : dict of str to Tensor
        State of the autoencoder.
    tables : dict of str to Tensor
        Entropy coding: see :meth:`sarcodec.autoencoder.latents.LatentCoder.to_arrays`; empty before calibration.
    training : dict
        Training configuration and history (JSON values).
    metrics : dict
        What was measured on the validation patches (JSON values).
    state : dict of str to Tensor
        Optimiser state, in checkpoints to resume from only.
    identity : str
        16 hex digits of the file's SHA-256; ``""`` for one that was never saved.
    """

    config: architecture.ModelConfig
    normalizer: normalization.Normalizer
    weights: Mapping[str, torch.Tensor]
    tables: Mapping[str, torch.Tensor] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)
    identity: str = ""
    package_version: str = _version.__version__

    def build(self) -> network.Autoencoder:
        """Return the autoencoder with these weights, in float32 and evaluation mode."""
        with torch.device("meta"):  # a foreign file must not take memory by a large configuration
            model = variants.build(self.config)
        weights = {
            name: value.float().clone() if value.is_floating_point() else value.clone()
            for name, value in self.weights.items()
        }
        try:
            model.load_state_dict(weights, assign=True)
        except RuntimeError as cause:
            raise errors.FormatError(
                f"checkpoint: its weights do not fit its architecture {self.config.arch!r} ({errors.plain(cause)})"
            ) from cause
        return model.eval()

    def coder(self) -> latents.LatentCoder:
        """Return the entropy coder; FormatError when the model was never calibrated."""
        if not self.tables:
            raise errors.FormatError(
                "checkpoint: has no entropy tables yet; run 'sarcodec calibrate' with its patch set"
            )
        coder = latents.LatentCoder.from_arrays({name: value.numpy() for name, value in self.tables.items()})
        if coder.steps.size != self.config.latent_channels:
            raise errors.FormatError(
                f"checkpoint: its entropy tables are for {coder.steps.size} latent channels, "
                f"its architecture has {self.config.latent_channels}"
            )
        return coder


def save(path: str | os.PathLike[str], checkpoint: Checkpoint, *, overwrite: bool = False) -> str:
    """Write a checkpoint whole or not at all and return its identity; errors as :func:`atomic.output`."""
    record = {
        "format": "sarcodec checkpoint",
        "version": VERSION,
        "package_version": checkpoint.package_version,
        "config": checkpoint.config.to_dict(),
        "normalizer": checkpoint.normalizer.to_dict(),
        "training": dict(checkpoint.training),
        "metrics": dict(checkpoint.metrics),
    }
    tensors = {
        prefix + name: value.detach().cpu().contiguous()
        for prefix, group in (
            (WEIGHTS, checkpoint.weights),
            (TABLES, checkpoint.tables),
            (STATE, checkpoint.state),
        )
        for name, value in group.items()
    }
    sealed = json.dumps(integrity.seal(_arrays(tensors), record), sort_keys=True)
    data = safetensors.torch.save(tensors, {"sarcodec": sealed})
    atomic.write_bytes(path, data, overwrite=overwrite)
    return modelfile.identify(data)


def load(path: str | os.PathLike[str], *, made: str = "") -> Checkpoint:
    """Read a checkpoint.

    ``made`` is the identity of the model that made a file, where it is to read that: it vouches for a checkpoint
    without a digest, of which a line of warning is logged else.

    Raises
    ------
    FormatError
        When the file is missing, foreign, truncated, altered or of a newer version.
    """
    source = Path(path)
    data = modelfile.read_bytes(source)
    try:
        record = json.loads(modelfile.metadata(data)["sarcodec"])
        if (record["format"], record["version"]) != ("sarcodec checkpoint", VERSION):
            raise errors.FormatError(
                f"checkpoint {source}: is {record['format']!r} version {record['version']!r}; this package "
                f"reads 'sarcodec checkpoint' version {VERSION}, a newer one needs a newer sarcodec"
            )
        tensors, identity = safetensors.torch.load(data), modelfile.identify(data)
        integrity.check(_arrays(tensors), record, integrity.Told(str(source), identity, made), RECORD)
        return Checkpoint(
            config=architecture.ModelConfig.from_dict(record["config"]),
            normalizer=normalization.Normalizer.from_dict(record["normalizer"]),
            weights=_group(tensors, WEIGHTS),
            tables=_group(tensors, TABLES),
            training=dict(record["training"]),
            metrics=dict(record["metrics"]),
            state=_group(tensors, STATE),
            identity=identity,
            package_version=str(record["package_version"]),
        )
    except errors.SarcodecError:
        raise
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError) as cause:
        raise errors.FormatError(
            f"checkpoint {source}: not a sarcodec checkpoint, or damaged ({errors.plain(cause)})"
        ) from cause


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


def _group(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
