"""Files: everything that describes a raster comes back, and nothing half-written is ever left."""

import dataclasses
import io as bytes_io
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import tiny
from sarcodec import errors, radiometry, tiling
from sarcodec.autoencoder import checkpoint
from sarcodec.codec import encoding
from sarcodec.container import archive as container_archive
from sarcodec.raster import geotiff
from sarcodec.scene import files

Written = Callable[..., Path]
GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5400000)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("model"))


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def round_trip(source: Path, model: Path, **options: Any) -> Path:
    packed, target = source.with_suffix(".sarc"), source.with_name("restored.tif")
    files.compress_file(source, packed, tiny.coder(), **options)
    files.decompress_file(packed, target, model=model)
    return target


def describe(path: Path) -> dict[str, Any]:
    with geotiff.open_raster(path) as raster:
        record = dataclasses.asdict(raster.info)
    return record | {"nodata": str(record["nodata"])}  # NaN equals itself as text


def read(path: Path) -> np.ndarray:
    with geotiff.open_raster(path) as raster:
        whole = tiling.Window(0, raster.info.height, 0, raster.info.width)
        return np.stack([raster.read(band, whole) for band in range(raster.info.count)])


def test_everything_comes_back(write_tif: Written, model: Path) -> None:
    cube = np.stack([tiny.db((90, 70), seed) for seed in (0, 1)])
    cube[:, :9, 60:] = math.nan
    tags = {"UNITS": "sigma0 dB", "ATTRIBUTION": "contains modified ∅ data", "AREA_OR_POINT": "Point"}
    source = write_tif("a.tif", cube, bands=("VV", "VH"), tags=tags, nodata=math.nan, **GEO)
    with rasterio.open(source, "r+") as dataset:
        dataset.update_tags(2, NOISE="removed")
        dataset.set_band_unit(1, "dB")
    target = round_trip(source, model)
    assert describe(target) == describe(source)
    with rasterio.open(source) as before, rasterio.open(target) as after:  # and as rasterio itself sees it
        assert (after.crs, after.transform, after.descriptions) == (before.crs, before.transform, ("VV", "VH"))
        assert after.tags()["ATTRIBUTION"] == tags["ATTRIBUTION"]
        assert after.tags(2)["NOISE"] == "removed"
        assert math.isnan(after.nodata)
        np.testing.assert_array_equal(after.read_masks(), before.read_masks())
    np.testing.assert_array_equal(np.isnan(read(target)), np.isnan(cube))
    assert np.sqrt(np.nanmean((read(target) - cube) ** 2)) < 4


def test_ground_control_points(write_tif: Written, model: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c / 9, 50 - r / 9, 5.5, id=f"p{r}{c}", info="grid")
        for r in (0, 40)
        for c in (0, 50)
    ]
    source = write_tif("a.tif", tiny.dn((40, 50)), nodata=0, bands=("VV",), gcps=points, crs="EPSG:4326")
    target = round_trip(source, model)
    assert describe(target) == describe(source)
    with rasterio.open(target) as after:
        assert [(p.row, p.col, p.x, p.y, p.z) for p in after.gcps[0]] == [
            (p.row, p.col, p.x, p.y, p.z) for p in points
        ]
        assert after.gcps[1] == rasterio.CRS.from_epsg(4326)
        assert after.dtypes == ("uint16",)


def test_without_any_description(write_tif: Written, model: Path) -> None:
    source = write_tif("a.tif", tiny.intensity((33, 47)))
    target = round_trip(source, model)
    assert describe(target) == describe(source)
    assert (describe(target)["crs"], describe(target)["nodata"]) == (None, "None")


def test_quantity_and_options(write_tif: Written, model: Path) -> None:
    source = write_tif("a.tif", tiny.intensity((100, 100)))
    files.compress_file(
        source,
        source.with_suffix(".sarc"),
        tiny.coder(),
        quantity=radiometry.Quantity.INTENSITY,
        options=encoding.Options(step=4, tile=64),
    )
    with container_archive.Reader(source.with_suffix(".sarc")) as reader:
        header = reader.header
        assert (header.quantity, header.step, header.tile) == ("intensity", 4, 64)
        assert header.model == tiny.coder().engine.identity
        assert "0/1.1" in reader


def test_polarisation_from_the_name_chooses_the_bounds(write_tif: Written) -> None:
    for name, expected in (("s1-vv-a.tif", -30.0), ("s1-vh-a.tif", -36.0), ("vv-vh.tif", -30.0)):
        source = write_tif(name, tiny.intensity((32, 32)))
        files.compress_file(source, source.with_suffix(".sarc"), tiny.coder())
        with container_archive.Reader(source.with_suffix(".sarc")) as reader:
            assert reader.header.bands[0].vmin == expected


def test_size_is_of_the_file(write_tif: Written) -> None:
    source = write_tif("a.tif", tiny.intensity((100, 80)))
    packed = source.with_suffix(".sarc")
    seen: list[int] = []
    size = files.compress_file(source, packed, tiny.coder(), advance=seen.append)
    assert size.bytes == packed.stat().st_size
    assert size.bits_per_pixel == pytest.approx(8 * size.bytes / 8000)
    assert size.ratio * size.bits_per_pixel == pytest.approx(16)
    assert sum(seen) == 8000
    seen.clear()
    files.compress_file(
        source, packed, tiny.coder(), options=encoding.Options(tile=32), overwrite=True, advance=seen.append
    )
    assert sum(seen) == 8000  # the margins around tiles do not count
    assert len(seen) == 12


def test_decompression_reports_its_progress(write_tif: Written, model: Path) -> None:
    source = write_tif("a.tif", np.stack([tiny.intensity((100, 80), seed) for seed in (0, 1)]))
    packed = source.with_suffix(".sarc")
    files.compress_file(source, packed, tiny.coder(), options=encoding.Options(tile=32))
    seen: list[int] = []
    files.decompress_file(packed, source.with_name("b.tif"), model=model, advance=seen.append)
    assert sum(seen) == 16000 and len(seen) > 2


def test_existing_outputs_are_kept(write_tif: Written, model: Path, tmp_path: Path) -> None:
    source = write_tif("a.tif", tiny.intensity((40, 40)))
    packed, target = tmp_path / "a.sarc", tmp_path / "b.tif"
    files.compress_file(source, packed, tiny.coder())
    target.write_bytes(b"precious")
    before = listing(tmp_path)
    with pytest.raises(errors.InputError, match=r"a\.sarc: exists already.*--overwrite"):
        files.compress_file(source, packed, tiny.coder())
    with pytest.raises(errors.InputError, match=r"b\.tif: exists already.*--overwrite"):
        files.decompress_file(packed, target, model=model)
    assert listing(tmp_path) == before
    files.decompress_file(packed, target, model=model, overwrite=True)
    files.compress_file(source, packed, tiny.coder(), overwrite=True)
    assert read(target).shape == (1, 40, 40)
    assert listing(tmp_path).keys() == before.keys()


def test_missing_folder(write_tif: Written, model: Path, tmp_path: Path) -> None:
    source = write_tif("a.tif", tiny.intensity((40, 40)))
    with pytest.raises(errors.InputError, match=r"folder .*nowhere does not exist"):
        files.compress_file(source, tmp_path / "nowhere" / "a.sarc", tiny.coder())
    files.compress_file(source, tmp_path / "a.sarc", tiny.coder())
    with pytest.raises(errors.InputError, match=r"folder .*nowhere does not exist"):
        files.decompress_file(tmp_path / "a.sarc", tmp_path / "nowhere" / "a.tif", model=model)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_tiff_leaves_nothing(write_tif: Written, tmp_path: Path, share: float) -> None:
    source = write_tif("a.tif", tiny.intensity((200, 200)), nodata=math.nan)
    data = source.read_bytes()
    source.write_bytes(data[: int(share * len(data))])
    with pytest.raises(errors.FormatError, match=r"a\.tif.*(damaged|opened)"):
        files.compress_file(source, tmp_path / "a.sarc", tiny.coder())
    assert listing(tmp_path).keys() == {"a.tif"}


@pytest.fixture
def packed(write_tif: Written, tmp_path: Path) -> Path:
    """A .sarc file of six tiles with masks, alone in its folder."""
    pixels = tiny.intensity((150, 100))
    pixels[:, 10:30] = 0
    source = write_tif("source/a.tif", pixels)
    path = tmp_path / "a.sarc"
    files.compress_file(source, path, tiny.coder(), options=encoding.Options(tile=64))
    return path


def test_truncated_file_leaves_nothing(packed: Path, model: Path) -> None:
    data = packed.read_bytes()
    with zipfile.ZipFile(bytes_io.BytesIO(data)) as archive:
        places = {entry.header_offset for entry in archive.infolist()}
    assert len(places) > 8
    for place in sorted(places | {1, 40, len(data) // 2, len(data) - 30, len(data) - 1}):
        packed.write_bytes(data[:place])
        with pytest.raises(errors.FormatError, match=r"a\.sarc"):
            files.decompress_file(packed, packed.with_name("b.tif"), model=model)
    assert listing(packed.parent).keys() == {"a.sarc"}


def test_damaged_entries_leave_nothing(packed: Path, model: Path) -> None:
    """One flipped byte in the data of every entry: found by its checksum, half-way through the decoding."""
    data = packed.read_bytes()
    with zipfile.ZipFile(bytes_io.BytesIO(data)) as archive:
        entries = [(e.header_offset + 30 + len(e.filename), e.compress_size) for e in archive.infolist()]
    for start, size in entries:
        damaged = bytearray(data)
        damaged[start + size // 2] ^= 1
        packed.write_bytes(damaged)
        with pytest.raises(errors.FormatError, match=r"a\.sarc"):
            files.decompress_file(packed, packed.with_name("b.tif"), model=model)
    assert listing(packed.parent).keys() == {"a.sarc"}


def rewrite_header(path: Path, **changes: Any) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries[container_archive.HEADER] = json.dumps(json.loads(entries[container_archive.HEADER]) | changes).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, entry in entries.items():
            archive.writestr(name, entry)


def test_newer_version(packed: Path, model: Path) -> None:
    rewrite_header(packed, version=3)
    with pytest.raises(errors.FormatError, match=r"version 3.*newer sarcodec"):
        files.decompress_file(packed, packed.with_name("b.tif"), model=model)
    assert listing(packed.parent).keys() == {"a.sarc"}


def test_huge_claim_leaves_nothing(packed: Path, model: Path) -> None:
    with container_archive.Reader(packed) as reader:
        raster = dict(reader.header.raster)
    rewrite_header(packed, raster=raster | {"height": 1 << 20, "width": 1 << 20})
    with pytest.raises(errors.FormatError, match="missing"):
        files.decompress_file(packed, packed.with_name("b.tif"), model=model)
    assert listing(packed.parent).keys() == {"a.sarc"}


def test_model_that_is_not_here(packed: Path, tmp_path: Path) -> None:
    identity = tiny.coder().engine.identity
    with pytest.raises(errors.ModelMissing, match=rf"{identity}.*--model"):
        files.decompress_file(packed, tmp_path / "b.tif")
    other = tmp_path / "other.ckpt"
    known = checkpoint.load(tiny.write_checkpoint(tmp_path))
    checkpoint.save(other, dataclasses.replace(known, training={"another": 1}))
    with pytest.raises(errors.ModelMissing, match=rf"{identity}.*--model"):
        files.decompress_file(packed, tmp_path / "b.tif", model=other)
    with pytest.raises(errors.InputError, match=r"'no-such-model'.*neither"):
        files.decompress_file(packed, tmp_path / "b.tif", model="no-such-model")
    assert not (tmp_path / "b.tif").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from sarcodec import errors
from sarcodec.codec import encoding
from sarcodec.scene import files, model_store
torch.set_num_threads(1)
source, packed, model, folder = map(Path, sys.argv[1:])
coder = model_store.open_codec(model)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
for work in (
    lambda: files.compress_file(source, folder / "b.sarc", coder, options=encoding.Options(tile=64)),
    lambda: files.decompress_file(packed, folder / "b.tif", model=model),
):
    try:
        work()
    except errors.OutputError as problem:
        print(problem)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the file size")
def test_full_disk_leaves_nothing(packed: Path, model: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "source" / "a.tif", tmp_path / "full"
    folder.mkdir()
    command = [sys.executable, "-c", FULL_DISK, source, packed, model, folder]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if "nothing was written" in line]
    assert ["b.sarc" in lines[0], "b.tif" in lines[1]] == [True, True]
    assert list(folder.iterdir()) == []


def test_real_chips(data_dir: Path, tmp_path: Path, model: Path) -> None:
    """Whatever the pixels, masks and descriptions come back exactly."""
    chips = sorted((data_dir / "test").glob("*.tif"))
    assert chips
    for chip in chips:
        packed, target = tmp_path / f"{chip.stem}.sarc", tmp_path / f"{chip.stem}.tif"
        files.compress_file(chip, packed, tiny.coder(), options=encoding.Options(tile=256))
        files.decompress_file(packed, target, model=model)
        assert describe(target) == describe(chip)
        before, after = read(chip), read(target)
        with rasterio.open(chip) as dataset:
            quantity = radiometry.Quantity.DN if dataset.dtypes[0] == "uint16" else radiometry.Quantity.DB
            nodata = dataset.nodata
        codes = radiometry.classify(before, quantity, nodata)
        np.testing.assert_array_equal(radiometry.classify(after, quantity, nodata), codes)
        np.testing.assert_array_equal(after[codes > 0], before[codes > 0])
