"""What lies in folders: SAFE products (also zipped), studies, and runs of training; one file of each is changed."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import shutil
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

from hostile import changes
from hostile.files import Case
from sarcodec.autoencoder import architecture, checkpoint
from sarcodec.evaluation import roundtrip
from sarcodec.metrics import summary
from sarcodec.raster import manifest
from sarcodec.scene import files as scene_files
from sarcodec.study import choose, export, linear_bounds, page, peers
from sarcodec.training import loop, run_folder, train_config

sys.path.append(str(Path(__file__).parents[2] / "tests"))
import safe_product
import tiny

KINDS = ("damaged SAFE folder", "damaged SAFE zip", "forged SAFE folder", "damaged study", "damaged run")
ROOM = 8
"""Most steps that a damaged run is followed for."""


def make(kind: str, folder: Path) -> Product | Study | Run:
    """Make the sound folder of a kind, of which cases are drawn."""
    return {"damaged study": Study, "damaged run": Run}.get(kind, Product)(kind, folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class _Folder:
    """A folder that is written anew for every case."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.place = kind, folder / "case"

    def write(self, files: dict[str, bytes], place: Path) -> Path:
        shutil.rmtree(self.place, ignore_errors=True)
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        return place


class Product(_Folder):
    """A SAFE product of two polarisations; the content is its ``.sarc`` file, with all that is kept in it."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(kind, folder)
        made = safe_product.make(folder, shape=(48, 64))
        self.files = _contents(made)
        self.target = folder / "case.sarc"
        self.zip = safe_product.pack(made).read_bytes()
        entries = manifest.entries(self.files[manifest.NAME])
        self.told = {entry.path for entry in entries if entry.checksum}
        self.content = self.read(Case("", made, (), False))

    def case(self, rng: random.Random) -> Case:
        """Damage a file, or the zip file anywhere; a forger makes the checksums anew."""
        if self.kind == "damaged SAFE zip":
            way, data = changes.damage(self.zip, self.zip[::-1], rng)
            self.write({f"{safe_product.NAME}.zip": data}, self.place)
            return Case(way, self.place / f"{safe_product.NAME}.zip", (self.content,), True)
        name = rng.choice(list(self.files))
        way, data = changes.spoil(name, self.files[name], rng.choice(list(self.files.values())), rng)
        files = {**self.files, name: data}
        if self.kind == "forged SAFE folder":
            old, new = (hashlib.md5(file).hexdigest().encode() for file in (self.files[name], data))
            files[manifest.NAME] = files[manifest.NAME].replace(old, new)
        path = self.write(files, self.place / safe_product.NAME)
        return Case(f"{way} {name}", path, (self.content,), name in self.told and self.kind == "damaged SAFE folder")

    def read(self, case: Case) -> bytes:
        """Compress the product."""
        scene_files.compress_file(case.path, self.target, overwrite=True, quality=20)
        with zipfile.ZipFile(self.target) as archive:
            return "".join(f"{e.filename} {e.file_size} {e.CRC}\n" for e in archive.infolist()).encode()


class Study(_Folder):
    """A study of four cells, with figures that are made up; the content is what is reported and chosen."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(kind, folder)
        made = folder / "study"
        rng = random.Random(5)
        (made / "cells").mkdir(parents=True)
        for arch, seed in itertools.product(("plain", "cbam"), (1, 2)):
            _write_cell(made / "cells", architecture.ModelConfig(arch, 16, 8), seed, rng)
        (made / "cells" / "waiting").mkdir()
        failed = {"reason": "spike number 4"}
        (made / "cells" / "waiting" / "failed.json").write_text(json.dumps(failed))
        plan = {"patches": "patches", "images": [], "steps": [1, 4]}
        (made / "study.json").write_text(json.dumps({**plan, "cells": ["plain-c16-s1", "later"]}))
        known = [_row(rng, codec, step) for codec in ("jpeg2000", *linear_bounds.NAMES) for step in (16, 300, 900)]
        record = {"rows": known, "missing": {"hevc": "PyAV is not installed"}, "skipped": [], "sources": {"a": "b"}}
        (made / peers.FILE).write_text(json.dumps(record))
        reached = {name: {str(kept): 20.0 + kept for kept in linear_bounds.KEPT} for name in linear_bounds.NAMES}
        (made / linear_bounds.FILE).write_text(json.dumps({"digests": {}, "validation_psnr": reached}))
        self.files = _contents(made)
        self.damaged = [name for name in self.files if not name.endswith(".ckpt")]
        self.pages = 0
        self.content = self.read(Case("", made, (), False))

    def case(self, rng: random.Random) -> Case:
        """Change one file; nothing tells of changed figures."""
        name = rng.choice(self.damaged)
        way, data = changes.spoil(name, self.files[name], self.files[rng.choice(self.damaged)], rng)
        path = self.write({**self.files, name: data}, self.place)
        (path / "cells" / "waiting").mkdir(exist_ok=True)
        return Case(f"{way} {name}", path, (self.content,), False)

    def read(self, case: Case) -> bytes:
        """Choose and summarise; of every fortieth study write the page too."""
        found = choose.choose(case.path, 20.0, 0.5, (0.1, 9.0), 0.1)
        study = choose.results.load(case.path)
        said = json.dumps([*choose.describe(found), export.summary(study)], default=str)
        export.write(study, case.path)
        self.pages += 1
        if self.pages % 40 == 0:
            page.write_page(case.path, study=study)
        return said.encode()


def _write_cell(parent: Path, model: architecture.ModelConfig, seed: int, rng: random.Random) -> None:
    settings = train_config.TrainConfig(epochs=5, seed=seed, precision="float32")
    name = f"{model.arch}-c16-base_channels=8"
    folder = parent / f"{name}-s{seed}"
    folder.mkdir()
    record = {
        "name": folder.name, "variant": name, "model": model.to_dict(), "training": settings.to_dict(),
        "latent_ratio": model.latent_ratio, "spans_db": [35.0], "parameters": 1000, "multiply_adds_per_pixel": 55.5,
        "receptive_field": 99, "checkpoint": "0" * 16, "epoch": 4, "metrics": {"val": {"psnr": 21.5}},
        "seconds_of_last_stretch": 12.5, "machine": "x86_64", "package_version": "0.1.0",
    }  # fmt: skip
    (folder / "cell.json").write_text(json.dumps(record))
    lines = [{"epoch": n, "step": 8 * n, "loss": 1 / n, "psnr": 20.0 + n / 3} for n in range(1, 6)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "rows.json").write_text(json.dumps([_row(rng, "sarcodec", step) for step in (1, 4)]))
    (folder / "floats.json").write_text(json.dumps([_row(rng, "floats", 0)]))
    run_folder.Settings(Path("patches"), model, settings).write(folder)
    checkpoint.save(folder / "best.ckpt", tiny.random_checkpoint(model))


def _row(rng: random.Random, codec: str, step: int) -> dict[str, object]:
    names = list(summary.Metrics.__dataclass_fields__)
    figures = {name: round(rng.uniform(0.3, 1.2), 4) for name in names} | {"psnr_db": rng.uniform(20, 30)}
    quality = summary.Metrics(**{**figures, "valid_pixels": 100})  # type: ignore[arg-type]
    rate = math.inf if codec in ("floats", *linear_bounds.NAMES) else 0.01 + 1 / (step + 1)
    return roundtrip.Row(rng.choice(("north", "south")), "VV", codec, step, 100, rate, quality).to_dict()


class Run(_Folder):
    """A run that was stopped one step before its end; the content is what is there once it was resumed."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(kind, folder)
        patches, made = tiny.patch_set(folder / "patches", train=4, val=1), folder / "run"
        settings = train_config.TrainConfig(
            epochs=3, batch_size=2, learning_rate=2e-3, precision="float32", save_minutes=1e-9, tensorboard=False
        )
        steps = loop.start(made, patches, tiny.CONFIG, settings)
        while next(steps).step < 5:
            pass
        steps.close()
        files = _contents(made)
        (made / "lock").unlink()
        self.files = {name: files[name] for name in ("run.json", "last.ckpt", "best.ckpt", "history.jsonl")}
        self.content = self.read(Case("", made, (), False))

    def case(self, rng: random.Random) -> Case:
        """Change one file; checkpoints have digests, and that of ``last.ckpt`` holds for most of the settings."""
        name = rng.choice(list(self.files))
        way, data = changes.spoil(name, self.files[name], self.files[rng.choice(list(self.files))], rng)
        path = self.write({**self.files, name: data}, self.place)
        return Case(f"{way} {name}", path, (self.content,), name.endswith(".ckpt"))

    def read(self, case: Case) -> bytes:
        """Resume the run to its end, or for some steps where it was told to go on longer."""
        steps = loop.resume(case.path)
        for _ in itertools.islice(steps, ROOM):
            pass
        steps.close()
        found = []
        for name in ("best.ckpt", "last.ckpt"):
            made = checkpoint.load(case.path / name)
            found += [value.numpy().tobytes() for _, value in sorted(made.weights.items())]
            found.append(json.dumps([dict(made.training.get("position", {})), asdict(made.config)]).encode())
        return b"".join([*found, (case.path / "history.jsonl").read_bytes()])
