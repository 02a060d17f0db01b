import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.control
import rasterio.errors

from sarcodec import errors, tiling
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.raster.info import RasterInfo

FULL = RasterInfo(
    count=2,
    height=31,
    width=47,
    dtype="float32",
    nodata=-9999.0,
    crs="EPSG:32633",
    transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0),
    descriptions=("VV", "VH"),
    units=("sigma0 dB", "sigma0 dB"),
    tags={"SOURCE": "šírka, line\nbreak", "EMPTY_NOT": "x=y"},
    band_tags=({"POLARISATION": "VV"}, {"POLARISATION": "VH", "ORBIT": "124"}),
)
GCPS = tuple(
    (float(row), float(col), 16.5 + col / 1e3, 48.25 - row / 1e3, 120.5, str(number), "")
    for number, (row, col) in enumerate([(0, 0), (0, 47), (31, 0), (31, 47)], 1)
)


def pixels_of(info: RasterInfo, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).gamma(4.4, 20, (info.count, info.height, info.width))
    return noise.clip(0, 120).astype(info.dtype)


def write(path: Path, info: RasterInfo, cube: np.ndarray, *, overwrite: bool = False) -> None:
    grid = tiling.TileGrid(info.height, info.width, 16)
    with geotiff.create_raster(path, info, overwrite=overwrite) as raster:
        for band in range(info.count):
            for tile in grid:
                raster.write(band, tile.core, cube[band][tile.core.slices])


def read(path: Path) -> tuple[RasterInfo, np.ndarray]:
    with geotiff.open_raster(path) as raster:
        whole = tiling.Window(0, raster.info.height, 0, raster.info.width)
        return raster.info, np.stack([raster.read(band, whole) for band in range(raster.info.count)])


def plain(info: RasterInfo) -> dict[str, object]:
    """Make two descriptions comparable: NaN equals NaN, and nothing said equals nothing said."""
    return json.loads(json.dumps(info.to_dict()))


def check_round_trip(path: Path, info: RasterInfo) -> None:
    cube = pixels_of(info)
    write(path, info, cube)
    found, back = read(path)
    assert plain(found) == plain(info)
    assert back.dtype == cube.dtype
    np.testing.assert_array_equal(back, cube)


def test_all_that_describes_a_raster_comes_back(tmp_path: Path) -> None:
    check_round_trip(tmp_path / "a.tif", FULL)
    with rasterio.open(tmp_path / "a.tif") as dataset:  # as any other program sees it
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == rasterio.Affine(10, 0, 500_000, 0, -10, 5_400_000)
        assert dataset.nodata == -9999
        assert dataset.descriptions == ("VV", "VH")
        assert dataset.units == ("sigma0 dB", "sigma0 dB")
        assert dataset.tags()["SOURCE"] == "šírka, line\nbreak"
        assert dataset.tags(2)["ORBIT"] == "124"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_dtypes(tmp_path: Path, dtype: str) -> None:
    check_round_trip(tmp_path / "a.tif", dataclasses.replace(FULL, dtype=dtype, nodata=0.0))


@pytest.mark.parametrize("nodata", [None, float("nan"), float("inf"), -3.4028234663852886e38, 0.0])
def test_nodata(tmp_path: Path, nodata: float | None) -> None:
    check_round_trip(tmp_path / "a.tif", dataclasses.replace(FULL, nodata=nodata))


@pytest.mark.parametrize("nodata", [float("nan"), -9999.0, 70000.0])
def test_a_nodata_value_that_no_pixel_can_have_is_left_out(tmp_path: Path, nodata: float) -> None:
    info = dataclasses.replace(FULL, dtype="uint16", nodata=nodata)
    write(tmp_path / "a.tif", info, pixels_of(info))
    assert read(tmp_path / "a.tif")[0].nodata is None


@pytest.mark.parametrize(
    "changes",
    [
        {"crs": None, "transform": None},
        {"crs": None},
        {"crs": None, "transform": None, "gcps": GCPS, "gcp_crs": "EPSG:4326"},
        {"crs": "EPSG:4326", "transform": (1e-4, 0.0, 16.5, 0.0, -1e-4, 48.25)},
        {"transform": (9.0, 2.0, 500_000.0, 2.0, -9.0, 5_400_000.0)},
        {"tags": {"AREA_OR_POINT": "Point", "SOURCE": "x"}},
        {"descriptions": (None, "VH"), "units": (None, "dB")},
        {"count": 1, "height": 1, "width": 1, "descriptions": ("VV",), "units": ("dB",), "band_tags": ()},
        {"height": 600, "width": 530},
        {"height": 3, "width": 700},
    ],
    ids=["bare", "no crs", "gcps", "degrees", "rotated", "point", "half described", "1x1", "tiled", "wide"],
)
def test_georeferencing_names_and_sizes(tmp_path: Path, changes: dict[str, object]) -> None:
    check_round_trip(tmp_path / "a.tif", dataclasses.replace(FULL, **changes))


def test_a_crs_without_authority_code(tmp_path: Path) -> None:
    crs = rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=48.3 +lon_0=17.1 +ellps=bessel +units=m")
    write(tmp_path / "a.tif", dataclasses.replace(FULL, crs=crs.to_wkt()), pixels_of(FULL))
    found, _ = read(tmp_path / "a.tif")
    write(tmp_path / "b.tif", found, pixels_of(FULL))
    with rasterio.open(tmp_path / "a.tif") as a, rasterio.open(tmp_path / "b.tif") as b:
        assert a.crs == b.crs
        assert "Bessel" in b.crs.to_wkt() or "bessel" in b.crs.to_wkt()


def test_the_real_chips_come_back(data_dir: Path, tmp_path: Path) -> None:
    chips = [*sorted(data_dir.glob("train/*.tif"))[::5], *data_dir.glob("train/slovakia*.tif")]
    assert chips
    for path in chips:
        info, cube = read(path)
        write(tmp_path / path.name, info, cube)
        found, back = read(tmp_path / path.name)
        assert plain(found) == plain(info)
        np.testing.assert_array_equal(back, cube)
        assert [info.polarisation(band) for band in range(2)] == ["VV", "VH"]


def test_description_round_trip_through_json() -> None:
    for info in (FULL, dataclasses.replace(FULL, crs=None, transform=None, gcps=GCPS, gcp_crs="EPSG:4326")):
        assert RasterInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info
    bare = RasterInfo(1, 5, 6, "uint16")
    assert bare.to_dict() == {"count": 1, "height": 5, "width": 6, "dtype": "uint16"}
    assert RasterInfo.from_dict(bare.to_dict()) == bare
    for nodata in (float("nan"), float("-inf")):
        text = json.dumps(dataclasses.replace(FULL, nodata=nodata).to_dict(), allow_nan=False)
        np.testing.assert_equal(RasterInfo.from_dict(json.loads(text)).nodata, nodata)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 0},
        {"height": -1},
        {"width": 1.5},
        {"width": "5"},
        {"dtype": "complex64"},
        {"dtype": "object"},
        {"dtype": "V1000000000"},
        {"dtype": "nonsense"},
        {"dtype": 7},
        {"nodata": "much"},
        {"nodata": []},
        {"transform": [1, 2]},
        {"crs": "EPSG:0"},
        {"crs": "not a crs"},
        {"crs": 5},
        {"gcps": [[1, 2]]},
        {"gcps": 3},
        {"colour": "red"},
    ],
)
def test_description_garbage_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(errors.FormatError, match="raster: not a valid"):
        RasterInfo.from_dict(FULL.to_dict() | changes)


@pytest.mark.parametrize(
    "changes",
    [{"crs": "not a crs"}, {"dtype": "nonsense"}, {"dtype": "object"}, {"transform": (1.0,)}, {"count": -1}],
)
def test_a_description_that_cannot_be_written_leaves_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    with (
        pytest.raises((errors.InputError, errors.OutputError)),
        geotiff.create_raster(tmp_path / "a.tif", dataclasses.replace(FULL, **changes)),
    ):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "polarisation"),
    [
        ("VV", "VV"),
        ("sigma0_vh", "VH"),
        ("s1a-iw-grd-hv-2020", "HV"),
        ("HH", "HH"),
        ("VV VH", ""),
        ("VVVH", ""),
        ("", ""),
        ("servvice", ""),
        ("vv VV", "VV"),
    ],
)
def test_polarisation_from_text(text: str, polarisation: str) -> None:
    assert raster_info.polarisation_from_text(text) == polarisation


def test_polarisation_and_units_of_a_description() -> None:
    info = dataclasses.replace(FULL, descriptions=("band 1", "VH"), tags={"Units": "amplitude DN"})
    assert [info.polarisation(0), info.polarisation(1)] == ["VV", "VH"]
    assert RasterInfo(1, 2, 3, "uint8").polarisation(0) == ""
    assert info.unit_text().startswith("amplitude DN")
    assert "sigma0 dB" in info.unit_text()


def test_sample_is_thinned_to_the_limit(tmp_path: Path, write_tif) -> None:
    cube = np.arange(1500 * 20, dtype=np.int32).reshape(1, 1500, 20)
    with geotiff.open_raster(write_tif("a.tif", cube)) as raster:
        sample = raster.sample(0)
    assert sample.shape == (geotiff.SAMPLE_SIDE, 20)
    assert np.isin(sample, cube).all()


def test_truncated_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tif"
    write(whole, FULL, pixels_of(FULL))
    data = whole.read_bytes()
    cut = tmp_path / "cut.tif"
    refused = 0
    for length in range(0, len(data) - 100, 611):
        cut.write_bytes(data[:length])
        with pytest.raises(errors.FormatError, match=r"cut\.tif"):
            read(cut)
        refused += 1
    assert refused > 10


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no raster")
    for name in ("none.tif", "text.tif", "."):
        with pytest.raises(errors.FormatError, match="cannot be opened"), geotiff.open_raster(tmp_path / name):
            pytest.fail("the block must not run")


def test_complex_pixels_are_refused(write_tif) -> None:
    path = write_tif("slc.tif", np.ones((4, 5), np.complex64))
    with pytest.raises(errors.FormatError, match="detect complex data first"), geotiff.open_raster(path):
        pytest.fail("the block must not run")


@pytest.mark.parametrize(
    "fault", [rasterio.errors.WindowError("x"), rasterio.errors.RasterioIOError("x"), OSError(28, "No space left")]
)
def test_a_fault_while_writing_is_an_output_error(tmp_path: Path, fault: Exception) -> None:
    (tmp_path / "a.tif").write_bytes(b"old")
    with (
        pytest.raises(errors.OutputError, match=r"a\.tif"),
        geotiff.create_raster(tmp_path / "a.tif", FULL, overwrite=True) as raster,
    ):
        raster.write(0, tiling.Window(0, 5, 0, 5), np.zeros((5, 5), np.float32))
        raise fault
    assert (tmp_path / "a.tif").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


def test_existing_outputs_are_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, FULL, pixels_of(FULL, 1))
    with pytest.raises(errors.InputError, match="exists"):
        write(path, FULL, pixels_of(FULL, 2))
    np.testing.assert_array_equal(read(path)[1], pixels_of(FULL, 1))
    write(path, FULL, pixels_of(FULL, 2), overwrite=True)
    np.testing.assert_array_equal(read(path)[1], pixels_of(FULL, 2))


FULL_DISK = """
import json, resource, signal, sys, warnings
from pathlib import Path
import numpy as np
from sarcodec import errors, tiling
from sarcodec.raster import geotiff, info
warnings.simplefilter("error")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
for number, (side, dtype, tags, limits) in enumerate(cases):
    about = info.RasterInfo(2, side, side, dtype, tags={"NOTE": "x" * tags})
    whole = tiling.Window(0, side, 0, side)
    cube = np.random.default_rng(0).integers(1, 200, (2, side, side)).astype(dtype)
    for limit in [*limits, None]:
        target = folder / f"{number}.{limit}.tif"
        room = resource.RLIM_INFINITY if limit is None else limit
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        try:
            with geotiff.create_raster(target, about) as raster:
                for band in range(2):
                    raster.write(band, whole, cube[band])
        except errors.OutputError as error:
            assert str(target) in str(error), error
            print("refused", number, limit)
            continue
        with geotiff.open_raster(target) as raster:
            for band in range(2):
                assert (raster.read(band, whole) == cube[band]).all(), (number, limit)
            assert raster.info.tags == about.tags, (number, limit)
        print("whole", number, limit)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="file size limits are of POSIX")
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file size stands in for the disk: whatever it cuts, the output is whole or refused."""
    tiled = 2 * 4 * 512 * 512
    striped = 2 * 300 * 300 * 4
    cases = [
        (520, "uint8", 10, [0, 1000, 600_000, tiled - 200_000, tiled - 1, tiled + 100, tiled + 300]),
        (300, "float32", 5000, [0, 100, striped // 2, *range(striped - 500, striped + 6000, 500)]),
        (40, "float32", 300, list(range(0, 14_000, 1000))),
    ]
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = done.stdout.splitlines()
    for number, (*_, limits) in enumerate(cases):
        assert f"whole {number} None" in outcomes
        assert f"refused {number} {limits[1]}" in outcomes
    kept = [line for line in outcomes if line.startswith("whole")]
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.{limit}.tif" for _, n, limit in map(str.split, kept)}
