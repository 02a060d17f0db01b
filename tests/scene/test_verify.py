"""Verifying a file: damage, other sources, guaranteed errors; exit status and JSON."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

import safe_product
import tiny
from command import call
from sarcodec import errors
from sarcodec.scene import files, verify

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a source with invalid pixels, its file, and one with a guaranteed error."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    db = np.stack([tiny.simulated_db((200, 150)), tiny.simulated_db((200, 150), 1)])
    db[:, 20:50, 30:80] = np.nan
    profile = {"driver": "GTiff", "count": 2, "height": 200, "width": 150, "dtype": "float32", "nodata": np.nan}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(folder / "scene.tif", "w", **profile, **place) as file:
        file.write(db)
        file.update_tags(UNITS="sigma0 dB", PLACE="here")
    files.compress_file(folder / "scene.tif", folder / "scene.sarc", tiny.lapped_codec())
    files.compress_file(folder / "scene.tif", folder / "bound.sarc", tiny.lapped_codec(), max_error=0.5)
    return folder


def changed(work: Path, target: Path, **tags: str) -> Path:
    """A copy of the source with other tags, to be changed further."""
    shutil.copy(work / "scene.tif", target)
    with rasterio.open(target, "r+") as file:
        file.update_tags(**tags)
    return target


def failing(verdict: verify.Verdict) -> dict[str, str]:
    return {check.name: check.said for check in verdict.checks if not check.holds}


def test_a_sound_file(work: Path) -> None:
    quick = verify.verify(work / "scene.sarc")
    assert quick.holds and [check.name for check in quick.checks] == ["header", "checksums"]
    decoded = verify.verify(work / "scene.sarc", decode=True, model=work / "tiny.ckpt")
    assert decoded.holds and "2 bands of 60,000 pixels" in decoded.checks[-1].said
    beside = verify.verify(work / "scene.sarc", against=work / "scene.tif", model=work / "tiny.ckpt")
    assert beside.holds
    assert [check.name for check in beside.checks][2:] == ["description", "decoding", "mask", "error"]
    bound = verify.verify(work / "bound.sarc", against=work / "scene.tif")
    assert bound.holds and bound.checks[-1].said.endswith("0.5 dB guaranteed")


def test_the_error_is_that_of_the_pixels(work: Path, tmp_path: Path) -> None:
    files.decompress_file(work / "scene.sarc", tmp_path / "back.tif", model=work / "tiny.ckpt")
    with rasterio.open(work / "scene.tif") as a, rasterio.open(tmp_path / "back.tif") as b:
        error = (a.read().astype(float) - b.read())[np.isfinite(a.read())]
    said = verify.verify(work / "scene.sarc", against=work / "scene.tif", model=work / "tiny.ckpt").checks[-1].said
    assert said == f"error {np.sqrt(np.mean(error**2)):.3f} dB, largest {np.abs(error).max():.3f} dB"


def test_damage_is_found(work: Path, tmp_path: Path) -> None:
    data = bytearray((work / "scene.sarc").read_bytes())
    data[len(data) // 3] ^= 0x10
    (tmp_path / "bad.sarc").write_bytes(data)
    assert "damaged" in failing(verify.verify(tmp_path / "bad.sarc"))["file"]
    (tmp_path / "short.sarc").write_bytes(data[:200])
    assert "not a .sarc file, or truncated" in failing(verify.verify(tmp_path / "short.sarc"))["file"]
    assert "is not installed" in failing(verify.verify(work / "scene.sarc", decode=True))["decoding"]


def test_another_source_is_found(work: Path, tmp_path: Path) -> None:
    renamed = changed(work, tmp_path / "tags.tif", PLACE="there")
    found = failing(verify.verify(work / "scene.sarc", against=renamed, model=work / "tiny.ckpt"))
    assert found == {"description": "differs from the source in tags"}
    masked = changed(work, tmp_path / "mask.tif")
    with rasterio.open(masked, "r+") as file:
        pixels = file.read()
        pixels[0, 100, 100:107] = np.nan
        file.write(pixels)
    found = failing(verify.verify(work / "scene.sarc", against=masked, model=work / "tiny.ckpt"))
    assert found == {"mask": "7 pixels differ in validity"}
    moved = changed(work, tmp_path / "moved.tif")
    with rasterio.open(moved, "r+") as file:
        pixels = file.read()
        pixels[1, 150, 20] += 2
        file.write(pixels)
    assert set(failing(verify.verify(work / "bound.sarc", against=moved))) == {"error"}
    with rasterio.open(
        tmp_path / "other.tif", "w", driver="GTiff", count=1, height=9, width=9, dtype="float32"
    ) as file:
        file.write(np.ones((1, 9, 9), np.float32))
    with pytest.raises(errors.InputError, match="against"):
        verify.verify(work / "scene.sarc", against=tmp_path / "other.tif")


def test_a_product(tmp_path: Path) -> None:
    made = safe_product.make(tmp_path / "in")
    files.compress_file(made, tmp_path / "p.sarc", tiny.lapped_codec())
    (tmp_path / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    beside = verify.verify(tmp_path / "p.sarc", against=made, model=tmp_path / "tiny.ckpt")
    assert beside.holds and beside.checks[-1].name == "files"
    annotation = next(path for path in sorted(made.rglob("*.xml")) if "calibration" in path.name)
    annotation.write_bytes(annotation.read_bytes() + b" ")
    found = failing(verify.verify(tmp_path / "p.sarc", against=made, model=tmp_path / "tiny.ckpt"))
    assert "1 files of the product differ" in found["files"] and annotation.name in found["files"]


def test_command_line(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ("--model", work / "tiny.ckpt")
    assert call("verify", work / "scene.sarc", work / "bound.sarc") == 0
    assert capsys.readouterr().out.count("all holds") == 2
    assert call("verify", work / "scene.sarc", "--against", work / "scene.tif", *model, "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["holds"] and record["checks"]["mask"]["holds"]
    (tmp_path / "bad.sarc").write_bytes((work / "scene.sarc").read_bytes()[:-100])
    assert call("verify", tmp_path / "bad.sarc", work / "scene.sarc") == 1
    out = capsys.readouterr().out
    assert "bad.sarc: does not hold: file:" in out and "scene.sarc: all holds" in out
    assert call("verify", work / "scene.sarc", work / "bound.sarc", "--against", work / "scene.tif") == 2


@pytest.mark.parametrize("bound", [0.5, 1.0, 3.0])
def test_a_guaranteed_error_of_integers_is_held_to_what_was_asked(tmp_path: Path, bound: float) -> None:
    """Rounding to DN adds to the error of coding, which is drawn in for that; the promise is the one to hold."""
    pixels = tiny.dn((70, 90), seed=2)
    profile = {"driver": "GTiff", "count": 1, "height": 70, "width": 90, "dtype": "uint16", "nodata": 0}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as raster:
        raster.write(pixels, 1)
    files.compress_file(tmp_path / "a.tif", tmp_path / "a.sarc", max_error=bound)
    verdict = verify.verify(tmp_path / "a.sarc", against=tmp_path / "a.tif")
    assert failing(verdict) == {}
    assert any(f"{bound:g} dB guaranteed" in check.said for check in verdict.checks)
