"""A .sarc file where a raster is read: an image to be measured or compared, and none to learn from."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

import safe_product
import tiny
from command import call
from sarcodec import errors
from sarcodec.evaluation import chips, roundtrip
from sarcodec.raster import find
from sarcodec.scene import files

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene, its file of a guaranteed error, which needs no model, what that restores to, and one coded again."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    assert call("simulate", folder / "scene.tif", "--size", 100, 130) == 0
    files.compress_file(folder / "scene.tif", folder / "coded.sarc", max_error=1)
    files.decompress_file(folder / "coded.sarc", folder / "back.tif")
    files.compress_file(folder / "coded.sarc", folder / "again.sarc", tiny.lapped_codec())
    return folder


def test_evaluate_takes_the_image_that_a_file_holds(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = work / "tiny.ckpt"
    assert call("evaluate", model, work / "coded.sarc", "--json") == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert "coded.sarc: is measured as it was coded" in err and err.count("\n") == 1
    assert call("evaluate", model, work / "back.tif", "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert rows == [row | {"image": "coded"} for row in json.loads(out)]
    assert [row["band"] for row in rows] == ["VV", "VH"]


def test_files_are_named_and_not_taken_of_folders(work: Path, tmp_path: Path) -> None:
    """So that an image and its file in one folder are no two images."""
    (tmp_path / "scene.tif").write_bytes((work / "scene.tif").read_bytes())
    (tmp_path / "scene.sarc").write_bytes((work / "coded.sarc").read_bytes())
    assert [path.name for path in find.find_images([tmp_path], coded=True)] == ["scene.tif"]
    (tmp_path / "scene.tif").unlink()
    with pytest.raises(errors.InputError, match=r"no GeoTIFF in .*; \.sarc files are named one by one"):
        list(roundtrip.evaluate(work / "tiny.ckpt", [tmp_path]))


def test_a_file_of_a_model_that_is_not_shipped(work: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ModelMissing, match=r"again\.sarc: as a source .* restore it first"):
        list(roundtrip.evaluate(work / "tiny.ckpt", [work / "again.sarc"]))
    with pytest.raises(errors.ModelMissing, match="as a source"):
        files.compress_file(work / "again.sarc", tmp_path / "new.sarc", tiny.lapped_codec())


def test_training_refuses_them(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("prepare", "train-lapped"):
        assert call(command, work / "scene.tif", work / "coded.sarc", "-o", tmp_path / "new") == 2
        err = capsys.readouterr().err
        assert "coded.sarc: is a .sarc file" in err and "sarcodec decompress" in err and err.count("\n") == 1
    with pytest.raises(errors.InputError, match="is not what a model should learn"):
        list(chips.read([work / "coded.sarc"]))
    assert list(tmp_path.iterdir()) == []


def test_verify_against_a_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("verify", work / "again.sarc", "--model", work / "tiny.ckpt", "--against")
    said = []
    for source in ("coded.sarc", "back.tif"):
        assert call(*command, work / source) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "valid pixels are those of the source" in said[0]


def test_verify_of_a_product_against_a_file(tmp_path: Path) -> None:
    """The product's other files are compared, too."""
    product = safe_product.make(tmp_path)
    files.compress_file(product, tmp_path / "first.sarc", max_error=1)
    files.compress_file(tmp_path / "first.sarc", tmp_path / "second.sarc", "lapped64")
    words = ("verify", tmp_path / "second.sarc", "--against", tmp_path / "first.sarc")
    assert call(*words) == 0
    (product / "support/s1-level-1-product.xsd").write_text("changed")
    files.compress_file(product, tmp_path / "first.sarc", max_error=1, overwrite=True)
    assert call(*words) == 1


def test_report_against_a_file(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    found = []
    for source in ("coded.sarc", "back.tif"):
        words = (work / source, work / "again.sarc", tmp_path / f"{source}.html")
        assert call("report", *words, "--model", work / "tiny.ckpt", "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]


def test_report_of_fill_values_that_nobody_declared(write_tif: Write, tmp_path: Path) -> None:
    """What --nodata named for compress is no pixel of the report either."""
    report = pytest.importorskip("sarcodec.report")
    pixels = tiny.simulated_db((96, 128))
    pixels[20:40] = -9999
    source = write_tif("fill.tif", pixels, tags={"UNITS": "sigma0 dB"}, crs="EPSG:32632")
    files.compress_file(source, tmp_path / "fill.sarc", nodata=-9999, max_error=1)
    (figures,) = report.write_report(source, tmp_path / "fill.sarc", tmp_path / "fill.html").values()
    assert figures.valid_pixels == 76 * 128 and figures.rmse_db < 1


def test_evaluate_of_packed_bands(tmp_path: Path) -> None:
    """Two bands of hundredths of dB with their own offsets: each is measured in dB."""
    db = np.stack([tiny.simulated_db((96, 128), seed) for seed in (1, 2)])
    raw = np.rint((db - np.array([-1.0, 2.0])[:, None, None]) * 100).astype(np.int16)
    raw[:, :10] = 0
    profile = {"driver": "GTiff", "count": 2, "height": 96, "width": 128, "dtype": "int16", "nodata": 0}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(tmp_path / "packed.tif", "w", **profile, **place) as file:
        file.write(raw)
        file.scales, file.offsets = (0.01, 0.01), (-1.0, 2.0)
        file.update_tags(UNITS="sigma0 dB")
    (tmp_path / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    for chip, source in zip(chips.read([tmp_path / "packed.tif"]), db, strict=True):
        assert (chip.valid[:10] == 0).all() and np.abs(chip.db[chip.valid] - source[chip.valid]).max() < 0.01
    rows = list(roundtrip.evaluate(tmp_path / "tiny.ckpt", [tmp_path / "packed.tif"]))
    assert [row.band for row in rows] == ["1", "2"]
    assert all(row.metrics.rmse_db < 2 for row in rows)
