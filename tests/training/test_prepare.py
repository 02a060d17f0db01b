import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio

from sarcodec import errors, radiometry
from sarcodec.autoencoder.normalization import Clipping
from sarcodec.radiometry import Quantity
from sarcodec.training import patches, prepare
from sarcodec.training.patches import PatchConfig

CONFIG = PatchConfig(size=64, stride=32)
PLACES = ("Bratislava", "Nitra", "Orava")
Write = Callable[..., Path]


def run(inputs: Sequence[Path | str], folder: Path, config: PatchConfig = CONFIG, **how) -> patches.Manifest:
    how = {"validation": ["Orava*"]} | how
    for _ in prepare.prepare(inputs, folder, config, **how):
        pass
    return patches.read_manifest(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of the patch set proper: the records of finished bands hold times and are left out."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.npy")}
    return found | {"manifest.json": (folder / "manifest.json").read_bytes()}


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.npy")}


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))


def place(column: int, row: int, size: float = 10) -> dict[str, object]:
    return {"crs": "EPSG:32633", "transform": rasterio.Affine(size, 0, 5e5 + column, 0, -size, 5.3e6 - row)}


@pytest.fixture
def images(write_tif: Write, speckle, tmp_path: Path) -> Path:
    """Three places, two dates of one of them; VV and VH intensity in dB, with some invalid pixels in one."""
    for seed, name in enumerate(("Bratislava_2020", "Bratislava_2021", "Nitra", "Orava")):
        cube = 10 * np.log10(np.stack([speckle((160, 200), seed), speckle((160, 200), seed + 50, mean=0.01)]))
        if name == "Nitra":
            cube[:, 40:43, 20:23] = np.nan
        where = place(20_000 * PLACES.index(name.split("_")[0]), 0)
        write_tif(f"in/{name}.tif", cube, bands=("VV", "VH"), nodata=np.nan, tags={"UNITS": "sigma0 dB"}, **where)
    return tmp_path / "in"


def test_a_patch_set_is_cut_from_every_band(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run([images], out)
    per_band = 4 * 5
    assert manifest.config == CONFIG
    assert [(s.split, s.image, s.band, s.key, s.patches) for s in manifest.shards] == [
        (split, f"{name}.tif", band, key, per_band)
        for split, name in [
            ("train", "Bratislava_2020"),
            ("train", "Bratislava_2021"),
            ("train", "Nitra"),
            ("val", "Orava"),
        ]
        for band, key in enumerate(["db/VV", "db/VH"])
    ]
    with rasterio.open(images / "Nitra.tif") as dataset:
        pixels = dataset.read(2)
    shard = next(s for s in manifest.shards if (s.image, s.band) == ("Nitra.tif", 1))
    stack = np.load(out / shard.file)
    assert stack.dtype == np.float32
    expected = [pixels[r : r + 64, c : c + 64] for r in range(0, 97, 32) for c in range(0, 137, 32)]
    np.testing.assert_array_equal(stack, expected)  # dB as they are, NaN where invalid
    assert np.isnan(stack[0, 40:43, 20:23]).all()
    assert np.isnan(stack[0]).sum() == 9


def test_patches_scale_to_the_unit_interval(images: Path, tmp_path: Path) -> None:
    run([images], tmp_path / "out")
    for split in ("train", "val"):
        chosen = patches.PatchSet(tmp_path / "out", split)
        values = np.stack([chosen.scaled(i) for i in range(len(chosen))])
        assert np.isfinite(values).all()
        assert (values.min(), values.max()) == (0, 1)
        assert 0.3 < values.mean() < 0.9


def test_linear_inputs_are_cut_in_decibels(write_tif: Write, speckle, tmp_path: Path) -> None:
    intensity = speckle((64, 64))
    dn = np.maximum(np.rint(np.sqrt(intensity) * 2000), 1).astype(np.uint16)
    intensity[0, 0], dn[0, 0] = 0, 0
    write_tif("in/Nitra.tif", intensity, bands=("VV",))
    write_tif("in/Orava.tif", intensity, bands=("VV",))
    write_tif("in/Zvolen.tif", dn, bands=("VV",))
    manifest = run([tmp_path / "in"], tmp_path / "out")
    assert sorted(manifest.normalizer.bounds) == ["db/VV", "dn/VV"]
    for name, pixels, scale in [("Nitra", intensity, 10), ("Zvolen", dn, 20)]:
        shard = next(s for s in manifest.shards if s.image == f"{name}.tif")
        assert shard.key == ("dn/VV" if scale == 20 else "db/VV")
        patch = np.load(tmp_path / "out" / shard.file)[0]
        assert np.isnan(patch[0, 0])
        np.testing.assert_allclose(patch[1:], scale * np.log10(pixels[1:].astype(float)), rtol=1e-6)


def test_quality_filter(write_tif: Write, speckle, tmp_path: Path) -> None:
    """Of six patches side by side each bad one has its own fault."""
    dn = np.rint(400 * np.sqrt(speckle((64, 6 * 64)) / 0.05)).clip(1).astype(np.uint16)
    dn[:, 64:128] = 400  # no contrast
    dn[:7, 128:192] = 0  # 448 of 4096 invalid
    dn[:7, 192:256] = 65535  # 448 saturated
    dn[0, 256:296] = 0  # 40 invalid: just within 1 %
    dn[0, 320:340], dn[1, 320:341] = 0, 65535  # 20 invalid and 21 saturated: together too many
    for place in ("Nitra", "Orava"):
        write_tif(f"in/{place}.tif", dn, nodata=0)
    config = PatchConfig(size=64, stride=64)
    manifest = run([tmp_path / "in"], tmp_path / "out", config, clipping=Clipping("fixed", 30, 70))
    assert [(s.patches, s.rejected) for s in manifest.shards] == [(2, 4)] * 2
    kept = np.load(tmp_path / "out" / manifest.shards[0].file)
    db = radiometry.to_db(dn, Quantity.DN)
    np.testing.assert_array_equal(kept[0], db[:, :64])
    np.testing.assert_array_equal(kept[1][1:], db[1:, 256:320])
    loose = PatchConfig(size=64, stride=64, min_std=0, max_invalid=1)
    assert run([tmp_path / "in"], tmp_path / "out", loose).count("train") == 6


def test_the_normalizer_is_fitted_on_training_images_only(images: Path, tmp_path: Path) -> None:
    first = run([images], tmp_path / "a").normalizer
    centres = {key: (b.vmin + b.vmax) / 2 for key, b in first.bounds.items()}
    assert centres["db/VV"] - centres["db/VH"] == pytest.approx(10 * np.log10(5), abs=1)
    for name, same in (("Orava", True), ("Nitra", False)):
        with rasterio.open(images / f"{name}.tif", "r+") as dataset:
            dataset.write(dataset.read() + 3)
        assert (run([images], tmp_path / name).normalizer == first) is same


def test_bounds_are_those_of_the_valid_training_pixels(images: Path, tmp_path: Path) -> None:
    fitted = run([images], tmp_path / "out", clipping=Clipping("percentile", 1, 99)).normalizer
    pixels = []
    for name in ("Bratislava_2020", "Bratislava_2021", "Nitra"):
        with rasterio.open(images / f"{name}.tif") as dataset:
            pixels.append(dataset.read(1).ravel())
    low, high = np.nanpercentile(np.concatenate(pixels), [1, 99])
    assert (fitted.bounds["db/VV"].vmin, fitted.bounds["db/VV"].vmax) == pytest.approx((low, high), abs=0.011)


def test_every_shard_keeps_its_own_key_under_fixed_clipping(images: Path, tmp_path: Path) -> None:
    manifest = run([images], tmp_path / "out", clipping=Clipping("fixed", -35, 0))
    assert [s.key for s in manifest.shards] == ["db/VV", "db/VH"] * 4


def test_a_key_that_only_validation_images_have_borrows_bounds(images: Path, tmp_path: Path) -> None:
    with rasterio.open(images / "Orava.tif", "r+") as dataset:
        dataset.set_band_description(1, "HH")
    manifest = run([images], tmp_path / "out")
    assert sorted(manifest.normalizer.bounds) == ["db/VH", "db/VV"]
    assert patches.PatchSet(tmp_path / "out", "val").scaled(0).max() <= 1


def test_two_runs_are_identical(images: Path, tmp_path: Path) -> None:
    run([images], tmp_path / "a")
    run([images / f"{name}.tif" for name in ("Orava", "Nitra", "Bratislava_2021", "Bratislava_2020")], tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_interrupted_run_goes_on_where_it_stopped(images: Path, tmp_path: Path) -> None:
    run([images], tmp_path / "whole")
    out = tmp_path / "out"
    steps = prepare.prepare([images], out, CONFIG, validation=["Orava*"])
    for progress in steps:
        if progress.stage == "cut" and progress.done == 2:
            steps.close()
    assert not (out / "manifest.json").exists()
    age(out)
    before = times(out)
    assert len(before) == 4
    run([images], out)
    after = times(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 8
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_run_cuts_nothing_again(images: Path, tmp_path: Path) -> None:
    first = run([images], tmp_path / "out")
    age(tmp_path / "out")
    before = times(tmp_path / "out")
    assert run([images], tmp_path / "out") == first
    assert times(tmp_path / "out") == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "train/Nitra.0.000.npy").unlink(),
        lambda folder: (folder / "train/Nitra.0.000.npy").write_bytes(b""),
        lambda folder: (folder / "train/Nitra.0.000.npy").write_bytes(b"\x93NUMPY" + bytes(50)),
        lambda folder: (folder / "train/Nitra.0.json").write_text("{"),
        lambda folder: (folder / "train/Nitra.0.json").write_text("[1]"),
    ],
)
def test_running_again_repairs_what_was_lost_or_damaged(images: Path, tmp_path: Path, damage) -> None:
    out = tmp_path / "out"
    run([images], out)
    whole = contents(out)
    damage(out)
    age(out)
    before = times(out)
    run([images], out)
    assert contents(out) == whole
    changed = {name for name, time in times(out).items() if before.get(name) != time}
    assert changed == {"train/Nitra.0.000.npy"}


def test_other_settings_or_pixels_cut_again(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([images], out)
    run([images], out, PatchConfig(size=48, stride=48))
    run([images], tmp_path / "fresh", PatchConfig(size=48, stride=48))
    assert contents(out) == contents(tmp_path / "fresh")
    fixed = Clipping("fixed", -30, 0)
    run([images], out, clipping=fixed)
    with rasterio.open(images / "Nitra.tif", "r+") as dataset:
        dataset.write(dataset.read()[:, ::-1])
    age(out)
    before = times(out)
    run([images], out, clipping=fixed)
    changed = {name for name, time in times(out).items() if before[name] != time}
    assert changed == {"train/Nitra.0.000.npy", "train/Nitra.1.000.npy"}


def test_another_quantity_cuts_again(write_tif: Write, speckle, tmp_path: Path) -> None:
    """Intensity and dB share their keys; with fixed bounds only the quantity tells the two runs apart."""
    for seed, place in enumerate(("Nitra", "Orava")):
        write_tif(f"in/{place}.tif", speckle((64, 64), seed) * 100)
    clipping = Clipping("fixed", -30, 30)
    for quantity in (Quantity.INTENSITY, Quantity.DB):
        run([tmp_path / "in"], tmp_path / "out", clipping=clipping, quantity=quantity)
    run([tmp_path / "in"], tmp_path / "fresh", clipping=clipping, quantity=Quantity.DB)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_many_patches_make_several_shards(images: Path, tmp_path: Path, monkeypatch) -> None:
    one = run([images], tmp_path / "one")
    monkeypatch.setattr(patches, "SHARD_PATCHES", 8)
    several = run([images], tmp_path / "several")
    assert [s.patches for s in several.shards[:3]] == [8, 8, 4]
    assert several.count("train") == one.count("train")
    sets = [patches.PatchSet(tmp_path / name, "train") for name in ("one", "several")]
    for index in range(len(sets[0])):
        np.testing.assert_array_equal(sets[0].locate(index)[1], sets[1].locate(index)[1])


def sides(manifest: patches.Manifest) -> dict[str, str]:
    found = {(s.image.removesuffix(".tif"), s.split) for s in manifest.shards}
    assert len(found) == len(dict(found)), "an image is on both sides"
    return dict(found)


def test_images_whose_names_differ_only_in_numbers_stay_together(write_tif: Write, speckle, tmp_path: Path) -> None:
    names = [f"{place}_{date}_db" for place in PLACES for date in (20200607, 20200903, "512")]
    for seed, name in enumerate(names):
        write_tif(f"in/{name}.tif", speckle((64, 64), seed))
    for how in ({"validation": ["Orava_512*"]}, {"validation": []}, {"validation": [], "validation_share": 0.6}):
        side = sides(run([tmp_path / "in"], tmp_path / "out", **how))
        assert all(len({side[name] for name in names if name.startswith(place)}) == 1 for place in PLACES)
        held_out = {name.split("_")[0] for name in names if side[name] == "val"}
        assert (
            held_out == {"Orava"} if how["validation"] else len(held_out) == (2 if "validation_share" in how else 1)
        )


def test_images_that_overlap_stay_together(write_tif: Write, speckle, tmp_path: Path) -> None:
    """A meets B, B meets C in another projection; D only touches; all names differ."""
    for seed, (name, where) in enumerate({"A": place(0, 0), "B": place(600, 600), "D": place(640, 0)}.items()):
        write_tif(f"in/{name}.tif", speckle((64, 64), seed), **where)
    west, south, east, north = rasterio.warp.transform_bounds(
        "EPSG:32633", "EPSG:4326", 5e5 + 1200, 5.3e6 - 1300, 5e5 + 1300, 5.3e6 - 1200
    )
    degrees = rasterio.Affine((east - west) / 64, 0, west, 0, (south - north) / 64, north)
    write_tif("in/C.tif", speckle((64, 64), 7), crs="EPSG:4326", transform=degrees)
    write_tif("in/far.tif", speckle((64, 64), 8), **place(100_000, 0))
    side = sides(run([tmp_path / "in"], tmp_path / "out", validation=["C.tif"]))
    assert {name for name, split in side.items() if split == "val"} >= {"A", "B", "C"}
    assert side["far"] == "train"


def test_place_name() -> None:
    assert prepare.place_name("s1f11_Ghana_53713_db") == prepare.place_name("s1f11_Ghana_83483_db")
    assert prepare.place_name("envi_Flevoland_600_dn") == prepare.place_name("envi_Flevoland_dn")
    assert prepare.place_name("envi_Berlin_dn") != prepare.place_name("envi_Brazil_dn")
    assert prepare.place_name("20200607") == "20200607"


def test_real_chips_of_one_area_stay_together(data_dir: Path, tmp_path: Path) -> None:
    pairs = ("envi_Flevoland_600_dn", "envi_Flevoland_dn", "ssl4eo_20200607_db", "ssl4eo_20200903_db")
    others = ("envi_Berlin_dn", "slovakia_512_db")
    chips = [data_dir / "train" / f"{name}.tif" for name in pairs + others]
    side = sides(run(chips, tmp_path / "out", validation=["*_20200607_*", "*Flevoland_dn*"]))
    assert side == dict.fromkeys(pairs, "val") | dict.fromkeys(others, "train")


def test_progress_counts_images_pixels_and_patches(images: Path, tmp_path: Path) -> None:
    steps = list(prepare.prepare([images], tmp_path / "out", CONFIG, validation=["Orava*"]))
    assert [(s.stage, s.done, s.images) for s in steps] == [
        (stage, n, 4) for stage in ("fit", "cut") for n in (1, 2, 3, 4)
    ]
    assert steps[3].megapixels == pytest.approx(3 * 2 * 160 * 200 / 1e6)  # the validation image is not fitted
    assert steps[7].megapixels == pytest.approx(4 * 2 * 160 * 200 / 1e6)
    assert [s.patches for s in steps[4:]] == [40, 80, 120, 160]


def refused(match: str, inputs: Sequence[Path | str], folder: Path, **how) -> None:
    with pytest.raises(errors.InputError, match=match):
        run(inputs, folder, **how)
    assert not (folder / "manifest.json").exists()


def test_unusable_inputs_are_refused(images: Path, tmp_path: Path, write_tif: Write, speckle) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    refused("does not exist", [tmp_path / "none"], out)
    refused("no GeoTIFF in", [empty], out)
    refused("no GeoTIFF", [], out)
    refused("same name", [images, images / "Nitra.tif"], out)
    refused("0 of 3 places would be held out", [images], out, validation=["Kosice*"])
    refused("3 of 3 places would be held out", [images], out, validation=["*"])
    refused("1 of 1 places would be held out", [images / "Nitra.tif"], out, validation=[])
    small = write_tif("small/Zvolen.tif", speckle((60, 300)))
    refused("no patch of the train images", [small, images / "Orava.tif"], out)
    void = write_tif("void/Zvolen.tif", np.full((64, 64), np.nan, np.float32), bands=("HH",), tags={"UNITS": "dB"})
    refused("no valid pixel", [void, images], out)
    (empty / "broken.tif").write_bytes(b"II*\0 broken")
    with pytest.raises(errors.FormatError, match=r"broken\.tif"):
        run([images, empty], out)


def test_records_are_plain_json(images: Path, tmp_path: Path) -> None:
    run([images], tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text())
    assert not [p for p in (tmp_path / "out").rglob("*") if ".part" in p.name]


def test_validation_of_another_quantity_says_so(images: Path, write_tif: Write, speckle, tmp_path: Path) -> None:
    dn = np.rint(2000 * np.sqrt(speckle((160, 200), 9))).astype(np.uint16)
    write_tif("in/Presov.tif", dn, bands=("VV",), nodata=0, tags={"UNITS": "amplitude DN"}, **place(90_000, 0))
    with pytest.raises(
        errors.InputError, match=r"validation: Presov\.tif holds amplitude DN.*training images hold backs"
    ):
        run([images], tmp_path / "out", validation=["Presov*"])
    assert not (tmp_path / "out").exists()
