"""The folder of a training: what is written where, and by one process at a time.

``run.json`` (settings), ``last.ckpt`` (weights, optimiser and position, to resume from), ``best.ckpt`` (lowest
validation loss, to use), ``history.jsonl`` (one line an epoch), ``lock`` and ``tensorboard/``.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sarcodec import atomic, checkpoint, errors, models, train_config


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
    model: models.ModelConfig
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
            return cls(
                Path(record["patches"]),
                models.ModelConfig.from_dict(record["model"]),
                train_config.TrainConfig.from_dict(record["training"]),
                Path(record["initial"]) if "initial" in record else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise errors.FormatError(f"run {folder}: has no readable run.json to resume ({cause})") from cause


def read_position(folder: Path, last: checkpoint.Checkpoint) -> Position:
    """Return the position of ``last.ckpt``; FormatError for a checkpoint without one."""
    try:
        return Position(**last.training["position"])
    except (KeyError, TypeError) as cause:
        raise errors.FormatError(f"run {folder}: its last.ckpt is none to resume from ({cause})") from cause


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
    """Drop the lines of history that an interrupted run wrote after its last checkpoint."""
    history = folder / "history.jsonl"
    if history.exists():
        lines = history.read_text(encoding="utf-8").splitlines(keepends=True)
        atomic.write_bytes(history, "".join(lines[:epoch]).encode(), overwrite=True)


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


def last_good(folder: Path) -> str:
    """Say where the best checkpoint is."""
    best = folder / "best.ckpt"
    return f"the last good checkpoint is {best}" if best.exists() else "no good checkpoint was saved before it"
