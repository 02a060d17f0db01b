"""The variable-rate autoencoder beside the default codec and its peers on real images, every byte counted.

    python benchmarks/residual64.py [--model residual64] [--images ../shared/data/test] [--tables]

    python benchmarks/residual64.py --ablation runs/residual64

Writes residual64_test.csv, real files of every band, and residual64_test.md into docs/results: BD-rates from 0.1 to 1
bit per pixel against the default codec and the peers of codec_test.csv, with the restoring network and without, and
with further searches for the symbols. With --ablation, residual64_ablation.json: what parts of the coding bring,
symbols alone, on validation images of a run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import ablation
import codec_tables
import numpy as np
import safetensors.numpy

from sarcodec.codec import codec
from sarcodec.entropy import network as integer_network
from sarcodec.entropy import scale
from sarcodec.evaluation import bdrate, chips, roundtrip
from sarcodec.metrics import summary
from sarcodec.raster import find
from sarcodec.scene import model_store
from sarcodec.study import rows
from sarcodec.training import latent_fit, level_fit, prepared_run, restoring
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import contexts, linear

STEPS = range(1408, 2561, 96)
"""Step indices, 0.7 to 16 dB."""
LIMITS = 0.1, 1.0
OURS = "residual64"
PARTS = {
    OURS: (True, 1, "mean"),
    "linear decoder": (False, 1, "mean, without the restoring network"),
    "effort 2": (True, 2, "mean, at `--effort 2`"),
    "effort 4": (True, 4, "mean, at `--effort 4`"),
}
"""Curves by name: whether the network decodes, the effort, and what the page calls the mean."""
OTHERS = {"jpeg2000": "JPEG 2000", "jpegxl": "JPEG XL", "hevc": "HEVC intra", codec_tables.OURS: "lapped64"}


def measure(coder: codec.Codec, name: str, effort: int, chip: chips.Chip) -> Iterator[roundtrip.Row]:
    """Go from fine to coarse steps."""
    for step in STEPS:
        restored, used = chips.restore(chip, coder, step, effort=effort)
        bpp = 8 * used / chip.db.size
        yield roundtrip.Row(
            chip.image, chip.band, name, step, used, bpp, summary.evaluate(chip.db, restored, chip.valid)
        )


@contextlib.contextmanager
def without_neighbours() -> Iterator[None]:
    """Let the networks see only the spread in training and the number."""
    samples, network = latent_fit._samples, level_fit.LevelModel.network

    def blind_samples(*arguments: Any) -> level_fit.Samples:
        found = samples(*arguments)
        found.inputs[:, : contexts.NEIGHBOURS] = 0
        return found

    def blind_network(self: Any) -> integer_network.IntegerNetwork:
        made = network(self)
        made.weights[0][:, : contexts.NEIGHBOURS] = 0
        return made

    with (
        mock.patch.object(latent_fit, "_samples", blind_samples),
        mock.patch.object(level_fit.LevelModel, "network", blind_network),
    ):
        yield


CODINGS: dict[str, Any] = {
    "all parts": contextlib.nullcontext,
    "a scalar quantiser for the trellis": ablation.scalar,
    "no neighbours as context": without_neighbours,
}
"""How each variant changes the coding; all decode by the linear part, and are fitted anew, briefly and alike."""


def measure_codings(run: Path) -> dict[str, dict[str, Any]]:
    """Return BD-rates against JPEG 2000 of every coding on the validation images."""
    transform = linear.Overlapping.from_arrays(safetensors.numpy.load_file(run / "linear.safetensors"))
    images = prepared_run.read_images(run / "images.npz")
    held_out = [image for image in images if image.validation]
    peers = [ablation.peer_curve(image.db) for image in held_out]
    training = [restoring.centred(image.db) for image in images if not image.validation]
    tiles = [transform.analyse(linear.whole_blocks(image)) for image in training]
    found: dict[str, dict[str, Any]] = {}
    for name, change in CODINGS.items():
        with change():
            coder = latent_fit.fit(tiles, rounds=2, steps=400, draws=1)
            values = []
            for image, peer in zip(held_out, peers, strict=True):
                ours = coding_curve(transform, coder, linear.whole_blocks(restoring.centred(image.db)))
                values.append(bdrate.bd_rate(*peer, *ours, LIMITS))
        found[name] = {"mean": float(np.mean(values)), "images": values}
        print(f"{found[name]['mean']:+7.2f} %  {name}", flush=True)
    return found


def coding_curve(
    transform: linear.Overlapping, coder: latent_coder.LatentCoder, image: np.ndarray
) -> tuple[list[float], list[float]]:
    """Bits per pixel and PSNR of an image at all steps."""
    latents = transform.analyse(image)
    bpp, quality = [], []
    for step in STEPS:
        symbols = coder.quantise(latents, step, level_fit.RATE_WEIGHT)
        decoded = transform.synthesise(coder.multiples(symbols, step) * np.float32(scale.step_db(step)))
        bpp.append(8 * len(coder.encode(symbols, step)) / image.size)
        quality.append(ablation.psnr(decoded, image))
    return bpp, quality


def measure_all(model: str, images: Sequence[Path]) -> Iterator[roundtrip.Row]:
    """Measure every part on every band."""
    for name, (restorer, effort, _) in PARTS.items():
        coder = model_store.open_codec(model, restorer=restorer)
        for chip in chips.read(find.find_images(images)):
            yield from measure(coder, name, effort, chip)
            print(f"{name}: {chip.name}", flush=True)


def against(
    ours: Sequence[roundtrip.Row], theirs: Sequence[roundtrip.Row], name: str, other: str
) -> dict[str, float]:
    """Return BD-rates in per cent by image."""
    found = {}
    for image in codec_tables.images_of(ours):
        figures = []
        for points in (codec_tables.curve(theirs, other, image), codec_tables.curve(ours, name, image)):
            figures += [[rows.figure(row, column) for row in points] for column in ("bits_per_pixel", "psnr_db")]
        value = bdrate.bd_rate(*figures, limits=LIMITS)
        if value is not None:
            found[" ".join(image)] = value
    return found


def table(ours: Sequence[roundtrip.Row], theirs: Sequence[roundtrip.Row]) -> str:
    """Return the page."""
    lines = [
        "## The variable-rate autoencoder against peers",
        "",
        "Bytes of whole files; negative where the autoencoder needs fewer.",
        "",
        f"| BD-rate, {LIMITS[0]}–{LIMITS[1]:g} bpp | {' | '.join(OTHERS.values())} |",
        f"| --- |{' ---: |' * len(OTHERS)}",
    ]
    for name, (_, _, said) in PARTS.items():
        found = {other: against(ours, theirs, name, other) for other in OTHERS}
        if name == OURS:
            for image in found["jpeg2000"]:
                figures = (f"{found[other][image]:+.1f} %".replace("-", "−") for other in OTHERS)
                lines.append(f"| {image} | {' | '.join(figures)} |")
        means = (f"**{np.mean(list(found[other].values())):+.1f} %**".replace("-", "−") for other in OTHERS)
        lines.append(f"| **{said}** | {' | '.join(means)} |")
    found = {other: against(theirs, theirs, codec_tables.OURS, other) for other in codec_tables.PEERS}
    means = (f"{np.mean(list(values.values())):+.1f} %".replace("-", "−") for values in found.values())
    return "\n".join([*lines, f"| mean of lapped64 | {' | '.join(means)} | |"]) + "\n"


def main() -> None:
    """Measure, and write rows and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="residual64")
    parser.add_argument("--images", nargs="+", type=Path, default=[Path("../shared/data/test")])
    parser.add_argument("--folder", type=Path, default=Path("docs/results"))
    parser.add_argument("--tables", action="store_true", help="make the page from rows measured before")
    parser.add_argument("--ablation", type=Path, metavar="RUN")
    arguments = parser.parse_args()
    if arguments.ablation:
        text = json.dumps({"bd_rate_to_jpeg2000": measure_codings(arguments.ablation)}, indent=1)
        (arguments.folder / "residual64_ablation.json").write_text(text + "\n", encoding="utf-8")
        return
    measured = arguments.folder / "residual64_test.csv"
    if not arguments.tables:
        codec_tables.write_rows(measured, list(measure_all(arguments.model, arguments.images)))
    text = table(codec_tables.read_rows(measured), codec_tables.read_rows(Path("docs/results") / "codec_test.csv"))
    (arguments.folder / "residual64_test.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
