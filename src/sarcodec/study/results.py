"""What a study folder holds: finished cells, those that are not, the test images, and the peers.

``study.json`` says what the study was to be; without it (a folder begun by :func:`sarcodec.study.run.run` alone) the
cells are those whose folders exist, and the images have to be named.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sarcodec import errors
from sarcodec.autoencoder import architecture
from sarcodec.evaluation import roundtrip
from sarcodec.files import atomic
from sarcodec.study import fields, floats, linear_bounds, peers, rows
from sarcodec.study.plan import Plan

ARCHITECTURES = ("plain", "residual", "cbam")


@dataclass(frozen=True)
class Finished:
    """A cell that was trained and measured.

    ``record`` is its ``cell.json``, ``history`` one entry an epoch, ``floats`` the rows of latents not quantised.
    """

    folder: Path
    record: dict[str, Any]
    rows: tuple[roundtrip.Row, ...]
    history: tuple[dict[str, Any], ...]
    floats: tuple[roundtrip.Row, ...] = ()

    @property
    def late_rise(self) -> float:
        """By how many dB the best validation PSNR rose in the last fifth of the epochs, at least one of them."""
        found = [float(entry["psnr"]) for entry in self.history]
        last = max(1, len(found) // 5)
        return max(found) - max(found[:-last]) if len(found) > last else math.nan

    @property
    def best_psnr(self) -> float:
        """PSNR on [0, 1] of the validation patches by the checkpoint that was kept, in dB."""
        return float(self.record["metrics"]["val"]["psnr"])

    @property
    def best(self) -> Path:
        """The checkpoint that was kept."""
        return self.folder / "best.ckpt"

    @property
    def name(self) -> str:
        """Name of the cell."""
        return str(self.record["name"])

    @property
    def variant(self) -> str:
        """Name of its model, without the seed."""
        return str(self.record["variant"])

    @property
    def channels(self) -> int:
        """Latent channels."""
        return int(self.record["model"]["latent_channels"])

    @property
    def seed(self) -> int:
        """Seed it was trained with."""
        return int(self.record["training"]["seed"])

    @property
    def epochs(self) -> int:
        """Epochs it was to be trained for."""
        return int(self.record["training"]["epochs"])

    @property
    def setting(self) -> str:
        """Its model and how that begins: alike in cells that differ in seed, epochs and optimiser alone."""
        return json.dumps([self.record["model"], self.record["training"].get("start")], sort_keys=True)

    @property
    def spans_db(self) -> tuple[float, ...]:
        """Widths in dB of what its model clips to and scales to [0, 1], one a kind of band."""
        return fields.numbers(self.record, "spans_db", above=0.0)

    @property
    def latent_ratio(self) -> float:
        """Pixels per latent value."""
        return float(self.record["latent_ratio"])

    @property
    def family(self) -> str:
        """Name of its model without the latent channels."""
        return self.variant.replace(f"-c{self.channels}", "", 1)

    @property
    def order(self) -> tuple[int, str, int, int]:
        """Sort key: by architecture, options, channels, seed."""
        arch = self.record["model"]["arch"]
        place = ARCHITECTURES.index(arch) if arch in ARCHITECTURES else len(ARCHITECTURES)
        return place, self.family, self.channels, self.seed


@dataclass(frozen=True)
class Unfinished:
    """A cell without results yet, and how far it is."""

    name: str
    state: str


@dataclass(frozen=True)
class Study:
    """Everything that a study has measured so far."""

    folder: Path
    cells: tuple[Finished, ...]
    unfinished: tuple[Unfinished, ...]
    images: tuple[Path, ...]
    peers: peers.Measured
    patches: Path | None = None
    linear: linear_bounds.Validation = field(default_factory=dict)

    @cached_property
    def furthest(self) -> tuple[Finished, ...]:
        """Cells without those whose model, begun alike, came to a higher validation PSNR in another training."""
        best: dict[str, Finished] = {}
        for cell in self.cells:
            best[cell.setting] = max(best.get(cell.setting, cell), cell, key=lambda each: each.best_psnr)
        return tuple(cell for cell in self.cells if cell.variant == best[cell.setting].variant)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Names of the models without their latent channels, in the order of the cells."""
        return tuple(dict.fromkeys(cell.family for cell in self.cells))

    @cached_property
    def main(self) -> tuple[str, ...]:
        """Variants of families with several latent ratios: the matrix, without what was tried at one place."""
        ratios = {(cell.family, cell.latent_ratio) for cell in self.cells}
        counts = {family: sum(family == one for one, _ in ratios) for family in self.families}
        least = min(2, max(counts.values(), default=0))
        return tuple(name for name, cells in self.variants.items() if counts[cells[0].family] >= least)

    @cached_property
    def main_families(self) -> tuple[str, ...]:
        """Families of the main variants."""
        return tuple(dict.fromkeys(self.variants[name][0].family for name in self.main))

    @cached_property
    def variants(self) -> dict[str, tuple[Finished, ...]]:
        """Cells of each variant, which differ in their seed alone."""
        names = dict.fromkeys(cell.variant for cell in self.cells)
        return {name: tuple(cell for cell in self.cells if cell.variant == name) for name in names}

    @cached_property
    def variant_curves(self) -> dict[str, list[roundtrip.Row]]:
        """Means over images and seeds of each variant, one row a step, by falling rate."""
        curves = {}
        for name, cells in self.variants.items():
            means = rows.complete_means(row for cell in cells for row in cell.rows if row.codec == "sarcodec")
            curves[name] = means.get("sarcodec", [])
        return curves

    @cached_property
    def peer_curves(self) -> dict[str, list[roundtrip.Row]]:
        """Means over images of each peer and bound, one row a budget, by falling rate."""
        return rows.complete_means(self.peers.rows)


def write_plan(plan: Plan, folder: Path) -> None:
    """Write ``study.json``: what the study is to be, for the report to tell what is still missing."""
    record = {
        "patches": str(plan.patches.resolve()),
        "images": [str(path.resolve()) for path in plan.images],
        "steps": list(plan.steps),
        "cells": [cell.name for cell in plan.cells],
    }
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(folder / "study.json", (json.dumps(record, indent=1) + "\n").encode(), overwrite=True)


def load(folder: Path, images: tuple[Path, ...] = ()) -> Study:
    """Load a study.

    Parameters
    ----------
    folder : path
        As :func:`sarcodec.study.run.run` fills it; the study may be under way.
    images : tuple of paths
        The test images, instead of those that ``study.json`` names.

    Raises
    ------
    InputError
        When the folder holds no cell.
    FormatError
        When a file of it is damaged.
    """
    begun = sorted(path for path in (folder / "cells").glob("*") if path.is_dir())
    if not begun:
        raise errors.InputError(f"study {folder}: holds no cell; run 'sarcodec study run' first")
    cells, named, patches = _plan(folder / "study.json")
    found = [_finished(path) for path in begun if (path / "cell.json").exists()]
    waiting = dict.fromkeys([*cells, *(path.name for path in begun)])
    done = {cell.folder.name for cell in found}
    return Study(
        folder,
        tuple(sorted(found, key=lambda cell: cell.order)),
        tuple(Unfinished(name, _state(folder / "cells" / name)) for name in waiting if name not in done),
        images or named,
        peers.read(folder),
        patches,
        linear_bounds.read_validation(folder),
    )


def _plan(path: Path) -> tuple[tuple[str, ...], tuple[Path, ...], Path | None]:
    """Return the cells, images and patch set that ``study.json`` names; none without it."""
    if not path.exists():
        return (), (), None
    record = fields.read_record(path)
    with fields.reading(path):
        cells, images = fields.texts(record, "cells"), tuple(map(fields.path, fields.texts(record, "images")))
        if strange := [name for name in cells if fields.path(name).name != name]:
            raise ValueError(f"{strange[0]!r} is no name of a cell")
        return cells, images, fields.path(fields.text(record, "patches"))


def _finished(folder: Path) -> Finished:
    record, measured = fields.read_record(folder / "cell.json"), rows.read(folder / "rows.json")
    with fields.reading(folder / "cell.json"):
        _check_cell(record)
    unquantised = rows.read(folder / floats.FILE) if (folder / floats.FILE).exists() else ()
    return Finished(folder, record, measured, _history(folder), unquantised)


def _check_cell(record: dict[str, Any]) -> None:
    """Raise for a record that is not what :func:`sarcodec.study.run.run` writes, as far as a report uses it."""
    for key in ("name", "variant", "machine"):
        fields.text(record, key)
    for key in ("parameters", "epoch"):
        fields.whole(record, key)
    for key in ("multiply_adds_per_pixel", "seconds_of_last_stretch"):
        fields.number(record, key, above=-1.0)
    fields.numbers(record, "spans_db", above=0.0)
    fields.number(fields.mapping(fields.mapping(record, "metrics"), "val"), "psnr")
    training = fields.mapping(record, "training")
    for key, least in (("seed", 0), ("epochs", 1), ("batch_size", 1)):
        fields.whole(training, key, least)
    if "start" in training:
        fields.text(training, "start")
    model = architecture.ModelConfig.from_dict(fields.mapping(record, "model"))
    if fields.number(record, "latent_ratio") != model.latent_ratio:
        raise ValueError(f"latent_ratio is {record['latent_ratio']}, of its model {model.latent_ratio:g}")


def _history(folder: Path) -> tuple[dict[str, Any], ...]:
    path = folder / "history.jsonl"
    if not path.exists():
        return ()
    with fields.reading(path):
        found = tuple(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
        for entry in found:
            fields.whole(entry, "step")
            fields.number(entry, "psnr")
        return found


def _state(folder: Path) -> str:
    failed, begun, history = (folder / name for name in ("failed.json", "run.json", "history.jsonl"))
    if failed.exists():
        with fields.reading(failed):
            return f"failed: {errors.plain(fields.text(fields.read_record(failed), 'reason'))}"
    if not begun.exists():
        return "not begun"
    with fields.reading(begun):
        epochs = fields.whole(fields.mapping(fields.read_record(begun), "training"), "epochs")
    done = len(history.read_bytes().splitlines()) if history.exists() else 0
    return f"trained for {done} of {epochs} epochs" + (", not measured yet" if done >= epochs else "")
