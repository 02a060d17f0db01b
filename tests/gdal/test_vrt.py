"""VRTs of files: what GDAL reads through rasterio is what decompress gives, wherever and however it asks."""

import concurrent.futures
import math
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.control
import rasterio.env
import rasterio.errors
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT

import places
import sarcodec
import tiny
from command import call
from sarcodec import errors, gdal
from sarcodec.codec import codec, encoding
from sarcodec.gdal import pixels, settings
from sarcodec.scene import files

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

Written = Callable[..., Path]
GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -20, 5400000)}
SHAPE = (300, 260)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python in VRTs is allowed, in the environment alone."""
    for name, value in settings.options().items():
        monkeypatch.setenv(name, value)


def pack(source: Path, **options: Any) -> Path:
    packed = source.with_suffix(".sarc")
    files.compress_file(source, packed, tiny.coder(), options=encoding.Options(tile=64), **options)
    return packed


@pytest.fixture
def dual(write_tif: Written) -> Path:
    """A file of two bands with a hole."""
    cube = np.stack([tiny.db(SHAPE, seed) for seed in (0, 1)])
    cube[:, :60, 90:] = math.nan
    tags = {"UNITS": "sigma0 dB", "ATTRIBUTION": 'some & <one> "éß"\nelse'}
    return pack(write_tif("a.tif", cube, bands=("VV", "VH"), tags=tags, nodata=math.nan, **GEO))


@pytest.fixture
def vrt(dual: Path, model: Path) -> Path:
    return gdal.write_vrt(dual, model=model)


@pytest.fixture
def dataset(vrt: Path) -> Iterator[Any]:
    with rasterio.open(vrt) as opened:
        yield opened


def read(path: Path, model: Path, *what: Any, **how: Any) -> np.ndarray:
    with sarcodec.open(path, model=model) as opened:
        return opened.read(*what, **how)


def decompressed(path: Path, model: Path) -> Path:
    target = path.with_name("whole.tif")
    files.decompress_file(path, target, model=model, overwrite=True)
    return target


def said(dataset: Any) -> str:
    """What GDAL says when it cannot read."""
    with pytest.raises(rasterio.errors.RasterioIOError) as problem:
        dataset.read(1)
    return str(problem.value.__cause__)


def test_all_pixels_and_all_that_describes_them(dual: Path, model: Path, dataset: Any) -> None:
    np.testing.assert_array_equal(dataset.read(), read(dual, model))
    with rasterio.open(decompressed(dual, model)) as whole:
        for name in ("count", "shape", "dtypes", "crs", "transform", "descriptions", "units", "colorinterp", "gcps"):
            assert getattr(dataset, name) == getattr(whole, name), name
        assert math.isnan(dataset.nodata)
        assert dataset.tags() == {key: text for key, text in whole.tags().items() if key != "AREA_OR_POINT"}
        assert dataset.tags()["ATTRIBUTION"] == 'some & <one> "éß"\nelse'
    assert dataset.driver == "VRT"
    assert dataset.colorinterp == (ColorInterp.gray, ColorInterp.undefined)


@pytest.mark.parametrize(
    "window", [((0, 1), (0, 1)), ((50, 200), (60, 131)), ((299, 300), (0, 260)), ((0, 300), (259, 260))]
)
def test_windows(dual: Path, model: Path, dataset: Any, window: Any) -> None:
    for band in (2, 1):
        np.testing.assert_array_equal(dataset.read(band, window=window), read(dual, model, band, window))


def test_small_images_are_lower_resolutions_of_the_file(dual: Path, model: Path, dataset: Any) -> None:
    quarter = read(dual, model, 2, reduce=2)
    np.testing.assert_array_equal(dataset.read(2, out_shape=(75, 65)), quarter)
    half = read(dual, model, 1, reduce=1)
    rows, columns = (np.arange(100) * 3 + 1) // 2, (np.arange(260 // 3) * 260 / 86 + 130 / 86).astype(int) // 2
    np.testing.assert_array_equal(dataset.read(1, out_shape=(100, 86)), half[np.ix_(rows, columns)])
    window = ((64, 192), (128, 256))
    np.testing.assert_array_equal(dataset.read(1, window=window, out_shape=(32, 32)), quarter_of(dual, model, window))
    assert dataset.read(1, out_shape=(1, 1)).shape == (1, 1)
    assert dataset.read(1, out_shape=(70, 65), resampling=Resampling.average).shape == (70, 65)


def quarter_of(path: Path, model: Path, window: Any) -> np.ndarray:
    return read(path, model, 1, window, reduce=2)


def test_a_window_a_pixel_short_is_taken_for_a_whole_one(dual: Path, model: Path, dataset: Any) -> None:
    found = dataset.read(1, window=((64, 191), (128, 255)), out_shape=(32, 32))
    assert np.isin(found, read(dual, model, 1, reduce=2)).all()


def test_overviews(dual: Path, model: Path, vrt: Path, dataset: Any) -> None:
    assert dataset.overviews(1)[:3] == [2, 4, 8]
    with rasterio.open(vrt, overview_level=1) as quarter:
        assert quarter.shape == (75, 65)
        np.testing.assert_array_equal(quarter.read(), read(dual, model, reduce=2))
        np.testing.assert_array_equal(
            quarter.read(2, window=((8, 24), (16, 32))), read(dual, model, 2, reduce=2)[8:24, 16:32]
        )


def test_enlarging_repeats_pixels(dual: Path, model: Path, dataset: Any) -> None:
    window = ((100, 110), (20, 40))
    found = dataset.read(1, window=window, out_shape=(20, 40))
    np.testing.assert_array_equal(found, read(dual, model, 1, window).repeat(2, 0).repeat(2, 1))


def test_warping(dual: Path, model: Path, dataset: Any) -> None:
    with rasterio.open(decompressed(dual, model)) as whole:
        how = {"crs": "EPSG:3857", "resampling": Resampling.bilinear}
        with WarpedVRT(dataset, **how, num_threads=2) as warped, WarpedVRT(whole, **how) as expected:
            np.testing.assert_array_equal(warped.read(), expected.read())
            assert np.isnan(warped.read(1)).any()
        with WarpedVRT(dataset, crs="EPSG:3857") as warped:
            small = warped.read(1, out_shape=(warped.height // 8, warped.width // 8))
    assert np.nanmean(small) == pytest.approx(np.nanmean(read(dual, model, 1)), abs=0.5)


def test_threads_each_with_a_handle(dual: Path, model: Path, vrt: Path) -> None:
    expected = read(dual, model)

    def some(number: int) -> bool:
        top, left, band = 37 * number % 240, 53 * number % 200, number % 2
        with rasterio.open(vrt) as own:
            found = own.read(band + 1, window=((top, top + 60), (left, left + 60)))
        same = expected[band, top : top + 60, left : left + 60]
        return np.allclose(found, same, atol=1e-4, equal_nan=True)  # a network rounds as its threads come

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(some, range(24)))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_dtypes_nodata_and_masks(write_tif: Written, model: Path, dtype: str) -> None:
    cube = tiny.dn((90, 100)).clip(1, 120).astype(dtype)
    cube[10:30, 70:] = 0
    packed = pack(write_tif("a.tif", cube, nodata=0, **GEO), quantity="dn")
    with (
        rasterio.open(gdal.write_vrt(packed, model=model)) as found,
        rasterio.open(decompressed(packed, model)) as whole,
    ):
        assert (found.dtypes, found.nodata) == ((dtype,), 0)
        np.testing.assert_array_equal(found.read(1), whole.read(1))
        np.testing.assert_array_equal(found.read_masks(1), whole.read_masks(1))
        np.testing.assert_array_equal(found.read(1, masked=True).mask, cube == 0)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float16"])
def test_dtypes_of_arrays(tmp_path: Path, model: Path, dtype: str) -> None:
    path = tmp_path / "a.sarc"
    path.write_bytes(sarcodec.compress(tiny.dn((70, 80)).astype(dtype), quantity="dn", model=tiny.coder()))
    with rasterio.open(gdal.write_vrt(path, model=model)) as found:
        assert found.nodata is None
        assert found.dtypes == ("float32" if dtype == "float16" else dtype,)
        np.testing.assert_array_equal(found.read(1), read(path, model, 1))


def test_packed_rasters_are_what_they_stand_for(write_tif: Written, model: Path) -> None:
    source = write_tif("a.tif", tiny.dn((90, 100)).astype(np.int16), nodata=-1, **GEO)
    with rasterio.open(source, "r+") as raster:
        raster.scales, raster.offsets = (0.5,), (3.0,)
        raster.set_band_unit(1, "amplitude")
        raster.update_tags(1, POLARISATION="VV")
    packed = pack(source, quantity="dn")
    with rasterio.open(gdal.write_vrt(packed, model=model)) as found:
        assert (found.dtypes, found.scales, found.offsets) == (("float32",), (1.0,), (0.0,))
        assert math.isnan(found.nodata)
        assert (found.units, found.tags(1)) == (("amplitude",), {"POLARISATION": "VV"})
        np.testing.assert_array_equal(found.read(1), read(packed, model, 1))


def test_ground_control_points(write_tif: Written, model: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c / 900, 50 - r / 900, 5.5, id=f"p{r}{c}", info="a grid")
        for r in (0, 40.5)
        for c in (0, 50)
    ]
    packed = pack(write_tif("a.tif", tiny.dn((41, 50)), nodata=0, gcps=points, crs="EPSG:4326"))
    with rasterio.open(gdal.write_vrt(packed, model=model)) as found:
        with rasterio.open(decompressed(packed, model)) as whole:
            kept = [point.asdict() for point in whole.gcps[0]]
        assert [point.asdict() for point in found.gcps[0]] == kept
        assert [(point.row, point.x, point.z) for point in found.gcps[0]] == [(p.row, p.x, p.z) for p in points]
        assert found.gcps[1] == rasterio.CRS.from_epsg(4326)
        assert found.crs is None
        with WarpedVRT(found, src_crs="EPSG:4326", crs="EPSG:32632") as warped:
            assert warped.read(1).max() > 0


def test_a_file_that_is_gone_or_another(dual: Path, model: Path, vrt: Path, dataset: Any) -> None:
    """The same handle reads the file again once it is back."""
    first = dataset.read(1)
    elsewhere = dual.rename(dual.with_name("b.sarc"))
    assert re.search(r"FormatError: \S*a.sarc: cannot be read \(No such file", said(dataset))
    shutil.copyfile(elsewhere, dual)
    np.testing.assert_array_equal(dataset.read(1), first)
    files.compress_file(dual.with_suffix(".tif"), dual, tiny.coder(), options=encoding.Options(2, 64), overwrite=True)
    assert re.search(r"a.sarc: is not the file that the VRT was written for.*sarcodec vrt --overwrite", said(dataset))
    dual.write_bytes(elsewhere.read_bytes()[:-100])
    assert "not a .sarc file, or truncated" in said(dataset)
    assert gdal.write_vrt(elsewhere, vrt, model=model, overwrite=True) == vrt
    with rasterio.open(vrt) as again:
        np.testing.assert_array_equal(again.read(1), first)


def test_a_model_that_is_not_shipped_is_named(dual: Path) -> None:
    with pytest.raises(errors.ModelMissing, match="pass its checkpoint"):
        gdal.write_vrt(dual)
    assert not dual.with_suffix(".vrt").exists()


def test_few_files_stay_open(dual: Path, model: Path) -> None:
    vrts = []
    for number in range(pixels.OPEN_FILES + 3):
        copy = shutil.copyfile(dual, dual.with_name(f'a file & "{number}" é.sarc'))
        vrts.append(gdal.write_vrt(copy, model=model))
    for vrt in [*vrts, *vrts[::-1]]:
        with rasterio.open(vrt) as dataset:
            assert dataset.read(1, window=((100, 101), (0, 1))).shape == (1, 1)
    handles = Path("/proc/self/fd")
    if handles.is_dir():
        targets = [handle.readlink() for handle in handles.iterdir() if handle.is_symlink()]
        assert sum(target.name.startswith("a file") for target in targets) == pixels.OPEN_FILES


def test_files_keep_their_tiles_apart(dual: Path, model: Path, vrt: Path, write_tif: Written) -> None:
    other = pack(write_tif("b.tif", np.stack([tiny.db(SHAPE, seed) for seed in (2, 3)]), bands=("VV", "VH"), **GEO))
    with rasterio.open(vrt) as first, rasterio.open(gdal.write_vrt(other, model=model)) as second:
        for window in (((0, 64), (0, 64)), ((0, 65), (0, 66))):  # of which tiles are kept by then
            np.testing.assert_array_equal(first.read(1, window=window), read(dual, model, 1, window))
            np.testing.assert_array_equal(second.read(1, window=window), read(other, model, 1, window))


def test_a_mask_needs_no_second_decoding(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    windows, restore = [], codec.Codec.restore_rows

    def counted(self: codec.Codec, *what: Any, **how: Any) -> Any:
        windows.append(what)
        return restore(self, *what, **how)

    monkeypatch.setattr(codec.Codec, "restore_rows", counted)
    found = dataset.read(1, masked=True, window=((30, 130), (40, 140)))
    assert found.mask.any()
    assert len(windows) == 1


def test_gdal_may_write_the_vrt_anew(dual: Path, model: Path, vrt: Path) -> None:
    """As it does to keep statistics."""
    text = vrt.read_text()
    with rasterio.open(vrt, "r+") as dataset:
        dataset.update_tags(1, STATISTICS_MEAN="-12")
    assert vrt.read_text() != text
    with rasterio.open(vrt) as dataset:
        assert dataset.overviews(1)[:2] == [2, 4]
        np.testing.assert_array_equal(dataset.read(), read(dual, model))


def test_a_vrt_is_a_source(dual: Path, model: Path, vrt: Path, tmp_path: Path) -> None:
    files.compress_file(vrt, tmp_path / "again.sarc", tiny.coder(), options=encoding.Options(tile=64))
    assert read(tmp_path / "again.sarc", model).shape == (2, *SHAPE)


def test_enabling_keeps_what_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.ENABLE, "NO")
    monkeypatch.setenv(settings.TRUSTED, "numba.np, another")
    gdal.enable()
    gdal.enable()
    assert os.environ[settings.ENABLE] == "TRUSTED_MODULES"
    assert os.environ[settings.TRUSTED] == "numba.np,another,sarcodec.gdal"
    monkeypatch.setenv(settings.ENABLE, "yes")
    gdal.enable()
    assert os.environ[settings.ENABLE] == "YES"


def test_enabling_reaches_rasterio(dual: Path, model: Path, vrt: Path) -> None:
    with rasterio.Env(**{settings.ENABLE: "TRUSTED_MODULES", settings.TRUSTED: "another"}):
        with rasterio.open(vrt) as dataset:
            assert "GDAL_VRT_PYTHON_TRUSTED_MODULES" in said(dataset)
        gdal.enable()
        assert rasterio.env.get_gdal_config(settings.TRUSTED) == "another,sarcodec.gdal"
        with rasterio.open(vrt) as dataset:
            np.testing.assert_array_equal(dataset.read(1), read(dual, model, 1))


def test_enabling_reaches_the_bindings_of_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which need not be installed: what they have of options is stood in for."""
    held = {settings.TRUSTED: "another"}
    bindings = types.SimpleNamespace(GetConfigOption=held.get, SetConfigOption=held.__setitem__)
    monkeypatch.setitem(sys.modules, "osgeo.gdal", bindings)
    gdal.enable()
    assert held == {settings.ENABLE: "TRUSTED_MODULES", settings.TRUSTED: "another,sarcodec.gdal"}


def test_pixels_need_no_rasterio(dual: Path, model: Path) -> None:
    """A program with a GDAL of its own, as QGIS, loads no other one."""
    code = """
import sys, numpy
from sarcodec import gdal
print(*sorted({"numba", "rasterio", "torch"} & set(sys.modules)))
with open(sys.argv[1], "rb") as stream: pass
out = numpy.zeros((2, 3), numpy.float32)
gdal.enable()
given = dict(path=sys.argv[1].encode(), model=sys.argv[2].encode(), identity=sys.argv[3].encode(), band=b"2")
gdal.read([], out, 5, 100, 3, 2, 260, 300, 0, (0.0, 1.0, 0.0, 0.0, 0.0, 1.0), **given)
print("rasterio" in sys.modules, *out.ravel().tolist())
"""
    with sarcodec.Reader(dual) as reader:
        arguments = [str(dual), str(model), reader.identity]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded, found = done.stdout.splitlines()
    assert loaded == ""
    expected = read(dual, model, 2, ((100, 102), (5, 8)))
    assert found.split() == ["False", *map(str, expected.ravel().tolist())]


def test_the_command(dual: Path, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("vrt", dual, "--model", model) == 0
    first, shell, qgis, python = capsys.readouterr().out.splitlines()
    assert first == f"{dual.with_suffix('.vrt')}: GDAL reads the pixels of {dual}, a window was compared"
    both = "GDAL_VRT_ENABLE_PYTHON=TRUSTED_MODULES GDAL_VRT_PYTHON_TRUSTED_MODULES=sarcodec.gdal"
    assert shell.split(maxsplit=1) == ["shell", f"export {both}"]
    assert both in qgis
    assert "pip install sarcodec" in qgis
    assert "gdal.enable()" in python
    assert call("vrt", dual, "--model", model) == 2
    assert "exists already" in capsys.readouterr().err
    assert call("vrt", dual, dual, "--model", model, "--overwrite") == 2
    assert "is the source" in capsys.readouterr().err
    assert call("vrt", "https://example.com/a.sarc", tmp_path / "b.vrt") == 2
    assert "download it" in capsys.readouterr().err


def test_the_command_says_when_gdal_cannot_read(
    dual: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "options", lambda: {settings.ENABLE: "NO"})
    assert call("vrt", dual, "--model", model) == 1
    assert "is written, but does not work here: " in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_rio_tiler(dual: Path, model: Path, vrt: Path) -> None:
    io = pytest.importorskip("rio_tiler.io", reason="rio-tiler is not installed")
    morecantile = pytest.importorskip("morecantile")
    with io.Reader(str(vrt)) as reader:
        west, south, east, north = reader.get_geographic_bounds("EPSG:4326")
        tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, 13)
        image = reader.tile(tile.x, tile.y, tile.z)
    assert image.array.shape == (2, 256, 256)
    valid = image.array[0].compressed()
    assert abs(valid.mean() - np.nanmean(read(dual, model, 1))) < 1


def test_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (places.DOCS / "interop.md").read_text(encoding="utf-8")
    section = page.split("## GDAL, rasterio, QGIS and rio-tiler")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    cube = np.stack([tiny.intensity((256, 256), seed) for seed in (0, 1)])
    Path("scene.sarc").write_bytes(sarcodec.compress(cube, quantity="intensity"))
    names: dict[str, Any] = {}
    exec(compile(code, "interop.md", "exec"), names)
    np.testing.assert_array_equal(names["window"], names["same"])
    assert names["quick"].shape == (32, 32)
