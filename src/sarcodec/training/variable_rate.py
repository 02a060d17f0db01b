"""Training the variable-rate autoencoder: linear transform, then latent coder, then restoring network.

A run is a folder: ``images.npz`` (the prepared images), ``run.json`` (settings), ``linear.safetensors`` and
``coder.safetensors`` once they are fitted, what :mod:`sarcodec.training.restoring` keeps and, at the end,
``model.ckpt``. An interrupted run continues: stages that are done stay, and the network goes on exactly. No GDAL is
needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from sarcodec.entropy import scale
from sarcodec.training import latent_fit, level_fit, overlapping, prepared_run, restoring, resumable
from sarcodec.training.prepared_run import Image
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import linear
from sarcodec.variable import model as variable_model

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VariableRateConfig(restoring.Settings):
    """How to train: besides the restorer, latents of a block stage by stage, and the fits of transform and coder."""

    stages: Sequence[int] = (64, 64)
    linear_steps: int = 2000
    rounds: int = 3
    fit_steps: int = 1500
    draws: int = 3


def start(
    folder: Path,
    images: Sequence[Image],
    config: VariableRateConfig,
    parts: tuple[linear.Overlapping, latent_coder.LatentCoder] | None = None,
) -> None:
    """Make a run; :func:`resume` trains it. With transform and coder these stay, and the restorer alone is trained.

    InputError when the folder holds a run, or images will not do.
    """
    least = max(overlapping.CROP, config.crop)
    prepared_run.begin(folder, images, config, least, f"{least}×{least} pixels")
    if parts is not None:
        prepared_run.write_part(folder / "linear.safetensors", parts[0].to_arrays())
        prepared_run.write_part(folder / "coder.safetensors", parts[1].to_arrays())


def resume(folder: Path, device: str = "cpu") -> Iterator[str]:
    """Train a run to its end from where it is; yields lines to show. Writes ``model.ckpt`` last."""
    config, images = prepared_run.read(folder, VariableRateConfig)
    train = [restoring.centred(image.db) for image in images if not image.validation]
    if not (folder / "linear.safetensors").exists():
        for found in overlapping.fit(train, config.stages, config.linear_steps, config.seed):
            if isinstance(found, linear.Overlapping):
                prepared_run.write_part(folder / "linear.safetensors", found.to_arrays())
            else:
                yield found
    transform = linear.Overlapping.from_arrays(safetensors.numpy.load_file(folder / "linear.safetensors"))
    if not (folder / "coder.safetensors").exists():
        yield f"fitting the coder to {len(train)} images"
        tiles = [transform.analyse(linear.whole_blocks(image)) for image in train]
        fitted = latent_fit.fit(
            tiles, seed=config.seed, rounds=config.rounds, steps=config.fit_steps, draws=config.draws
        )
        prepared_run.write_part(folder / "coder.safetensors", fitted.to_arrays())
    coder = latent_coder.LatentCoder.from_arrays(safetensors.numpy.load_file(folder / "coder.safetensors"))
    network = yield from restoring.train(
        folder, lambda db, index: decode(transform, coder, db, index), images, config, torch.device(device)
    )
    training = {"settings": asdict(config), "last": resumable.last(folder)}
    trained = variable_model.VariableModel(transform, coder, network, level_fit.RATE_WEIGHT, training)
    identity = variable_model.save(folder / "model.ckpt", trained, overwrite=True)
    yield f"{folder / 'model.ckpt'}: model {identity}"


def decode(
    transform: linear.Overlapping, coder: latent_coder.LatentCoder, image_db: FloatArray, index: int
) -> tuple[FloatArray, int]:
    """Code an image and decode it without the restorer: see :data:`restoring.Decode`."""
    whole = linear.continued(restoring.centred(image_db))
    symbols = coder.quantise(transform.analyse(whole), index, level_fit.RATE_WEIGHT)
    restored = transform.synthesise(coder.multiples(symbols, index) * np.float32(scale.step_db(index)))
    return restored[: image_db.shape[0], : image_db.shape[1]], len(coder.encode(symbols, index))
