"""Training the variable-rate autoencoder: linear transform, then latent coder, then decoder network.

A run is a folder: ``images.npz`` (the prepared images), ``run.json`` (settings), ``linear.safetensors`` and
``coder.safetensors`` once they are fitted, ``pairs.npz`` (training images as the coder leaves their latents),
``state.safetensors`` (network and optimiser, to resume from), ``history.jsonl`` and, at the end, ``model.ckpt``. An
interrupted run continues: stages that are done stay, and the network goes on exactly. No GDAL is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn

from sarcodec.entropy import scale
from sarcodec.files import atomic
from sarcodec.runtime import devices
from sarcodec.training import decoder_network, latent_fit, level_fit, overlapping, prepared_run, resumable
from sarcodec.training.lapped_codec import FIXED_STEPS
from sarcodec.training.prepared_run import Image
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import decoder, linear
from sarcodec.variable import model as variable_model
from sarcodec.variable.linear import BLOCK

PAIR_RANGE = 1400, 2512
"""Step indices of the training: 0.7 to 14 dB."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VariableRateConfig:
    """How to train: latents of a block stage by stage, network, and optimiser.

    ``network_steps`` steps of ``batch`` windows of ``window``² blocks, of ``pairs`` codings of every image.
    """

    seed: int = 0
    stages: Sequence[int] = (64, 64)
    linear_steps: int = 2000
    rounds: int = 3
    fit_steps: int = 1500
    draws: int = 3
    pairs: int = 12
    channels: Sequence[int] = (64, 32, 24)
    network_steps: int = 8000
    batch: int = 4
    window: int = 12
    learning_rate: float = 1e-3
    save_minutes: float = 3.0


def start(folder: Path, images: Sequence[Image], config: VariableRateConfig) -> None:
    """Make a run; :func:`resume` trains it. InputError when the folder holds one, or images will not do."""
    least = max(overlapping.CROP, BLOCK * (config.window + 1))
    prepared_run.begin(folder, images, config, least, f"{least}×{least} pixels")


def resume(folder: Path, device: str = "cpu") -> Iterator[str]:
    """Train a run to its end from where it is; yields lines to show. Writes ``model.ckpt`` last."""
    config, images = prepared_run.read(folder, VariableRateConfig)
    train = [centred(image.db) for image in images if not image.validation]
    if not (folder / "linear.safetensors").exists():
        for found in overlapping.fit(train, config.stages, config.linear_steps, config.seed):
            if isinstance(found, linear.Overlapping):
                atomic.write_bytes(folder / "linear.safetensors", safetensors.numpy.save(found.to_arrays()))
            else:
                yield found
    transform = linear.Overlapping.from_arrays(safetensors.numpy.load_file(folder / "linear.safetensors"))
    if not (folder / "coder.safetensors").exists():
        yield f"fitting the coder to {len(train)} images"
        tiles = [transform.analyse(linear.whole_blocks(image)) for image in train]
        fitted = latent_fit.fit(
            tiles, seed=config.seed, rounds=config.rounds, steps=config.fit_steps, draws=config.draws
        )
        atomic.write_bytes(folder / "coder.safetensors", safetensors.numpy.save(fitted.to_arrays()))
    coder = latent_coder.LatentCoder.from_arrays(safetensors.numpy.load_file(folder / "coder.safetensors"))
    if not (folder / "pairs.npz").exists():
        yield "coding the images"
        _write_pairs(folder, transform, coder, images, config)
    yield from _train_network(folder, transform, coder, config, torch.device(device))


def centred(db: FloatArray) -> FloatArray:
    """Return an image less its median."""
    found: FloatArray = db - np.float32(np.median(db))
    return found


def _write_pairs(
    folder: Path,
    transform: linear.Overlapping,
    coder: latent_coder.LatentCoder,
    images: Sequence[Image],
    config: VariableRateConfig,
) -> None:
    """Code training images shifted and turned at random and steps at random, validation images as they are."""
    rng = np.random.default_rng((config.seed, 1))
    arrays: dict[str, npt.NDArray[Any]] = {}
    bits = []
    for number, image in enumerate(images):
        draws: Sequence[int] = FIXED_STEPS if image.validation else rng.integers(*PAIR_RANGE, config.pairs).tolist()
        for draw, index in enumerate(draws):
            db = centred(image.db)
            if not image.validation:
                db = np.rot90(db, int(rng.integers(4)))[:: int(rng.choice((1, -1)))]
                db = linear.whole_blocks(db, *rng.integers(0, BLOCK, 2).tolist())
            else:
                db = linear.whole_blocks(db)
            symbols = coder.quantise(transform.analyse(db), index, level_fit.RATE_WEIGHT)
            name = f"{'val' if image.validation else 'train'}.{number}.{draw}.{index}"
            arrays[f"{name}.latents"] = coder.multiples(symbols, index).astype(np.float16)
            arrays[f"{name}.image"] = db.astype(np.float16)
            if image.validation:
                bits.append(8 * len(coder.encode(symbols, index)) / db.size)
    arrays["bpp"] = np.reshape(bits, (-1, len(FIXED_STEPS))).mean(axis=0)
    with atomic.output(folder / "pairs.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class _Pair:
    """An image (16h, 16w) in dB about its median, its latents (n, h, w) in steps as decoded, and the step in dB."""

    image: npt.NDArray[np.float16]
    latents: npt.NDArray[np.float16]
    step_db: float


@dataclass(frozen=True, eq=False)
class _Pairs:
    train: Sequence[_Pair]
    val: Sequence[_Pair]
    bpp: Sequence[float]

    @classmethod
    def read(cls, path: Path) -> _Pairs:
        found: dict[str, list[_Pair]] = {"train": [], "val": []}
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                if name.endswith(".image"):
                    split, _, _, index, _ = name.split(".")
                    latents = arrays[name.replace(".image", ".latents")]
                    found[split].append(_Pair(arrays[name], latents, scale.step_db(int(index))))
            return cls(found["train"], found["val"], arrays["bpp"].tolist())

    def batch(self, rng: np.random.Generator, count: int, window: int) -> tuple[torch.Tensor, ...]:
        """Draw windows: latents in steps (N, n, window, window), images without the outer blocks, steps in dB."""
        sizes = np.array([pair.image.size for pair in self.train], np.float64)
        latents, images, steps = [], [], []
        for number in rng.choice(len(self.train), count, p=sizes / sizes.sum()):
            pair = self.train[number]
            top, left = (int(rng.integers(0, side - window + 1)) for side in pair.latents.shape[1:])
            rows, columns = (slice(BLOCK * (first + 1), BLOCK * (first + window - 1)) for first in (top, left))
            latents.append(pair.latents[:, top : top + window, left : left + window].astype(np.float32))
            images.append(pair.image[None, rows, columns].astype(np.float32))
            steps.append(pair.step_db)
        return torch.from_numpy(np.stack(latents)), torch.from_numpy(np.stack(images)), torch.tensor(steps)


def _train_network(
    folder: Path,
    transform: linear.Overlapping,
    coder: latent_coder.LatentCoder,
    config: VariableRateConfig,
    device: torch.device,
) -> Iterator[str]:
    torch.manual_seed(config.seed)
    pairs = _Pairs.read(folder / "pairs.npz")
    model = decoder_network.DecoderNetwork(transform.count, config.channels)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    synthesis = torch.from_numpy(transform.synthesis).to(device)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)

    def loss(step: int) -> torch.Tensor:
        rng = np.random.default_rng((config.seed, 2, step))
        latents, images, steps = (x.to(device) for x in pairs.batch(rng, config.batch, config.window))
        latents = (latents * steps[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        missing = images - nn.functional.pixel_shuffle(nn.functional.conv2d(latents, synthesis), BLOCK)
        with torch.autocast(device.type, torch.bfloat16, enabled=devices.has_bfloat16(device)):
            change = model(latents, steps).float()
        inner = change[..., BLOCK:-BLOCK, BLOCK:-BLOCK]
        # relative to what there was to gain, so that every step size counts alike
        before = missing.square().mean(dim=(1, 2, 3))
        after: torch.Tensor = (missing - inner).square().mean(dim=(1, 2, 3))
        return (after / before).mean()

    plan = resumable.Plan(config.network_steps, config.learning_rate, config.save_minutes, measured_every=500)
    yield from resumable.train(
        folder, model, optimizer, plan, loss, lambda: validate(model, transform, pairs, device)
    )
    training = {"settings": asdict(config), "last": resumable.last(folder)}
    trained = variable_model.VariableModel(transform, coder, model.export(), level_fit.RATE_WEIGHT, training)
    identity = variable_model.save(folder / "model.ckpt", trained, overwrite=True)
    yield f"{folder / 'model.ckpt'}: model {identity}"


def validate(
    model: nn.Module, transform: linear.Overlapping, pairs: _Pairs, device: torch.device
) -> dict[str, float]:
    """Measure validation images at the fixed steps.

    Returns
    -------
    dict of str to float
        By step in dB: ``bpp@Δ``, ``rmse@Δ`` in dB with the network, ``gain@Δ`` in dB of PSNR over none.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for pair in pairs.val:
        latents = pair.latents.astype(np.float32) * np.float32(pair.step_db)
        missing = pair.image.astype(np.float32) - transform.synthesise(latents)
        batch = torch.from_numpy(transform.mirrored(latents))[None].to(device)
        with torch.inference_mode():
            change = model(batch, torch.tensor([pair.step_db], device=device))[0, 0].float().cpu().numpy()
        after = float(np.mean((missing - decoder.inner(change)) ** 2))
        found.setdefault(f"{pair.step_db:.3g}", []).append((float(np.mean(missing**2)), after))
    record: dict[str, float] = {}
    for (name, values), bpp in zip(found.items(), pairs.bpp, strict=True):
        gain = float(np.mean([10 * math.log10(before / after) for before, after in values]))
        rmse = math.sqrt(float(np.mean([after for _, after in values])))
        record |= {f"bpp@{name}": bpp, f"rmse@{name}": rmse, f"gain@{name}": gain}
    return record
