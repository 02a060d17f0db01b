"""What would be lost without a word is refused, counted or kept: sources, quantities, fill values, scales, masks."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray

import sarcodec
import tiny
from command import call
from sarcodec import errors
from sarcodec.container import archive as container_archive
from sarcodec.raster import info as raster_info
from sarcodec.scene import arrays, files, model_store

Write = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
DB = {"UNITS": "sigma0 dB"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.ckpt"
    path.write_bytes(tiny.lapped_bytes())
    return path


def restored(source: Path, folder: Path, **asked: object) -> rasterio.DatasetReader:
    """Compress and restore a file, and open the result."""
    files.compress_file(source, folder / "t.sarc", tiny.lapped_codec(), overwrite=True, **asked)  # type: ignore[arg-type]
    return back(folder / "t.sarc", folder)


def back(packed: Path, folder: Path) -> rasterio.DatasetReader:
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    files.decompress_file(packed, folder / "back.tif", model=folder / "tiny.ckpt", overwrite=True)
    return rasterio.open(folder / "back.tif")


@pytest.fixture
def scene_tif(write_tif: Write) -> Path:
    return write_tif("scene.tif", tiny.simulated_db((128, 128)), tags=DB)


@pytest.mark.parametrize("link", ["same", "spelling", "symlink", "hardlink"])
def test_a_source_is_never_its_own_target(scene_tif: Path, model: Path, tmp_path: Path, link: str) -> None:
    before, target = scene_tif.read_bytes(), tmp_path / "link.tif"
    if link == "same":
        target = scene_tif
    elif link == "spelling":
        target = tmp_path / ".." / tmp_path.name / scene_tif.name
    elif link == "symlink":
        target.symlink_to(scene_tif)
    else:
        os.link(scene_tif, target)
    assert call("compress", scene_tif, target, "--model", model, "--overwrite") == 2
    with pytest.raises(errors.InputError, match="is the source"):
        files.compress_file(scene_tif, target, tiny.lapped_codec(), overwrite=True)
    assert scene_tif.read_bytes() == before


def test_a_file_is_never_restored_over_itself(scene_tif: Path, model: Path, tmp_path: Path) -> None:
    packed = tmp_path / "scene.sarc"
    files.compress_file(scene_tif, packed, tiny.lapped_codec())
    before = packed.read_bytes()
    assert call("decompress", packed, packed, "--model", model, "--overwrite") == 2
    folder = tmp_path / "product.SAFE"
    folder.mkdir()
    inside = folder / "scene.sarc"
    inside.write_bytes(before)
    assert call("decompress", inside, folder, "--model", model, "--overwrite") == 2
    assert packed.read_bytes() == before == inside.read_bytes()


def test_a_source_of_many_is_never_a_target(scene_tif: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    alias = folder / "scene.sarc"
    alias.symlink_to(scene_tif)
    before = scene_tif.read_bytes()
    assert call("compress", scene_tif, "-o", folder, "--model", model, "--overwrite") == 1
    assert scene_tif.read_bytes() == before


def test_decibels_read_as_intensity_are_refused(
    write_tif: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    source = write_tif("bare.tif", tiny.simulated_db((128, 128)))
    target = tmp_path / "bare.sarc"
    assert call("compress", source, target, "--model", model, "--quantity", "intensity") == 2
    err = capsys.readouterr().err
    assert "negative" in err and "--quantity db" in err and "--accept-loss" in err
    assert not target.exists()
    assert call("compress", source, target, "--model", model, "--quantity", "intensity", "--accept-loss") == 0
    assert "are negative, which intensity cannot be" in capsys.readouterr().err


def test_a_few_negative_intensities_are_counted_and_said(write_tif: Write, tmp_path: Path) -> None:
    """Ten per cent pass, thirty do not; zeros are fill and count as nothing lost."""
    pixels = tiny.intensity((128, 128))
    pixels[:13] = -0.001
    pixels[13:40] = 0
    source = write_tif("noise.tif", pixels, tags={"UNITS": "sigma0"})
    size = files.compress_file(source, tmp_path / "noise.sarc", tiny.lapped_codec())
    assert size.decision is not None
    assert size.decision.tally.lost == 13 * 128
    assert size.decision.tally.lost_share == pytest.approx(13 / 101)
    assert str(size.decision) == "quantity: intensity (unit 'sigma0'), valid 68.75 %, nodata none"
    pixels[:100] = -0.001
    source = write_tif("noise.tif", pixels, tags={"UNITS": "sigma0"})
    with pytest.raises(errors.InputError, match=r"% of the pixels that the source calls valid are negative"):
        files.compress_file(source, tmp_path / "more.sarc", tiny.lapped_codec())
    assert not (tmp_path / "more.sarc").exists()


def test_a_quantity_against_the_tags_is_refused(scene_tif: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match=r"got dn, but the file says 'sigma0 dB', which is db"):
        files.compress_file(scene_tif, tmp_path / "a.sarc", tiny.lapped_codec(), quantity="dn")
    with pytest.raises(errors.InputError, match="negative"):  # and were the tags wrong, there would be the pixels
        bare = tmp_path / "bare.tif"
        with rasterio.open(scene_tif) as a, rasterio.open(bare, "w", **a.profile) as b:
            b.write(a.read())
        files.compress_file(bare, tmp_path / "a.sarc", tiny.lapped_codec(), quantity="dn")


@pytest.mark.parametrize("fill", [-9999.0, 1e4])
def test_fill_values_that_nobody_declared(write_tif: Write, tmp_path: Path, fill: float) -> None:
    pixels = tiny.simulated_db((128, 128))
    pixels[20:60, 30:90] = fill
    source = write_tif("fill.tif", pixels, tags=DB)
    with pytest.raises(errors.InputError, match=r"outside -150 … \+100 dB.*--nodata VALUE"):
        files.compress_file(source, tmp_path / "a.sarc", tiny.lapped_codec())
    with restored(source, tmp_path, nodata=fill) as found:
        assert found.nodata == fill
        np.testing.assert_array_equal(found.read(1) == fill, pixels == fill)
    assert np.abs(found_error(source, tmp_path / "back.tif", pixels != fill)).max() < 20


def found_error(source: Path, other: Path, where: np.ndarray) -> np.ndarray:
    with rasterio.open(source) as a, rasterio.open(other) as b:
        return (a.read(1).astype(float) - b.read(1))[where]


def test_nodata_of_the_command_line_and_of_dn(write_tif: Write, model: Path, tmp_path: Path) -> None:
    pixels = tiny.dn((128, 128))
    pixels[:50] = 65535
    source = write_tif("dn.tif", pixels)
    assert call("compress", source, tmp_path / "dn.sarc", "--model", model, "--nodata", 65535) == 0
    with back(tmp_path / "dn.sarc", tmp_path) as found:
        assert found.nodata == 65535
        np.testing.assert_array_equal(found.read(1) == 65535, pixels == 65535)


def test_nodata_that_contradicts_the_file(write_tif: Write, tmp_path: Path) -> None:
    source = write_tif("dn.tif", tiny.dn((64, 64)), nodata=0)
    with pytest.raises(errors.InputError, match=r"nodata: got 7, but .*declares 0"):
        files.compress_file(source, tmp_path / "dn.sarc", tiny.lapped_codec(), nodata=7)


@pytest.fixture
def packed_tif(tmp_path: Path) -> Path:
    """Decibels times 100 in int16, scale 0.01, offset -1, nodata -32768 in some pixels."""
    db = tiny.simulated_db((128, 160))
    raw = np.rint((db + 1) * 100).astype(np.int16)
    raw[5:40, 7:50] = -32768
    path = tmp_path / "packed.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 128, "width": 160, "dtype": "int16", "nodata": -32768}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32632", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
    ) as f:
        f.write(raw, 1)
        f.scales, f.offsets = (0.01,), (-1.0,)
        f.update_tags(**DB)
    return path


def test_scale_and_offset(packed_tif: Path, tmp_path: Path) -> None:
    with restored(packed_tif, tmp_path, rmse=0.8) as found, rasterio.open(packed_tif) as given:
        assert (found.scales, found.offsets, found.nodata, found.dtypes) == ((0.01,), (-1.0,), -32768, ("int16",))
        a, b = given.read(1), found.read(1)
    np.testing.assert_array_equal(a == -32768, b == -32768)
    error = (a.astype(float) - b)[a != -32768] / 100
    assert np.sqrt(np.mean(error**2)) == pytest.approx(0.8, rel=0.02)  # in dB, not in hundredths


def test_a_guaranteed_error_holds_for_the_integers(packed_tif: Path, tmp_path: Path) -> None:
    with restored(packed_tif, tmp_path, max_error=0.5) as found, rasterio.open(packed_tif) as given:
        a, b = given.read(1).astype(float), found.read(1)
    assert np.abs(a - b)[a != -32768].max() / 100 <= 0.5 + 1e-6


def test_xarray_gives_physical_values(packed_tif: Path, tmp_path: Path) -> None:
    restored(packed_tif, tmp_path).close()
    with rasterio.open(packed_tif) as given:
        raw = given.read(1)
    physical = np.where(raw == -32768, np.nan, raw * 0.01 - 1)
    with xarray.open_dataset(tmp_path / "t.sarc", engine="sarcodec", model=tmp_path / "tiny.ckpt") as found:
        (name,) = found.data_vars
        assert float(found[name].mean()) == pytest.approx(np.nanmean(physical), abs=0.05)
        np.testing.assert_array_equal(np.isnan(found[name].to_numpy()), np.isnan(physical))


@pytest.mark.parametrize("internal", [True, False])
def test_masks_of_rasters(write_tif: Write, tmp_path: Path, internal: bool) -> None:
    pixels, mask = tiny.dn((128, 128)), np.ones((128, 128), bool)
    mask[:30, :70] = False
    pixels[~mask] = 40000
    source = write_tif("masked.tif", pixels)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(source, "r+") as file:
        file.write_mask(mask)
    assert (tmp_path / "masked.tif.msk").exists() != internal
    with restored(source, tmp_path) as found:
        np.testing.assert_array_equal(found.dataset_mask() != 0, mask)
        assert found.nodata is None and found.dtypes == ("uint16",)
        inside = found.read(1)[mask].astype(float)
    assert np.sqrt(np.mean((20 * np.log10(inside / pixels[mask])) ** 2)) < 1.5


def test_alpha_bands(tmp_path: Path) -> None:
    alpha = np.full((96, 96), 65535, np.uint16)
    alpha[50:, :20] = 0
    path = tmp_path / "alpha.tif"
    profile = {"driver": "GTiff", "count": 2, "height": 96, "width": 96, "dtype": "uint16", "alpha": "yes"}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.stack([tiny.dn((96, 96)), alpha]))
        file.colorinterp = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
    with restored(path, tmp_path) as found:
        assert found.count == 2 and found.colorinterp[1] == rasterio.enums.ColorInterp.alpha
        np.testing.assert_array_equal(found.read(2), alpha)
    with container_archive.Reader(tmp_path / "t.sarc") as reader:
        assert reader.header.shape[0] == 1


def test_masked_arrays() -> None:
    db = tiny.simulated_db((96, 130))
    mask = np.zeros(db.shape, bool)
    mask[10:30, 40:90] = True
    given = np.ma.MaskedArray(np.where(mask, np.float32(9999), db), mask)
    data = arrays.compress(given, quantity="db", model=tiny.lapped_codec())
    found = arrays.decompress(data, model=tiny.lapped_codec())
    assert isinstance(found, np.ma.MaskedArray) and found.dtype == np.float32
    np.testing.assert_array_equal(found.mask, mask)
    assert float(np.abs(found - db).mean()) < 1.5
    assert not isinstance(
        arrays.decompress(arrays.compress(db, quantity="db", model=tiny.lapped_codec()), model=tiny.lapped_codec()),
        np.ma.MaskedArray,
    )


def test_pictures_are_refused(tmp_path: Path, write_tif: Write) -> None:
    random = np.random.default_rng(0)
    colours = random.integers(1, 255, (3, 64, 64)).astype(np.uint8)
    cases = {
        "rgb.tif": ({"photometric": "RGB"}, colours, "colour picture"),
        "gray.tif": ({}, colours[0], "picture or a mask"),
        "mask.tif": ({}, (colours[0] > 128).astype(np.uint8), "picture or a mask"),
    }
    for name, (profile, pixels, said) in cases.items():
        source = write_tif(name, pixels, **profile)
        with pytest.raises(errors.InputError, match=said):
            files.compress_file(source, tmp_path / "a.sarc", tiny.lapped_codec())
    with rasterio.open(tmp_path / "p.jpg", "w", driver="JPEG", count=1, height=64, width=64, dtype="uint8") as file:
        file.write(colours[0], 1)
    with pytest.raises(errors.InputError, match="a JPEG picture"):
        files.compress_file(tmp_path / "p.jpg", tmp_path / "a.sarc", tiny.lapped_codec())
    files.compress_file(tmp_path / "gray.tif", tmp_path / "a.sarc", tiny.lapped_codec(), quantity="dn")


def test_what_was_decided_is_said(
    packed_tif: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("compress", packed_tif, tmp_path / "a.sarc", "--model", model) == 0
    share = 100 * (1 - 35 * 43 / (128 * 160))
    line = f"quantity: dB (unit 'sigma0 dB'), valid {share:.4g} %, nodata -32768"
    assert line in capsys.readouterr().out.splitlines()
    assert call("compress", packed_tif, tmp_path / "a.sarc", "--model", model, "--json", "--overwrite") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["quantity"], record["lost_share"], record["nodata"]) == ("db", 0.0, -32768)
    assert record["valid_share"] == pytest.approx(share / 100)


def test_wishes_as_people_type_them() -> None:
    db = tiny.simulated_db((128, 128))
    coder = tiny.lapped_codec()
    data = arrays.compress(db, quantity="db", bpp=1.0, model=coder)
    assert 8 * len(data) / db.size == pytest.approx(1.0, rel=0.02)
    best, worst = (len(arrays.compress(db, quantity="db", quality=q, model=coder)) for q in (80, 20))
    assert best > 2 * worst
    with pytest.raises(errors.InputError, match="--bpp and --psnr; pass one"):
        arrays.compress(db, quantity="db", bpp=1.0, psnr=30, model=coder)
    with pytest.raises(errors.InputError, match="got quallity"):
        arrays.compress(db, quantity="db", quallity=3, model=coder)  # type: ignore[call-arg]


def test_descriptions_that_are_no_packing(tmp_path: Path) -> None:
    record = raster_info.RasterInfo(1, 2, 3, "int16", scales=(0.5,), offsets=(1.0,), mask="mask").to_dict()
    assert raster_info.RasterInfo.from_dict(record).scales == (0.5,)
    for change in ({"scales": [0.0]}, {"scales": [float("nan")]}, {"offsets": [float("inf")]}, {"mask": "x"}):
        with pytest.raises(errors.FormatError, match="raster"):
            raster_info.RasterInfo.from_dict(record | change)


def test_opened_files(packed_tif: Path, tmp_path: Path) -> None:
    restored(packed_tif, tmp_path).close()
    with sarcodec.open(tmp_path / "t.sarc", model=tmp_path / "tiny.ckpt") as file:
        assert (file.shape, file.dtype, file.quantity, file.crs) == ((1, 128, 160), "float32", "db", "EPSG:32632")
        assert file.bands == ("1",) and np.isnan(file.nodata)
        assert repr(file).startswith("<sarcodec file ") and "1×128×160 float32 db, EPSG:32632" in repr(file)
        whole, part = file.read(), file.read(1, ((30, 90), (10, 100)))
        assert whole.shape == (1, 128, 160) and part.shape == (60, 90)
        np.testing.assert_allclose(part, whole[0, 30:90, 10:100], atol=1e-4)
        for bad in ({"band": 2}, {"band": "VV"}, {"window": ((0, 200), (0, 5))}):
            with pytest.raises(errors.InputError):
                file.read(**bad)
    (physical,) = sarcodec.open(tmp_path / "t.sarc", model=tmp_path / "tiny.ckpt").read()
    with rasterio.open(packed_tif) as given:
        raw = given.read(1)
    assert sarcodec.evaluate(np.where(raw == -32768, np.nan, raw * 0.01 - 1), physical).rmse_db < 2


def test_rates_are_limits_for_easy_images(write_tif: Write, model: Path, tmp_path: Path, capsys: Any) -> None:
    source = write_tif("flat.tif", np.full((200, 200), -12.5, np.float32), tags=DB)
    assert call("compress", source, tmp_path / "flat.sarc", "--model", model, "--bpp", 2) == 0
    assert "bits per pixel are a limit" in capsys.readouterr().err
    with back(tmp_path / "flat.sarc", tmp_path) as found:
        assert np.abs(found.read(1) + 12.5).max() < 0.05


def test_info_in_words(packed_tif: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("compress", packed_tif, tmp_path / "a.sarc", "--model", model, "--quality", 50) == 0
    assert call("compress", packed_tif, tmp_path / "b.sarc", "--max-error", 1) == 0
    capsys.readouterr()
    assert call("info", tmp_path / "a.sarc", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["quality"], record["speckle_can_be_rendered"]) == ("50 (step 2 dB)", False)
    assert call("info", tmp_path / "b.sarc", "--json") == 0
    assert json.loads(capsys.readouterr().out)["quality"] == "every valid pixel within 1 dB"
    assert call("info", packed_tif) == 2
    assert "is a TIFF, no .sarc file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["w.png", "w", "-", "w.sarc"])
def test_only_geotiffs_are_written(scene_tif: Path, model: Path, tmp_path: Path, name: str) -> None:
    files.compress_file(scene_tif, tmp_path / "scene.sarc", tiny.lapped_codec())
    assert call("decompress", tmp_path / "scene.sarc", tmp_path / name, "--model", model) == 2
    assert not (tmp_path / name).exists()


def test_foreign_names_are_quoted_in_one_short_line(tmp_path: Path) -> None:
    path = tmp_path / "hostile.sarc"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", '{"format": "sarcodec' + "x" * 5000 + '\\u001b[31m"}')
        archive.writestr("\x1b[2J" + "n" * 700, b"")
    with pytest.raises(errors.FormatError) as raised:
        container_archive.Reader(path)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 500
    assert errors.plain("a\nb\x1b[31m") == "a·b·[31m"
    assert len(errors.plain("n" * 999)) == 200


def test_a_file_is_a_source_like_any_raster(
    packed_tif: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coded again: smaller, the same invalid pixels and description, and a header that says so."""
    path = tmp_path / "tiny.ckpt"
    path.write_bytes(tiny.lapped_bytes())
    monkeypatch.setattr(model_store, "shipped_models", lambda: {"tiny": path})
    monkeypatch.setattr(model_store, "IDENTITIES", {"tiny": tiny.lapped_codec().engine.identity})
    fine, coarse = tmp_path / "fine.sarc", tmp_path / "coarse.sarc"
    files.compress_file(packed_tif, fine, tiny.lapped_codec(), quality=70)
    assert call("compress", fine, coarse, "--model", path, "--quality", 30) == 0
    assert coarse.stat().st_size < 0.6 * fine.stat().st_size
    with container_archive.Reader(fine) as before, container_archive.Reader(coarse) as after:
        assert dict(after.header.raster) == dict(before.header.raster)
        assert "history" not in before.header.extra
        (past,) = after.header.extra["history"]
        assert (past["step"], past["model"]) == (before.header.step, before.header.model)
    with back(coarse, tmp_path) as found, rasterio.open(packed_tif) as given:
        np.testing.assert_array_equal(found.read(1) == -32768, given.read(1) == -32768)
    with pytest.raises(errors.InputError, match="is the source"):
        files.compress_file(fine, fine, tiny.lapped_codec(), overwrite=True)
