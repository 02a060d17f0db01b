"""How things are added, followed step by step: a metric, a peer, a column of the study's tables."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from command import call
from sarcodec import baselines, errors
from sarcodec.evaluation import chips, roundtrip
from sarcodec.metrics import summary
from sarcodec.pages import figures, tables
from sarcodec.report import many
from sarcodec.study import columns, names, peers, rows

FIELDS = [field.name for field in dataclasses.fields(summary.Metrics)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image, its file and the model that made it."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    assert call("simulate", folder / "image.tif", "--size", 96, 128, "--seed", 3) == 0
    options = ("--model", folder / "tiny.ckpt", "--tile", 64)
    assert call("compress", folder / "image.tif", folder / "image.sarc", *options) == 0
    return folder


# A metric: a function in metrics, a field of Metrics with its line in evaluate, a row in pages.figures.


def test_every_metric_has_a_row_and_every_row_a_metric() -> None:
    assert set(figures.FIGURES) == set(FIELDS)
    for name, figure in figures.FIGURES.items():
        assert figure.label and figure.meaning, name
        assert ("dB" in figure.unit) == name.endswith("_db"), name
    assert len({figure.label for figure in figures.FIGURES.values()}) == len(FIELDS)


def test_every_target_has_a_figure_and_two_intervals_within_each_other() -> None:
    assert set(summary.TARGETS) < set(FIELDS)
    for name, target in summary.TARGETS.items():
        (least, most), (low, high) = target["good"], target["excellent"]
        assert least < low <= high <= most, name
        for grade, value in (("good", least), ("excellent", low), ("poor", least - 1e-6)):
            assert summary.grade(name, value) == figures.grade(name, value) == grade, name
        assert f"{least:g}" in figures.targets(name) and f"{low:g}" in figures.targets(name)


def test_every_metric_but_the_count_can_be_undefined_and_is_shown() -> None:
    nothing = summary.Metrics(0, *[math.nan] * (len(FIELDS) - 1))
    shown = dict(figures.lines({"VV": nothing}))
    assert len(shown) == len(FIELDS) and shown.pop("Valid pixels") == ["0"]
    assert all(cells == ["not defined"] for cells in shown.values())


@dataclasses.dataclass(frozen=True)
class WithMedian(summary.Metrics):
    """All figures and one more."""

    median_error_db: float = math.nan


@pytest.fixture
def median(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a metric as its recipe says."""
    evaluate = summary.evaluate

    def with_median(original: Any, restored: Any, valid: Any = None) -> summary.Metrics:
        error = np.abs(np.asarray(restored) - np.asarray(original))[valid]
        return dataclasses.replace(
            evaluate(original, restored, valid), median_error_db=float(np.median(error)) if error.size else math.nan
        )

    row = figures.Figure("Median error", 3, " dB", "half of the pixels err less")
    monkeypatch.setattr(summary, "Metrics", WithMedian)
    monkeypatch.setattr(summary, "evaluate", with_median)
    monkeypatch.setattr(figures, "FIGURES", {**figures.FIGURES, "median_error_db": row})


@pytest.mark.usefixtures("median")
def test_a_new_metric_is_in_every_table(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    both = work / "image.tif", work / "image.sarc"
    capsys.readouterr()
    assert call("report", *both, tmp_path / "page.html", "--model", work / "tiny.ckpt") == 0
    assert "Median error" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("Median error<small>half of the pixels err less</small>") == 2  # bands
    assert call("report", *both, tmp_path / "json.html", "--model", work / "tiny.ckpt", "--json") == 0
    found = json.loads(capsys.readouterr().out)["VV"]["median_error_db"]
    assert found > 0 and figures.format_figure("median_error_db", found) in page


@pytest.mark.usefixtures("median")
def test_a_new_metric_is_in_every_row(work: Path, tmp_path: Path) -> None:
    measured = list(roundtrip.evaluate(work / "tiny.ckpt", [work / "image.tif"]))
    for suffix in ("csv", "json"):
        roundtrip.write_rows(tmp_path / f"rows.{suffix}", measured)
    with (tmp_path / "rows.csv").open() as file:
        assert all(float(line["median_error_db"]) > 0 for line in csv.DictReader(file))
    values = [rows.figure(row, "median_error_db") for row in measured]
    read = rows.read(tmp_path / "rows.json")  # as a study keeps them
    assert [rows.figure(row, "median_error_db") for row in read] == values
    assert rows.figure(roundtrip.means(measured)[0], "median_error_db") == np.mean(values)
    assert names.figure("median_error_db").axis == "Median error (dB)"


def test_a_study_measured_before_a_metric_says_so(work: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    roundtrip.write_rows(tmp_path / "rows.json", list(roundtrip.evaluate(work / "tiny.ckpt", [work / "image.tif"])))
    request.getfixturevalue("median")
    with pytest.raises(errors.FormatError, match=r"no 'median_error_db'; measure the cell again"):
        rows.read(tmp_path / "rows.json")


# A peer: a class with a name, levels, require, encode and decode, and one line in baselines.PEERS.


class Halves:
    """Whole dB of every n-th pixel as half floats; the level is n."""

    name = "half floats"
    levels = (64.0, 1.0)

    def require(self) -> None:
        """Nothing is needed."""

    def encode(self, db: np.ndarray, level: float) -> bytes:
        thin = db[:: round(level), :: round(level)].astype("<f2")
        return struct.pack("<3I", *db.shape, round(level)) + thin.tobytes()

    def decode(self, data: bytes) -> np.ndarray:
        height, width, step = struct.unpack_from("<3I", data)
        rows, columns = (np.arange(length) // step for length in (height, width))
        thin = np.frombuffer(data, "<f2", offset=12).reshape(rows[-1] + 1, columns[-1] + 1)
        return thin[np.ix_(rows, columns)].astype(np.float32)


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a peer as its recipe says."""
    monkeypatch.setattr(baselines, "PEERS", {**baselines.PEERS, "halves": Halves()})


@pytest.mark.usefixtures("halves")
def test_a_new_peer_meets_budgets() -> None:
    assert baselines.available()["halves"] is None
    db, valid = tiny.db((40, 60)), np.ones((40, 60), bool)
    valid[3, 4] = False
    restored, used = baselines.restore(baselines.PEERS["halves"], db, valid, 2 * db.size + 12)
    assert used == 2 * db.size + 12 and np.isnan(restored[3, 4])
    np.testing.assert_allclose(restored[valid], db[valid], rtol=1e-3)
    curve = baselines.rate_curve(baselines.PEERS["halves"], db, valid, (0.5, 2.0, 16.1))
    assert [used for used, _ in curve] == sorted(used for used, _ in curve)
    assert all(used <= bpp * db.size / 8 for (used, _), bpp in zip(curve, (0.5, 2.0, 16.1), strict=True))


@pytest.mark.usefixtures("halves")
def test_a_new_peer_stands_on_the_page(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    jobs = many.jobs([work / "image.tif", work / "image.sarc"], tmp_path / "pages")
    assert [outcome.error for outcome in many.write(jobs, model=work / "tiny.ckpt", peer="halves")] == [None]
    assert "sarcodec against half floats at equal bytes" in jobs[0].target.read_text(encoding="utf-8")


@pytest.mark.usefixtures("halves")
def test_a_new_peer_is_measured_beside_a_model_and_in_a_study(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roundtrip, "PEERS", ("halves",))
    model = [r.bytes for r in roundtrip.evaluate(work / "tiny.ckpt", [work / "image.tif"])]
    beside = [
        r
        for r in roundtrip.evaluate(work / "tiny.ckpt", [work / "image.tif"], with_peers=True)
        if r.codec == "halves"
    ]
    assert len(beside) == len(model) == 2
    assert all(row.bytes <= most and row.metrics.psnr_db > 0 for row, most in zip(beside, model, strict=True))
    measured = list(peers.measure_peers([work / "image.tif"], tmp_path, ["halves"], (1.0, 4.0)))
    chip = next(iter(chips.read([work / "image.tif"])))
    kept = {(row.band, row.step): row for row in peers.read(tmp_path).rows if row.codec == "halves"}
    assert set(kept) == {(row.band, row.step) for row in measured if row.codec == "halves"} and len(kept) == 4
    restored, used = baselines.restore(Halves(), chip.db, chip.valid, chip.db.size // 2)
    assert kept[chip.band, 4000].bytes == used
    assert kept[chip.band, 4000].metrics.ssim == summary.evaluate(chip.db, restored, chip.valid).ssim
    assert names.codec("halves") == "half floats"


# A column of the study's tables: one line in study.columns.


def outcomes() -> Iterator[tuple[str, tuple[tables.Column[Any], ...]]]:
    for name in ("CELLS", "DIFFERENCES", "SPREADS", "BD_RATES"):
        yield name, getattr(columns, name)


def test_columns_have_headers_of_their_own_and_names_where_they_have_values() -> None:
    for table, found in outcomes():
        headers = [column.header for column in found]
        assert len(set(headers)) == len(headers), table
        assert all(bool(column.name) == (column.value is not None) for column in found), table


def test_a_new_column_is_on_the_page_and_in_csv() -> None:
    things: list[Mapping[str, float]] = [{"a": 1.0}, {"a": 0.123456789012}, {"a": math.nan}]
    found = (
        tables.Column[Mapping[str, float]]("A", lambda thing: f"{thing['a']:.1f}", number=True),
        tables.Column[Mapping[str, float]](
            "Twice", lambda thing: f"<b>{2 * thing['a']:g}</b>", "twice", lambda t: 2 * t["a"]
        ),
    )
    page = tables.of(found, things[:2])
    assert page.count("<tr>") == 3
    assert '<th scope="col" class="number">A</th><th scope="col">Twice</th>' in page
    assert '<tr><td class="number">1.0</td><td><b>2</b></td></tr>' in page
    text = tables.to_csv([tables.record(found, thing, thing) for thing in things])
    assert text == "a,twice\n1,2\n0.12345679,0.24691358\n,\n"
