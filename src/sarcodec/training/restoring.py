"""Training the restoring network of a codec for all rates, on what the codec makes of images at steps of all sizes.

In the folder of a run: ``pairs.npz`` (decoded images), ``state.safetensors`` (network and optimiser, to resume from)
and ``history.jsonl``. What is drawn in a step follows from the seed and the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sarcodec.entropy import scale
from sarcodec.files import atomic
from sarcodec.restoring import network, pytorch
from sarcodec.runtime import devices
from sarcodec.training import resumable
from sarcodec.training.prepared_run import Image

FIXED_STEPS = (1408, 1664, 1920, 2176, 2432)
"""Step indices of the validation: 0.7 to 11 dB."""

PAIR_RANGE = 256 * 4, 256 * 10 + 128
"""Step indices of the training: 0.25 to 23 dB."""

FloatArray = npt.NDArray[np.float32]
Decode = Callable[[FloatArray, int], tuple[FloatArray, int]]
"""Codes an image (H, W) in dB with a step index: what it decodes to, in dB about its median, and bytes."""


@dataclass(frozen=True)
class Settings:
    """How to train. ``restorer_steps`` steps of ``batch`` crops of ``crop``² pixels, ``pairs`` decodings an image."""

    seed: int = 0
    pairs: int = 8
    channels: int = 16
    layers: int = 6
    cell: int = 2
    restorer_steps: int = 8000
    batch: int = 16
    crop: int = 128
    learning_rate: float = 1e-3
    save_minutes: float = 3.0


def centred(db: FloatArray) -> FloatArray:
    """Return an image less its median."""
    found: FloatArray = db - np.float32(np.median(db))
    return found


def train(
    folder: Path, decode: Decode, images: Sequence[Image], settings: Settings, device: torch.device
) -> Generator[str, None, network.Restorer]:
    """Train to the end from where the run is; yields lines to show, and returns the network."""
    if not (folder / "pairs.npz").exists():
        yield "decoding the images"
        _write_pairs(folder / "pairs.npz", decode, images, settings)
    pairs = Pairs.read(folder / "pairs.npz", images)
    torch.manual_seed(settings.seed)
    shape = network.RestorerConfig(settings.channels, settings.layers, settings.cell)
    model = pytorch.Network(shape).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)

    def loss(step: int) -> torch.Tensor:
        originals, decoded, steps = (x.to(device) for x in pairs.batch(settings, step))
        with torch.autocast(device.type, torch.bfloat16, enabled=devices.has_bfloat16(device)):
            restored = model(decoded, steps)
        # relative to what there was to gain, so that every step size counts alike
        before = ((decoded - originals) ** 2).mean(dim=(1, 2, 3))
        after: torch.Tensor = ((restored - originals) ** 2).mean(dim=(1, 2, 3))
        return (after / before).mean()

    plan = resumable.Plan(settings.restorer_steps, settings.learning_rate, settings.save_minutes, measured_every=250)
    yield from resumable.train(folder, model, optimizer, plan, loss, lambda: validate(model, pairs, device))
    trained: network.Restorer = model.to_restorer()
    return trained


def _write_pairs(path: Path, decode: Decode, images: Sequence[Image], settings: Settings) -> None:
    rng = np.random.default_rng((settings.seed, 1))
    arrays: dict[str, npt.NDArray[Any]] = {}
    bits = []
    for number, image in enumerate(images):
        drawn = [] if image.validation else rng.integers(*PAIR_RANGE, settings.pairs).tolist()
        for draw, index in enumerate(FIXED_STEPS if image.validation else drawn):
            decoded, size = decode(image.db, index)
            arrays[f"{number}.{draw}.{index}"] = decoded.astype(np.float16)
            if image.validation:
                bits.append(8 * size / image.db.size)
    arrays["bpp"] = np.reshape(bits, (-1, len(FIXED_STEPS))).mean(axis=0)
    with atomic.output(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Pair:
    """An image (H, W) in dB about its median, what it decodes to, and the step in dB."""

    original: FloatArray
    decoded: npt.NDArray[np.float16]
    step_db: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """Those of training and of validation images; ``bpp`` of the latter at every one of :data:`FIXED_STEPS`."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    bpp: Sequence[float]

    @classmethod
    def read(cls, path: Path, images: Sequence[Image]) -> Pairs:
        """Read the decoded images of a run."""
        found: dict[bool, list[Pair]] = {False: [], True: []}
        originals = [centred(image.db) for image in images]
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                if name != "bpp":
                    number, _, index = map(int, name.split("."))
                    pair = Pair(originals[number], arrays[name], scale.step_db(index))
                    found[images[number].validation].append(pair)
            return cls(found[False], found[True], arrays["bpp"].tolist())

    def batch(self, settings: Settings, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw crops, flipped and turned at random: originals, decoded (N, 1, crop, crop), steps (N,) in dB."""
        rng, crop, cell = np.random.default_rng((settings.seed, 2, step)), settings.crop, settings.cell
        sizes = np.array([pair.original.size for pair in self.train], np.float64)
        originals: list[FloatArray] = []
        decoded: list[FloatArray] = []
        steps: list[float] = []
        for number in rng.choice(len(self.train), settings.batch, p=sizes / sizes.sum()):
            pair = self.train[number]
            top, left = (int(rng.integers(0, (side - crop) // cell + 1)) * cell for side in pair.original.shape)
            turn, flip = int(rng.integers(4)), bool(rng.integers(2))
            for image, kept in ((pair.original, originals), (pair.decoded, decoded)):
                part = np.rot90(image[top : top + crop, left : left + crop], turn)
                kept.append(np.ascontiguousarray(part[:, ::-1] if flip else part, np.float32))
            steps.append(pair.step_db)
        stacked = (torch.from_numpy(np.stack(parts))[:, None] for parts in (originals, decoded))
        return (*stacked, torch.tensor(steps, dtype=torch.float32))  # type: ignore[return-value]


def validate(model: pytorch.Network, pairs: Pairs, device: torch.device) -> dict[str, float]:
    """Measure validation images at the fixed steps.

    Returns
    -------
    dict of str to float
        By step in dB: ``bpp@Δ``, ``rmse@Δ`` in dB after the restorer, and ``gain@Δ`` in dB of PSNR over none.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs.validation:
        height, width = (side // model.config.cell * model.config.cell for side in pair.original.shape)
        batch = torch.from_numpy(pair.decoded[:height, :width].astype(np.float32))[None, None].to(device)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=devices.has_bfloat16(device)),
        ):
            restored = model(batch, torch.tensor([pair.step_db], device=device))[0, 0].float().cpu().numpy()
        original = pair.original[:height, :width]
        before, after = (float(np.mean((x - original) ** 2)) for x in (batch[0, 0].cpu().numpy(), restored))
        found.setdefault(f"{pair.step_db:.3g}", []).append((before, after))
    record: dict[str, float] = {}
    for (name, values), bpp in zip(found.items(), pairs.bpp, strict=True):
        gain = float(np.mean([10 * math.log10(before / after) for before, after in values]))
        rmse = math.sqrt(float(np.mean([after for _, after in values])))
        record |= {f"bpp@{name}": bpp, f"rmse@{name}": rmse, f"gain@{name}": gain}
    return record
