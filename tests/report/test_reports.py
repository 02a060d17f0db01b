"""Reports of many files in a folder, their index, and what cannot be paired."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import safe_product
import tiny
from command import call
from sarcodec import errors
from sarcodec.report import many

pytest.importorskip("matplotlib")
STEM = Path(safe_product.NAME).stem


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders: originals, one of them a product, and their files; the model lies beside them."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    (folder / "originals").mkdir()
    for seed, name in enumerate(("harbour", "a & b")):
        assert call("simulate", folder / f"originals/{name}.tif", "--size", 100, 130, "--seed", seed) == 0
    safe_product.make(folder / "originals")
    options = ("--model", folder / "tiny.ckpt", "--tile", 64)
    assert call("compress", folder / "originals", "-o", folder / "archive", *options) == 0
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Page(HTMLParser):
    """Links, and the text of every row of a table's body."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.rows: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "link", "iframe"}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += f" {data}"


def test_two_folders(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page each, the same as of one pair alone, and an index that links them with their figures."""
    model = ("--model", work / "tiny.ckpt")
    target = tmp_path / "pages"
    assert call("report", work / "originals", work / "archive", "-o", target, *model, "--json") == 0
    records = json.loads(capsys.readouterr().out)
    stems = sorted(["a & b", "harbour", STEM])
    assert names(target) == sorted([*(f"{name}.html" for name in stems), "index.html"])
    assert [Path(record["page"]).stem for record in records] == stems
    assert [Path(record["original"]).name for record in records] == [
        safe_product.NAME if name == STEM else f"{name}.tif" for name in stems
    ]
    alone = ("report", work / "originals/harbour.tif", work / "archive/harbour.sarc", tmp_path / "one.html", *model)
    assert call(*alone, "--json") == 0
    (harbour,) = (record for record in records if record["page"].endswith("harbour.html"))
    assert harbour["bands"] == json.loads(capsys.readouterr().out)
    assert (tmp_path / "one.html").read_text() == (target / "harbour.html").read_text()
    page = Page(target / "index.html")
    assert page.links == [f"{name}.html".replace(" ", "%20").replace("&", "%26") for name in stems]
    (row,) = (row for row in page.rows if "harbour.sarc" in row)
    size = (work / "archive/harbour.sarc").stat().st_size
    bands = harbour["bands"]
    rmse = re.escape(f"{bands['VV']['rmse_db']:.3f}")
    assert re.search(
        rf"harbour\.tif +{size:,} +{harbour['bits_per_pixel']:.4f} +{harbour['ratio']:.2f} +VV +{rmse}", row
    )
    assert row.count("✓") + row.count("✗") >= 4
    assert "a & b.sarc" in " ".join(page.rows) and "--paper" in (target / "index.html").read_text()


def test_paths_in_any_order(work: Path, tmp_path: Path) -> None:
    files = [
        work / "archive/harbour.sarc",
        work / "originals",
        work / f"archive/{STEM}.sarc",
        work / "archive/a & b.sarc",
    ]
    jobs = many.jobs(files, tmp_path / "pages")
    assert [Path(job.compressed).stem for job in jobs] == sorted(["a & b", "harbour", STEM])
    assert all(job.pixels > 0 for job in jobs)
    shutil.copytree(work / "originals", tmp_path / "all")
    for path in (work / "archive").iterdir():
        shutil.copy(path, tmp_path / "all")
    assert [job.target.name for job in many.jobs([tmp_path / "all"], tmp_path)] == [job.target.name for job in jobs]


def test_refusals(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, that names what has no counterpart; nothing is written."""
    originals, archive = work / "originals", work / "archive"
    harbour, packed = originals / "harbour.tif", archive / "harbour.sarc"
    (tmp_path / "old").mkdir()
    (tmp_path / "old/index.html").write_text("old")
    (tmp_path / "a").mkdir()
    shutil.copy(harbour, tmp_path / "a/harbour.tif")
    shutil.copy(packed, tmp_path / "a/index.sarc")
    shutil.copy(harbour, tmp_path / "a/index.tif")
    shutil.copy(packed, tmp_path / f"a/{STEM}.sarc")
    new = tmp_path / "new"
    for words, message in (
        ((harbour, archive, "-o", new), f"no original for {archive}/{STEM}.sarc, {archive}/a & b.sarc;"),
        ((originals, packed, "-o", new), f"no .sarc file for {originals}/{STEM}.SAFE, {originals}/a & b.tif;"),
        ((harbour, archive / "a & b.sarc", "-o", new), f"a & b.sarc; no .sarc file for {harbour};"),
        ((harbour, tmp_path / "a/harbour.tif", packed, "-o", new), "have the same name"),
        ((harbour, tmp_path / "nowhere.sarc", "-o", new), "nowhere.sarc: there is no such file"),
        ((tmp_path / "a/index.tif", tmp_path / "a/index.sarc", "-o", new), "would be the index"),
        ((originals / safe_product.NAME, tmp_path / f"a/{STEM}.sarc", "-o", new), f"{STEM}.sarc: "),
        ((harbour, packed, "-o", tmp_path / "old"), "index.html: exists already"),
        ((harbour, packed, "-o", tmp_path / "page.html"), "is the name of a file"),
        ((harbour, packed, "-o", "-"), "standard output"),
        ((harbour, packed, "-o", new, "--restored", harbour), "restored: belongs to one file"),
        ((harbour, packed, "-o", new, "--peer", "none"), "peer: got 'none'"),
        ((harbour, packed), "pass an original, its .sarc file and the page"),
        ((harbour, packed, new, new), "pass an original, its .sarc file and the page"),
    ):
        assert call("report", *words) == 2, words
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and message in err, err
        assert names(tmp_path) == ["a", "old"] and (tmp_path / "old/index.html").read_text() == "old"


def test_one_that_fails_stops_no_other(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(work / "archive", tmp_path / "archive")
    cut = tmp_path / "archive/harbour.sarc"
    cut.write_bytes(cut.read_bytes()[:2000])
    jobs = many.jobs([work / "originals", tmp_path / "archive"], tmp_path / "pages")
    told: list[int] = []
    begun: list[many.Job] = []
    found = list(many.write(jobs, model=work / "tiny.ckpt", begin=begun.append, advance=told.append))
    assert [outcome.job for outcome in found] == begun == jobs
    assert [Path(outcome.job.compressed).stem for outcome in found if outcome.error] == ["harbour"]
    assert sum(told) == sum(job.pixels for job in jobs)
    assert names(tmp_path / "pages") == sorted([f"{STEM}.html", "a & b.html", "index.html"])
    page = Page(tmp_path / "pages/index.html")
    assert "1 of 3 could not be compared" in (tmp_path / "pages/index.html").read_text()
    assert any("harbour.sarc" in row and "truncated" in row for row in page.rows)
    words = ("report", work / "originals", tmp_path / "archive", "-o", tmp_path / "pages")
    assert call(*words, "--model", work / "tiny.ckpt", "--overwrite") == 1
    out, err = capsys.readouterr()
    assert out.endswith(f"{tmp_path}/pages/index.html: index written\n")
    assert err.startswith("error: ") and err.count("\n") == 1 and "harbour.sarc" in err


def test_a_model_that_is_not_there_is_said_once(work: Path, tmp_path: Path) -> None:
    jobs = many.jobs([work / "originals", work / "archive"], tmp_path / "pages")
    with pytest.raises(errors.InputError, match="'nothing' is neither"):
        next(many.write(jobs, model="nothing"))
    assert names(tmp_path) == []
