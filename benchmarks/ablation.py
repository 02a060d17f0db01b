"""What each part of the lapped codec brings: BD-rate against JPEG 2000 on validation places, part by part.

Every variant of the coder is fitted anew, briefly and alike, to the training images of a run of ``train-lapped``, and
codes its validation images; bytes are those of the symbols. The restoring network is that of a finished model.

    python benchmarks/ablation.py --run runs/lapped -o docs/results/ablation.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from sarcodec import baselines
from sarcodec.entropy import network as integer_network
from sarcodec.entropy import scale, trellis
from sarcodec.evaluation import bdrate
from sarcodec.lapped import model as lapped_model
from sarcodec.lapped import transform
from sarcodec.lapped.coefficients import CoefficientCoder
from sarcodec.restoring import pytorch
from sarcodec.training import coefficient_fit, level_fit, prepared_run

STEPS = range(1440, 2561, 224)
PEER_RATES = (0.08, 0.15, 0.3, 0.6, 1.0, 1.5, 2.1)
Curve = tuple[list[float], list[float]]


def psnr(restored: np.ndarray, original: np.ndarray) -> float:
    """PSNR with the peak of 30 dB."""
    return float(20 * np.log10(30 / np.sqrt(np.mean((restored - original) ** 2))))


def curve(coder: CoefficientCoder, image_db: np.ndarray, weight: float, network: torch.nn.Module | None) -> Curve:
    """Bits per pixel and PSNR of an image at all steps."""
    tile = coefficient_fit.tiles_of(image_db)
    centred = image_db - np.float32(np.median(image_db))
    bpp, quality = [], []
    for index in STEPS:
        step = scale.step_db(index)
        symbols = coder.quantise(tile, index, weight)
        decoded = transform.synthesise(coder.multiples(symbols, index) * np.float32(step))
        if network is not None:
            with torch.inference_mode():
                decoded = network(torch.from_numpy(decoded)[None, None], torch.tensor([step]))[0, 0].numpy()
        height, width = image_db.shape
        bpp.append(8 * len(coder.encode(symbols, index)) / image_db.size)
        quality.append(psnr(decoded[:height, :width], centred))
    return bpp, quality


def peer_curve(image_db: np.ndarray) -> Curve:
    """Bits per pixel and PSNR of JPEG 2000."""
    valid = np.ones(image_db.shape, bool)
    found = [
        baselines.restore(baselines.PEERS["jpeg2000"], image_db, valid, int(rate * image_db.size / 8))
        for rate in PEER_RATES
    ]
    return [8 * used / image_db.size for _, used in found], [psnr(restored, image_db) for restored, _ in found]


@contextlib.contextmanager
def without_neighbours() -> Iterator[None]:
    """Let the network see only the spread in training and the place."""
    inputs, network = coefficient_fit._inputs, level_fit.LevelModel.network

    def blind_inputs(*arguments: Any) -> np.ndarray:
        found = inputs(*arguments)
        found[:5] = 0
        return found

    def blind_network(self: Any) -> integer_network.IntegerNetwork:
        made = network(self)
        made.weights[0][:, :5] = 0
        return made

    with (
        mock.patch.object(coefficient_fit, "_inputs", blind_inputs),
        mock.patch.object(level_fit.LevelModel, "network", blind_network),
    ):
        yield


def without_lapping() -> contextlib.AbstractContextManager[Any]:
    """Transform blocks on their own."""
    return mock.patch.object(transform, "_prefilter", lambda: np.eye(2 * transform.REACH, dtype=np.float32))


def scalar() -> contextlib.AbstractContextManager[Any]:
    """Never leave state 0: one uniform quantiser, rate-distortion optimised."""
    return mock.patch.object(trellis, "NEXT", np.zeros_like(trellis.NEXT))


VARIANTS: dict[str, tuple[Any, float, bool]] = {
    "all parts": (contextlib.nullcontext, level_fit.RATE_WEIGHT, True),
    "no restoring network": (contextlib.nullcontext, level_fit.RATE_WEIGHT, False),
    "nor simulated training data": (contextlib.nullcontext, level_fit.RATE_WEIGHT, False),
    "nor weighing of bits (λ = 0)": (contextlib.nullcontext, 0.0, False),
    "a scalar quantiser for the trellis": (scalar, level_fit.RATE_WEIGHT, False),
    "nor neighbours as context": (without_neighbours, level_fit.RATE_WEIGHT, False),
    "nor lapping": (without_lapping, level_fit.RATE_WEIGHT, False),
}
"""How each variant changes the code, its λ, and whether it restores.

All but the first are without the restoring network: each is to be compared with the second.
"""


def measure(
    name: str, images: Sequence[prepared_run.Image], network: torch.nn.Module, peers: Sequence[Curve]
) -> list[float]:
    """Fit a variant and return its BD-rate on every validation image."""
    change, weight, restores = VARIANTS[name]
    with change():
        chosen = [
            i for i in images if not i.validation and not ("simulated" in name and i.name.startswith("simulated"))
        ]
        tiles = [coefficient_fit.tiles_of(image.db) for image in chosen]
        coder = coefficient_fit.fit(tiles, rounds=2, steps=1000, draws=1)
        held_out = [image for image in images if image.validation]
        found = []
        for image, peer in zip(held_out, peers, strict=True):
            ours = curve(coder, image.db, weight, network if restores else None)
            rate = bdrate.bd_rate(*peer, *ours)
            found.append(float("nan") if rate is None else rate)
    return found


def main() -> None:
    """Measure, print and write JSON after every variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/lapped"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    images = prepared_run.read_images(arguments.run / "images.npz")
    network = pytorch.Network.of(lapped_model.load(arguments.run / "model.ckpt").restorer)
    peers = [peer_curve(image.db) for image in images if image.validation]
    names = [image.name for image in images if image.validation]
    result: dict[str, Any] = {"images": names, "bd_rate_to_jpeg2000": {}}
    for name in VARIANTS:
        found = measure(name, images, network, peers)
        result["bd_rate_to_jpeg2000"][name] = {"mean": float(np.mean(found)), "images": found}
        print(f"{np.mean(found):+7.2f} %  {name}", flush=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
