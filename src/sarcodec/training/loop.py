"""Training: one visible loop that can be interrupted anywhere and continues exactly.

A run is a folder: see :mod:`sarcodec.training.run_folder`. Data order and augmentation of an epoch follow from the
seed and its number alone (:mod:`sarcodec.training.batches`), so nothing random has a state to be saved. Needs torch,
NumPy, safetensors and pytorch-msssim; no GDAL.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sarcodec import errors
from sarcodec.autoencoder import architecture, checkpoint
from sarcodec.runtime import devices
from sarcodec.training import batches, learner, losses, patches, run_folder, runlog
from sarcodec.training.train_config import TrainConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter
from sarcodec.training import beginning, calibrated, validation

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
class Run:
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
        return devices.uses_bfloat16(self.config.precision, self.device)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return batches.count(self.train, self.config) * self.config.epochs


def start(
    folder: Path,
    patch_folder: Path,
    model: architecture.ModelConfig,
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
    fresh = beginning.fresh(patch_folder, model, config, initial)
    beginning.splits(patch_folder, config)
    devices.open_device(device)
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
    begin = last or beginning.fresh(settings.patches, settings.model, config, settings.initial)
    return _train(folder, settings.patches, begin, config, at, device)


def _train(
    folder: Path,
    patch_folder: Path,
    begin: checkpoint.Checkpoint,
    config: TrainConfig,
    at: run_folder.Position,
    device: str,
) -> Generator[Progress]:
    """Set up, run the loop with its log open, and calibrate the best model."""
    train, val = beginning.splits(patch_folder, config)
    target = devices.open_device(device)
    model = begin.build().to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(folder, begin, config, at, learner.Learner.build(model, config), train, val, target)
    if begin.state:
        run.learner.load({**{f"model.{name}": value for name, value in begin.weights.items()}, **begin.state})
    with run_folder.writing(folder), run_folder.locked(folder):
        run_folder.forget_after(folder, at.epoch)
        with runlog.open_log(folder, at.step) if config.tensorboard else contextlib.nullcontext() as log:
            yield from _loop(run, log)
        calibrated.calibrate(folder / "best.ckpt", patch_folder)


def _loop(run: Run, log: SummaryWriter | None) -> Generator[Progress]:
    """Run epochs of steps, a validation after each, checkpoints, early stop; what closes the loop saves it first."""
    config, at = run.config, run.at
    saved, good = time.monotonic(), _last_good(run)
    if at.step == 0 and beginning.starts_linear(
        run.begin.config, config
    ):  # the first epoch may be worse than the start
        measured = validation.validate(run)
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
                    save_last(run)
                    saved = time.monotonic()
            at.epoch, at.batch = at.epoch + 1, 0
            measured = validation.validate(run) if math.isfinite(loss) else {"loss": loss}
            note = ""
            if _has_spiked(run, measured["loss"]):
                run.learner.load(good)
                note = _note_spike(run, measured["loss"])
                measured = validation.validate(run)
            validation.check_contrast(run, measured)
            _note_progress(run, measured)
            good = run.learner.state()
            if log:
                runlog.log_validation(log, run.learner.averaged, run.val, (at.epoch, at.step), measured)
            if _is_done(config, at) or time.monotonic() - saved > 60 * config.save_minutes:
                save_last(run)
                saved = time.monotonic()
            figures = measured["loss"], measured["psnr"], rate.value, measured
            yield Progress(at.epoch, config.epochs, at.step, run.steps, *figures, note)
    except GeneratorExit:
        save_last(run)
        raise


def _step(run: Run, batch: torch.Tensor, log: SummaryWriter | None) -> tuple[float, float]:
    """Take one step of the optimiser; returns loss and PSNR on [0, 1]. One that is not finite changes no weights."""
    config, at, device = run.config, run.at, run.device
    pixels = batch.to(device).contiguous(memory_format=torch.channels_last)
    learning_rate = rate_at(config, at, run.steps)
    with torch.autocast(device.type, torch.bfloat16, enabled=run.bfloat16):
        restored, _ = run.learner.model(pixels)
        loss, mse = losses.combined(restored, pixels, config.loss)
    run.learner.model.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(run.learner.model.parameters(), config.clip_norm)
    at.batch += 1
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        return math.nan, math.nan
    run.learner.step(learning_rate)
    at.step += 1
    run.learner.average(at.step)
    psnr = -10 * math.log10(max(mse.item(), 1e-12))
    if log and at.step % 20 == 0:
        figures = {"loss": loss.item(), "psnr": psnr, "learning_rate": learning_rate, "gradient_norm": norm.item()}
        for name, value in figures.items():
            log.add_scalar(f"train/{name}", value, at.step)
    return loss.item(), psnr


def _last_good(run: Run) -> dict[str, torch.Tensor]:
    """Return the state to go back to: that of an epoch's end.

    In the middle of an epoch, as after an interruption, weights may be spoiled already; there it is the best model's
    weights, with an optimiser that begins anew.
    """
    best = run.folder / "best.ckpt"
    if run.at.batch == 0 or not best.exists():
        return run.learner.state()
    weights = checkpoint.load(best).weights
    return {f"{part}.{name}": value for part in ("model", "average") for name, value in weights.items()}


def _has_spiked(run: Run, loss: float) -> bool:
    return not loss <= SPIKE * run.at.best or not math.isfinite(loss)


def _note_spike(run: Run, loss: float) -> str:
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


def _is_done(config: TrainConfig, at: run_folder.Position) -> bool:
    return at.epoch >= config.epochs or 0 < config.patience <= at.stale


def rate_at(config: TrainConfig, at: run_folder.Position, total: int) -> float:
    """Warm up linearly, then follow the schedule; a function of the position alone."""
    if at.step < config.warmup_steps:
        return config.learning_rate * (at.step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        share = (at.step - config.warmup_steps) / max(total - config.warmup_steps, 1)
        return config.learning_rate * at.factor * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * at.factor


def _note_progress(run: Run, measured: dict[str, float]) -> None:
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


def save_last(run: Run) -> None:
    """Write ``last.ckpt``: weights, optimiser and position, to resume from."""
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
