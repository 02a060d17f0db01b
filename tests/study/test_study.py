"""Studies: the plan, running and continuing, tables against numbers worked out here, choices, and the page."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shutil
import statistics
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tiny
from sarcodec import baselines, cli, errors, tiling
from sarcodec.autoencoder import checkpoint
from sarcodec.evaluation import chips, roundtrip
from sarcodec.metrics import error, summary
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import model_store
from sarcodec.study import (
    charts,
    choose,
    export,
    findings,
    gains,
    inside,
    linear_bounds,
    page,
    peers,
    plan,
    results,
    rows,
    run,
    sites,
    tables,
    verdict,
)
from sarcodec.training import loop

SIDE = 160
PLAN = """
[data]
patches = "patches"
images = ["images"]
[matrix]
seeds = [1]
more_seeds = { 16 = [2] }
extra = [
  { arch = "plain", base_channels = 8, latent_channels = 16 },
  { arch = "cbam", base_channels = 8, latent_channels = 16 },
]
[training]
epochs = 2
batch_size = 4
learning_rate = 4e-3
warmup_steps = 2
precision = "float32"
tensorboard = false
loss = "mse"
[evaluation]
steps = [1, 4]
"""
NAMES = [f"{arch}-c16-base_channels=8-s{seed}" for arch in ("plain", "cbam") for seed in (1, 2)]


@dataclasses.dataclass
class Made:
    folder: Path
    plan: Path
    before: dict[str, float]
    after: dict[str, float]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study of four tiny cells on two images, interrupted in its second cell and continued."""
    base = tmp_path_factory.mktemp("study")
    tiny.patch_set(base / "patches", train=8, val=2)
    (base / "images").mkdir()
    for number, name in enumerate(("north", "south")):
        info = raster_info.RasterInfo(1, SIDE, SIDE, "float32", descriptions=("VV",))
        with geotiff.create_raster(base / "images" / f"{name}.tif", info) as writer:
            writer.write(0, tiling.Window(0, SIDE, 0, SIDE), tiny.db((SIDE, SIDE), 50 + number))
    (base / "plan.toml").write_text(PLAN)
    folder, cells = base / "study", plan.read(base / "plan.toml")
    results.write_plan(cells, folder)
    begun = run.run(cells, folder)
    while (step := next(begun)).number == 1:
        assert step.cell == NAMES[0]
    begun.close()
    first = folder / "cells" / NAMES[0]
    assert not run.is_done(folder / "cells" / NAMES[1])
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    shares = [step.done / step.total for step in run.run(cells, folder)]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    after = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    return Made(folder, base / "plan.toml", before, after)


@pytest.fixture(scope="module")
def with_peers(made: Made) -> results.Study:
    """The study with two peers and both bounds measured."""
    images = results.load(made.folder).images
    linear = linear_bounds.fit(images)
    linear_bounds.measure_validation(made.folder, made.folder.parent / "patches", linear)
    found = list(peers.measure_peers(images, made.folder, ["jpeg2000", "jpegxl"], (0.3, 0.8, 2.0), linear=linear))
    assert {row.codec for row in found} == {"jpeg2000", "jpegxl", peers.GAUSSIAN, *linear_bounds.NAMES}
    return results.load(made.folder)


def read_plan(tmp_path: Path, text: str) -> plan.Plan:
    (tmp_path / "plan.toml").write_text(text)
    return plan.read(tmp_path / "plan.toml")


def row(codec: str, bpp: float, psnr: float, image: str = "a", *, step: int = 1, **figures: float) -> roundtrip.Row:
    names = [field.name for field in dataclasses.fields(summary.Metrics)]
    values = dict.fromkeys(names, 1.0) | {"valid_pixels": 100, "psnr_db": psnr} | figures
    return roundtrip.Row(image, "VV", codec, step, round(100 * bpp), bpp, summary.Metrics(**values))


def test_plan_crosses_the_matrix(tmp_path: Path) -> None:
    text = (
        '[data]\npatches = "p"\nimages = ["i", "j"]\n'
        '[matrix]\narch = ["plain", "cbam"]\nlatent_channels = [16, 8]\nseeds = [3]\nmore_seeds = { 16 = [4] }\n'
        '[training]\nloss = "mse-heavy"\nepochs = 7\n'
    )
    found = read_plan(tmp_path, text)
    names = ["plain-c16-s3", "plain-c16-s4", "cbam-c16-s3", "cbam-c16-s4", "plain-c8-s3", "cbam-c8-s3"]
    assert [cell.name for cell in found.cells] == names
    assert {cell.training.epochs for cell in found.cells} == {7}
    assert found.patches == tmp_path / "p" and found.images == (tmp_path / "i", tmp_path / "j")
    assert found.steps == (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("[evaluation]", "[evaluating]"), "evaluating"),
        (("epochs = 2", "epoch = 2"), "epoch"),
        (("seeds = [1]", "seeds = [2]"), "no two alike"),
        (("seeds = [1]", "seeds = []\nlatent_channels = []"), None),
        (('loss = "mse"', 'loss = "nice"'), "nice"),
        (('images = ["images"]', ""), "images"),
        (("base_channels = 8", "base_channel = 8"), "base_channel"),
    ],
)
def test_plan_refuses(tmp_path: Path, change: tuple[str, str], match: str | None) -> None:
    text = PLAN.replace(*change)
    assert text != PLAN
    if match is None:
        assert len(read_plan(tmp_path, text).cells) == 2  # only the further seed is left
        return
    with pytest.raises(errors.SarcodecError, match=match):
        read_plan(tmp_path, text)


def test_plan_that_is_no_toml_or_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match="not TOML"):
        read_plan(tmp_path, "[data")
    with pytest.raises(errors.FormatError, match=r"plan\.toml"):
        plan.read(tmp_path / "none" / "plan.toml")


def test_interrupted_study_continues_and_repeats_nothing(made: Made) -> None:
    assert sorted(path.name for path in (made.folder / "cells").iterdir()) == sorted(NAMES)
    assert all(run.is_done(made.folder / "cells" / name) for name in NAMES)
    assert made.before == made.after and "cell.json" in made.before
    for name in NAMES:
        assert len((made.folder / "cells" / name / "history.jsonl").read_text().splitlines()) == 2


def test_other_settings_are_refused(made: Made) -> None:
    made.plan.with_name("other.toml").write_text(PLAN.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(errors.InputError, match="other settings"):
        list(run.run(plan.read(made.plan.with_name("other.toml")), made.folder))


def test_load(made: Made, tmp_path: Path) -> None:
    study = results.load(made.folder)
    assert [cell.name for cell in study.cells] == NAMES and study.unfinished == ()
    assert {(r.image, r.band, r.step) for r in study.cells[0].rows} == {
        (image, "VV", step) for image in ("north", "south") for step in (1, 4)
    }
    assert list(study.variants) == ["plain-c16-base_channels=8", "cbam-c16-base_channels=8"]
    assert study.families == ("plain-base_channels=8", "cbam-base_channels=8")
    assert study.images == (made.folder.parent / "images",)
    with pytest.raises(errors.InputError, match="no cell"):
        results.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cell.json", '"parameters": ', '"parameters": -', "cell.json is damaged.*parameters is out of range"),
        ("cell.json", '"latent_ratio": 16.0', '"latent_ratio": 26.0', "latent_ratio is 26.0, of its model 16"),
        ("cell.json", '"spans_db": [', '"spans_db": [0, ', "cell.json is damaged.*spans_db is 0"),
        ("cell.json", '"spans_db": ', '"spans": ', "cell.json is damaged.*spans_db"),
        ("cell.json", '"epoch": ', '"epoch": null, "was": ', "epoch is None, not of type int"),
        ("cell.json", '"name": "', '"name": "\\u202e', "name is"),
        ("cell.json", "{", "[" * 100_000, "cell.json is damaged"),
        ("rows.json", '"psnr_db": ', '"psnr_db": "a", "was": ', "rows.json.*psnr_db is 'a', not a number"),
        ("rows.json", '"bits_per_pixel": ', '"bits_per_pixel": 0, "was": ', "bits_per_pixel is 0"),
        ("rows.json", '"step": ', '"step": 1.5, "was": ', "step is 1.5"),
        ("floats.json", '"image": ', '"picture": ', "floats.json is damaged.*no 'image'"),
        ("history.jsonl", '"psnr": ', '"psnr": NaN, "was": ', "history.jsonl is damaged.*psnr is nan"),
        ("history.jsonl", "{", "\udcff{", "history.jsonl is damaged"),
        ("../../study.json", '"cells": ', '"cells": 7, "was": ', "study.json is damaged.*cells is 7"),
        ("../../study.json", '"cells": [', '"cells": ["../x", ', "no name of a cell"),
        ("../../study.json", '"cells": [', '"cells": ["' + "x" * 300 + '", ', "a name of more than 255 bytes"),
    ],
)
def test_damaged_files_are_one_line(made: Made, tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    study = Path(shutil.copytree(made.folder, tmp_path / "study"))
    path = study / "cells" / NAMES[0] / file
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(errors.FormatError, match=message) as caught:
        choose.choose(study, 30, 0.85, (0.8, 1.2), 0.85)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def stored(made: Made, name: str) -> list[dict[str, float]]:
    """The rows of a cell as the file has them, read by hand."""
    records = json.loads((made.folder / "cells" / name / "rows.json").read_text())
    return [record for record in records if record["image"] != "mean"]


def test_means_and_differences_equal_those_worked_out_by_hand(made: Made) -> None:
    study = results.load(made.folder)
    found = {(d.figure, d.step): d for d in tables.differences(study)}
    assert len(found) == len(tables.COMPARED) * 2
    for step in (1, 4):
        by_cell = [{r["image"]: r["psnr_db"] for r in stored(made, name) if r["step"] == step} for name in NAMES]
        plain, cbam = by_cell[:2], by_cell[2:]
        per_image = [
            statistics.fmean(c[i] for c in cbam) - statistics.fmean(p[i] for p in plain) for i in ("north", "south")
        ]
        half = 12.706204736 * statistics.stdev(per_image) / math.sqrt(2)  # t of one degree of freedom
        mean = statistics.fmean(per_image)
        got = found["psnr_db", step]
        assert (got.variant, got.against) == ("cbam-c16-base_channels=8", "plain-c16-base_channels=8")
        assert (got.mean, got.low, got.high) == pytest.approx((mean, mean - half, mean + half))
        assert (got.images, got.seeds) == (2, (1, 2))
        seeds = [statistics.fmean(c[i] - p[i] for i in p) for c, p in zip(cbam, plain, strict=True)]
        assert got.seed_means == pytest.approx(seeds)
        curve = {r.step: r for r in study.variant_curves["plain-c16-base_channels=8"]}
        values = [value for cell in plain for value in cell.values()]
        assert curve[step].metrics.psnr_db == pytest.approx(statistics.fmean(values))


def test_a_difference_is_clear_only_when_seeds_agree() -> None:
    base = tables.Difference("psnr_db", "b", "a", 16, 1, 0.5, 0.1, 0.9, 8, (1, 2), (0.4, 0.6))
    assert base.clear
    assert not dataclasses.replace(base, seed_means=(-0.1, 1.1)).clear
    assert not dataclasses.replace(base, low=-0.1).clear
    assert dataclasses.replace(base, mean=-0.5, low=-0.9, high=-0.1, seed_means=(-0.5, -0.5)).clear
    assert not dataclasses.replace(base, low=math.nan, high=math.nan).clear


def test_tables_are_written_and_strict(with_peers: results.Study, tmp_path: Path) -> None:
    written = export.write(with_peers, tmp_path)
    assert {path.name for path in written} == {"cells.csv", "rows.csv", "differences.csv", "summary.json"}
    with (tmp_path / "rows.csv").open() as file:
        lines = list(csv.DictReader(file))
    ours = [line for line in lines if line["cell"] == NAMES[2] and line["step"] == "4" and line["image"] == "south"]
    expected = next(r for r in with_peers.cells[2].rows if (r.image, r.step) == ("south", 4))
    assert float(ours[0]["psnr_db"]) == pytest.approx(expected.metrics.psnr_db, rel=1e-6)
    assert len(lines) == 4 * 4 + len(with_peers.peers.rows)
    record = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert {cell["name"] for cell in record["cells"]} == set(NAMES)
    assert record["means"]["jpeg2000"] and record["unfinished"] == {}
    with (tmp_path / "cells.csv").open() as file:
        assert [line["name"] for line in csv.DictReader(file)] == NAMES


def test_bd_rate_of_a_codec_that_needs_half_is_minus_fifty(with_peers: results.Study) -> None:
    reference = [r for r in with_peers.peers.rows if r.codec == "jpeg2000"]
    half = tuple(
        dataclasses.replace(r, codec="sarcodec", step=n, bits_per_pixel=r.bits_per_pixel / 2)
        for n, r in enumerate(sorted(reference, key=lambda r: (r.step, r.image)), start=1)
    )
    # one step for each budget: both images of a budget share it
    half = tuple(dataclasses.replace(r, step=(r.step + 1) // 2) for r in half)
    study = dataclasses.replace(with_peers, cells=(dataclasses.replace(with_peers.cells[0], rows=half),))
    found, missing = tables.bd_rates(study)
    assert missing == "" and len(found) == 1
    assert found[0].mean == pytest.approx(-50, abs=1) and (found[0].images, found[0].of) == (2, 2)


def test_steps_that_lack_an_image_are_left_out_of_means() -> None:
    known = [row("x", 1.0, 30.0, "a"), row("x", 1.0, 32.0, "b"), row("x", 0.5, 29.0, "a", step=2)]
    curve = rows.complete_means(known)["x"]
    assert [(r.step, r.metrics.psnr_db) for r in curve] == [(1, 31.0)]


TARGETS = {"psnr_db": (30.0, math.inf), "enl_ratio": (0.8, 1.2)}


def test_lowest_rate_is_linear_in_log_rate() -> None:
    curve = [row("x", 0.25, 28.0), row("x", 1.0, 32.0)]
    assert choose.lowest_rate(curve, {"psnr_db": (30.0, math.inf)}) == pytest.approx(0.5)
    assert choose.lowest_rate(curve, {"psnr_db": (31.0, math.inf)}) == pytest.approx(0.25 * 4**0.75)
    assert choose.lowest_rate(curve, {"psnr_db": (27.0, math.inf)}) == 0.25
    assert choose.lowest_rate(curve, {"psnr_db": (33.0, math.inf)}) is None
    assert choose.lowest_rate(curve[::-1], {"psnr_db": (30.0, math.inf)}) == pytest.approx(0.5)


def test_lowest_rate_needs_all_targets_at_once() -> None:
    """ENL passes through its band between two points: neither point meets it, the way between does."""
    curve = [row("x", 0.25, 28.0, enl_ratio=2.0), row("x", 1.0, 36.0, enl_ratio=0.4)]
    # ENL falls to 1.2 at half way, PSNR reaches 30 at a quarter: the half way point decides
    assert choose.lowest_rate(curve, TARGETS) == pytest.approx(0.5)
    late = [row("x", 0.25, 20.0, enl_ratio=2.0), row("x", 1.0, 31.0, enl_ratio=0.4)]
    assert choose.lowest_rate(late, TARGETS) is None  # PSNR is met only where ENL is past its band
    undefined = [row("x", 0.25, 28.0, enl_ratio=math.nan), row("x", 1.0, 36.0)]
    assert choose.lowest_rate(undefined, TARGETS) == 1.0


def synthetic(made: Made) -> results.Study:
    """The study with rows of known curves: plain meets 30 dB at 0.5 bpp, cbam never; a peer at 0.4."""
    study = results.load(made.folder)
    good = tuple(row("sarcodec", b, p, i, step=s) for i in "ab" for b, p, s in ((1.0, 32.0, 1), (0.25, 28.0, 4)))
    bad = tuple(row("sarcodec", b, p, i, step=s) for i in "ab" for b, p, s in ((1.0, 29.0, 1), (0.25, 28.0, 4)))
    cells = tuple(dataclasses.replace(cell, rows=good if "plain" in cell.name else bad) for cell in study.cells)
    peer = tuple(row("jpegxl", b, p, i, step=s) for i in "ab" for b, p, s in ((0.8, 34.0, 800), (0.2, 26.0, 200)))
    return dataclasses.replace(study, cells=cells, peers=peers.Measured(peer))


def test_choose_gives_the_known_answer(made: Made) -> None:
    found = choose.choose(made.folder, 30, 0.85, (0.8, 1.2), 0.85, study=synthetic(made))
    assert [c.codec for c in found] == ["jpegxl", "plain-base_channels=8", "cbam-base_channels=8"]
    peer, plain, cbam = found
    assert peer.ratio == pytest.approx(16 / 0.4) and peer.checkpoint is None
    assert plain.ratio == pytest.approx(16 / 0.5) and (plain.step, plain.step_ratio) == (1, 16.0)
    assert plain.checkpoint is not None and (made.folder / plain.checkpoint).exists()
    assert cbam.ratio is None and cbam.fails == ("psnr_db",)
    assert [line[-1] for line in choose.describe(found)][-1] == "fails: PSNR"


def test_peers_are_measured_once_and_named_when_missing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = dict.fromkeys(baselines.PEERS) | {"hevc": "PyAV is not installed"}
    monkeypatch.setattr(baselines, "available", lambda: reasons)
    images = results.load(made.folder).images
    first = list(peers.measure_peers(images, tmp_path, ["jpeg2000", "hevc"], (0.001, 1.0)))
    assert {r.codec for r in first} == {"jpeg2000", peers.GAUSSIAN}
    kept = peers.read(tmp_path)
    assert set(dict(kept.missing)) == {"hevc", *linear_bounds.NAMES}
    assert dict(kept.missing)["hevc"] == "PyAV is not installed"
    assert [note.split(" for ")[0] for note in kept.skipped] == ["jpeg2000 needs more than 0.001 bit per pixel"] * 2
    for r in first:
        if r.codec == "jpeg2000":
            assert r.step == 1000 and r.bytes <= SIDE * SIDE / 8 and r.bits_per_pixel == 8 * r.bytes / SIDE**2

    def forbidden(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(baselines, "restore", forbidden)
    again = list(peers.measure_peers(images, tmp_path, ["jpeg2000", "hevc"], (0.001, 1.0)))
    assert list(map(repr, again)) == list(map(repr, first))  # NaN is not equal to itself
    with pytest.raises(errors.InputError, match="gif"):
        next(peers.measure_peers(images, tmp_path, ["gif"]))


def test_peers_of_other_pixels_are_measured_again(made: Made, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(made.folder.parent / "images", images)
    old = list(peers.measure_peers([images], tmp_path, ["jpeg2000"], (1.0,)))
    shutil.copy(images / "north.tif", images / "south.tif")
    new = list(peers.measure_peers([images], tmp_path, ["jpeg2000"], (1.0,)))
    assert repr(new[0]) == repr(old[0]) and new[2].metrics.psnr_db == new[0].metrics.psnr_db != old[2].metrics.psnr_db


def test_bounds_beside_the_peers(with_peers: results.Study) -> None:
    curves = with_peers.peer_curves
    for bound in linear_bounds.NAMES:
        curve = sorted(curves[bound], key=lambda r: r.step)
        assert tuple(r.step for r in curve) == linear_bounds.KEPT
        psnr = [r.metrics.psnr_db for r in curve]
        assert psnr == sorted(psnr) and all(math.isinf(r.bits_per_pixel) for r in curve)
        validation = [with_peers.linear[bound, kept] for kept in linear_bounds.KEPT]
        assert validation == sorted(validation)
    gaussian = {r.step: r.metrics.psnr_db for r in curves[peers.GAUSSIAN]}
    assert gaussian[300] < gaussian[800] < gaussian[2000]


def test_restored_chip_is_the_row(made: Made) -> None:
    """Pictures show what the rows measured: same bytes, same PSNR."""
    study = results.load(made.folder)
    chip = next(iter(chips.read(study.images)))
    cell = study.cells[0]
    coder = model_store.open_codec(cell.folder / "best.ckpt")
    db, used = chips.restore(chip, coder, 4)
    expected = next(r for r in cell.rows if (r.image, r.step) == (chip.image, 4))
    assert error.psnr(chip.db, db, chip.valid) == pytest.approx(expected.metrics.psnr_db, abs=1e-6)
    assert used == expected.bytes


def test_places_follow_the_pixels() -> None:
    """A scene with an even dark half, a bright cluster and a shore is taken apart as a person would."""
    side, random = 768, np.random.default_rng(1)
    db = np.full((side, side), -10.0) + np.where(np.indices((side, side))[1] // 48 % 2, 1.5, -1.5)
    db[:, :320] = -22.0
    db[512:640, 512:640] += np.where(random.random((128, 128)) < 0.2, 15.0, 0.0)
    db = (db + 10 * np.log10(random.gamma(4.4, 1 / 4.4, db.shape))).astype(np.float32)
    info = raster_info.RasterInfo(1, side, side, "float32")
    chip = chips.Chip("scene", "VV", db, np.ones(db.shape, bool), db, chips.radiometry.Quantity("db"), info)
    places = sites.find([chip])
    assert list(places) == list(sites.KINDS)
    assert (places["town"].top, places["town"].left) == (512, 512)
    assert places["sea"].left + sites.SIDE <= 320
    assert places["coast"].left < 320 < places["coast"].left + sites.SIDE
    assert places["fields"].left >= 320
    assert sites.find([dataclasses.replace(chip, valid=np.zeros(db.shape, bool))]) == {}


def test_attention_and_latents(made: Made) -> None:
    study = results.load(made.folder)
    chip = next(iter(chips.read(study.images)))
    assert inside.attention(study.cells[0], chip) == []
    found = inside.attention(study.cells[2], chip)
    assert [(a.kind, a.weights.shape) for a in found] == [("channels", (16,)), ("positions", (10, 10))]
    assert all(((a.weights > 0) & (a.weights < 2)).all() for a in found)
    values, deviation = inside.latent(study.cells[0], chip)
    assert values.shape == (16, 10, 10) and deviation.shape == (16,) and (deviation > 0).all()
    sheet = inside.mosaic(values[:5], columns=4)
    assert sheet.shape == (21, 43) and np.isnan(sheet[10]).all() and np.nanmax(sheet) == 1.0


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.sources += [value for key in ("src", "href") if (value := known.get(key))]
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def outline(path: Path) -> _Outline:
    parser = _Outline()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def test_page_shows_every_cell_and_loads_nothing(with_peers: results.Study, tmp_path: Path) -> None:
    found = outline(page.write_page(with_peers.folder, tmp_path / "page.html"))
    words = " ".join(found.words)
    assert all(name in words for name in NAMES)
    assert all(source.startswith(("data:image/png", "#")) for source in found.sources)
    links = [source[1:] for source in found.sources if source.startswith("#")]
    assert links and set(links) <= set(found.ids) and len(found.ids) == len(set(found.ids))
    for title in ("Verdict", "Operating point", "Convergence", "Latent channels", "Attention", "Town", "HEVC intra"):
        assert title in words
    assert "$" not in words and "nan" not in words.split()


def test_page_names_what_is_missing(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns("last.ckpt", "peers.json"))
    (folder / "cells" / NAMES[1] / "cell.json").unlink()
    shutil.rmtree(folder / "cells" / NAMES[3])
    peers.write(folder, peers.Measured((), (("hevc", "no <wheel>"),)))
    study = results.load(folder)
    assert {u.name: u.state for u in study.unfinished} == {
        NAMES[1]: "trained for 2 of 2 epochs, not measured yet",
        NAMES[3]: "not begun",
    }
    words = " ".join(outline(page.write_page(folder)).words)
    assert f"{NAMES[3]} (not begun)" in words and NAMES[1] in words
    assert "HEVC intra" in words and "no <wheel>" in words
    assert [d.seeds for d in tables.differences(study)][:1] == [(1,)]


def test_verdict_judges_by_the_numbers(made: Made) -> None:
    found = {claim.claim: claim for claim in verdict.claims(synthetic(made))}
    assert found["Residual blocks gain over plain convolutions"].state == "open"
    assert found["PSNR at latent ratio 16"].state == "met"
    assert "32 by plain-c16-base_channels=8" in found["PSNR at latent ratio 16"].measured
    assert found["Above the KLT, 16 × 16, of as many values"].state == "open"


def test_rise_in_the_last_fifth(made: Made) -> None:
    cell = results.load(made.folder).cells[0]
    history = tuple({"psnr": value} for value in (20.0, 25.0, 26.0, 26.5, 27.0, 27.2, 27.1, 27.3, 27.5, 27.4))
    assert dataclasses.replace(cell, history=history).late_rise == pytest.approx(0.2)
    assert math.isnan(dataclasses.replace(cell, history=history[:1]).late_rise)


def test_a_study_that_still_rises_says_so(made: Made, tmp_path: Path) -> None:
    study = results.load(made.folder)
    flat = tuple({"psnr": 27.0, "step": n} for n in range(10))
    rising = (*flat[:9], {"psnr": 27.5, "step": 9})
    for history, expected in ((flat, False), (rising, True)):
        cells = (dataclasses.replace(study.cells[0], history=history),)
        page.write_page(made.folder, tmp_path / "page.html", study=dataclasses.replace(study, cells=cells))
        assert ("Not converged" in (tmp_path / "page.html").read_text()) == expected


def test_the_training_that_came_furthest_counts(made: Made) -> None:
    study = results.load(made.folder)
    cell = study.cells[0]
    cells = (
        with_floats(cell, 24.0, variant="plain-c16", arch="plain"),
        with_floats(
            cell, 24.2, variant="plain-c16-optimizer=muon-epochs=9", arch="plain", optimizer="muon", epochs=9
        ),
        with_floats(cell, 24.1, variant="plain-c16-epochs=99", arch="plain", epochs=99),
        with_floats(cell, 23.0, variant="plain-c16-start=linear", arch="plain", start="linear"),
        with_floats(cell, 24.5, variant="residual-c16", arch="residual"),
    )
    assert dataclasses.replace(study, cells=cells).furthest == (cells[1], *cells[3:])


def test_floats_are_what_the_model_gives(made: Made) -> None:
    """Rows of latents as floats equal the model run by hand, and lie above those of the finest step or near them."""
    study = results.load(made.folder)
    cell = study.cells[0]
    chip = next(iter(chips.read(study.images)))
    model = checkpoint.load(cell.folder / "best.ckpt")
    bounds = model.normalizer.bounds["db/VV"]
    with torch.inference_mode():
        restored = model.build()(torch.from_numpy(bounds.apply(chip.db))[None, None])[0][0, 0].numpy()
    row = next(r for r in cell.floats if r.image == chip.image)
    assert (row.codec, row.bytes, row.bits_per_pixel) == ("floats", 0, math.inf)
    assert row.metrics.psnr_db == pytest.approx(error.psnr(chip.db, bounds.invert(restored), chip.valid), abs=0.02)


def with_floats(cell: results.Finished, psnr: float, *, variant: str, **settings: object) -> results.Finished:
    """A cell of another model whose latents as floats have a PSNR on two images, one a dB above the other."""
    record = {
        **cell.record,
        "variant": variant,
        "model": {**cell.record["model"], **{k: v for k, v in settings.items() if k not in plan.OF_TRAINING}},
        "training": {**cell.record["training"], **{k: v for k, v in settings.items() if k in plan.OF_TRAINING}},
        "metrics": {"val": {"psnr": psnr + 5}},
        "latent_ratio": 16.0,
    }
    found = tuple(
        dataclasses.replace(row("floats", 1.0, psnr + n, name, step=0), bytes=0) for n, name in enumerate("ab")
    )
    return dataclasses.replace(cell, record=record, floats=found)


def test_gains_of_parts(made: Made) -> None:
    """Pairs that differ in one thing are found, with the right sign; no others are."""
    study = results.load(made.folder)
    cell = study.cells[0]
    cells = (
        with_floats(cell, 24.0, variant="plain-c16", arch="plain"),
        with_floats(cell, 24.2, variant="plain-c16-epochs=9", arch="plain", epochs=9),
        with_floats(cell, 24.3, variant="plain-c16-optimizer=muon", arch="plain", optimizer="muon"),
        with_floats(cell, 24.1, variant="plain-c16-start=linear", arch="plain", start="linear"),
        with_floats(cell, 24.5, variant="residual-c16", arch="residual"),
        with_floats(cell, 24.4, variant="cbam-c16", arch="cbam"),
        with_floats(cell, 23.0, variant="residual-c16-start=random", arch="residual", start="random"),
        with_floats(cell, 22.0, variant="residual-c16-shortcut=strided", arch="residual", shortcut="strided"),
        with_floats(cell, 22.6, variant="strided-9", arch="residual", shortcut="strided", epochs=9),
    )
    found = {
        (gain.difference.variant, gain.difference.against): (gain.part, gain.difference.mean, gain.validation)
        for gain in gains.find(dataclasses.replace(study, cells=cells))
    }
    titles = [part.title for part in gains.PARTS]
    expected = {
        ("residual-c16", "plain-c16"): (titles[0], 0.5),
        ("cbam-c16", "residual-c16"): (titles[1], -0.1),
        ("residual-c16-start=random", "residual-c16-shortcut=strided"): (titles[2], 1.0),
        ("residual-c16", "residual-c16-start=random"): (titles[3], 1.5),
        ("plain-c16-start=linear", "plain-c16"): (titles[3], 0.1),
        ("plain-c16-epochs=9", "plain-c16"): (titles[5], 0.2),
        ("plain-c16-optimizer=muon", "plain-c16"): (titles[6], 0.3),
        ("strided-9", "residual-c16-shortcut=strided"): (titles[5], 0.6),
        ("residual-c16", "plain-c16-optimizer=muon"): (titles[7], 0.2),
        ("residual-c16-start=random", "strided-9"): (titles[8], 0.4),
    }
    assert set(found) == set(expected)
    for pair, (title, mean) in expected.items():
        assert found[pair] == (title, pytest.approx(mean), pytest.approx(mean))


def test_names_in_charts_leave_out_what_is_common(made: Made) -> None:
    study = results.load(made.folder)
    assert charts.common_options(study) == ("base_channels=8",)
    assert charts.short(study, "plain-c16-base_channels=8-start=linear") == "plain-c16-start=linear"
    assert charts.short(study, "plain-c16") == "plain-c16, not base_channels=8"


def test_above_linear_bounds(made: Made) -> None:
    study = results.load(made.folder)
    cells = (with_floats(study.cells[0], 24.0, variant="residual-c16", arch="residual"),)
    linear = tuple(row(linear_bounds.KLT, 1.0, psnr, name, step=16) for psnr, name in ((23.5, "a"), (25.1, "b")))
    study = dataclasses.replace(
        study, cells=cells, peers=peers.Measured(linear), linear={(linear_bounds.KLT, 16): 28.7}
    )
    (above,) = gains.above_bounds(study)
    assert (above.mean, above.least, above.below) == (pytest.approx(0.2), pytest.approx(-0.1), 1)
    assert above.validation == pytest.approx(0.3)
    text = " ".join(findings.paragraphs(study))
    assert "residual-c16 +0.20 dB at latent ratio 16, below it on 1 of 2 images" in text


@pytest.fixture
def runner() -> Iterator[CliRunner]:
    yield CliRunner()


def test_command_line(made: Made, with_peers: results.Study, runner: CliRunner) -> None:
    again = runner.invoke(cli.app, ["study", "run", str(made.plan), "-o", str(made.folder)])
    assert again.exit_code == 0 and "4 cells" in again.output
    target = made.folder / "other.html"
    report = runner.invoke(cli.app, ["study", "report", str(made.folder), "--no-peers", "--target", str(target)])
    assert report.exit_code == 0 and target.exists() and (made.folder / "summary.json").exists()
    chosen = runner.invoke(cli.app, ["study", "choose", str(made.folder), "--psnr", "20", "--json"])
    found = json.loads(chosen.stdout)
    assert {c["codec"] for c in found} == {"jpeg2000", "jpegxl", *with_peers.families}
    table = runner.invoke(cli.app, ["study", "choose", str(made.folder), "--psnr", "90"])
    assert table.exit_code == 0 and "fails: PSNR" in table.output


def test_a_folder_that_names_no_images(made: Made, tmp_path: Path, runner: CliRunner) -> None:
    shutil.copytree(made.folder / "cells", tmp_path / "cells", ignore=shutil.ignore_patterns("last.ckpt"))
    refused = runner.invoke(cli.app, ["study", "report", str(tmp_path)])
    assert isinstance(refused.exception, errors.InputError) and "--plan" in str(refused.exception)
    words = " ".join(outline(page.write_page(tmp_path)).words)
    assert "which images" in words and NAMES[0] in words
    bad = runner.invoke(cli.app, ["study", "report", str(made.folder), "--no-peers", "--place", "town=x"])
    assert "IMAGE:BAND" in str(bad.exception)


def test_a_cell_that_fails_does_not_end_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is kept, the next cell is begun, and a restart does not try it again."""
    text = PLAN.replace("seeds = [1]", "seeds = [1, 3]").replace("more_seeds = { 16 = [2] }\n", "")
    (tmp_path / "study.toml").write_text(text)
    tiny.patch_set(tmp_path / "patches", train=8, val=2)
    (tmp_path / "images").mkdir()
    begun: list[str] = []

    def fail(folder: Path, *_: object) -> Iterator[object]:
        begun.append(folder.name)
        folder.mkdir(parents=True)
        raise errors.TrainingError("loss nan at step 3")
        yield

    monkeypatch.setattr(loop, "start", fail)
    found = plan.read(tmp_path / "study.toml")
    notes = [step.note for step in run.run(found, tmp_path / "out")]
    assert begun == [cell.name for cell in found.cells]
    assert all("loss nan" in note for note in notes)
    assert json.loads((tmp_path / "out" / "cells" / begun[0] / "failed.json").read_text())["reason"] in notes[0]
    assert all("failed before" in step.note for step in run.run(found, tmp_path / "out"))
    states = {cell.name: cell.state for cell in results.load(tmp_path / "out").unfinished}
    assert set(states) == set(begun)
    assert all("failed: loss nan" in state for state in states.values())
    assert len(begun) == len(found.cells)
