"""Make the 8-bit network that is shipped beside a lapped model, of the images of its training run.

    python benchmarks/quantise_restorer.py --run runs/lapped -o src/sarcodec/weights/lapped64.onnx

prints the SHA-256 for ``sarcodec.files.integrity.NETWORKS``. With ``--images`` it also measures what is lost by it,
and with ``--speed`` the time that a tile takes in every way there is to run the network.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sarcodec import radiometry
from sarcodec.entropy import scale
from sarcodec.evaluation import chips
from sarcodec.lapped import coefficients, restorer
from sarcodec.lapped import model as lapped_model
from sarcodec.scene import model_store
from sarcodec.training import lapped_codec, prepared_run, quantisation

STEPS_DB = 0.7, 1.0, 1.4, 2.0
"""At which the network is used."""
MEASURED_DB = *STEPS_DB, 3.5
CROP = 256
TILE = 1088


def index_of(step_db: float) -> int:
    """Return the step index nearest to a step in dB."""
    return round(scale.STEPS_PER_OCTAVE * np.log2(64 * step_db))


def examples(coder: coefficients.CoefficientCoder, run: Path) -> Iterator[quantisation.Example]:
    """Decode the middle of every training image at every step."""
    for image in prepared_run.read_images(run / "images.npz"):
        if not image.validation:
            top, left = ((side - CROP) // 2 for side in image.db.shape)
            for step in map(index_of, STEPS_DB):
                crop = image.db[top : top + CROP, left : left + CROP]
                yield lapped_codec.decode(coder, crop, step)[0], scale.step_db(step)


def measure(model: lapped_model.LappedModel, quantised: bytes, images: Sequence[Path]) -> None:
    """Print what the network changes, how far that in integers is from it, and what both gain in PSNR."""
    exact = restorer.start(model.restorer, None, "cpu", "float32")
    integer = restorer.start(model.restorer, quantised, "cpu", "auto")
    print("step dB   changes (RMS dB)   off RMS (share)   off most   gain float32   gain integer")
    found = [chip for chip in chips.read(images) if chip.valid.any()]
    for step in map(index_of, MEASURED_DB):
        rows = []
        for chip in found:
            db = radiometry.fill_with_mean(chip.db, chip.valid)[:512, :512]
            db = db[: db.shape[0] // 64 * 64, : db.shape[1] // 64 * 64]
            decoded = lapped_codec.decode(model.coder, db, step)[0]
            a, b = (run(decoded, scale.step_db(step)) for run in (exact, integer))
            errors = [float(np.mean((x - (db - np.median(db))) ** 2)) for x in (decoded, a, b)]
            gains = [10 * np.log10(errors[0] / error) for error in errors[1:]]
            rows.append([np.mean((a - decoded) ** 2), np.mean((a - b) ** 2), np.abs(a - b).max(), *gains])
        change, off, _, *gains = np.mean(rows, axis=0)
        most = np.max(rows, axis=0)[2]
        print(
            f"{scale.step_db(step):7.2f} {change**0.5:18.4f} {off**0.5:10.4f} ({(off / change) ** 0.5:.3f}) "
            f"{most:10.2f} {gains[0]:14.3f} {gains[1]:14.3f}"
        )


def speed(model: lapped_model.LappedModel, quantised: bytes, rounds: int = 9) -> None:
    """Print Mpx/s of a tile with margins, the best of rounds that take turns."""
    import torch

    from sarcodec.lapped import pytorch

    pixels = np.random.default_rng(0).normal(0, 3, (TILE, TILE)).astype(np.float32)
    ways = {
        "PyTorch, float32": pytorch.Running(pytorch.Network.of(model.restorer), "cpu", "float32"),
        "ONNX Runtime, float32": restorer.start(model.restorer, None, "cpu", "float32"),
        "ONNX Runtime, 8 bits": restorer.start(model.restorer, quantised, "cpu", "auto"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            begun = time.perf_counter()
            run(pixels, 1.4)
            taken[name].append(time.perf_counter() - begun)
    for name, times in taken.items():
        print(f"{name}: {pixels.size / min(times[1:]) / 1e6:.2f} Mpx/s, {torch.get_num_threads()} threads")


def main() -> None:
    """Quantise, write and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/lapped"))
    parser.add_argument("--model", help="a checkpoint, or a shipped model's name; the run's own where left out")
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True, help="written where it is not there")
    arguments = parser.parse_args()
    model = model_store.load_model(arguments.model or arguments.run / "model.ckpt")
    if not isinstance(model, lapped_model.LappedModel):
        parser.error("--model: is no lapped model")
    if not arguments.output.exists():
        arguments.output.write_bytes(quantisation.quantise(model.restorer, examples(model.coder, arguments.run)))
    quantised = arguments.output.read_bytes()
    print(f"{arguments.output}: {len(quantised):,} bytes, SHA-256 {hashlib.sha256(quantised).hexdigest()}")
    if arguments.images:
        measure(model, quantised, arguments.images)
    if arguments.speed:
        speed(model, quantised)


if __name__ == "__main__":
    main()
