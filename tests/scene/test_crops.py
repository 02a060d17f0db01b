"""Parts of a file as GeoTIFFs: where they lie, which bands, with overviews, and nothing half-written."""

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.control
import rasterio.shutil
import rasterio.windows

import tiny
from sarcodec import cli, errors, tiling
from sarcodec.codec import encoding
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import files
from sarcodec.scene.output import Output

Written = Callable[..., Path]
GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5400000)}
WINDOW = tiling.Window.at(40, 70, 100, 130)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("model"))


def pack(source: Path, tile: int = 64) -> Path:
    packed = source.with_suffix(".sarc")
    files.compress_file(source, packed, tiny.coder(), options=encoding.Options(tile=tile))
    return packed


def restore(packed: Path, name: str, model: Path, **output: Any) -> Path:
    target = packed.with_name(name)
    files.decompress_file(packed, target, model=model, precision="float32", output=Output(**output))
    return target


@pytest.fixture
def dual(write_tif: Written) -> Path:
    cube = np.stack([tiny.db((200, 260), seed) for seed in (0, 1)])
    cube[:, :60, 90:] = math.nan
    tags = {"UNITS": "sigma0 dB", "ATTRIBUTION": "someone"}
    source = write_tif("a.tif", cube, bands=("VV", "VH"), tags=tags, nodata=math.nan, **GEO)
    with rasterio.open(source, "r+") as dataset:
        dataset.update_tags(2, NOISE="removed")
        dataset.set_band_unit(1, "dB")
    return pack(source)


def test_window_of_a_transform(dual: Path, model: Path) -> None:
    whole, crop = restore(dual, "whole.tif", model), restore(dual, "crop.tif", model, window=WINDOW)
    area = rasterio.windows.Window(70, 40, 130, 100)
    with rasterio.open(whole) as before, rasterio.open(crop) as after:
        assert (after.count, after.shape) == (2, (100, 130))
        assert after.transform == GEO["transform"] @ rasterio.Affine.translation(70, 40)
        assert (after.crs, after.descriptions, after.units) == (before.crs, ("VV", "VH"), before.units)
        assert after.tags() == before.tags()
        assert after.tags(2)["NOISE"] == "removed"
        assert math.isnan(after.nodata)
        np.testing.assert_array_equal(after.read(), before.read(window=area))


def test_one_band(dual: Path, model: Path) -> None:
    whole = restore(dual, "whole.tif", model)
    for name, bands in (("vh.tif", ("vh",)), ("again.tif", (1,))):
        crop = restore(dual, name, model, window=WINDOW, bands=bands)
        with rasterio.open(whole) as before, rasterio.open(crop) as after:
            assert (after.descriptions, after.units, after.tags(1)["NOISE"]) == (("VH",), (None,), "removed")
            np.testing.assert_array_equal(after.read(1), before.read(2)[WINDOW.slices])
    swapped = restore(dual, "swapped.tif", model, bands=("VH", "VV"))
    with rasterio.open(whole) as before, rasterio.open(swapped) as after:
        assert after.descriptions == ("VH", "VV")
        np.testing.assert_array_equal(after.read(), before.read([2, 1]))


def test_ground_control_points_move(write_tif: Written, model: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c / 9, 50 - r / 9, 5.5, id=f"p{r}{c}", info="grid")
        for r in (0, 90.5)
        for c in (0, 100)
    ]
    source = write_tif("a.tif", tiny.dn((90, 100)), nodata=0, bands=("VV",), gcps=points, crs="EPSG:4326")
    crop = restore(pack(source), "crop.tif", model, window=tiling.Window.at(30, 20, 40, 50))
    with rasterio.open(crop) as after:
        assert [(p.row, p.col, p.x, p.y, p.z) for p in after.gcps[0]] == [
            (p.row - 30, p.col - 20, p.x, p.y, p.z) for p in points
        ]
        assert after.gcps[1] == rasterio.CRS.from_epsg(4326)
        assert (after.shape, after.dtypes) == ((40, 50), ("uint16",))


def test_rotated_transform(write_tif: Written, model: Path) -> None:
    transform = rasterio.Affine(8, 3, 5000, 2, -9, 7000)
    source = write_tif("a.tif", tiny.db((90, 100)), crs="EPSG:32632", transform=transform)
    crop = restore(pack(source), "crop.tif", model, window=tiling.Window.at(30, 20, 40, 50))
    with rasterio.open(crop) as after:
        assert after.transform @ (0, 0) == transform @ (20, 30)
        assert after.transform @ (7, 5) == transform @ (27, 35)


def test_no_description_at_all(write_tif: Written, model: Path) -> None:
    packed = pack(write_tif("a.tif", tiny.intensity((90, 100))))
    with (
        rasterio.Env(),
        geotiff.open_raster(restore(packed, "b.tif", model, window=tiling.Window(3, 4, 5, 6))) as crop,
    ):
        assert (crop.info.height, crop.info.width, crop.info.transform, crop.info.crs) == (1, 1, None, None)


def layout(path: Path) -> str:
    with rasterio.open(path) as dataset:
        return str(dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT"))


def test_cloud_optimised(dual: Path, write_tif: Written, model: Path) -> None:
    source = write_tif("large.tif", np.tile(tiny.db((600, 300)), (1, 2)), bands=("VV",), nodata=math.nan, **GEO)
    packed = pack(source, tile=256)
    plain, cog = restore(packed, "plain.tif", model), restore(packed, "cog.tif", model, cog=True)
    assert (layout(plain), layout(cog)) == ("None", "COG")
    with rasterio.open(plain) as before, rasterio.open(cog) as after:
        assert after.overviews(1) == [2]
        assert after.block_shapes == [(512, 512)]
        assert (after.crs, after.transform, after.descriptions) == (before.crs, before.transform, ("VV",))
        assert after.tags() == before.tags()
        assert math.isnan(after.nodata)
        pixels = before.read(1)
        np.testing.assert_array_equal(after.read(1), pixels)
        half = after.read(1, out_shape=(300, 300))
        np.testing.assert_allclose(half, pixels.reshape(300, 2, 300, 2).mean((1, 3)), atol=1e-4)
    crop = restore(dual, "crop.tif", model, window=WINDOW, bands=("VH",), cog=True)
    with rasterio.open(crop) as after:
        assert (after.shape, after.descriptions, layout(crop)) == ((100, 130), ("VH",), "COG")
    assert {path.name for path in plain.parent.iterdir()} >= {"plain.tif", "cog.tif", "crop.tif"}
    assert not [path for path in plain.parent.iterdir() if path.name.startswith(".") or ".ovr" in path.name]


def test_overviews_of_amplitudes_are_means_of_power(write_tif: Written, model: Path) -> None:
    packed = pack(write_tif("large.tif", np.tile(tiny.dn((300, 600)), (2, 1)), bands=("VV",), **GEO), tile=256)
    with rasterio.open(restore(packed, "cog.tif", model, cog=True)) as after:
        pixels = after.read(1).astype(float).reshape(300, 2, 300, 2)
        expected = np.sqrt((pixels**2).mean((1, 3)))
        np.testing.assert_allclose(after.read(1, out_shape=(300, 300)), expected, atol=0.51)


@pytest.mark.parametrize("cog", [False, True])
def test_nothing_half_written(dual: Path, model: Path, monkeypatch: pytest.MonkeyPatch, cog: bool) -> None:
    before = sorted(dual.parent.iterdir())

    def broken(*_: object, **__: object) -> None:
        raise rasterio.errors.RasterioIOError("no space left")

    if cog:
        monkeypatch.setattr(rasterio.shutil, "copy", broken)
    else:
        monkeypatch.setattr(geotiff.RasterWriter, "write", broken)
    with pytest.raises(errors.OutputError, match="no space left; nothing was written there"):
        restore(dual, "new.tif", model, cog=cog)
    assert sorted(dual.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"window": tiling.Window(0, 201, 0, 9)}, r"window: got rows 0 to 201 .* 200 rows and 260 columns"),
        ({"window": tiling.Window(5, 5, 0, 9)}, r"window: got rows 5 to 5"),
        ({"bands": ("HH",)}, r"polarisation: got 'HH', but there is no such band; the file has VV, VH"),
        ({"bands": ("",)}, r"polarisation: got '', but there is no such band"),
        ({"bands": (2,)}, r"bands: got \(2,\); pass one or more of 0 to 1, or names"),
        ({"bands": (-1,)}, r"bands: got \(-1,\)"),
        ({"bands": ()}, r"bands: got \(\)"),
    ],
)
def test_parts_that_are_not_there(dual: Path, model: Path, output: dict[str, Any], message: str) -> None:
    before = sorted(dual.parent.iterdir())
    with pytest.raises(errors.InputError, match=message):
        restore(dual, "new.tif", model, **output)
    assert sorted(dual.parent.iterdir()) == before


def test_bands_without_a_name_or_with_the_same() -> None:
    info = raster_info.RasterInfo(3, 9, 9, "float32", descriptions=("VV ascending", "VV descending", None))
    assert info.find_band("vv descending") == 1
    with pytest.raises(
        errors.InputError, match=r"2 bands are called so; the file has VV ascending, VV descending, band 3"
    ):
        info.find_band("VV")
    tagged = raster_info.RasterInfo(2, 9, 9, "float32", band_tags=({"POLARISATION": "HH"}, {"POLARISATION": "HV"}))
    assert tagged.find_band("HV") == 1


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["sarcodec", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_command(
    dual: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, crop = restore(dual, "whole.tif", model), dual.with_name("crop.tif")
    options = ("--model", model, "--precision", "float32", "-q")
    part = ("--window", 70, 40, 130, 100, "--polarisation", "VH", "--cog")
    assert run(monkeypatch, "decompress", dual, crop, *part, *options) == 0
    with rasterio.open(whole) as before, rasterio.open(crop) as after:
        np.testing.assert_array_equal(after.read(1), before.read(2)[WINDOW.slices])
    assert layout(crop) == "COG"
    capsys.readouterr()
    assert run(monkeypatch, "decompress", dual, dual.with_name("b.tif"), "--polarisation", "HV", *options) == 2
    assert "polarisation: got 'HV', but there is no such band; the file has VV, VH" in capsys.readouterr().err
    window = ("--window", 200, 0, 100, 100)
    assert run(monkeypatch, "decompress", dual, dual.with_name("b.tif"), *window, *options) == 2
    assert "columns 200 to 300" in capsys.readouterr().err
    assert not dual.with_name("b.tif").exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from sarcodec import errors, tiling
from sarcodec.raster import geotiff, info

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, side = Path(sys.argv[1]), 520
about = info.RasterInfo(1, side, side, "float32", crs="EPSG:32632", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
pixels = np.random.default_rng(0).random((side, side), np.float32)
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit or resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        with geotiff.create_raster(folder / f"{limit}.tif", about, overviews="average") as raster:
            raster.write(0, tiling.Window(0, side, 0, side), pixels)
    except errors.OutputError:
        print("refused", limit)
        continue
    with geotiff.open_raster(folder / f"{limit}.tif") as raster:
        assert (raster.read(0, tiling.Window(0, side, 0, side)) == pixels).all(), limit
    print("whole", limit, (folder / f"{limit}.tif").stat().st_size)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="file size limits are of POSIX")
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file size stands in for the disk; the plain file of 1.08 MB fits where the other does not."""
    limits = [1000, 600_000, *range(1_085_000, 1_400_000, 30_000), 0]
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), *map(str, limits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    whole = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("whole")}
    assert "0" in whole
    assert {path.name for path in tmp_path.iterdir()} == {f"{limit}.tif" for limit in whole}
    assert {"1000", "600000", "1085000"} & whole == set()
