"""Training the lapped codec: first the coefficient coder, then the restorer on what the coder decodes.

A run is a folder: ``images.npz`` (the prepared images), ``run.json`` (settings), ``coder.safetensors`` and
``pairs.npz`` (decoded training images) once the first stage is done, ``state.safetensors`` (restorer and optimiser,
to resume from), ``history.jsonl`` and, at the end, ``model.ckpt``. An interrupted run continues exactly: what is
drawn in a step follows from the seed and the step alone. Needs torch, NumPy, SciPy, constriction and safetensors;
no GDAL.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from sarcodec.entropy import scale
from sarcodec.files import atomic
from sarcodec.lapped import coefficients, pytorch, restorer, transform
from sarcodec.lapped import model as lapped_model
from sarcodec.runtime import devices
from sarcodec.training import coefficient_fit, level_fit, prepared_run, resumable
from sarcodec.training.prepared_run import Image

FIXED_STEPS = (1408, 1664, 1920, 2176, 2432)
"""Step indices of the validation: 0.7 to 11 dB."""

WORTHWHILE_DB = 0.1
"""The restorer is used at steps at which it gains that much PSNR on the validation images."""

PAIR_RANGE = 256 * 4, 256 * 10 + 128
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LappedConfig:
    """How to train. ``restorer_steps`` steps of ``batch`` crops of ``crop``² pixels, ``pairs`` decodings an image."""

    seed: int = 0
    rounds: int = 3
    fit_steps: int = 3000
    draws: int = 4
    pairs: int = 8
    channels: int = 64
    layers: int = 8
    cell: int = 4
    restorer_steps: int = 8000
    batch: int = 16
    crop: int = 128
    learning_rate: float = 1e-3
    save_minutes: float = 3.0


def start(folder: Path, images: Sequence[Image], config: LappedConfig) -> None:
    """Make a run; :func:`resume` trains it. InputError when the folder holds one, or images will not do."""
    prepared_run.begin(folder, images, config, config.crop, f"crops of {config.crop} pixels")


def resume(folder: Path, device: str = "cpu") -> Iterator[str]:
    """Train a run to its end from where it is; yields lines to show. Writes ``model.ckpt`` last."""
    config, images = prepared_run.read(folder, LappedConfig)
    train = [image for image in images if not image.validation]
    held_out = [image for image in images if image.validation]
    if not (folder / "coder.safetensors").exists():
        yield f"fitting the coder to {len(train)} images"
        coder = coefficient_fit.fit(
            [coefficient_fit.tiles_of(image.db) for image in train],
            seed=config.seed,
            rounds=config.rounds,
            steps=config.fit_steps,
            draws=config.draws,
        )
        tensors = {name: torch.from_numpy(array.copy()) for name, array in coder.to_arrays().items()}
        atomic.write_bytes(folder / "coder.safetensors", safetensors.torch.save(tensors))
    loaded = safetensors.torch.load((folder / "coder.safetensors").read_bytes())
    coder = coefficients.CoefficientCoder.from_arrays({name: value.numpy() for name, value in loaded.items()})
    if not (folder / "pairs.npz").exists():
        yield "decoding the images"
        _write_pairs(folder, coder, train, held_out, config)
    pairs = _Pairs(folder / "pairs.npz", train, held_out, config.cell)
    yield from _train_restorer(folder, coder, pairs, config, torch.device(device))


def decode(coder: coefficients.CoefficientCoder, image_db: FloatArray, index: int) -> tuple[FloatArray, int]:
    """Code an image and decode it without the restorer: (H, W) in dB about the median, and bytes."""
    tile = coefficient_fit.tiles_of(image_db)
    symbols = coder.quantise(tile, index, level_fit.RATE_WEIGHT)
    restored = transform.synthesise(coder.multiples(symbols, index) * np.float32(scale.step_db(index)))
    return restored[: image_db.shape[0], : image_db.shape[1]], len(coder.encode(symbols, index))


def _write_pairs(
    folder: Path,
    coder: coefficients.CoefficientCoder,
    train: Sequence[Image],
    held_out: Sequence[Image],
    config: LappedConfig,
) -> None:
    rng = np.random.default_rng((config.seed, 1))
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, image in enumerate(train):
        for draw in range(config.pairs):
            index = int(rng.integers(*PAIR_RANGE))
            arrays[f"train.{number}.{draw}.{index}"] = decode(coder, image.db, index)[0].astype(np.float16)
    bits = []
    for number, image in enumerate(held_out):
        for draw, index in enumerate(FIXED_STEPS):
            restored, size = decode(coder, image.db, index)
            arrays[f"val.{number}.{draw}.{index}"] = restored.astype(np.float16)
            bits.append(8 * size / image.db.size)
    arrays["bpp"] = np.reshape(bits, (len(held_out), -1)).mean(axis=0)
    with atomic.output(folder / "pairs.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


class _Pairs:
    """Original and decoded images about their medians."""

    def __init__(self, path: Path, train: Sequence[Image], held_out: Sequence[Image], cell: int) -> None:
        self._cell = cell
        originals = {"train": train, "val": held_out}
        self.train: list[tuple[FloatArray, npt.NDArray[np.float16], float]] = []
        self.val: list[tuple[FloatArray, npt.NDArray[np.float16], float]] = []
        with np.load(path, allow_pickle=False) as arrays:
            self.bpp = arrays["bpp"]
            for name in arrays.files:
                if name == "bpp":
                    continue
                split, number, _, index = name.split(".")
                db = originals[split][int(number)].db
                centred = db - np.float32(np.median(db))
                pair = centred, arrays[name], scale.step_db(int(index))
                (self.train if split == "train" else self.val).append(pair)
        sizes = np.array([original.size for original, _, _ in self.train], np.float64)
        self._share = sizes / sizes.sum()

    def batch(self, seed: int, step: int, count: int, crop: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw crops, flipped and turned at random: originals, decoded (N, 1, crop, crop), steps (N,) in dB."""
        rng = np.random.default_rng((seed, 2, step))
        chosen = rng.choice(len(self.train), count, p=self._share)
        originals: list[FloatArray] = []
        decoded: list[FloatArray] = []
        steps: list[float] = []
        for number in chosen:
            original, restored, step_db = self.train[number]
            top, left = (
                int(rng.integers(0, (side - crop) // self._cell + 1)) * self._cell for side in original.shape
            )
            turn, flip = int(rng.integers(4)), bool(rng.integers(2))
            for image, kept in ((original, originals), (restored, decoded)):
                part = np.rot90(image[top : top + crop, left : left + crop], turn)
                kept.append(np.ascontiguousarray(part[:, ::-1] if flip else part, np.float32))
            steps.append(step_db)
        stacked = (torch.from_numpy(np.stack(parts))[:, None] for parts in (originals, decoded))
        return (*stacked, torch.tensor(steps, dtype=torch.float32))  # type: ignore[return-value]


def _train_restorer(
    folder: Path, coder: coefficients.CoefficientCoder, pairs: _Pairs, config: LappedConfig, device: torch.device
) -> Iterator[str]:
    torch.manual_seed(config.seed)
    shape = restorer.RestorerConfig(config.channels, config.layers, config.cell)
    model = pytorch.Network(shape).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)

    def loss(step: int) -> torch.Tensor:
        originals, decoded, steps = (x.to(device) for x in pairs.batch(config.seed, step, config.batch, config.crop))
        with torch.autocast(device.type, torch.bfloat16, enabled=devices.has_bfloat16(device)):
            restored = model(decoded, steps)
        # relative to what there was to gain, so that every step size counts alike
        before = ((decoded - originals) ** 2).mean(dim=(1, 2, 3))
        after: torch.Tensor = ((restored - originals) ** 2).mean(dim=(1, 2, 3))
        return (after / before).mean()

    plan = resumable.Plan(config.restorer_steps, config.learning_rate, config.save_minutes, measured_every=250)
    yield from resumable.train(folder, model, optimizer, plan, loss, lambda: validate(model, pairs, device))
    last = resumable.last(folder)
    training = {"settings": asdict(config), "last": last}
    trained = lapped_model.LappedModel(
        coder, model.to_restorer(), level_fit.RATE_WEIGHT, training, worthwhile_below(last)
    )
    identity = lapped_model.save(folder / "model.ckpt", trained, overwrite=True)
    yield f"{folder / 'model.ckpt'}: model {identity}"


def validate(model: pytorch.Network, pairs: _Pairs, device: torch.device) -> dict[str, float]:
    """Measure validation images at the fixed steps.

    Returns
    -------
    dict of str to float
        By step in dB: ``bpp@Δ``, ``rmse@Δ`` in dB after the restorer, ``gain@Δ`` in dB of PSNR over none, and
        ``j@Δ``, bpp + 6.5·MSE/Δ².
    """
    found: dict[str, list[list[float]]] = {}
    for original, decoded, step in pairs.val:
        height, width = (side // model.config.cell * model.config.cell for side in original.shape)
        batch = torch.from_numpy(decoded[:height, :width].astype(np.float32))[None, None].to(device)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=devices.has_bfloat16(device)),
        ):
            restored = model(batch, torch.tensor([step], device=device))[0, 0].float().cpu().numpy()
        errors_db2 = [
            float(np.mean((x - original[:height, :width]) ** 2)) for x in (restored, batch[0, 0].cpu().numpy())
        ]
        found.setdefault(f"{step:.3g}", []).append(errors_db2)
    record: dict[str, float] = {}
    for (name, values), bpp in zip(found.items(), pairs.bpp, strict=True):
        after = float(np.mean([restored for restored, _ in values]))
        gain = float(np.mean([10 * math.log10(b / a) for a, b in values]))
        record |= {f"bpp@{name}": float(bpp), f"rmse@{name}": math.sqrt(after), f"gain@{name}": gain}
        record[f"j@{name}"] = float(bpp) + 6.5 * after / float(name) ** 2
    return record


def worthwhile_below(record: dict[str, float]) -> int:
    """Return the step index below which the gain of :func:`validate` is worthwhile, interpolated between steps."""
    gains = [value for name, value in record.items() if name.startswith("gain@")]
    below = FIXED_STEPS[0] if gains[0] < WORTHWHILE_DB else FIXED_STEPS[-1]
    for (left, before), (right, after) in itertools.pairwise(zip(FIXED_STEPS, gains, strict=True)):
        if before >= WORTHWHILE_DB > after:
            below = round(left + (right - left) * (before - WORTHWHILE_DB) / (before - after))
            break
    return below
