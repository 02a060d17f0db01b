"""Quick looks: what they show of what, in which size and colours, and where there is no data."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import sarcodec
import tiny
from sarcodec import errors
from sarcodec.codec import boxes, codec
from sarcodec.looks import shrink
from sarcodec.scene import files, model_store

Written = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def ramp(shape: tuple[int, int], low: float, high: float) -> np.ndarray:
    """Decibels that rise from left to right."""
    return np.broadcast_to(np.linspace(low, high, shape[1]), shape).astype(np.float32).copy()


def bounded() -> codec.Codec:
    return codec.Codec(model_store.bounded_engine(0.1))


@pytest.fixture
def dual(write_tif: Written) -> Path:
    """VV from −20 to 0 dB, VH 10 dB below, a corner without data."""
    cube = np.stack([ramp((200, 400), -20, 0), ramp((200, 400), -30, -10)])
    cube[:, :100, :200] = math.nan
    return write_tif("a.tif", cube, bands=("VV", "VH"), tags={"UNITS": "sigma0 dB"}, nodata=math.nan)


@pytest.fixture
def packed(dual: Path) -> Path:
    files.compress_file(dual, dual.with_suffix(".sarc"), bounded())
    return dual.with_suffix(".sarc")


@pytest.mark.parametrize("kind", ["raster", "file"])
def test_composite(dual: Path, packed: Path, kind: str) -> None:
    """Red is VV, green VH, blue their ratio, which is the same everywhere here."""
    found = sarcodec.quicklook(dual if kind == "raster" else packed, size=100, stretch=(-30, 0), legend=False)
    assert (found.shape, found.dtype) == ((50, 100, 4), np.uint8)
    assert not found[:25, :50, 3].any() and (found[25:, :, 3] == 255).all() and (found[:, 50:, 3] == 255).all()
    expected = ramp((1, 100), -20 + 20 / 399 * 1.5, -20 / 399 * 1.5)[0]
    for channel, db in ((0, expected), (1, expected - 10)):
        np.testing.assert_allclose(found[30, :, channel], 255 * (db + 30) / 30, atol=3)
    assert np.ptp(found[30, :, 2].astype(int)) < 80


def test_one_band_in_grey(packed: Path) -> None:
    found = sarcodec.quicklook(packed, size=100, band="vh", legend=False)
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()
    row = found[40, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert (row[:2] == 0).all() and (row[-2:] == 255).all() and 5 < row[5] < 30  # from the 2nd to the 98th percentile


@pytest.mark.parametrize("size", [33, 64, 399, 400, 1000])
def test_sizes(packed: Path, size: int) -> None:
    """Exactly as asked for, and never enlarged; every pixel is the mean power of its area."""
    found = sarcodec.quicklook(packed, size=size, legend=False)
    assert max(found.shape[:2]) == min(size, 400)
    assert found.shape[0] == round(min(size, 400) / 2)


@pytest.mark.parametrize("reduce", [0, 2])
def test_areas(reduce: int) -> None:
    factor = 1 << reduce
    full = np.random.default_rng(0).gamma(4, 1, (45, 30)).astype(np.float32)
    full[:20, :7] = np.nan
    padded = np.full((48, 32), np.nan, np.float32)
    padded[:45, :30] = full
    means = padded.reshape(48 // factor, factor, 32 // factor, factor)
    with np.errstate(invalid="ignore"):
        power = np.array(
            [[np.nanmean(box) if np.isfinite(box).any() else np.nan for box in row] for row in means.swapaxes(1, 2)]
        )
    found = shrink.resampled(power[: -(-45 // factor), : -(-30 // factor)], (45, 30), reduce, 9)
    assert found.shape == (9, 6)
    assert np.isnan(found[:3, 0]).all() and np.isfinite(found[:, 2:]).all()
    if reduce == 0:
        expected = 10 * np.log10(full[20:, 10:].reshape(5, 5, 4, 5).mean(axis=(1, 3)))
        np.testing.assert_allclose(found[4:, 2:], expected, rtol=1e-5)


def test_power_of_a_file_is_that_of_its_pixels(write_tif: Written) -> None:
    """Means of decibels would be too dark."""
    intensity = 10 ** (tiny.simulated_db((256, 256), 5) / 10)
    packed = (source := write_tif("a.tif", intensity, tags={"UNITS": "sigma0 intensity"})).with_suffix(".sarc")
    files.compress_file(source, packed, tiny.lapped_codec())
    with shrink.open(packed, tiny.lapped_codec()) as small, sarcodec.open(packed, model=tiny.lapped_codec()) as image:
        found = small.read(0, 32)
        full, decibels = (10 * np.log10(image.read(1, reduce=reduce)) for reduce in (0, 3))
    true = boxes.means_of_power(full, 8)
    assert abs(float((found - true).mean())) < 0.4 * abs(float((decibels - true).mean()))


@pytest.mark.parametrize("name", ["look.png", "look.JPG", "look.webp"])
def test_pictures(packed: Path, name: str) -> None:
    target = packed.with_name(name)
    drawn = sarcodec.quicklook(packed, target, size=100)
    with rasterio.open(target) as picture:
        pixels = picture.read().transpose(1, 2, 0)
    assert picture.driver == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name[5:].lower()]
    assert pixels.shape == (*drawn.shape[:2], 3 if picture.driver == "JPEG" else 4)
    if picture.driver == "PNG":
        np.testing.assert_array_equal(pixels, drawn)
    corner = pixels[:20, :40]
    assert (corner > 240).all() if picture.driver == "JPEG" else not corner[..., 3].any()
    with pytest.raises(errors.InputError, match="exists"):
        sarcodec.quicklook(packed, target)
    assert {path.name for path in packed.parent.iterdir()} == {"a.tif", "a.sarc", name}


def test_legend(packed: Path) -> None:
    """A strip below on white, which leaves the picture as it is; a narrow picture is widened for it."""
    bare, told = (sarcodec.quicklook(packed, size=size, legend=flag) for size, flag in ((40, False), (40, True)))
    assert told.shape[0] > bare.shape[0] and told.shape[1] > 100
    np.testing.assert_array_equal(told[:20, :40], bare)
    assert not told[:20, 40:, 3].any() and (told[20:, :, 3] == 255).all()
    strip = told[20:].reshape(-1, 4)[:, :3].astype(int)
    for channel in range(3):  # a ramp of each colour, and black letters
        pure = strip[(np.delete(strip, channel, axis=1) == 0).all(axis=1), channel]
        assert pure.max() == 255
    assert (strip == 255).all(axis=1).mean() > 0.4


def test_a_legend_needs_its_extra(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(errors.MissingExtra, match=r'pip install "sarcodec\[report\]"'):
        sarcodec.quicklook(packed, packed.with_name("look.png"))
    assert not packed.with_name("look.png").exists()
    assert sarcodec.quicklook(packed, size=50, legend=False).shape == (25, 50, 4)


@pytest.mark.parametrize("value", [math.nan, -7.0])
def test_nothing_to_stretch(write_tif: Written, value: float) -> None:
    pixels = np.full((60, 90), value, np.float32)
    found = sarcodec.quicklook(write_tif("a.tif", pixels, tags={"UNITS": "sigma0 dB"}))
    assert (found[:60, :90, 3] == (0 if math.isnan(value) else 255)).all()
    assert (found[:60, :90, :3] == (255 if math.isnan(value) else 128)).all()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"size": 0}, "size: got 0; pass 1 or more"),
        ({"stretch": (3, -3)}, r"stretch: got \(3, -3\); pass low and high in dB"),
        ({"band": "HV"}, "polarisation: got 'HV', but there is no such band; the file has VV, VH"),
        ({"target": "look.gif"}, "target look.gif: pass a name that ends in .png, .jpg, .jpeg, .webp"),
    ],
)
def test_what_cannot_be_shown(packed: Path, how: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InputError, match=said):
        sarcodec.quicklook(packed, **how)


def test_a_composite_needs_two(write_tif: Written) -> None:
    source = write_tif("a.tif", ramp((60, 90), -20, 0), bands=("HH",), tags={"UNITS": "sigma0 dB"})
    with pytest.raises(errors.InputError, match="a composite is of VV and VH, or HH and HV; the file has HH"):
        sarcodec.quicklook(source, band="composite")
    assert sarcodec.quicklook(source, legend=False).shape == (60, 90, 4)


def test_products_are_shown(tmp_path: Path) -> None:
    import safe_product

    found = sarcodec.quicklook(safe_product.make(tmp_path), size=64, legend=False)
    assert max(found.shape[:2]) <= 64 and found[..., 3].any()
