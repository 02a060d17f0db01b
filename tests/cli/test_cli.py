"""The documented commands, end to end on tiny data, and their errors: one line, status 2, nothing left behind."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio

import safe_product
import tiny
from command import call
from sarcodec import _version
from sarcodec.autoencoder import checkpoint
from sarcodec.scene import files, model_store

Run = Callable[..., tuple[int, str, str]]
TRAIN = ("--base-channels", "8", "--latent-channels", "4", "--batch-size", "4", "--precision", "float32")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def runner(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = call(*arguments)
        return status, *capsys.readouterr()

    return runner


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two simulated scenes of two places, a patch set, a run of eight epochs and a .sarc file."""
    folder = tmp_path_factory.mktemp("work")
    for seed, name in enumerate(("harbour", "forest")):
        size = ("--size", 150, 170, "--seed", seed, "--no-border")
        assert call("simulate", folder / f"{name}.tif", *size) == 0
    with rasterio.open(folder / "forest.tif", "r+") as dataset:  # else the footprints are one place
        dataset.transform = rasterio.Affine.translation(90000, 0) @ dataset.transform
    images = (folder / "harbour.tif", folder / "forest.tif")
    cut = ("--size", 64, "--stride", 32, "--validation", "forest*", "--quiet")
    assert call("prepare", *images, "-o", folder / "patches", *cut) == 0
    settings = (*TRAIN, "--epochs", 8, "--learning-rate", "5e-3", "--warmup-steps", 4, "--no-tensorboard", "-q")
    assert call("train", folder / "patches", "-o", folder / "run", *settings) == 0
    packed = ("--model", folder / "run/best.ckpt", "-q")
    assert call("compress", folder / "harbour.tif", folder / "harbour.sarc", *packed) == 0
    return folder


def test_version(run: Run) -> None:
    models = "".join(f"model {name} {identity}\n" for name, identity in model_store.IDENTITIES.items())
    assert run("--version") == (0, f"{_version.__version__}\n{models}", "")


def test_no_arguments_show_help(run: Run) -> None:
    _, out, err = run()
    assert "decompress" in out + err


def test_python_m() -> None:
    command = [sys.executable, "-m", "sarcodec", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == _version.__version__


def test_simulated_scene(work: Path) -> None:
    with rasterio.open(work / "harbour.tif") as dataset:
        assert (dataset.count, dataset.shape, dataset.descriptions) == (2, (150, 170), ("VV", "VH"))
        assert dataset.tags()["UNITS"] == "sigma0 intensity"
        assert (dataset.read() > 0).all()


def test_trained_model(work: Path) -> None:
    best = checkpoint.load(work / "run/best.ckpt")
    assert (best.config.base_channels, best.config.latent_channels) == (8, 4)
    assert best.training["config"]["loss"] == {"mse": 0.5, "ssim": 0.5, "ms_ssim": 0.0, "gradient": 0.0}
    assert len((work / "run/history.jsonl").read_text().splitlines()) == 8
    assert set(best.normalizer.bounds) == {"db/VV", "db/VH"}


def test_round_trip(work: Path, run: Run, tmp_path: Path) -> None:
    packed, restored = tmp_path / "a.sarc", tmp_path / "a[bold].tif"
    model = ("--model", work / "run/best.ckpt")
    status, out, _ = run("compress", work / "harbour.tif", packed, *model, "--json", "--step", 2, "--tile", 64)
    size = json.loads(out)
    assert (status, size["bytes"]) == (0, packed.stat().st_size)
    assert size["ratio"] == pytest.approx(16 / size["bits_per_pixel"])
    status, out, err = run("decompress", packed, restored, *model)
    assert (status, err) == (0, "")
    assert out.startswith(f"{restored}: restored from") and out.count("\n") == 1
    with rasterio.open(restored) as after, rasterio.open(work / "harbour.tif") as before:
        assert after.crs == before.crs and after.transform == before.transform
        assert after.descriptions == before.descriptions


def test_compress_warns_of_clipping(work: Path, run: Run, tmp_path: Path) -> None:
    with rasterio.open(work / "harbour.tif") as source:
        profile, pixels = source.profile, source.read()
    with rasterio.open(tmp_path / "bright.tif", "w", **profile) as dataset:
        dataset.write(pixels * 100)
        dataset.descriptions = ("VV", "VH")
    options = ("--model", work / "run/best.ckpt", "--quantity", "intensity", "--json")
    status, out, err = run("compress", tmp_path / "bright.tif", tmp_path / "a.sarc", *options)
    assert status == 0 and json.loads(out)["bytes"] > 0
    assert [line.split(" %")[0][:8] for line in err.splitlines()] == ["band 1: ", "band 2: "]
    assert "clipped" in err


@pytest.mark.parametrize(
    ("name", "kind", "keys"),
    [
        ("harbour.sarc", "sarc file", {"bits_per_pixel", "ratio_to_16_bit", "bytes", "raster", "model", "quantity"}),
        ("run/best.ckpt", "checkpoint", {"identity", "parameters", "latent_ratio", "normalizer", "step_multipliers"}),
        ("run/last.ckpt", "checkpoint", {"training"}),
        ("patches", "patch set", {"patches", "normalizer", "config"}),
    ],
)
def test_info(work: Path, run: Run, name: str, kind: str, keys: set[str]) -> None:
    status, out, err = run("info", work / name, "--json")
    record = json.loads(out)
    assert (status, err, record["kind"]) == (0, "", kind)
    assert keys <= record.keys()
    status, out, _ = run("info", work / name)
    assert status == 0 and kind in out


def test_info_counts(work: Path, run: Run) -> None:
    record = json.loads(run("info", work / "harbour.sarc", "--json")[1])
    sizes = record["bytes"]
    assert sizes.pop("total") == sum(sizes.values()) == (work / "harbour.sarc").stat().st_size
    assert record["bits_per_pixel"] == pytest.approx(8 * sum(sizes.values()) / (2 * 150 * 170))
    patch_set = json.loads(run("info", work / "patches", "--json")[1])
    assert patch_set["patches"]["train"] > 4 and patch_set["patches"]["val"] > 4
    last = json.loads(run("info", work / "run/last.ckpt", "--json")[1])
    assert last["step_multipliers"] == []  # to resume from, not to code with


def test_info_of_several(work: Path, run: Run) -> None:
    paths = [work / "harbour.sarc", work / "run/last.ckpt"]
    alone = [json.loads(run("info", path, "--json")[1]) for path in paths]
    together = json.loads(run("info", *paths, "--json")[1])
    assert together == [{"file": str(path)} | record for path, record in zip(paths, alone, strict=True)]
    words = run("info", *paths)[1]
    assert words.index("harbour.sarc") < words.index("last.ckpt")
    status, out, err = run("info", paths[0], work / "missing.sarc")
    assert (status, out) == (2, "") and "missing.sarc" in err


def test_evaluate(work: Path, run: Run, tmp_path: Path) -> None:
    command = ("evaluate", work / "run/best.ckpt", work / "forest.tif", "--step", 1, "--step", 4)
    status, out, _ = run(*command, "--json", "-o", tmp_path / "rows.csv")
    rows = json.loads(out)
    assert status == 0
    assert [(row["band"], row["step"]) for row in rows] == [("VV", 1), ("VV", 4), ("VH", 1), ("VH", 4)]
    assert all(row["image"] == "forest" and row["psnr_db"] > 10 for row in rows)
    assert rows[0]["bytes"] >= rows[1]["bytes"]
    table = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert [row["image"] for row in table] == ["forest"] * 4 + ["mean"] * 2
    assert float(table[4]["psnr_db"]) == pytest.approx((rows[0]["psnr_db"] + rows[2]["psnr_db"]) / 2, rel=1e-4)
    status, out, _ = run(*command)
    assert status == 0 and "mean" in out
    assert all(f"{row['psnr_db']:.3f}" in out and f"{row['bits_per_pixel']:.3f}" in out for row in rows)


def test_evaluated_bytes_are_those_of_the_file(work: Path, run: Run, tmp_path: Path) -> None:
    with rasterio.open(work / "forest.tif") as source:
        profile = source.profile | {"count": 1}
        pixels, tags = source.read(1), source.tags()
    with rasterio.open(tmp_path / "band.tif", "w", **profile) as dataset:
        dataset.write(pixels, 1)
        dataset.update_tags(**tags)
        dataset.set_band_description(1, "VV")
    row = json.loads(run("evaluate", work / "run/best.ckpt", tmp_path / "band.tif", "--json")[1])[0]
    size = files.compress_file(
        tmp_path / "band.tif", tmp_path / "a.sarc", model_store.open_codec(work / "run/best.ckpt")
    )
    assert row["bytes"] == size.bytes
    assert row["bits_per_pixel"] == pytest.approx(size.bits_per_pixel)
    assert row["ratio"] == pytest.approx(size.ratio)


def test_calibrate(work: Path, run: Run, tmp_path: Path) -> None:
    model = tmp_path / "model.ckpt"
    model.write_bytes((work / "run/best.ckpt").read_bytes())
    before = checkpoint.load(model)
    status, out, _ = run("calibrate", model, work / "patches", "--loss-limit", 0.5)
    after = checkpoint.load(model)
    assert status == 0 and f"now model {after.identity}" in out
    assert (after.coder().steps > before.coder().steps).all()
    assert tiny.tensors_equal(after.weights, before.weights)


def test_resume(work: Path, run: Run, tmp_path: Path) -> None:
    """A run that was stopped in its first epoch goes on with its own settings."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_bytes((work / "run/run.json").read_bytes())
    status, out, err = run("train", "--resume", folder)
    assert status == 0 and "best.ckpt: best checkpoint, calibrated" in out
    assert [line.split(":")[0] for line in err.splitlines()] == [f"epoch {n}" for n in range(1, 9)]
    assert (folder / "best.ckpt").read_bytes() == (work / "run/best.ckpt").read_bytes()


def everything(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


ERRORS = {
    "no such raster": ("compress nowhere.tif new.sarc --model run/best.ckpt", "nowhere.tif"),
    "no such model": ("compress harbour.tif new.sarc --model nothing", "model: 'nothing'"),
    "not a raster": ("compress run/run.json new.sarc --model run/best.ckpt", "run.json"),
    "not calibrated": ("compress harbour.tif new.sarc --model run/last.ckpt", "sarcodec calibrate"),
    "existing output": ("compress harbour.tif harbour.sarc --model run/best.ckpt", "--overwrite"),
    "missing folder": ("compress harbour.tif no/new.sarc --model run/best.ckpt", "folder no does not exist"),
    "bad step": ("compress harbour.tif new.sarc --model run/best.ckpt --step 3", "step: got multiplier 3"),
    "bad tile": ("compress harbour.tif new.sarc --model run/best.ckpt --tile 100", "tile: got 100"),
    "bad quantity": ("compress harbour.tif new.sarc --model run/best.ckpt --quantity power", "quantity: got 'power'"),
    "bad precision": (
        "compress harbour.tif new.sarc --model run/best.ckpt --precision int8",
        "precision: got 'int8'",
    ),
    "bad device": ("compress harbour.tif new.sarc --model run/best.ckpt --device abacus", "device: got 'abacus'"),
    "foreign file": ("decompress harbour.tif new.tif --model run/best.ckpt", "harbour.tif: not a .sarc file"),
    "no such file": ("decompress nowhere.sarc new.tif", "nowhere.sarc"),
    "not shipped": ("decompress harbour.sarc new.tif", "--model"),
    "info of nothing": ("info nowhere", "nowhere"),
    "info of a raster": ("info harbour.tif", "harbour.tif"),
    "info of a folder": ("info run", "manifest.json"),
    "no images": ("prepare run -o new", "no GeoTIFF"),
    "one place": ("prepare harbour.tif -o new --size 64", "validation"),
    "bad patch size": ("prepare harbour.tif forest.tif -o new --size 50", "size 50"),
    "bad clipping": ("prepare harbour.tif forest.tif -o new --clip median 1 2", "clipping: got median"),
    "nothing to train on": ("train -o new", "train: pass a patch set"),
    "bad patch set": ("train run -o new", "manifest.json"),
    "existing run": ("train patches -o run", "--resume"),
    "bad loss": ("train patches -o new --loss l1", "loss: got 'l1'"),
    "bad weights": ("train patches -o new --loss-weights 0 0 0 0", "loss weights"),
    "bad architecture": ("train patches -o new --arch fancy", "arch: got 'fancy'"),
    "bad channels": ("train patches -o new --latent-channels 0", "latent_channels: got 0"),
    "bad schedule": ("train patches -o new --schedule linear", "schedule: got 'linear'"),
    "bad seed": ("train patches -o new --seed -1", "seed: got -1"),
    "batch too large": ("train patches -o new --batch-size 999", "batch of 999"),
    "bad training device": ("train patches -o new --device abacus", "device: got 'abacus'"),
    "no run": ("train --resume patches", "run.json"),
    "bad limit": ("calibrate run/best.ckpt patches --loss-limit 0", "loss limit of 0"),
    "bad seed of a scene": ("simulate new.tif --seed -1", "seed"),
    "bad size of a scene": ("simulate new.tif --size 0 10", "height"),
    "existing scene": ("simulate harbour.tif", "--overwrite"),
    "nothing to evaluate": ("evaluate run/best.ckpt nowhere.tif", "nowhere.tif"),
    "unknown suffix": ("evaluate run/best.ckpt forest.tif -o new.xls", "suffix must be .csv or .json"),
    "existing rows": ("evaluate run/best.ckpt forest.tif -o harbour.sarc", "harbour.sarc"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(work: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    command, message = ERRORS[name]
    monkeypatch.chdir(work)
    before = everything(work)
    status, out, err = run(*command.split())
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err
    assert everything(work) == before


@pytest.mark.parametrize("command", ["compress", "compress a.tif b.sarc --step many", "zip", "simulate --size 3"])
def test_usage_errors(run: Run, command: str) -> None:
    status, out, err = run(*command.split())
    assert (status, out) == (2, "") and "Error" in err


def test_products(run: Run, tmp_path: Path) -> None:
    folder = safe_product.make(tmp_path)
    packed = tmp_path / "a.sarc"
    status, _, err = run("compress", folder, packed, "--polarisation", "HH", "-q")
    assert (status, err.count("\n")) == (2, 1) and "measurements of VV and VH" in err and not packed.exists()
    assert run("compress", folder, packed, "--polarisation", "VH", "--max-error", 0.5, "-q")[0] == 0
    assert run("decompress", packed, tmp_path / "b.SAFE", "-q")[0] == 0
    assert safe_product.contents(tmp_path / "b.SAFE") == safe_product.contents(folder)
    status, out, _ = run("info", packed)
    assert status == 0 and "bytes.product" in out and "product.name" in out
