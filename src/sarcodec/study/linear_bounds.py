"""What linear codes of as many numbers reach: bounds fitted on training images.

Kept in ``linear.json`` of a study: PSNR on [0, 1] over the validation patches by bound and coefficients kept, as a
training measures its own. What they reach on test images stands among the peers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sarcodec.evaluation import bounds, chips, lapped_bound
from sarcodec.files import atomic
from sarcodec.study import fields
from sarcodec.training import patches

FILE = "linear.json"
KLT, OVERLAPPING = "klt16", "lapped"
NAMES = (KLT, OVERLAPPING)
KEPT = (4, 8, 16, 32, 64)
"""Coefficients of 256 that linear codes keep: latent ratios 64, 32, 16, 8 and 4."""

Validation = Mapping[tuple[str, int], float]


class Linear(Protocol):
    """A linear code that keeps some of every 256 coefficients at unlimited precision."""

    def approximate(
        self, image_db: npt.NDArray[Any], kept: int, valid: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """Restore an image (H, W) in dB."""
        ...


def fit(images: Sequence[Path]) -> dict[str, tuple[Linear, str]]:
    """Fit the linear bounds on every band of the training images; each with a digest of what it is."""
    found = list(chips.read(images))
    klt = bounds.Klt.fit(chip.db for chip in found)
    overlapping = lapped_bound.LappedBound.fit(chip.db for chip in found)
    return {KLT: (klt, digest(klt.basis)), OVERLAPPING: (overlapping, digest(overlapping.order))}


def digest(values: npt.NDArray[Any]) -> str:
    """Return 16 hex digits of the SHA-256 of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def measure_validation(folder: Path, patch_folder: Path, linear: Mapping[str, tuple[Linear, str]]) -> None:
    """Write ``linear.json``: what the bounds reach on the validation patches of a patch set; once for each bound."""
    path = folder / FILE
    known = fields.read_record(path) if path.exists() else {}
    wanted = {name: code for name, (_, code) in linear.items()}
    if known.get("digests") == wanted:
        return
    val = patches.PatchSet(patch_folder, "val")
    everywhere = np.ones((val.manifest.config.size,) * 2, bool)
    scaled = [val.scaled(index) for index in range(len(val))]
    spans = [val.manifest.normalizer.bounds[val.locate(index)[0].key].span for index in range(len(val))]
    measured: dict[str, dict[str, float]] = {}
    for name, (code, _) in linear.items():
        for kept in KEPT:
            errors = [
                np.square(code.approximate(patch * span, kept, everywhere) / span - patch).mean()
                for patch, span in zip(scaled, spans, strict=True)
            ]
            measured.setdefault(name, {})[str(kept)] = -10 * math.log10(float(np.mean(errors)))
    record = {"digests": wanted, "validation_psnr": measured}
    atomic.write_bytes(path, (json.dumps(record, indent=1) + "\n").encode(), overwrite=True)


def read_validation(folder: Path) -> Validation:
    """Return PSNR on [0, 1] in dB by bound and coefficients kept; empty before it was measured."""
    path = folder / FILE
    if not path.exists():
        return {}
    measured: dict[tuple[str, int], float] = {}
    record = fields.read_record(path)
    with fields.reading(path):
        found = fields.mapping(record, "validation_psnr")
        for name in found:
            by_kept = fields.mapping(found, name)
            measured |= {(name, int(kept)): fields.number(by_kept, kept) for kept in by_kept}
    return measured
