"""What a model's latents hold before they are quantised, which is what linear bounds are to be compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.autoencoder import checkpoint, normalization
from sarcodec.autoencoder import engine as autoencoder_engine
from sarcodec.evaluation import chips, roundtrip
from sarcodec.metrics import summary

FILE = "floats.json"
NAME = "floats"


def measure(model: Path, images: Sequence[Path]) -> Iterator[roundtrip.Row]:
    """Encode and decode every band of every image with latents as they are.

    Yields
    ------
    Row
        Of codec ``floats`` and step 0; a latent of floats has no rate: bytes are 0 and bits per pixel infinite.
    """
    engine = autoencoder_engine.AutoencoderEngine(checkpoint.load(model), "cpu", "auto")
    for chip in chips.read(images):
        scaled, bounds = scale(engine, chip)
        height, width = scaled.shape
        restored = bounds.invert(engine.transform.decode(engine.transform.encode(scaled))[:height, :width])
        quality = summary.evaluate(chip.db, np.where(chip.valid, restored, np.nan), chip.valid)
        yield roundtrip.Row(chip.image, chip.band, NAME, 0, 0, math.inf, quality)


def scale(
    engine: autoencoder_engine.AutoencoderEngine, chip: chips.Chip
) -> tuple[npt.NDArray[np.float32], normalization.Bounds]:
    """Fill and scale a chip as the codec does; returns its bounds too."""
    polarisation, nodata = chip.info.polarisation(0), chip.info.nodata
    bounds = engine.model.normalizer.select_for(lambda: chip.pixels, chip.quantity, polarisation, nodata)
    return bounds.apply(radiometry.fill_with_mean(chip.db, chip.valid)), bounds
