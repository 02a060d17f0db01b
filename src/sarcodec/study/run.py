"""Train and measure every cell of a study; interrupted runs continue, finished cells are not repeated.

::

    study/
      study.json                  the plan as it was run
      cells/<name>/run.json …     the training run; see :mod:`sarcodec.training.loop`
      cells/<name>/rows.json      every image and band at every step, from real files
      cells/<name>/floats.json    every image and band with latents that are not quantised
      cells/<name>/cell.json      written last: what the cell is, what it took, on what machine
      cells/<name>/failed.json    instead, when the training came to nothing: why

Under torchrun the cells are dealt out over the processes, each on a GPU of its own where there are some.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sarcodec import _version, errors
from sarcodec.autoencoder import census, checkpoint
from sarcodec.evaluation import roundtrip
from sarcodec.files import atomic
from sarcodec.study import fields, floats
from sarcodec.study.plan import Cell, Plan
from sarcodec.training import loop


@dataclass(frozen=True)
class Progress:
    """Where a study is; ``done`` and ``total`` are in units of arithmetic, so that time left is a proportion."""

    cell: str
    number: int
    cells: int
    note: str
    done: float
    total: float


def run(plan: Plan, folder: Path, *, device: str = "cpu") -> Iterator[Progress]:
    """Run a study to its end; run the iterator to its end.

    Parameters
    ----------
    plan : Plan
        From :func:`sarcodec.study.plan.read`.
    folder : path
        Where the study goes; one begun with the same plan is continued.
    device : str
        A torch device. Under torchrun with GPUs, each process takes the one of its local rank.

    Yields
    ------
    Progress
        After every training step and every measured image.

    Raises
    ------
    InputError
        When a cell of that name was begun with other settings.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    cells = plan.cells[rank::world]
    work = [census.take(cell.model).multiply_adds_per_pixel for cell in cells]
    for number, cell in enumerate(cells):
        before = sum(work[:number])
        for share, note in _run_cell(plan, cell, folder / "cells" / cell.name, device):
            yield Progress(cell.name, number + 1, len(cells), note, before + share * work[number], sum(work))


def is_done(folder: Path) -> bool:
    """Tell whether a cell is finished."""
    return (folder / "cell.json").exists()


def _run_cell(plan: Plan, cell: Cell, folder: Path, device: str) -> Iterator[tuple[float, str]]:
    """Train and measure one cell; yields the share that is done and a note."""
    if is_done(folder):
        _check_same(folder, cell)
        _measure_floats(plan, folder)
        yield 1.0, "finished before"
        return
    failure = folder / "failed.json"
    if failure.exists():
        yield 1.0, f"failed before; remove {failure} to try again"
        return
    begun = time.monotonic()
    if (folder / "run.json").exists():
        _check_same(folder, cell)
        steps = loop.resume(folder, device)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        steps = loop.start(folder, plan.patches, cell.model, cell.training, device)
    try:
        with contextlib.closing(steps):  # which saves where it is
            for step in steps:
                note = f"epoch {step.epoch}/{step.epochs} · PSNR {step.psnr:.2f} dB"
                yield 0.95 * step.step / step.steps, f"{note} · {step.note}" if step.note else note
    except errors.TrainingError as problem:  # the other cells are still worth training
        atomic.write_bytes(failure, json.dumps({"reason": str(problem)}).encode())
        yield 1.0, f"failed: {problem}"
        return
    trained = time.monotonic() - begun
    rows: list[roundtrip.Row] = []
    for row in roundtrip.evaluate(folder / "best.ckpt", list(plan.images), steps=plan.steps):
        rows.append(row)
        yield 0.95, f"{row.image} {row.band} · {row.metrics.psnr_db:.2f} dB at {row.bits_per_pixel:.3f} bpp"
    roundtrip.write_rows(folder / "rows.json", rows, overwrite=True)
    _measure_floats(plan, folder)
    record = _describe(cell, folder, trained, device)
    atomic.write_bytes(folder / "cell.json", json.dumps(record, indent=1).encode(), overwrite=True)
    yield 1.0, "finished"


def _measure_floats(plan: Plan, folder: Path) -> None:
    """Write ``floats.json`` of a trained cell that has none yet."""
    if not (folder / floats.FILE).exists():
        roundtrip.write_rows(folder / floats.FILE, list(floats.measure(folder / "best.ckpt", plan.images)))


def _check_same(folder: Path, cell: Cell) -> None:
    """Refuse to continue a cell with other settings than it was begun with."""
    settings = fields.read_record(folder / "run.json")
    now = {"model": cell.model.to_dict(), "training": cell.training.to_dict()}
    if {key: settings.get(key) for key in now} != now:
        raise errors.InputError(
            f"study: cell {cell.name} in {folder} was begun with other settings; name another folder or remove it"
        )


def _describe(cell: Cell, folder: Path, seconds: float, device: str) -> dict[str, Any]:
    figures = census.take(cell.model)
    best = checkpoint.load(folder / "best.ckpt")
    return {
        "name": cell.name,
        "variant": cell.variant,
        "model": cell.model.to_dict(),
        "training": cell.training.to_dict(),
        "latent_ratio": cell.model.latent_ratio,
        "parameters": figures.parameters,
        "multiply_adds_per_pixel": figures.multiply_adds_per_pixel,
        "receptive_field": figures.receptive_field,
        "checkpoint": best.identity,
        "epoch": best.training["epoch"],
        "metrics": dict(best.metrics),
        "spans_db": [bounds.span for bounds in best.normalizer.bounds.values()],
        "seconds_of_last_stretch": round(seconds, 1),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}",
        "package_version": _version.__version__,
    }
