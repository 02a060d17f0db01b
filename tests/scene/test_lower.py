"""Rasters at a lower resolution: where they lie, what they hold, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.control

import sarcodec
import tiny
from sarcodec import errors, tiling
from sarcodec.codec import encoding
from sarcodec.scene import batch, files, sources
from sarcodec.scene.output import REDUCED_TAG, Output

Written = Callable[..., Path]
GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -20, 5400000)}


def restore(packed: Path, name: str, **output: Any) -> Path:
    target = packed.with_name(name)
    files.decompress_file(packed, target, model=tiny.lapped_codec(), output=Output(**output), overwrite=True)
    return target


@pytest.fixture
def dual(write_tif: Written) -> Path:
    cube = np.stack([tiny.db((300, 330), seed) for seed in (0, 1)])
    cube[:, :60, 90:] = math.nan
    source = write_tif("a.tif", cube, bands=("VV", "VH"), tags={"UNITS": "sigma0 dB"}, nodata=math.nan, **GEO)
    files.compress_file(source, source.with_suffix(".sarc"), tiny.lapped_codec(), options=encoding.Options(tile=128))
    return source.with_suffix(".sarc")


def test_a_whole_raster(dual: Path) -> None:
    with (
        rasterio.open(restore(dual, "whole.tif")) as before,
        rasterio.open(restore(dual, "b.tif", reduce=3)) as after,
    ):
        assert (after.count, after.shape, after.dtypes) == (2, (38, 42), before.dtypes)
        assert after.transform == GEO["transform"] @ rasterio.Affine.scale(8)
        assert (after.crs, after.descriptions) == (before.crs, ("VV", "VH"))
        assert after.tags() == before.tags() | {REDUCED_TAG: "1/8, means of decibels"}
        assert math.isnan(after.nodata)
        whole, low = before.read(), after.read()
    invalid = np.isnan(low)
    assert invalid[:, :7, 12:].all() and not invalid[:, 8:].any() and not invalid[:, :, :11].any()
    boxes = whole[:, 64:296, :328].reshape(2, 29, 8, 41, 8).mean(axis=(2, 4))
    assert float(np.abs(low[:, 8:37, :41] - boxes).mean()) < 0.3


def test_windows_count_full_pixels(dual: Path) -> None:
    """And are widened to whole pixels of the reduced image."""
    window = tiling.Window.at(top=100, left=41, height=60, width=100)
    part = {"window": window, "bands": ("VH",), "reduce": 2, "power": True}
    with (
        rasterio.open(restore(dual, "whole.tif", reduce=2, power=True)) as whole,
        rasterio.open(restore(dual, "crop.tif", **part)) as crop,
    ):
        assert crop.shape == (15, 26)
        assert crop.transform == GEO["transform"] @ rasterio.Affine.translation(40, 100) @ rasterio.Affine.scale(4)
        assert crop.tags()[REDUCED_TAG] == "1/4, means of power"
        np.testing.assert_allclose(crop.read(1), whole.read(2)[25:40, 10:36], atol=1e-4)


def test_ground_control_points_and_integers(write_tif: Written) -> None:
    points = [
        rasterio.control.GroundControlPoint(row, col, 10 + col / 99, 50 - row / 99) for row, col in ((0, 8), (90, 50))
    ]
    pixels = tiny.dn((90, 100))
    pixels[:40] = 0
    source = write_tif("a.tif", pixels, nodata=0, bands=("VV",), gcps=points, crs="EPSG:4326")
    packed = source.with_suffix(".sarc")
    files.compress_file(source, packed, tiny.lapped_codec())
    with rasterio.open(restore(packed, "b.tif", reduce=1, window=tiling.Window(20, 90, 10, 100))) as after:
        assert [(p.row, p.col, p.x, p.y) for p in after.gcps[0]] == [
            ((p.row - 20) / 2, (p.col - 10) / 2, p.x, p.y) for p in points
        ]
        low = after.read(1)
    assert (low.dtype, low.shape) == (np.uint16, (35, 45))
    assert not low[:10].any() and low[10:].all()


def test_arrays(dual: Path) -> None:
    pixels = tiny.intensity((100, 90))
    data = sarcodec.compress(pixels, quantity="intensity", model=tiny.lapped_codec())
    low, power = (
        sarcodec.decompress(data, model=tiny.lapped_codec(), reduce=5, power=flag) for flag in (False, True)
    )
    assert low.shape == power.shape == (4, 3)
    assert float(power.mean()) > float(low.mean())


def test_many_and_cloud_optimized(dual: Path, tmp_path: Path) -> None:
    output = Output(reduce=1, cog=True)
    (job,) = sources.decompress_jobs([dual], tmp_path / "low", output=output)
    assert job.pixels == 2 * 150 * 165
    told: list[int] = []
    model = tmp_path / "tiny.ckpt"
    model.write_bytes(tiny.lapped_bytes())
    (outcome,) = batch.decompress_files([job], output=output, model=model, advance=told.append)
    assert outcome.error is None and sum(told) == job.pixels
    with rasterio.open(job.target) as raster:
        assert raster.shape == (150, 165)


@pytest.mark.parametrize("reduce", [-1, 7])
def test_no_such_resolution(dual: Path, reduce: int) -> None:
    with pytest.raises(errors.InputError, match=f"reduce: got {reduce}; pass 0 to 6"):
        restore(dual, "b.tif", reduce=reduce)
    with pytest.raises(errors.InputError, match=f"reduce: got {reduce}; pass 0 to 6"):
        sarcodec.decompress(dual, model=tiny.lapped_codec(), reduce=reduce)
    assert not dual.with_name("b.tif").exists()
