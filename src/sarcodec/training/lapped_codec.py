"""Training the lapped codec: first the coefficient coder, then the restorer on what the coder decodes.

A run is a folder: ``images.npz`` (the prepared images), ``run.json`` (settings), ``coder.safetensors`` once the first
stage is done, what :mod:`sarcodec.training.restoring` keeps and, at the end, ``model.ckpt``. An interrupted run
continues exactly. Needs torch, NumPy, SciPy, constriction and safetensors; no GDAL.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from sarcodec.entropy import scale
from sarcodec.lapped import coefficients, transform
from sarcodec.lapped import model as lapped_model
from sarcodec.training import coefficient_fit, level_fit, prepared_run, restoring, resumable
from sarcodec.training.prepared_run import Image
from sarcodec.training.restoring import FIXED_STEPS

WORTHWHILE_DB = 0.1
"""The restorer is used at steps at which it gains that much PSNR on the validation images, for it takes its time."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LappedConfig(restoring.Settings):
    """How to train: besides the restorer, rounds of fitting the coder, their steps, and draws of steps an image."""

    rounds: int = 3
    fit_steps: int = 3000
    draws: int = 4


def start(
    folder: Path, images: Sequence[Image], config: LappedConfig, coder: coefficients.CoefficientCoder | None = None
) -> None:
    """Make a run; :func:`resume` trains it. With a coder it is not fitted, and the restorer alone is trained.

    InputError when the folder holds a run, or images will not do.
    """
    prepared_run.begin(folder, images, config, config.crop, f"crops of {config.crop} pixels")
    if coder is not None:
        prepared_run.write_part(folder / "coder.safetensors", coder.to_arrays())


def resume(folder: Path, device: str = "cpu") -> Iterator[str]:
    """Train a run to its end from where it is; yields lines to show. Writes ``model.ckpt`` last."""
    config, images = prepared_run.read(folder, LappedConfig)
    if not (folder / "coder.safetensors").exists():
        train = [image for image in images if not image.validation]
        yield f"fitting the coder to {len(train)} images"
        fitted = coefficient_fit.fit(
            [coefficient_fit.tiles_of(image.db) for image in train],
            seed=config.seed,
            rounds=config.rounds,
            steps=config.fit_steps,
            draws=config.draws,
        )
        prepared_run.write_part(folder / "coder.safetensors", fitted.to_arrays())
    coder = coefficients.CoefficientCoder.from_arrays(safetensors.numpy.load_file(folder / "coder.safetensors"))
    network = yield from restoring.train(
        folder, lambda db, index: decode(coder, db, index), images, config, torch.device(device)
    )
    last = resumable.last(folder)
    training = {"settings": asdict(config), "last": last}
    trained = lapped_model.LappedModel(coder, network, level_fit.RATE_WEIGHT, training, worthwhile_below(last))
    identity = lapped_model.save(folder / "model.ckpt", trained, overwrite=True)
    yield f"{folder / 'model.ckpt'}: model {identity}"


def decode(coder: coefficients.CoefficientCoder, image_db: FloatArray, index: int) -> tuple[FloatArray, int]:
    """Code an image and decode it without the restorer: see :data:`restoring.Decode`."""
    tile = coefficient_fit.tiles_of(image_db)
    symbols = coder.quantise(tile, index, level_fit.RATE_WEIGHT)
    restored = transform.synthesise(coder.multiples(symbols, index) * np.float32(scale.step_db(index)))
    return restored[: image_db.shape[0], : image_db.shape[1]], len(coder.encode(symbols, index))


def worthwhile_below(record: dict[str, float]) -> int:
    """Return the step index below which the gain of a validation is worthwhile, interpolated between steps."""
    gains = [value for name, value in record.items() if name.startswith("gain@")]
    below = FIXED_STEPS[0] if gains[0] < WORTHWHILE_DB else FIXED_STEPS[-1]
    for (left, before), (right, after) in itertools.pairwise(zip(FIXED_STEPS, gains, strict=True)):
        if before >= WORTHWHILE_DB > after:
            below = round(left + (right - left) * (before - WORTHWHILE_DB) / (before - after))
            break
    return below
