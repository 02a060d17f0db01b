"""xarray at lower resolutions: sizes, coordinates, georeferencing and chunks follow; pixels are those of windows."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.control
import rioxarray  # noqa: F401
import xarray

import sarcodec
import tiny
from sarcodec import errors
from sarcodec.codec import encoding
from sarcodec.plugins.xarray_engine import SarcBackend
from sarcodec.scene import files

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

Written = Callable[..., Path]
GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -20, 5400000)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.ckpt"
    path.write_bytes(tiny.lapped_bytes())
    return path


def pack(source: Path) -> Path:
    files.compress_file(source, source.with_suffix(".sarc"), tiny.lapped_codec(), options=encoding.Options(tile=128))
    return source.with_suffix(".sarc")


@pytest.mark.parametrize("power", [False, True])
def test_a_reduced_dataset(write_tif: Written, model: Path, power: bool) -> None:
    cube = np.stack([tiny.db((300, 330), seed) for seed in (0, 1)])
    cube[:, :60, 90:] = math.nan
    path = pack(write_tif("a.tif", cube, bands=("VV", "VH"), tags={"UNITS": "sigma0 dB"}, nodata=math.nan, **GEO))
    with sarcodec.open(path, model=model) as image:
        expected = image.read("VH", reduce=3, power=power)
    how = {"engine": SarcBackend, "model": model, "reduce": 3, "power": power}
    with xarray.open_dataset(path, **how) as low, xarray.open_dataset(path, chunks={}, **how) as lazy:
        assert dict(low.sizes) == {"y": 38, "x": 42}
        assert low.VV.encoding["preferred_chunks"] == {"y": 16, "x": 16}
        assert lazy.VH.chunks == ((16, 16, 6), (16, 16, 10))
        np.testing.assert_allclose(low.x, 500040 + 80 * np.arange(42))
        np.testing.assert_allclose(low.y, 5399920 - 160 * np.arange(38))
        assert low.rio.transform() == GEO["transform"] @ rasterio.Affine.scale(8)
        assert low.attrs["bits_per_pixel"] == pytest.approx(8 * path.stat().st_size / cube.size)
        np.testing.assert_array_equal(low.VH, expected)
        np.testing.assert_allclose(lazy.VH.compute(), expected, atol=1e-4)
        np.testing.assert_allclose(low.VH[10:20, ::3], expected[10:20, ::3], atol=1e-4)


def test_ground_control_points_follow(write_tif: Written, model: Path) -> None:
    points = [rasterio.control.GroundControlPoint(row, 8, 10, 50 - row / 99) for row in (0, 90)]
    path = pack(write_tif("a.tif", tiny.dn((90, 100)), nodata=0, gcps=points, crs="EPSG:4326"))
    with xarray.open_dataset(path, engine=SarcBackend, model=model, reduce=2) as low:
        found = json.loads(low.spatial_ref.attrs["gcps"])["features"]
    assert [(one["properties"]["row"], one["properties"]["col"]) for one in found] == [(0, 2), (22.5, 2)]


def test_what_cannot_be(write_tif: Written, model: Path) -> None:
    path = pack(write_tif("a.tif", tiny.db((70, 70)), tags={"UNITS": "dB"}))
    with pytest.raises(errors.InputError, match="reduce: got 7; pass 0 to 6"):
        xarray.open_dataset(path, engine=SarcBackend, model=model, reduce=7)
    with pytest.raises(TypeError, match="bands"):
        xarray.open_dataset(path, engine=SarcBackend, model=model, bands=("VV",))
