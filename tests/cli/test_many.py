"""Many files restored into one folder: names, refusals before anything is written, failures that stop no other."""

import json
import shutil
from pathlib import Path

import pytest
import rasterio

import safe_product
import tiny
from command import call
from sarcodec import errors, tiling
from sarcodec.codec import codec
from sarcodec.scene import batch, decision, files, model_store
from sarcodec.scene import sources as scene_sources
from sarcodec.scene.output import Output


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two rasters' files, one of a product, and what is none of them; the model lies beside it."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    (folder / "archive").mkdir()
    for seed, name in enumerate(("harbour", "forest")):
        assert call("simulate", folder / f"{name}.tif", "--size", 100, 130, "--seed", seed) == 0
    product = safe_product.make(folder)
    sources = (folder / "harbour.tif", folder / "forest.tif", product)
    options = ("--model", folder / "tiny.ckpt", "--tile", 64)
    assert call("compress", *sources, "-o", folder / "archive", *options) == 0
    (folder / "archive/notes.txt").write_text("none of them")
    (folder / "archive/.harbour.0-1-0.part.sarc").write_bytes(b"what a killed process left")
    return folder / "archive"


@pytest.fixture
def model(archive: Path) -> Path:
    return archive.parent / "tiny.ckpt"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


STEM = Path(safe_product.NAME).stem


def test_a_folder_comes_back_as_it_went(archive: Path, model: Path, tmp_path: Path) -> None:
    assert call("decompress", archive, "-o", tmp_path / "out", "--model", model) == 0
    product = safe_product.NAME
    assert names(tmp_path / "out") == sorted(["harbour.tif", "forest.tif", product])
    assert safe_product.contents(tmp_path / "out" / product) == safe_product.contents(archive.parent / product)
    alone = tmp_path / "alone.tif"
    assert call("decompress", archive / "forest.sarc", alone, "--model", model) == 0
    assert alone.read_bytes() == (tmp_path / "out/forest.tif").read_bytes()


def test_without_the_restoring_network(archive: Path, model: Path, tmp_path: Path) -> None:
    asked = ("--model", model, "--no-restorer")
    assert call("decompress", archive / "forest.sarc", tmp_path / "alone.tif", *asked) == 0
    assert call("decompress", archive, "-o", tmp_path / "out", *asked) == 0
    alone = (tmp_path / "alone.tif").read_bytes()
    assert alone == (tmp_path / "out/forest.tif").read_bytes()
    files.decompress_file(archive / "forest.sarc", tmp_path / "restored.tif", model=model)
    assert alone != (tmp_path / "restored.tif").read_bytes()
    files.decompress_file(archive / "forest.sarc", tmp_path / "plain.tif", model=model, restorer=False)
    assert alone == (tmp_path / "plain.tif").read_bytes()


def test_parts_of_many(archive: Path, model: Path, tmp_path: Path) -> None:
    """A window, a band or a Cloud Optimized GeoTIFF is one of products, too."""
    part = ("--window", 10, 20, 40, 30, "--polarisation", "VH", "--cog")
    assert call("decompress", archive, "-o", tmp_path / "out", "--model", model, *part) == 0
    assert names(tmp_path / "out") == sorted(["harbour.tif", "forest.tif", f"{STEM}.tif"])
    for path in (tmp_path / "out").iterdir():
        with rasterio.open(path) as found:
            assert (found.shape, found.descriptions) == ((30, 40), ("VH",))
            assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_jobs(archive: Path, tmp_path: Path) -> None:
    jobs = scene_sources.decompress_jobs([archive], tmp_path / "out")
    assert [job.target.name for job in jobs] == sorted([safe_product.NAME, "forest.tif", "harbour.tif"])
    assert {job.target.name: job.pixels for job in jobs}["forest.tif"] == 2 * 100 * 130
    part = Output(tiling.Window.at(top=0, left=0, height=10, width=20), ("VV",))
    jobs = scene_sources.decompress_jobs([archive / "forest.sarc"], tmp_path / "out", output=part)
    assert jobs == [scene_sources.Job(str(archive / "forest.sarc"), tmp_path / "out/forest.tif", 200)]


def test_refusals(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, and nothing is written."""
    forest, harbour = archive / "forest.sarc", archive / "harbour.sarc"
    (tmp_path / "old").mkdir()
    (tmp_path / "old/forest.tif").write_bytes(b"old")
    (tmp_path / "old/harbour.tif").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    shutil.copy(forest, tmp_path / "forest.sarc")
    shutil.copy(archive / f"{STEM}.sarc", tmp_path / "old.sarc")
    product = tmp_path / "taken/old.SAFE"
    product.mkdir(parents=True)
    (product / "mine.txt").write_text("no product")
    for words, message in (
        ((harbour, tmp_path / "nowhere.sarc", "-o", tmp_path / "new"), "nowhere.sarc: there is no such file"),
        ((harbour, archive.parent / "forest.tif", "-o", tmp_path / "new"), "forest.tif: not a .sarc file"),
        ((forest, "-o", tmp_path / "old"), "forest.tif: exists already"),
        ((harbour, "-o", tmp_path / "old", "--overwrite"), "harbour.tif: is a folder"),
        ((tmp_path / "old.sarc", "-o", tmp_path / "taken", "--overwrite"), "old.SAFE: is a folder without manifest"),
        ((forest, tmp_path / "forest.sarc", "-o", tmp_path / "new"), "would both become"),
        ((forest, tmp_path / "forest.sarc", "-o", tmp_path / "old", "--skip-existing"), "would both become"),
        ((tmp_path / "empty", "-o", tmp_path / "new"), "holds no .sarc file"),
        ((harbour, "-o", tmp_path / "file"), "is a file"),
        ((harbour, "-o", tmp_path / "no/new"), "create it first"),
        ((harbour, "-o", tmp_path / "back.tif"), "is the name of a file"),
        ((harbour, "-o", tmp_path / "back.SAFE"), "is the name of a file or product"),
        ((harbour, "-o", "-"), "nothing is written to standard output"),
        ((harbour, "-"), "output -: only GeoTIFFs"),
        ((harbour, tmp_path / "back.png"), "only GeoTIFFs are written"),
        ((harbour,), "pass a source and a target, or sources and a folder"),
        ((harbour, forest, archive), "pass a source and a target, or sources and a folder"),
        ((harbour, forest), "got two .sarc files"),
        ((harbour, tmp_path / "new.sarc"), "got two .sarc files"),
        ((harbour, tmp_path / "back.tif", "--skip-existing"), "goes with a folder"),
        ((archive, "-o", tmp_path / "new", "--window", 0, 0, 130, 101), ".sarc: window"),
        ((archive, "-o", tmp_path / "new", "--polarisation", "HH"), ".sarc: polarisation: got 'HH'"),
        ((harbour, "-o", tmp_path / "new", "--speckle", "restore"), "harbour.sarc: speckle: there is no record"),
    ):
        before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
        assert call("decompress", *words, "--model", archive.parent / "tiny.ckpt") == 2, words
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and message in err, err
        assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    assert not Path("-").exists()


def test_a_file_is_no_folder_for_compress_either(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    forest = archive.parent / "forest.tif"
    for words, message in (
        ((forest, "-o", "forest.sarc"), "is the name of a file"),
        ((forest, "-o", "-"), "nothing is written to standard output"),
        ((forest, "-"), "nothing is written to standard output"),
        ((forest, "new.sarc", "--skip-existing"), "goes with a folder"),
        ((archive, "-o", "new"), "archive holds no GeoTIFF and no product (.sarc files are named one by one)"),
    ):
        assert call("compress", *words) == 2
        assert message in capsys.readouterr().err
    assert names(tmp_path) == []


def test_one_that_fails_stops_no_other(archive: Path, model: Path, tmp_path: Path) -> None:
    """Damage in the middle of the pixels, and a file that is cut; each by its name, and all pixels are told of."""
    cut, flipped = tmp_path / "cut.sarc", tmp_path / "flipped.sarc"
    cut.write_bytes((archive / "forest.sarc").read_bytes()[:2000])
    data = bytearray((archive / "harbour.sarc").read_bytes())
    data[1500] ^= 1
    flipped.write_bytes(data)
    jobs = scene_sources.decompress_jobs(
        [cut, archive / "harbour.sarc", flipped, archive / "forest.sarc"], tmp_path / "new"
    )
    assert jobs[0].pixels == 0 and jobs[0].target.name == "cut.tif"
    begun: list[scene_sources.Job] = []
    told: list[int] = []
    found = list(batch.decompress_files(jobs, model=model, begin=begun.append, advance=told.append))
    assert [outcome.job for outcome in found] == begun == jobs
    assert [outcome.size is None for outcome in found] == [True, False, True, False]
    assert "cut.sarc" in (found[0].error or "") and "flipped.sarc" in (found[2].error or "")
    assert sum(told) == sum(job.pixels for job in jobs)
    assert names(tmp_path / "new") == ["forest.tif", "harbour.tif"]
    assert found[1].size == decision.Size((archive / "harbour.sarc").stat().st_size, 2, 100, 130)


def test_a_model_is_loaded_once(archive: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = model_store.open_codec

    def counted(*words: object, **how: object) -> codec.Codec:
        loaded.append(words)
        return load(*words, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(model_store, "open_codec", counted)
    jobs = scene_sources.decompress_jobs([archive / "forest.sarc", archive / "harbour.sarc"], tmp_path / "new")
    assert all(outcome.size for outcome in batch.decompress_files(jobs, model=model))
    assert loaded == [(model,)]
    with pytest.raises(errors.InputError, match="'nothing' is neither"):
        next(batch.decompress_files(jobs, model="nothing"))


def test_files_of_several_models(archive: Path, model: Path, tmp_path: Path) -> None:
    """One with a guaranteed error needs none; one of another model is named, and the others are restored."""
    bounded, other = tmp_path / "bounded.sarc", tmp_path / "other.sarc"
    files.compress_file(archive.parent / "forest.tif", bounded, max_error=2)
    files.compress_file(archive.parent / "forest.tif", other, "lapped64")
    jobs = scene_sources.decompress_jobs([bounded, other, archive / "forest.sarc"], tmp_path / "new")
    found = list(batch.decompress_files(jobs, model=model))
    assert [outcome.size is None for outcome in found] == [False, True, False]
    assert "other.sarc" in (found[1].error or "")
    found = list(batch.decompress_files(jobs, overwrite=True))
    assert [outcome.size is None for outcome in found] == [False, False, True]
    assert "not installed" in (found[2].error or "")


def test_command_line(archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.sarc"
    cut.write_bytes((archive / "forest.sarc").read_bytes()[:2000])
    sources = [cut, archive / "harbour.sarc", archive / "forest.sarc"]
    command = ("decompress", *sources, "-o", tmp_path / "new", "--model", model)
    assert call(*command) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [
        str(tmp_path / "new" / name) for name in ("harbour.tif", "forest.tif")
    ]
    assert err.startswith("error: ") and err.count("\n") == 1 and "cut.sarc" in err
    assert call(*command, "--overwrite", "--json") == 1
    records = json.loads(capsys.readouterr().out)
    assert [record["source"] for record in records] == list(map(str, sources))
    told = ["bits_per_pixel", "bytes", "ratio", "source", "target"]
    assert [sorted(record) for record in records] == [["error", "source", "target"], told, told]
    assert records[1]["bytes"] == (archive / "harbour.sarc").stat().st_size


def test_reruns(archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --skip-existing only what is missing is made, products too."""
    command = ("decompress", archive, "-o", tmp_path / "out", "--model", model)
    assert call(*command) == 0
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out/forest.tif").unlink()
    assert call(*command, "--skip-existing") == 0
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert again.keys() == first.keys()
    assert [name for name in first if again[name] != first[name]] == ["forest.tif"]
    capsys.readouterr()
    assert call(*command, "--skip-existing") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert call(*command, "--skip-existing", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert call(*command, "--overwrite") == 0
    third = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert all(third[name] != again[name] for name in again)


def test_a_source_is_never_a_target(archive: Path, model: Path, tmp_path: Path) -> None:
    """A file whose name does not say what it is."""
    source = tmp_path / "forest.tif"
    shutil.copy(archive / "forest.sarc", source)
    before = source.read_bytes()
    assert call("decompress", source, "-o", tmp_path, "--model", model, "--overwrite") == 1
    assert source.read_bytes() == before
    (job,) = scene_sources.decompress_jobs([source], tmp_path / "new")
    assert job.target == tmp_path / "new/forest.tif"
