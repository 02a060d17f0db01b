"""decompress --reduce, and quicklook."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

import tiny
from command import call
from sarcodec.codec import codec
from sarcodec.scene import files, model_store

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def packed(write_tif: Callable[..., Path]) -> Path:
    cube = np.stack([tiny.db((100, 130), seed) for seed in (0, 1)])
    source = write_tif("a.tif", cube, bands=("VV", "VH"), tags={"UNITS": "sigma0 dB"})
    files.compress_file(source, source.with_suffix(".sarc"), codec.Codec(model_store.bounded_engine(0.5)))
    return source.with_suffix(".sarc")


def test_decompress_reduced(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = packed.with_name("low.tif")
    how = ("--reduce", 2, "--power", "--window", 20, 40, 60, 50, "--polarisation", "VH", "--json")
    assert call("decompress", packed, target, *how) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == packed.stat().st_size
    with rasterio.open(target) as raster:
        assert (raster.count, raster.shape, raster.descriptions) == (1, (13, 15), ("VH",))
    assert call("decompress", packed, "-o", packed.with_name("all"), "--reduce", 6) == 0
    with rasterio.open(packed.parent / "all" / "a.tif") as raster:
        assert (raster.count, raster.shape) == (2, (2, 3))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (("--reduce", 7), "reduce: got 7; pass 0 to 6"),
        (("--reduce", 1, "--speckle", "restore"), "full resolution alone"),
    ],
)
def test_decompress_refuses(packed: Path, capsys: pytest.CaptureFixture[str], how: tuple[object], said: str) -> None:
    assert call("decompress", packed, packed.with_name("low.tif"), *how) == 2
    assert said in capsys.readouterr().err
    assert not packed.with_name("low.tif").exists()


def test_a_product_is_whole(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("decompress", packed, packed.with_name("b.SAFE"), "--reduce", 1) == 2
    said = capsys.readouterr().err
    assert "a product is restored whole; leave out window, bands, reduce and cog" in said and said.count("\n") == 1


def test_quicklook(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = packed.with_name("look.png")
    assert call("quicklook", packed, target, "--size", 65, "--no-legend") == 0
    assert capsys.readouterr().out == f"{target}: 65 × 50 pixels\n"
    how = ("--band", "VV", "--stretch", -25, 0, "--overwrite")
    assert call("quicklook", packed.with_suffix(".tif"), target, *how) == 0
    with rasterio.open(target) as picture:
        assert picture.count == 4 and picture.height > 100
    assert call("quicklook", packed, packed.with_name("look.webp"), "--composite") == 0


def test_quicklook_refuses(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("quicklook", packed, packed.with_name("look.png"), "--composite", "--band", "VV") == 2
    assert "band: got VV and a composite; pass one of them" in capsys.readouterr().err
    assert call("quicklook", packed, packed) == 2
    assert "pass a name that ends in .png" in capsys.readouterr().err
