"""Many products into one folder: names, refusals before anything is written, and failures that stop no other."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import safe_product
import tiny
from command import call
from sarcodec import errors
from sarcodec.codec import encoding
from sarcodec.scene import batch
from sarcodec.scene import sources as scene_sources


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    for seed, name in enumerate(("harbour", "forest")):
        assert call("simulate", folder / f"{name}.tif", "--size", 100, 130, "--seed", seed) == 0
    (folder / "cut.tif").write_bytes((folder / "forest.tif").read_bytes()[:30000])
    safe_product.pack(safe_product.make(folder))
    return folder


def request(work: Path) -> batch.Request:
    return batch.Request(str(work / "tiny.ckpt"), precision="float32", options=encoding.Options(tile=64))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_names(work: Path, tmp_path: Path) -> None:
    (product,) = work.glob("*.SAFE")
    shutil.copy(work / "harbour.tif", tmp_path / "S1.v2.SAFE.TIFF")
    (tmp_path / "plain.1").symlink_to(product)
    sources = {
        work / "harbour.tif": "harbour",
        product: product.stem,
        f"{tmp_path}/S1.v2.SAFE.TIFF": "S1.v2",
        tmp_path / "plain.1": "plain.1",
    }
    jobs = scene_sources.jobs(list(sources), tmp_path / "out")
    assert [job.target for job in jobs] == [tmp_path / "out" / f"{name}.sarc" for name in sources.values()]
    assert jobs[0] == scene_sources.Job(str(work / "harbour.tif"), tmp_path / "out/harbour.sarc", 2 * 100 * 130)
    for other in (product / "manifest.safe", f"{product}.zip", f"{product}/"):
        (job,) = scene_sources.jobs([other], tmp_path)
        assert job.target.name == f"{product.stem}.sarc" and job.pixels == jobs[1].pixels > 0


def test_refusals(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (product,) = work.glob("*.SAFE")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/forest.sarc").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"")
    harbour, forest = work / "harbour.tif", work / "forest.tif"
    for sources, folder, message in (
        ([harbour, product, f"{product}.zip"], "new", "would both become"),
        ([harbour, forest], "archive", "forest.sarc: exists already"),
        ([harbour, work / "nowhere.tif"], "new", "nowhere.tif"),
        ([harbour], "file", "is a file"),
        ([harbour], "no/archive", "create it first"),
    ):
        assert call("compress", *sources, "-o", tmp_path / folder, "--model", work / "tiny.ckpt") == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and message in err
        assert names(tmp_path) == ["archive", "file"] and names(tmp_path / "archive") == ["forest.sarc"]
    assert call("compress", harbour) == 2
    assert "pass a source and a target, or sources and a folder" in capsys.readouterr().err


def test_a_step_out_of_range_is_said_once(work: Path, tmp_path: Path) -> None:
    jobs = scene_sources.jobs([work / "harbour.tif", work / "forest.tif"], tmp_path / "new")
    wrong = dataclasses.replace(request(work), options=encoding.Options(step=9999))
    with pytest.raises(errors.InputError, match="step: got index 9999"):
        next(batch.compress_files(jobs, wrong))
    assert names(tmp_path) == []


def test_one_that_fails_stops_no_other(work: Path, tmp_path: Path) -> None:
    sources = [work / "cut.tif", work / "harbour.tif", work / "forest.tif"]
    jobs = scene_sources.jobs(sources, tmp_path / "new")
    begun: list[scene_sources.Job] = []
    told: list[int] = []
    outcomes = list(batch.compress_files(jobs, request(work), begin=begun.append, advance=told.append))
    assert [outcome.job for outcome in outcomes] == begun == jobs
    assert [outcome.size is None for outcome in outcomes] == [True, False, False]
    assert "cut.tif" in (outcomes[0].error or "")
    assert sum(told) == sum(job.pixels for job in jobs)
    assert names(tmp_path / "new") == ["forest.sarc", "harbour.sarc"]
    alone = tmp_path / "alone.sarc"
    assert batch.compress(dataclasses.replace(jobs[1], target=alone), request(work).open_codec(), request(work))
    assert alone.read_bytes() == jobs[1].target.read_bytes()


def test_an_error_of_another_kind_is_named(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(batch, "compress", fail)
    (outcome,) = batch.compress_files(scene_sources.jobs([work / "harbour.tif"], tmp_path), request(work))
    assert outcome.error == f"{work / 'harbour.tif'}: ZeroDivisionError: by nought"


def test_command_line(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [work / "cut.tif", work / "harbour.tif", work / "forest.tif"]
    command = ("compress", *sources, "-o", tmp_path / "new", "--model", work / "tiny.ckpt", "--bpp", "1")
    assert call(*command) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [
        str(tmp_path / "new" / name) for name in ("harbour.sarc", "forest.sarc") for _ in ("size", "quantity")
    ]
    assert err.startswith("error: ") and err.count("\n") == 1 and "cut.tif" in err
    assert call(*command, "--overwrite", "--json") == 1
    records = json.loads(capsys.readouterr().out)
    assert [record["source"] for record in records] == list(map(str, sources))
    assert [sorted(record) for record in records] == [["error", "source", "target"]] + 2 * [
        sorted(
            [
                "bits_per_pixel",
                "bytes",
                "lost_share",
                "nodata",
                "quantity",
                "quantity_reason",
                "ratio",
                "source",
                "target",
                "valid_share",
            ]
        )
    ]
    assert all(record["bits_per_pixel"] == pytest.approx(1, rel=0.02) for record in records[1:])
    assert (
        call("compress", *sources[1:], "-o", tmp_path / "two", "--model", work / "tiny.ckpt", "--max-error", 2) == 0
    )


def test_folders_and_reruns(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder stands for its GeoTIFFs; with --skip-existing only what is missing is made."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("harbour.tif", "forest.tif"):
        (source / name).write_bytes((work / name).read_bytes())
    (source / "notes.txt").write_text("none of them")
    command = ("compress", source, "-o", target, "--model", work / "tiny.ckpt")
    assert call(*command) == 0
    first = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    assert set(first) == {"harbour.sarc", "forest.sarc"}
    assert call(*command) == 2  # they exist
    (target / "forest.sarc").unlink()
    assert call(*command, "--skip-existing") == 0
    assert (target / "forest.sarc").exists()
    assert (target / "harbour.sarc").stat().st_mtime_ns == first["harbour.sarc"]
    capsys.readouterr()
    assert call(*command, "--skip-existing") == 0
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert call("compress", tmp_path / "empty", "-o", target) == 2
