"""Arrays of xarray go in where an array goes: what they say of themselves is kept, and comes back."""

import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rasterio
import rasterio.control
import rioxarray
import xarray

import sarcodec
import tiny
from sarcodec import errors
from sarcodec.codec import codec
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.plugins import xarray_accessor  # noqa: F401
from sarcodec.plugins.xarray_engine import SarcBackend
from sarcodec.raster import spool
from sarcodec.scene import arrays, files, model_store

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

Written = Callable[..., Path]
BOUND = 0.25
CODER = codec.Codec(model_store.bounded_engine(BOUND))
UTM = rasterio.CRS.from_epsg(32632)


def image(shape: tuple[int, int] = (50, 71), seed: int = 0, **options: Any) -> xarray.DataArray:
    """An image in dB with all that one can say of itself."""
    pixels = tiny.db(shape, seed)
    pixels[:3, 5:] = math.nan
    coords = {
        "y": 5_400_000.0 - 20 * np.arange(shape[0]),
        "x": 500_000.0 + 10 * np.arange(shape[1]),
        "spatial_ref": ((), 0, {"crs_wkt": UTM.to_wkt()}),
    }
    given = {"coords": coords, "name": "VV", "attrs": {"units": "dB", "sensor": "S1A"}} | options
    return xarray.DataArray(pixels, dims=("y", "x"), **given)


def dual(**options: Any) -> xarray.DataArray:
    both = xarray.concat([image(seed=0), image(seed=1)], "band").assign_coords(band=["VV", "VH"])
    return both.rename("sigma0").assign_attrs(options)


def written(data: Any, folder: Path, **options: Any) -> xarray.Dataset:
    """What comes back of an array."""
    path = folder / f"{len(list(folder.iterdir()))}.sarc"
    data.sarc.to_file(path, CODER, **options)
    with xarray.open_dataset(path, engine=SarcBackend) as dataset:
        return dataset.load()


def header(path: Path) -> container_header.Header:
    with archive.Reader(path) as reader:
        return reader.header


def same_place(dataset: xarray.Dataset, data: Any) -> None:
    xarray.testing.assert_identical(dataset.x.drop_attrs().drop_vars("spatial_ref"), data.x.drop_vars("spatial_ref"))
    xarray.testing.assert_identical(dataset.y.drop_attrs().drop_vars("spatial_ref"), data.y.drop_vars("spatial_ref"))
    assert dataset.rio.crs == data.rio.crs
    assert dataset.rio.transform(recalc=True) == data.rio.transform(recalc=True)


@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y", "x", "band"), ("x", "band", "y")], ids=str)
def test_bands_in_any_order(tmp_path: Path, dims: tuple[str, ...]) -> None:
    data = dual()
    back = written(data.transpose(*dims), tmp_path)
    assert list(back.data_vars) == ["VV", "VH"]
    same_place(back, data)
    for band in ("VV", "VH"):
        assert back[band].attrs["units"] == "dB"
        assert abs(back[band] - data.sel(band=band)).max() <= BOUND  # aligned by coordinates, to the last bit
        np.testing.assert_array_equal(np.isnan(back[band]), np.isnan(data.sel(band=band)))
    assert back.attrs["sensor"] == "S1A"


def test_a_single_image(tmp_path: Path) -> None:
    data = image(name="gamma0")
    for given in (data, data.transpose("x", "y")):
        back = written(given, tmp_path)
        assert list(back.data_vars) == ["gamma0"]
        assert back.gamma0.attrs == {"units": "dB", "quantity": "db", "long_name": "gamma0", "sensor": "S1A"}
        same_place(back, data)
        assert abs(back.gamma0 - data).max() <= BOUND
    pixels = sarcodec.decompress(sarcodec.compress(data, model=CODER))
    assert pixels.shape == data.shape
    np.testing.assert_array_equal(np.isnan(pixels), np.isnan(data))
    assert list(written(dual().sel(band="VH"), tmp_path).data_vars) == [
        "VH"
    ]  # which is said more exactly than sigma0


def test_a_dataset(tmp_path: Path) -> None:
    data = dual().to_dataset("band").assign_attrs(title="two").assign_coords(time=np.datetime64("2020-01-02"))
    data["VH"].attrs |= {"calibration": "sigma0", "long_name": "cross"}
    back = written(data, tmp_path)
    assert list(back.data_vars) == ["VV", "VH"]
    assert back.VH.attrs["calibration"] == "sigma0" and back.VH.attrs["long_name"] == "cross"
    assert "calibration" not in back.VV.attrs
    assert (back.attrs["title"], back.attrs["time"]) == ("two", "2020-01-02T00:00:00")
    again = written(back, tmp_path, overwrite=True)
    assert again.attrs.pop("bits_per_pixel") and back.attrs.pop("bits_per_pixel")
    assert abs(again.VH - back.VH).max() <= BOUND
    xarray.testing.assert_identical(again * 0, back * 0)  # what was opened goes in as it came out


def test_without_coordinates(tmp_path: Path) -> None:
    bare = xarray.DataArray(tiny.db((33, 47)), dims=("rows", "columns"))
    back = written(bare, tmp_path)
    assert (list(back.data_vars), set(back.coords)) == (["band_1"], set())
    assert abs(back.band_1.values - bare.values).max() <= BOUND
    assert back.attrs.keys() == {"model", "step", "bits_per_pixel", "max_error_db"}
    degrees = {"lat": 40 + 0.001 * np.arange(50), "lon": 7 + 0.0005 * np.arange(71)}
    flipped = image_of(tiny.db((71, 50)), dims=("lon", "lat"), coords=degrees)
    back = written(flipped, tmp_path)
    np.testing.assert_array_equal(back.x, flipped.lon)
    np.testing.assert_array_equal(back.y, flipped.lat)
    assert back.rio.crs is None


def image_of(pixels: np.ndarray, **options: Any) -> xarray.DataArray:
    return xarray.DataArray(pixels, **options)


@pytest.mark.parametrize("keys", [("crs_wkt",), ("spatial_ref",), ("crs_wkt", "spatial_ref")], ids=str)
def test_where_it_lies(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """The variable of the grid mapping by whatever name; a transform without coordinates, even a rotated one."""
    rotated = {"GeoTransform": "5000 8 3 7000 2 -9", **dict.fromkeys(keys, UTM.to_wkt())}
    data = image(coords={"mapped": ((), 0, rotated)}, attrs={"units": "dB", "grid_mapping": "mapped"})
    back = written(data, tmp_path)
    assert back.rio.crs == UTM
    assert back.rio.transform() == rasterio.Affine(8, 3, 5000, 2, -9, 7000)
    assert "grid_mapping" not in back.attrs


def test_parts_lie_where_they_lie(tmp_path: Path) -> None:
    """xarray leaves GeoTransform as it was where it takes a part: coordinates count."""
    whole = image().rio.write_transform(rasterio.Affine(10, 0, 499_995, 0, -20, 5_400_010))
    part = whole[10:40:2, 7:]
    back = written(part, tmp_path)
    same_place(back, part)
    assert back.rio.transform() == rasterio.Affine(10, 0, 500_065, 0, -40, 5_399_820)
    one = whole[10:11, 7:8]
    assert written(one, tmp_path).rio.transform() == rasterio.Affine(10, 0, 500_065, 0, -20, 5_399_810)


def test_coordinates_of_a_whole_grid_come_back_to_the_bit(write_tif: Written, tmp_path: Path) -> None:
    """Or xarray would not align what came back with what was there; those of a part may differ in the last bit."""
    for name, size, corner in (
        ("a", 1 / 3600, 10.1),
        ("b", 0.00017966305682390427, 7.123456789),
        ("c", 8.983e-5, -3.0),
    ):
        transform = rasterio.Affine(size, 0, corner, 0, -size, 50 + corner)
        source = write_tif(f"{name}.tif", tiny.db((40, 90)), crs="EPSG:4326", transform=transform)
        with rioxarray.open_rasterio(source) as data:
            for part in (data, data[:, 3:31, 17:80]):
                back = written(part.assign_attrs(units="dB"), tmp_path)
                np.testing.assert_allclose(back.x, part.x, rtol=0, atol=1e-14)
                np.testing.assert_allclose(back.y, part.y, rtol=0, atol=1e-14)
            np.testing.assert_array_equal(written(data.assign_attrs(units="dB"), tmp_path).x, data.x)
            np.testing.assert_array_equal(written(data.assign_attrs(units="dB"), tmp_path).y, data.y)
    for axis in (np.linspace(-1.5, 2.5, 71), 0.1 * np.arange(71), np.arange(71)[::-1], np.arange(71, dtype="f4") / 8):
        back = written(image().drop_vars("spatial_ref").assign_coords(x=axis), tmp_path)
        np.testing.assert_allclose(back.x, axis, rtol=0, atol=1e-12)


def test_ground_control_points(write_tif: Written, tmp_path: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c / 9, 50 - r / 9, 5.5, id=f"p{r}{c}", info="grid")
        for r in (0, 40)
        for c in (0, 50)
    ]
    source = write_tif("a.tif", tiny.dn((40, 50)), nodata=0, gcps=points, crs="EPSG:4326")
    with rioxarray.open_rasterio(source) as data:
        back = written(data, tmp_path)
        assert back.rio.get_gcps() == data.rio.get_gcps() or str(back.rio.get_gcps()) == str(data.rio.get_gcps())
        counted = data.assign_coords(y=np.arange(40) + 0.5, x=np.arange(50) + 0.5)
        moved = written(counted[:, 10:, 20:], tmp_path).rio.get_gcps()
    assert [(p.row, p.col) for p in moved] == [(r - 10, c - 20) for r in (0, 40) for c in (0, 50)]
    assert back.rio.crs == rasterio.CRS.from_epsg(4326)


@pytest.mark.parametrize("how", [{}, {"masked": True}, {"band_as_variable": True}, {"chunks": 32}], ids=str)
def test_numbers_with_nodata(write_tif: Written, tmp_path: Path, how: dict[str, Any]) -> None:
    cube = np.stack([tiny.dn((60, 44), seed) for seed in (0, 1)])
    cube[:, :4] = 0
    source = write_tif("a.tif", cube, nodata=0, bands=("VV", "VH"), crs=UTM, transform=rasterio.Affine.scale(10, -10))
    with rioxarray.open_rasterio(source, **how) as data:
        data.sarc.to_file(tmp_path / "a.sarc", CODER)
    record = header(tmp_path / "a.sarc").raster
    assert (record["dtype"], record["nodata"], record["descriptions"]) == ("uint16", 0, ["VV", "VH"])
    files.compress_file(source, tmp_path / "b.sarc", CODER)
    np.testing.assert_array_equal(arrays.decompress(tmp_path / "a.sarc"), arrays.decompress(tmp_path / "b.sarc"))


@pytest.mark.parametrize("how", [{}, {"masked": True}, {"mask_and_scale": True}], ids=str)
def test_scale_and_offset(write_tif: Written, tmp_path: Path, how: dict[str, Any]) -> None:
    """Pixels as stored, those with NaN for nodata, and decoded ones: all are what the raster stands for."""
    raw = np.round(tiny.db((60, 44)) * 100).astype(np.int16)
    raw[:3] = -32768
    source = write_tif("a.tif", raw, nodata=-32768, crs=UTM, transform=rasterio.Affine.scale(10, -10))
    with rasterio.open(source, "r+") as dataset:
        dataset.scales, dataset.offsets, dataset.units = (0.01,), (-2.0,), ("dB",)
    with rioxarray.open_rasterio(source, **how) as data:
        back = written(data, tmp_path)
        expected = np.where(raw == -32768, np.nan, raw * 0.01 - 2)
        np.testing.assert_array_equal(np.isnan(back.band_1), np.isnan(expected))
        np.testing.assert_allclose(back.band_1, expected, rtol=0, atol=BOUND + 0.01)
        data.sarc.to_file(tmp_path / "a.sarc", max_error=BOUND)  # also of the file, and its rounding
    files.decompress_file(tmp_path / "a.sarc", tmp_path / "back.tif")
    with rasterio.open(tmp_path / "back.tif") as dataset:
        if how != {"masked": True}:
            assert (dataset.dtypes, dataset.nodata) == (("int16",), -32768)
        assert (dataset.scales, dataset.offsets, dataset.units) == ((0.01,), (-2.0,), ("dB",))
        restored = dataset.read(1) * 0.01 - 2
    np.testing.assert_allclose(restored[3:], expected[3:], rtol=0, atol=BOUND + 1e-5)


def test_an_encoding_that_is_not_theirs_any_more(tmp_path: Path) -> None:
    """Pixels that were computed with are kept as floats, whatever the encoding says they once were."""
    sigma0 = image_of(tiny.intensity((60, 44)), dims=("y", "x"))
    sigma0.encoding = {"dtype": "uint16", "_FillValue": 0}
    back = written(sigma0, tmp_path)
    assert back.band_1.dtype == np.float32
    assert abs(10 * np.log10(back.band_1 / sigma0)).max() <= BOUND * 1.001
    late = image_of(tiny.dn((2100, 44)).astype("f4"), dims=("y", "x"))
    late[1] += 0.4  # where no sample is taken
    late.encoding = {"dtype": "uint16", "_FillValue": 0}
    with pytest.raises(errors.InputError, match=r"encoding: some pixels are not what uint16 .*drop_encoding"):
        sarcodec.compress(late, model=CODER)
    assert written(late.drop_encoding(), tmp_path).band_1.dtype == np.float32


def test_nodata(tmp_path: Path) -> None:
    pixels = tiny.db((40, 50))
    pixels[:5] = -9999
    for given, options in (
        (image_of(pixels, dims=("y", "x")), {"nodata": -9999}),
        (image_of(pixels, dims=("y", "x"), attrs={"_FillValue": np.float32(-9999)}), {}),
        (image_of(np.where(pixels == -9999, np.nan, pixels), dims=("y", "x")), {"encoded": -9999.0}),
    ):
        if "encoded" in options:
            given.encoding["_FillValue"] = options.pop("encoded")
        back = written(given, tmp_path, **options)
        assert back.band_1.encoding["_FillValue"] == -9999
        np.testing.assert_array_equal(np.isnan(back.band_1), pixels == -9999)
    with pytest.raises(errors.InputError, match="nodata: got 0, but the array declares -9999; leave it out"):
        sarcodec.compress(image_of(pixels, dims=("y", "x"), attrs={"_FillValue": -9999}), nodata=0, model=CODER)


def test_quantities_are_told_by_units_and_believed_where_pixels_agree(tmp_path: Path) -> None:
    few = image_of(np.full((30, 40), 7.5, np.float32), dims=("y", "x"), attrs={"units": "dB"})
    size = few.sarc.to_file(tmp_path / "a.sarc", CODER)
    assert str(size.decision).startswith("quantity: dB (attributes), valid 100 %")
    linear = (10 ** (image() / 10)).assign_attrs(units="dB")  # as xarray leaves them
    with pytest.raises(errors.AmbiguousQuantity, match=r"attributes say db, but .* rather intensity.*assign_attrs"):
        sarcodec.compress(linear, model=CODER)
    with pytest.raises(errors.AmbiguousQuantity, match="attribute 'quantity' says intensity, but 'units' 'dB'"):
        sarcodec.compress(image().assign_attrs(quantity="intensity"), model=CODER)
    right = linear.assign_attrs(units="1", quantity="intensity")
    assert written(right, tmp_path).VV.attrs["quantity"] == "intensity"
    mixed = xarray.Dataset({"VV": image(), "angle": image().assign_attrs(units="degrees")})
    with pytest.raises(errors.InputError, match=r"quantity: VV says db, angle says nothing; .*dataset\[\[…\]\]"):
        mixed.sarc.to_file(tmp_path / "b.sarc", CODER)
    assert list(written(mixed[["VV"]], tmp_path).data_vars) == ["VV"]


def test_goals(tmp_path: Path) -> None:
    data = image((256, 256), coords={}, name=None)
    sizes = {}
    for name, value in {
        "quality": 20,
        "bpp": 0.8,
        "ratio": 12,
        "psnr": 36,
        "rmse": 0.3,
        "max_error": 1,
        "step": 900,
    }.items():
        sizes[name] = data.sarc.to_file(tmp_path / f"{name}.sarc", **{name: value}).bytes
    assert 8 * sizes["bpp"] / data.size == pytest.approx(0.8, rel=0.02)
    assert 16 * data.size / (8 * sizes["ratio"]) == pytest.approx(12, rel=0.02)
    assert header(tmp_path / "max_error.sarc").max_error_db == 1
    assert (
        sarcodec.compress(data, quality=20)
        == (tmp_path / "quality.sarc").read_bytes()
        == data.sarc.compress(quality=20)
    )
    with pytest.raises(errors.InputError, match="pass one of them"):
        data.sarc.to_file(tmp_path / "a.sarc", quality=20, bpp=1)
    with pytest.raises(errors.InputError, match="exists already; pass overwrite"):
        data.sarc.to_file(tmp_path / "bpp.sarc", quality=20)
    with pytest.raises(errors.InputError, match="got qualty; allowed are"):
        data.sarc.to_file(tmp_path / "a.sarc", qualty=20)
    with pytest.raises(errors.InputError, match="got overwrite; allowed are"):
        data.sarc.compress(overwrite=True)
    with xarray.open_dataset(tmp_path / "bpp.sarc", engine=SarcBackend) as dataset:
        for given in (dataset, dataset.band_1):
            with pytest.raises(errors.InputError, match="is the source"):
                given.sarc.to_file(tmp_path / "bpp.sarc", overwrite=True)
    assert not (tmp_path / "a.sarc").exists()


def test_chunks_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also towards a goal, which takes several passes; of a dataset, and of bands in one chunk."""
    monkeypatch.setattr(spool, "BLOCK_BYTES", 40_000)  # blocks of a few chunks
    seen: list[tuple[int, ...]] = []
    cube = np.stack([tiny.db((150, 130), seed) for seed in (0, 1)])

    def note(block: np.ndarray) -> np.ndarray:
        if block.size > 1:
            seen.append(block.shape)
        return block

    counted = dask.array.from_array(cube, chunks=(2, 64, 50)).map_blocks(note, dtype=cube.dtype, meta=cube[:0])
    data = image_of(counted, dims=("band", "y", "x"), coords={"band": ["VV", "VH"]}, attrs={"units": "dB"})
    plain = data.copy(data=cube)
    assert sarcodec.compress(data, max_error=0.5, model=CODER) == sarcodec.compress(plain, max_error=0.5, model=CODER)
    assert len(seen) == 9
    seen.clear()
    sarcodec.compress(data.to_dataset("band"), model=CODER)
    assert len(seen) == 9
    uneven = xarray.Dataset({"VV": data[0].chunk(x=70), "VH": data[1].chunk(y=31).variable})
    both = sarcodec.decompress(sarcodec.compress(uneven, model=CODER))
    np.testing.assert_array_equal(both, sarcodec.decompress(sarcodec.compress(plain, model=CODER)))


def test_blocks_hold_whole_chunks_and_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "BLOCK_BYTES", 4000)
    for chunks in (((10,) * 5, (20,) * 5), ((50,), (3,) * 33 + (1,)), ((1,) * 50, (100,)), ((50,), (100,))):
        covered = np.zeros((50, 100), int)
        for block in spool.blocks((1, 50, 100), 4, chunks):
            covered[block.slices] += 1
            rows, columns = block.shape
            assert rows * columns * 4 <= 4000 or (rows in chunks[0] and columns in chunks[1])
            assert {block.top, block.bottom} <= {0, *np.cumsum(chunks[0])}
            assert {block.left, block.right} <= {0, *np.cumsum(chunks[1])}
        assert (covered == 1).all()


def test_no_room_for_what_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def seek(self, _: int) -> None:
            pass

        def write(self, _: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(
        errors.OutputError, match=r"pixels: computed, they need .* \(No space left on device\); set TMPDIR"
    ):
        image().chunk().sarc.to_file(tmp_path / "a.sarc", CODER)
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_place_is_warned_of(tmp_path: Path) -> None:
    data = image().assign_coords(incidence=(("y", "x"), np.ones((50, 71))))
    with pytest.warns(UserWarning, match="coordinates incidence: a .sarc file has no place for them"):
        written(data, tmp_path)
    named = image().assign_coords(x=[f"c{column}" for column in range(71)])
    with pytest.warns(UserWarning, match="coordinates y, x"):
        assert set(written(named, tmp_path).coords) == {"spatial_ref"}
    orbits = dual().assign_coords(orbit=("band", [7, 8]))
    assert [written(orbits, tmp_path)[band].attrs["orbit"] for band in ("VV", "VH")] == ["7", "8"]


def doubled() -> xarray.DataArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xarray.DataArray(tiny.db((40, 40)), dims=("y", "y"))


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "complex": (lambda: image_of(tiny.db((9, 9)).astype(complex)), "got complex128 .* detect complex data first"),
    "objects": (lambda: image_of(tiny.db((9, 9)).astype(object)), "got object .* pass real numbers"),
    "booleans": (lambda: image_of(tiny.db((9, 9)) > 0), "got bool .* pass real numbers"),
    "a picture": (
        lambda: image_of(np.random.default_rng(0).integers(0, 255, (3, 20, 20), np.uint8), dims=("band", "y", "x")),
        "uint8 pixels are rather a picture",
    ),
    "the same dimension twice": (doubled, r"got dimensions \(y: 40, y: 40\); pass \(y, x\)"),
    "a row": (lambda: image()[0], r"got dimensions \(x: 71\)"),
    "nothing": (lambda: image()[:0], r"got dimensions \(y: 0, x: 71\)"),
    "four dimensions": (
        lambda: dual().expand_dims("time"),
        r"time: 1, .*select one along the others: \.isel\(time=0\)",
    ),
    "uneven coordinates": (lambda: image().isel(x=[0, 1, 3, 4]), "x: coordinates are not evenly spaced"),
    "one coordinate": (lambda: image()[:1], "y: one coordinate does not tell the size of pixels"),
    "a CRS that is none": (
        lambda: image().assign_coords(spatial_ref=((), 0, {"crs_wkt": "nowhere"})),
        "crs: nowhere is none that can be read",
    ),
    "a transform that is none": (
        lambda: image(coords={"spatial_ref": ((), 0, {"GeoTransform": "1 2 3"})}),
        "GeoTransform: got '1 2 3'",
    ),
    "an empty dataset": (lambda: xarray.Dataset(), "dataset: got variables without dimensions"),
    "two grids": (
        lambda: xarray.Dataset({"a": image().drop_vars(["y", "x"]), "b": (("v", "u"), tiny.db((9, 9)))}),
        r"dataset: got variables a \('y', 'x'\), b \('v', 'u'\)",
    ),
    "two dtypes": (
        lambda: xarray.Dataset({"a": image(), "b": image().astype("f8")}),
        "got variables of float32, float64",
    ),
    "two nodata values": (
        lambda: xarray.Dataset({n: image().assign_attrs(_FillValue=v) for n, v in (("a", 1), ("b", 2))}),
        r"nodata: the bands declare 1\.0, 2\.0",
    ),
    "a scale of 0": (lambda: image().assign_attrs(scale_factor=0), "scale_factor: got 0"),
    "a nodata value of no number": (lambda: image().assign_attrs(_FillValue="x"), "declares 'x', no number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    data = make()
    with pytest.raises(errors.InputError, match=message) as problem:
        data.sarc.to_file(tmp_path / "a.sarc", CODER)
    assert "\n" not in str(problem.value)
    with pytest.raises(errors.InputError, match=message):
        sarcodec.compress(data, model=CODER)
    assert list(tmp_path.iterdir()) == []


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_how_the_accessor_comes_to_be_there() -> None:
    """By an import, as rio does, or with the engine; it loads neither torch nor GDAL."""
    told = "print(hasattr(xarray.DataArray, 'sarc'), hasattr(xarray.Dataset, 'sarc'), 'torch' in sys.modules)"
    assert fresh(f"import sys, xarray, sarcodec; {told}").split() == ["False", "False", "False"]
    for module in ("xarray_accessor", "xarray_engine"):
        assert fresh(f"import sys, xarray, sarcodec.plugins.{module}; {told}").split() == ["True", "True", "False"]


def test_arrays_without_rioxarray_or_the_accessor(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['rioxarray'] = None; sys.modules['dask'] = None\n"
        "import numpy, xarray, sarcodec, json\n"
        "from sarcodec.codec import codec\n"
        "from sarcodec.scene import model_store\n"
        "import rasterio\n"
        "wkt = rasterio.CRS.from_epsg(32632).to_wkt()\n"
        "pixels = -10 + numpy.random.default_rng(0).normal(size=(40, 50)).astype('f4')\n"
        "lies = {'crs': ((), 0, {'spatial_ref': wkt})}\n"
        "coords = {'y': -20.0 * numpy.arange(40), 'x': 10.0 * numpy.arange(50)} | lies\n"
        "array = xarray.DataArray(pixels, coords, ('y', 'x'), attrs={'grid_mapping': 'crs'})\n"
        f"sarcodec.compress_file(array, {str(tmp_path / 'a.sarc')!r}, codec.Codec(model_store.bounded_engine(0.5)))\n"
        f"print(json.dumps(sarcodec.Reader({str(tmp_path / 'a.sarc')!r}).header.raster))"
    )
    record = json.loads(fresh(code))
    assert (record["crs"], record["transform"]) == ("EPSG:32632", [10, 0, -5, 0, -20, 10])


def test_numpy_arrays_go_to_files_too(tmp_path: Path) -> None:
    files.compress_file(tiny.db((40, 50)), tmp_path / "a.sarc", CODER)
    assert abs(sarcodec.decompress(tmp_path / "a.sarc") - tiny.db((40, 50))).max() <= BOUND
