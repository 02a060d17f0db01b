"""Training: one visible loop that can be interrupted anywhere and continues exactly.

A run is a folder: ``run.json`` (settings), ``last.ckpt`` (weights, optimiser and position, to resume from),
``best.ckpt`` (lowest validation loss, to use), ``history.jsonl`` (one line an epoch) and ``tensorboard/``.
Data order and augmentation of an epoch follow from the seed and its number alone, so nothing random has a state
to be saved. Needs torch, NumPy, safetensors and pytorch-msssim; no GDAL.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sarcodec import atomic, calibration, checkpoint, errors, inference, losses, models, patches, runlog
from sarcodec.train_config import TrainConfig as TrainConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

COLLAPSED_SHARE = 0.02
"""An output whose standard deviation is below this share of the original's has collapsed."""


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


@dataclass(frozen=True)
class _Run:
    """What the loop works on."""

    folder: Path
    begin: checkpoint.Checkpoint
    config: TrainConfig
    at: _Position
    model: models.Autoencoder
    optimizer: torch.optim.Optimizer
    train: patches.PatchSet
    val: patches.PatchSet
    device: torch.device


def start(
    folder: Path,
    patch_folder: Path,
    model: models.ModelConfig,
    config: TrainConfig,
    device: str = "cpu",
    *,
    initial: Path | None = None,
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
    initial : path, optional
        A checkpoint to start from instead of random weights, for example one of a lower ratio: tensors of the same
        name are copied as far as their shapes overlap.

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
    fresh = _fresh(patch_folder, model, config, initial)
    _splits(patch_folder, config)
    inference.open_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"patches": str(patch_folder.resolve()), "model": model.to_dict(), "training": config.to_dict()}
    settings |= {"initial": str(initial.resolve())} if initial else {}
    atomic.write_bytes(folder / "run.json", json.dumps(settings, indent=1).encode())
    return _train(folder, patch_folder, fresh, config, _Position(), device)


def resume(folder: Path, device: str = "cpu") -> Iterator[Progress]:
    """Continue a run from its ``last.ckpt``, or from its start when it has none; as :func:`start` otherwise."""
    try:
        settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        config = TrainConfig.from_dict(settings["training"])
        model = models.ModelConfig.from_dict(settings["model"])
        patch_folder = Path(settings["patches"])
        initial = Path(settings["initial"]) if "initial" in settings else None
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise errors.FormatError(f"run {folder}: has no readable run.json to resume ({cause})") from cause
    if not (folder / "last.ckpt").exists():
        return _train(folder, patch_folder, _fresh(patch_folder, model, config, initial), config, _Position(), device)
    last = checkpoint.load(folder / "last.ckpt")
    try:
        at = _Position(**last.training["position"])
    except (KeyError, TypeError) as cause:
        raise errors.FormatError(f"run {folder}: its last.ckpt is none to resume from ({cause})") from cause
    return _train(folder, patch_folder, last, config, at, device)


def _fresh(
    patch_folder: Path, model: models.ModelConfig, config: TrainConfig, initial: Path | None
) -> checkpoint.Checkpoint:
    """Return a checkpoint of random weights, or of those of ``initial`` as far as shapes overlap."""
    torch.manual_seed(config.seed)
    normalizer = patches.read_manifest(patch_folder).normalizer
    weights = models.build(model).state_dict()
    given = checkpoint.load(initial).weights if initial else {}
    for name, value in weights.items():
        if name in given and given[name].dim() == value.dim():
            shared = tuple(slice(min(sides)) for sides in zip(value.shape, given[name].shape, strict=True))
            value[shared] = given[name][shared].to(value.dtype)
    return checkpoint.Checkpoint(model, normalizer, weights)


def _splits(patch_folder: Path, config: TrainConfig) -> tuple[patches.PatchSet, patches.PatchSet]:
    train, val = patches.PatchSet(patch_folder, "train"), patches.PatchSet(patch_folder, "val")
    if len(train) < config.batch_size or len(val) == 0:
        raise errors.InputError(
            f"patch set {patch_folder}: {len(train)} training and {len(val)} validation patches; "
            f"at least one batch of {config.batch_size} and one validation patch are needed"
        )
    return train, val


def _train(
    folder: Path,
    patch_folder: Path,
    begin: checkpoint.Checkpoint,
    config: TrainConfig,
    at: _Position,
    device: str,
) -> Iterator[Progress]:
    """Set up, run the loop with its log open, and calibrate the best model."""
    train, val = _splits(patch_folder, config)
    target = inference.open_device(device)
    model = begin.build().to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, config, begin.state)
    _forget_after(folder, at.epoch)
    run = _Run(folder, begin, config, at, model, optimizer, train, val, target)
    with runlog.open_log(folder, at.step) if config.tensorboard else contextlib.nullcontext() as log:
        yield from _loop(run, log)
    calibrate(folder / "best.ckpt", patch_folder)


def _loop(run: _Run, log: SummaryWriter | None) -> Iterator[Progress]:
    """Run epochs of steps, a validation after each, checkpoints, early stop."""
    config, at, model, device = run.config, run.at, run.model, run.device
    total = len(run.train) // config.batch_size * config.epochs
    saved = time.monotonic()
    while not _is_done(config, at):
        model.train()
        rate = _Rate()
        for batch in _batches(run.train, config, at.epoch):
            pixels = batch.to(device).contiguous(memory_format=torch.channels_last)
            learning_rate = _learning_rate(config, at, total)
            for group in run.optimizer.param_groups:
                group["lr"] = learning_rate
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                restored, _ = model(pixels)
                loss, mse = losses.combined(restored, pixels, config.loss)
            run.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise errors.TrainingError(f"loss {loss.item()} at step {at.step}; {_last_good(run.folder)}")
            run.optimizer.step()
            at.step += 1
            psnr = -10 * math.log10(max(mse.item(), 1e-12))
            if log and at.step % 20 == 0:
                for name, value in (("loss", loss.item()), ("psnr", psnr), ("learning_rate", learning_rate)):
                    log.add_scalar(f"train/{name}", value, at.step)
            speed = rate.add(len(pixels))
            yield Progress(at.epoch + 1, config.epochs, at.step, total, loss.item(), psnr, speed)
        at.epoch += 1
        measured = _validate(run)
        if measured["contrast"] < COLLAPSED_SHARE and at.step > 3 * max(config.warmup_steps, total // config.epochs):
            raise errors.TrainingError(
                f"the output is constant (collapsed) at epoch {at.epoch}; {_last_good(run.folder)}; "
                "try a lower learning rate or a longer warm-up"
            )
        _note_progress(run, measured)
        if log:
            runlog.log_validation(log, model, run.val, (at.epoch, at.step), measured)
        if _is_done(config, at) or time.monotonic() - saved > 60 * config.save_minutes:
            _save_last(run)
            saved = time.monotonic()
        loss_psnr = measured["loss"], measured["psnr"]
        yield Progress(at.epoch, config.epochs, at.step, total, *loss_psnr, rate.value, measured)


def _is_done(config: TrainConfig, at: _Position) -> bool:
    return at.epoch >= config.epochs or 0 < config.patience <= at.stale


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


def _validate(run: _Run) -> dict[str, float]:
    """Mean loss, PSNR on [0, 1], RMSE in dB and contrast (output σ over original σ) over the validation patches."""
    val, config = run.val, run.config
    run.model.eval()
    sums = np.zeros(4)
    with torch.inference_mode():
        for first in range(0, len(val), config.batch_size):
            chosen = range(first, min(first + config.batch_size, len(val)))
            spans = [val.manifest.normalizer.bounds[val.locate(i)[0].key].span for i in chosen]
            pixels = torch.from_numpy(np.stack([val.scaled(i) for i in chosen]))[:, None].to(run.device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                restored, _ = run.model(pixels)
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


def _forget_after(folder: Path, epoch: int) -> None:
    """Drop the lines of history that an interrupted run wrote after its last checkpoint."""
    history = folder / "history.jsonl"
    if history.exists():
        lines = history.read_text(encoding="utf-8").splitlines(keepends=True)
        atomic.write_bytes(history, "".join(lines[:epoch]).encode(), overwrite=True)


def _note_progress(run: _Run, measured: dict[str, float]) -> None:
    """Write the epoch's line of history; save ``best.ckpt`` when it is the best, else count it."""
    config, at = run.config, run.at
    with (run.folder / "history.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps({"epoch": at.epoch, "step": at.step, **measured}) + "\n")
    if measured["loss"] < at.best:
        at.best, at.best_epoch, at.stale = measured["loss"], at.epoch, 0
        record = {"config": config.to_dict(), "epoch": at.epoch, "step": at.step}
        weights = run.model.state_dict()
        best = replace(run.begin, weights=weights, training=record, metrics={"val": measured}, state={})
        checkpoint.save(run.folder / "best.ckpt", best, overwrite=True)
        return
    at.stale += 1
    if config.schedule == "plateau" and at.stale % max(config.patience // 3, 3) == 0:
        at.factor /= 2


def _save_last(run: _Run) -> None:
    state = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in run.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    record = {"config": run.config.to_dict(), "position": asdict(run.at)}
    last = replace(run.begin, weights=run.model.state_dict(), training=record, state=state)
    checkpoint.save(run.folder / "last.ckpt", last, overwrite=True)


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
