"""Training: one visible loop that can be interrupted anywhere and continues exactly.

A run is a folder: ``run.json`` (settings), ``last.ckpt`` (weights, optimiser and position, to resume from),
``best.ckpt`` (lowest validation loss, to use), ``history.jsonl`` (one line an epoch) and ``tensorboard/``.
Data order and augmentation of an epoch follow from the seed and its number alone, so nothing random has a state
to be saved. Needs torch, NumPy, safetensors and pytorch-msssim; no GDAL.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sarcodec import atomic, calibration, checkpoint, errors, losses, models, patches, runlog

COLLAPSED_SHARE = 0.02
"""An output whose standard deviation is below this share of the original's has collapsed."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    ``schedule`` is ``cosine`` (to zero at the last epoch), ``plateau`` (halved after ``patience // 3`` epochs
    without progress) or ``constant``, after ``warmup_steps`` of linear warm-up. ``patience`` epochs without a lower
    validation loss stop the run; 0 never does. ``precision`` is ``bfloat16`` (autocast) or ``float32``.
    """

    epochs: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-4
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_steps: int = 200
    clip_norm: float = 1.0
    patience: int = 0
    loss: losses.LossWeights = losses.PRESETS["balanced"]
    precision: str = "bfloat16"
    seed: int = 0
    save_minutes: float = 3.0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", ("adam", "adamw")),
            ("schedule", ("cosine", "plateau", "constant")),
            ("precision", ("bfloat16", "float32")),
        ):
            if getattr(self, name) not in allowed:
                raise errors.InputError(f"{name}: got {getattr(self, name)!r}; pass one of {', '.join(allowed)}")
        for name in ("epochs", "batch_size", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise errors.InputError(f"{name}: got {getattr(self, name)}; it must be above 0")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainConfig:
        """Inverse of :meth:`to_dict`; FormatError for unknown keys or values."""
        try:
            return cls(**{**record, "loss": losses.LossWeights(**record["loss"])})
        except (TypeError, KeyError, errors.InputError) as cause:
            raise errors.FormatError(f"training configuration: {cause}") from cause


@dataclass(frozen=True)
class Progress:
    """Where a training is, after every step; ``val`` is filled at the end of an epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    psnr: float
    patches_per_second: float
    val: Mapping[str, float] | None = None


@dataclass
class _Position:
    """All of a run's state besides weights and optimiser; saved in ``last.ckpt``."""

    epoch: int = 0
    step: int = 0
    best: float = math.inf
    best_epoch: int = 0
    stale: int = 0
    factor: float = 1.0


def start(
    folder: Path, patch_folder: Path, model: models.ModelConfig, config: TrainConfig, device: str = "cpu"
) -> Iterator[Progress]:
    """Train a new model; run the iterator to its end.

    Parameters
    ----------
    folder : path
        The run; must not hold one already.
    patch_folder : path
        A patch set with a training and a validation split.
    model, config
        What to train and how.
    device : str
        A torch device.

    Yields
    ------
    Progress
        After every step.

    Raises
    ------
    InputError, FormatError
        For an existing run or an unusable patch set.
    TrainingError
        When the loss is not finite or the output has collapsed; names the last good checkpoint.
    """
    if (folder / "run.json").exists():
        raise errors.InputError(f"run {folder}: exists already; continue it with --resume, or name another folder")
    manifest = patches.read_manifest(patch_folder)
    torch.manual_seed(config.seed)
    fresh = checkpoint.Checkpoint(model, manifest.normalizer, models.build(model).state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "patches": str(patch_folder.resolve()),
        "model": model.to_dict(),
        "training": config.to_dict(),
    }
    atomic.write_bytes(folder / "run.json", json.dumps(settings, indent=1).encode())
    return _train(folder, patch_folder, fresh, config, _Position(), device)


def resume(folder: Path, device: str = "cpu") -> Iterator[Progress]:
    """Continue a run from its ``last.ckpt``, or from its start when it has none; as :func:`start` otherwise."""
    try:
        settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        config = TrainConfig.from_dict(settings["training"])
        model = models.ModelConfig.from_dict(settings["model"])
        patch_folder = Path(settings["patches"])
    except (OSError, ValueError, KeyError) as cause:
        raise errors.FormatError(f"run {folder}: has no readable run.json to resume ({cause})") from cause
    if not (folder / "last.ckpt").exists():
        (folder / "run.json").unlink()
        return start(folder, patch_folder, model, config, device)
    last = checkpoint.load(folder / "last.ckpt")
    return _train(folder, patch_folder, last, config, _Position(**last.training["position"]), device)


def _train(
    folder: Path,
    patch_folder: Path,
    begin: checkpoint.Checkpoint,
    config: TrainConfig,
    at: _Position,
    device: str,
) -> Iterator[Progress]:
    """Run the loop: epochs of steps, a validation after each, checkpoints, early stop, calibration."""
    train, val = patches.PatchSet(patch_folder, "train"), patches.PatchSet(patch_folder, "val")
    per_epoch = len(train) // config.batch_size
    if per_epoch == 0 or len(val) == 0:
        raise errors.InputError(
            f"patch set {patch_folder}: {len(train)} training and {len(val)} validation patches; "
            f"at least one batch of {config.batch_size} and one validation patch are needed"
        )
    model = begin.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, config, begin.state)
    log = runlog.open_log(folder, at.step) if config.tensorboard else None
    saved, done = time.monotonic(), at.epoch == config.epochs
    while not done:
        model.train()
        rate = _Rate()
        for batch in _batches(train, config, at.epoch):
            pixels = batch.to(device, memory_format=torch.channels_last)
            learning_rate = _learning_rate(config, at, per_epoch * config.epochs)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bfloat16"):
                restored, _ = model(pixels)
                loss, mse = losses.combined(restored, pixels, config.loss)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise errors.TrainingError(f"loss {loss.item()} at step {at.step}; {_last_good(folder)}")
            optimizer.step()
            at.step += 1
            psnr = -10 * math.log10(max(mse.item(), 1e-12))
            if log and at.step % 20 == 0:
                for name, value in (("loss", loss.item()), ("psnr", psnr), ("learning_rate", learning_rate)):
                    log.add_scalar(f"train/{name}", value, at.step)
            yield Progress(
                at.epoch + 1,
                config.epochs,
                at.step,
                per_epoch * config.epochs,
                loss.item(),
                psnr,
                rate.add(len(pixels)),
            )
        at.epoch += 1
        measured = _validate(model, val, config, device)
        if measured["contrast"] < COLLAPSED_SHARE and at.step > 3 * max(config.warmup_steps, per_epoch):
            raise errors.TrainingError(
                f"the output is constant (collapsed) at epoch {at.epoch}; {_last_good(folder)}; "
                "try a lower learning rate or a longer warm-up"
            )
        _note_progress(folder, begin, model, at, measured, config)
        if log:
            runlog.log_validation(log, model, val, (at.epoch, at.step), measured)
        done = at.epoch == config.epochs or 0 < config.patience <= at.stale
        if done or time.monotonic() - saved > 60 * config.save_minutes:
            _save_last(folder, begin, model, optimizer, at, config)
            saved = time.monotonic()
        yield Progress(
            at.epoch,
            config.epochs,
            at.step,
            per_epoch * config.epochs,
            measured["loss"],
            measured["psnr"],
            rate.value,
            measured,
        )
    if log:
        log.close()
    calibrate(folder / "best.ckpt", patch_folder)


def calibrate(path: Path, patch_folder: Path, *, loss_limit_db: float = calibration.LOSS_LIMIT_DB) -> str:
    """Fit quantisation steps and entropy tables of a checkpoint on its training patches, in place.

    Returns the checkpoint's new identity. Errors as :func:`calibration.calibrate`.
    """
    plain = checkpoint.load(path)
    fitted = calibration.calibrate(
        plain.build(), patches.PatchSet(patch_folder, "train"), loss_limit_db=loss_limit_db
    )
    tables = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in fitted.coder.to_arrays().items()}
    cost = {"train_psnr_float": fitted.psnr_float, "train_psnr_quantised": fitted.psnr_quantised}
    return checkpoint.save(path, replace(plain, tables=tables, metrics={**plain.metrics, **cost}), overwrite=True)


def _batches(train: patches.PatchSet, config: TrainConfig, epoch: int) -> Iterator[torch.Tensor]:
    """Shuffled, augmented batches of an epoch, (N, 1, H, W) in [0, 1]; the last, incomplete one is dropped."""
    random = np.random.default_rng([config.seed, epoch])
    order = random.permutation(len(train))
    choices = random.integers(0, 8, len(train))
    for first in range(0, len(train) - config.batch_size + 1, config.batch_size):
        chosen = order[first : first + config.batch_size]
        stack = [patches.augment(train.scaled(int(i)), int(choices[i])) for i in chosen]
        yield torch.from_numpy(np.stack(stack))[:, None]


def _optimizer(
    model: models.Autoencoder, config: TrainConfig, state: Mapping[str, torch.Tensor]
) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    if state:
        per_parameter: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            index, key = name.split(".", 1)
            per_parameter.setdefault(int(index), {})[key] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
    return optimizer


def _learning_rate(config: TrainConfig, at: _Position, total: int) -> float:
    """Warm up linearly, then follow the schedule; a function of the position alone."""
    if at.step < config.warmup_steps:
        return config.learning_rate * (at.step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        share = (at.step - config.warmup_steps) / max(total - config.warmup_steps, 1)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * at.factor


def _validate(model: models.Autoencoder, val: patches.PatchSet, config: TrainConfig, device: str) -> dict[str, float]:
    """Mean loss, PSNR on [0, 1], RMSE in dB and contrast (output σ over original σ) over the validation patches."""
    model.eval()
    sums = np.zeros(4)
    with torch.inference_mode():
        for first in range(0, len(val), config.batch_size):
            chosen = range(first, min(first + config.batch_size, len(val)))
            spans = [val.manifest.normalizer.bounds[val.locate(i)[0].key].span for i in chosen]
            pixels = torch.from_numpy(np.stack([val.scaled(i) for i in chosen]))[:, None].to(device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bfloat16"):
                restored, _ = model(pixels)
                loss, mse = losses.combined(restored, pixels, config.loss)
            squared = ((restored - pixels) ** 2).mean(dim=(1, 2, 3)).cpu().numpy()
            contrast = (restored.std(dim=(1, 2, 3)) / pixels.std(dim=(1, 2, 3)).clamp_min(1e-6)).sum().item()
            n = len(pixels)
            sums += [loss.item() * n, mse.item() * n, float(np.sum(squared * np.square(spans))), contrast]
    mean = sums / len(val)
    return {
        "loss": float(mean[0]),
        "psnr": -10 * math.log10(max(float(mean[1]), 1e-12)),
        "rmse_db": math.sqrt(float(mean[2])),
        "contrast": float(mean[3]),
    }


def _note_progress(
    folder: Path,
    begin: checkpoint.Checkpoint,
    model: models.Autoencoder,
    at: _Position,
    measured: dict[str, float],
    config: TrainConfig,
) -> None:
    """Write the epoch's line of history; save ``best.ckpt`` when it is the best, else count it."""
    with (folder / "history.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps({"epoch": at.epoch, "step": at.step, **measured}) + "\n")
    if measured["loss"] < at.best:
        at.best, at.best_epoch, at.stale = measured["loss"], at.epoch, 0
        record = {"config": config.to_dict(), "epoch": at.epoch, "step": at.step}
        best = replace(begin, weights=model.state_dict(), training=record, metrics={"val": measured}, state={})
        checkpoint.save(folder / "best.ckpt", best, overwrite=True)
        return
    at.stale += 1
    if config.schedule == "plateau" and at.stale % max(config.patience // 3, 3) == 0:
        at.factor /= 2


def _save_last(
    folder: Path,
    begin: checkpoint.Checkpoint,
    model: models.Autoencoder,
    optimizer: torch.optim.Optimizer,
    at: _Position,
    config: TrainConfig,
) -> None:
    state = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    record = {"config": config.to_dict(), "position": asdict(at)}
    last = replace(begin, weights=model.state_dict(), training=record, state=state)
    checkpoint.save(folder / "last.ckpt", last, overwrite=True)


def _last_good(folder: Path) -> str:
    best = folder / "best.ckpt"
    return f"the last good checkpoint is {best}" if best.exists() else "no good checkpoint was saved before it"


class _Rate:
    """Patches per second since it was made."""

    def __init__(self) -> None:
        self._begun, self._count, self.value = time.monotonic(), 0, 0.0

    def add(self, patches_done: int) -> float:
        self._count += patches_done
        self.value = self._count / max(time.monotonic() - self._begun, 1e-9)
        return self.value
