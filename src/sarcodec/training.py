"""Training: one visible loop that can be interrupted anywhere and continues exactly.

A run is a folder: see :mod:`sarcodec.run_folder`. Data order and augmentation of an epoch follow from the seed and
its number alone (:mod:`sarcodec.batches`), so nothing random has a state to be saved. Needs torch, NumPy, safetensors
and pytorch-msssim; no GDAL.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sarcodec import (
    batches,
    calibration,
    checkpoint,
    errors,
    inference,
    learner,
    linear_start,
    losses,
    models,
    patches,
    run_folder,
    runlog,
)
from sarcodec.train_config import TrainConfig as TrainConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

COLLAPSED_SHARE = 0.02
"""An output whose standard deviation is below this share of the original's has collapsed."""
SPIKE, MOST_SPIKES = 2.0, 3
"""A validation loss above so many times the best is a spike; after so many that were gone back from, a run fails."""


@dataclass(frozen=True)
class Progress:
    """Where a training is, after every step; ``val`` is filled at the end of an epoch.

    ``note`` says when a run has spiked and gone back to its last good state.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    psnr: float
    patches_per_second: float
    val: Mapping[str, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class _Run:
    """What the loop works on."""

    folder: Path
    begin: checkpoint.Checkpoint
    config: TrainConfig
    at: run_folder.Position
    learner: learner.Learner
    train: patches.PatchSet
    val: patches.PatchSet
    device: torch.device

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16."""
        return inference.uses_bfloat16(self.config.precision, self.device)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return batches.count(self.train, self.config) * self.config.epochs


def start(
    folder: Path,
    patch_folder: Path,
    model: models.ModelConfig,
    config: TrainConfig,
    device: str = "cpu",
    *,
    initial: Path | None = None,
) -> Generator[Progress]:
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
    with run_folder.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.Settings(patch_folder, model, config, initial).write(folder)
    return _train(folder, patch_folder, fresh, config, run_folder.Position(), device)


def resume(
    folder: Path, device: str = "cpu", *, epochs: int | None = None, save_minutes: float | None = None
) -> Generator[Progress]:
    """Continue a run from its ``last.ckpt``, or from its start when it has none; as :func:`start` otherwise.

    ``epochs`` extends the run, or shortens what is left of it: from where it is, the learning rate follows the
    schedule of a run of that length. InputError for fewer than are done. ``save_minutes`` changes how often
    ``last.ckpt`` is written.
    """
    settings = run_folder.Settings.read(folder)
    config = settings.training
    last = checkpoint.load(folder / "last.ckpt") if (folder / "last.ckpt").exists() else None
    at = run_folder.read_position(folder, last, settings) if last else run_folder.Position()
    if epochs is not None and epochs != config.epochs:
        if epochs < at.epoch + (at.batch > 0):
            raise errors.InputError(f"epochs: got {epochs}; run {folder} has done {at.epoch} and some of the next")
        config = replace(config, epochs=epochs)
    if save_minutes is not None:
        config = replace(config, save_minutes=save_minutes)
    if config != settings.training:
        with run_folder.writing(folder):
            replace(settings, training=config).write(folder, overwrite=True)
    begin = last or _fresh(settings.patches, settings.model, config, settings.initial)
    return _train(folder, settings.patches, begin, config, at, device)


def _fresh(
    patch_folder: Path, model: models.ModelConfig, config: TrainConfig, initial: Path | None
) -> checkpoint.Checkpoint:
    """Return the checkpoint that a run begins with: its start, then ``initial`` as far as shapes overlap."""
    torch.manual_seed(config.seed)
    normalizer = patches.read_manifest(patch_folder).normalizer
    built, train = models.build(model), patches.PatchSet(patch_folder, "train")
    if len(train) and _starts_linear(model, config):
        linear_start.fit(built, train, config.seed)
    elif len(train) and built.level is not None:
        linear_start.fit_level(built.level, train)
    weights = built.state_dict()
    given = checkpoint.load(initial).weights if initial else {}
    for name, value in weights.items():
        if name in given and given[name].dim() == value.dim():
            shared = tuple(slice(min(sides)) for sides in zip(value.shape, given[name].shape, strict=True))
            value[shared] = given[name][shared].to(value.dtype)
    return checkpoint.Checkpoint(model, normalizer, weights)


def _starts_linear(model: models.ModelConfig, config: TrainConfig) -> bool:
    carries = model.arch != "plain" and linear_start.can_carry(model)
    return config.start == "linear" or (config.start == "auto" and carries)


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
    at: run_folder.Position,
    device: str,
) -> Generator[Progress]:
    """Set up, run the loop with its log open, and calibrate the best model."""
    train, val = _splits(patch_folder, config)
    target = inference.open_device(device)
    model = begin.build().to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(folder, begin, config, at, learner.Learner.build(model, config), train, val, target)
    if begin.state:
        run.learner.load({**{f"model.{name}": value for name, value in begin.weights.items()}, **begin.state})
    with run_folder.writing(folder), run_folder.locked(folder):
        run_folder.forget_after(folder, at.epoch)
        with runlog.open_log(folder, at.step) if config.tensorboard else contextlib.nullcontext() as log:
            yield from _loop(run, log)
        calibrate(folder / "best.ckpt", patch_folder)


def _loop(run: _Run, log: SummaryWriter | None) -> Generator[Progress]:
    """Run epochs of steps, a validation after each, checkpoints, early stop; what closes the loop saves it first."""
    config, at = run.config, run.at
    saved, good = time.monotonic(), run.learner.state()
    if at.step == 0 and _starts_linear(run.begin.config, config):  # the first epoch may be worse than the start
        measured = _validate(run)
        at.best = measured["loss"]
        run_folder.save_best(run.folder, run.begin, config, at, run.learner.averaged.state_dict(), measured)
    try:
        while not _is_done(config, at):
            run.learner.model.train()
            rate, loss = _Rate(), 0.0
            for batch in batches.epoch(run.train, config, at.epoch, at.batch):
                loss, psnr = _step(run, batch, log)
                if not math.isfinite(loss):
                    break
                yield Progress(at.epoch + 1, config.epochs, at.step, run.steps, loss, psnr, rate.add(len(batch)))
                if time.monotonic() - saved > 60 * config.save_minutes > 0:
                    _save_last(run)
                    saved = time.monotonic()
            at.epoch, at.batch = at.epoch + 1, 0
            measured = _validate(run) if math.isfinite(loss) else {"loss": loss}
            note = ""
            if _has_spiked(run, measured["loss"]):
                run.learner.load(good)
                note = _note_spike(run, measured["loss"])
                measured = _validate(run)
            _check_contrast(run, measured)
            _note_progress(run, measured)
            good = run.learner.state()
            if log:
                runlog.log_validation(log, run.learner.averaged, run.val, (at.epoch, at.step), measured)
            if _is_done(config, at) or time.monotonic() - saved > 60 * config.save_minutes:
                _save_last(run)
                saved = time.monotonic()
            figures = measured["loss"], measured["psnr"], rate.value, measured
            yield Progress(at.epoch, config.epochs, at.step, run.steps, *figures, note)
    except GeneratorExit:
        _save_last(run)
        raise


def _step(run: _Run, batch: torch.Tensor, log: SummaryWriter | None) -> tuple[float, float]:
    """Take one step of the optimiser; returns loss and PSNR on [0, 1]. One that is not finite changes no weights."""
    config, at, device = run.config, run.at, run.device
    pixels = batch.to(device).contiguous(memory_format=torch.channels_last)
    learning_rate = _learning_rate(config, at, run.steps)
    for group in run.learner.optimizer.param_groups:
        group["lr"] = learning_rate
    with torch.autocast(device.type, torch.bfloat16, enabled=run.bfloat16):
        restored, _ = run.learner.model(pixels)
        loss, mse = losses.combined(restored, pixels, config.loss)
    run.learner.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(run.learner.model.parameters(), config.clip_norm)
    at.batch += 1
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        return math.nan, math.nan
    run.learner.optimizer.step()
    at.step += 1
    run.learner.average(at.step)
    psnr = -10 * math.log10(max(mse.item(), 1e-12))
    if log and at.step % 20 == 0:
        figures = {"loss": loss.item(), "psnr": psnr, "learning_rate": learning_rate, "gradient_norm": norm.item()}
        for name, value in figures.items():
            log.add_scalar(f"train/{name}", value, at.step)
    return loss.item(), psnr


def _has_spiked(run: _Run, loss: float) -> bool:
    return not loss <= SPIKE * run.at.best or not math.isfinite(loss)


def _note_spike(run: _Run, loss: float) -> str:
    """Count a spike and halve the learning rate from here on; TrainingError after too many."""
    run.at.spikes += 1
    run.at.factor /= 2
    where = f"loss {loss:.4g} at step {run.at.step}, the best was {run.at.best:.4g}"
    if run.at.spikes > MOST_SPIKES:
        raise errors.TrainingError(
            f"{where}: spike number {run.at.spikes}; {run_folder.last_good(run.folder)}; "
            "try a lower learning rate, a longer warm-up or a lower clip_norm"
        )
    return f"spike ({where}): back to the last good state, at half the learning rate"


def _check_contrast(run: _Run, measured: Mapping[str, float]) -> None:
    """Raise TrainingError for an output that is constant; not in the first steps, where it may still be."""
    config, at = run.config, run.at
    early = at.step <= 3 * max(config.warmup_steps, run.steps // config.epochs)
    if measured["contrast"] < COLLAPSED_SHARE and not early:
        raise errors.TrainingError(
            f"the output is constant (collapsed) at epoch {at.epoch}; {run_folder.last_good(run.folder)}; "
            "try a lower learning rate or a longer warm-up"
        )


def _is_done(config: TrainConfig, at: run_folder.Position) -> bool:
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


def _learning_rate(config: TrainConfig, at: run_folder.Position, total: int) -> float:
    """Warm up linearly, then follow the schedule; a function of the position alone."""
    if at.step < config.warmup_steps:
        return config.learning_rate * (at.step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        share = (at.step - config.warmup_steps) / max(total - config.warmup_steps, 1)
        return config.learning_rate * at.factor * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * at.factor


def _validate(run: _Run) -> dict[str, float]:
    """Mean loss, PSNR on [0, 1], RMSE in dB and contrast (output σ over original σ) over the validation patches."""
    val, config = run.val, run.config
    run.learner.averaged.eval()
    sums = np.zeros(4)
    with torch.inference_mode():
        for first in range(0, len(val), config.batch_size):
            chosen = range(first, min(first + config.batch_size, len(val)))
            spans = [val.manifest.normalizer.bounds[val.locate(i)[0].key].span for i in chosen]
            pixels = torch.from_numpy(np.stack([val.scaled(i) for i in chosen]))[:, None].to(run.device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bfloat16):
                restored, _ = run.learner.averaged(pixels)
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


def _note_progress(run: _Run, measured: dict[str, float]) -> None:
    """Write the epoch's line of history; save ``best.ckpt`` when it is the best, else count it."""
    config, at = run.config, run.at
    run_folder.add_history(run.folder, at, measured)
    if measured["loss"] < at.best:
        at.best, at.best_epoch, at.stale = measured["loss"], at.epoch, 0
        run_folder.save_best(run.folder, run.begin, config, at, run.learner.averaged.state_dict(), measured)
        return
    at.stale += 1
    if config.schedule == "plateau" and at.stale % max(config.patience // 3, 3) == 0:
        at.factor /= 2


def _save_last(run: _Run) -> None:
    state = {name: value for name, value in run.learner.state().items() if not name.startswith("model.")}
    run_folder.save_last(run.folder, run.begin, run.config, run.at, run.learner.model.state_dict(), state)


class _Rate:
    """Patches per second since it was made."""

    def __init__(self) -> None:
        self._begun, self._count, self.value = time.monotonic(), 0, 0.0

    def add(self, patches_done: int) -> float:
        self._count += patches_done
        self.value = self._count / max(time.monotonic() - self._begun, 1e-9)
        return self.value
