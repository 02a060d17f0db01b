"""The folder of a training: what is written where, and by one process at a time.

``run.json`` (settings), ``last.ckpt`` (weights, optimiser and position, to resume from), ``best.ckpt`` (lowest
validation loss, to use), ``history.jsonl`` (one line an epoch), ``lock`` and ``tensorboard/``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sarcodec import errors
from sarcodec.autoencoder import architecture, checkpoint
from sarcodec.files import atomic
from sarcodec.training import train_config

log = logging.getLogger("sarcodec")

MAY_CHANGE = ("epochs", "save_minutes")
"""Settings that a run may be resumed with others of."""
MEASURED = ("loss", "psnr")
"""Figures that every line of history has."""


@dataclass
class Position:
    """All of a run's state besides weights and optimiser; saved in ``last.ckpt``.

    ``epoch`` and ``batch`` count what is done, ``batch`` within the epoch under way; ``stale`` epochs since the best;
    ``factor`` of the learning rate; ``spikes`` that the run has gone back from.
    """

    epoch: int = 0
    step: int = 0
    best: float = math.inf
    best_epoch: int = 0
    stale: int = 0
    factor: float = 1.0
    batch: int = 0
    spikes: int = 0


@dataclass(frozen=True)
class Settings:
    """What ``run.json`` says: the patch set, the model, how it is trained and which weights it began from."""

    patches: Path
    model: architecture.ModelConfig
    training: train_config.TrainConfig
    initial: Path | None = None

    def write(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write ``run.json``."""
        record = {
            "patches": str(self.patches.resolve()),
            "model": self.model.to_dict(),
            "training": self.training.to_dict(),
        }
        record |= {"initial": str(self.initial.resolve())} if self.initial else {}
        atomic.write_bytes(folder / "run.json", json.dumps(record, indent=1).encode(), overwrite=overwrite)

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read ``run.json``; FormatError when there is none that can be read."""
        try:
            record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            if strangers := sorted(record.keys() - {"patches", "model", "training", "initial"}):
                raise ValueError(f"unknown entry {strangers[0]!r}")
            return cls(
                Path(record["patches"]),
                architecture.ModelConfig.from_dict(record["model"]),
                train_config.TrainConfig.from_dict(record["training"]),
                Path(record["initial"]) if "initial" in record else None,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            raise errors.FormatError(
                f"run {folder}: has no readable run.json to resume ({errors.plain(cause)})"
            ) from cause


def read_position(folder: Path, last: checkpoint.Checkpoint, settings: Settings) -> Position:
    """Return the position of ``last.ckpt``.

    FormatError for a checkpoint without one, or of other settings than ``run.json`` says: ``last.ckpt`` has a digest
    and ``run.json`` has none. Epochs and how often it is saved may have been changed since.
    """
    try:
        position = Position(**last.training["position"])
        trained = train_config.TrainConfig.from_dict(last.training["config"])
    except (KeyError, TypeError, errors.FormatError) as cause:
        raise errors.FormatError(
            f"run {folder}: its last.ckpt is none to resume from ({errors.plain(cause)})"
        ) from cause
    now = {**settings.model.to_dict(), **settings.training.to_dict()}
    before = {**last.config.to_dict(), **trained.to_dict()}
    if other := [name for name in now if now[name] != before[name] and name not in MAY_CHANGE]:
        name = other[0]
        raise errors.FormatError(
            f"run {folder}: run.json says {name} {errors.plain(now[name])}, last.ckpt was trained with "
            f"{errors.plain(before[name])}; settings of a run stand: put run.json right, or start a new run"
        )
    return position


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; InputError when one does. Ends with the process, however."""
    try:
        import fcntl
    except ImportError:  # no POSIX: trust
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise errors.InputError(
                f"run {folder}: another process is training it; wait for it, or stop it first"
            ) from cause
        yield


def forget_after(folder: Path, epoch: int) -> None:
    """Leave the lines of history of the epochs that are done, each once.

    What goes are lines that an interrupted run wrote after its last checkpoint, one that a full disk cut off, and
    damaged ones, of which a line of warning is logged.
    """
    history = folder / "history.jsonl"
    if not history.exists():
        return
    data = history.read_bytes()
    kept = {number: line for line in data.splitlines() if (number := _epoch_of(line)) is not None}
    lines = [kept[number] + b"\n" for number in sorted(kept) if number <= epoch]
    if len(lines) < epoch:
        log.warning("run %s: history.jsonl lacks %d of %d epochs, it was damaged", folder, epoch - len(lines), epoch)
    if not lines:
        history.unlink()
    elif b"".join(lines) != data:
        atomic.write_bytes(history, b"".join(lines), overwrite=True)


def _epoch_of(line: bytes) -> int | None:
    """Return the epoch of a line of history; None for one that is none."""
    try:
        record = json.loads(line)
        whole = type(record["epoch"]) is int and type(record["step"]) is int and record["epoch"] > 0
        numbers = all(type(record[name]) in (int, float) for name in MEASURED)
        return record["epoch"] if whole and numbers else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def add_history(folder: Path, at: Position, measured: Mapping[str, float]) -> None:
    """Write an epoch's line of history."""
    with (folder / "history.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps({"epoch": at.epoch, "step": at.step, **measured}) + "\n")


def save_best(
    folder: Path,
    begin: checkpoint.Checkpoint,
    config: train_config.TrainConfig,
    at: Position,
    weights: Mapping[str, Any],
    measured: Mapping[str, float],
) -> None:
    """Write ``best.ckpt``."""
    record = {"config": config.to_dict(), "epoch": at.epoch, "step": at.step}
    best = replace(begin, weights=weights, training=record, metrics={"val": dict(measured)}, state={})
    checkpoint.save(folder / "best.ckpt", best, overwrite=True)


def save_last(
    folder: Path,
    begin: checkpoint.Checkpoint,
    config: train_config.TrainConfig,
    at: Position,
    weights: Mapping[str, Any],
    state: Mapping[str, Any],
) -> None:
    """Write ``last.ckpt``."""
    record = {"config": config.to_dict(), "position": asdict(at)}
    checkpoint.save(
        folder / "last.ckpt", replace(begin, weights=weights, training=record, state=state), overwrite=True
    )


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Let what the system refuses, as a full disk does, be an OutputError that says how to go on."""
    try:
        yield
    except OSError as cause:
        reason = str(cause) if isinstance(cause, errors.OutputError) else cause.strerror or str(cause)
        raise errors.OutputError(
            f"run {folder}: {reason}; what was saved before is whole: make room or give permission, then continue "
            f"with --resume {folder}"
        ) from cause


def last_good(folder: Path) -> str:
    """Say where the best checkpoint is."""
    best = folder / "best.ckpt"
    return f"the last good checkpoint is {best}" if best.exists() else "no good checkpoint was saved before it"
