"""Islands of valid pixels lose no more than large areas do, and constant images come back exactly."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import sarcodec
import tiny
from sarcodec import errors
from sarcodec.container import header

SIDE = 320


def speckled(seed: int = 1) -> np.ndarray:
    """Speckle of 4.4 looks in dB, about -12."""
    intensity = np.random.default_rng(seed).gamma(4.4, 1 / 4.4, (SIDE, SIDE))
    return (10 * np.log10(intensity) - 12).astype(np.float32)


def rmse(pixels: np.ndarray, quality: int) -> float:
    back = sarcodec.decompress(sarcodec.compress(pixels, quantity="db", quality=quality))
    np.testing.assert_array_equal(np.isnan(back), np.isnan(pixels))
    return float(np.sqrt(np.nanmean((back.astype(float) - pixels) ** 2)))


def islands(kind: str) -> np.ndarray:
    """Where pixels are valid."""
    rows, columns = np.indices((SIDE, SIDE))
    if kind == "one":
        return (abs(rows - 130) < 30) & (abs(columns - 150) < 10)
    if kind == "strip":
        return (abs(columns - 170 - rows // 8) < 3) & (rows > 60) & (rows < 260)
    return (rows % 110 < 18) & (columns % 90 < 25)


@pytest.mark.parametrize("quality", [30, 50, 70])
@pytest.mark.parametrize("kind", ["one", "strip", "scattered"])
def test_islands_err_no_more_than_large_areas(kind: str, quality: int) -> None:
    pixels = speckled()
    large = rmse(pixels, quality)
    assert rmse(np.where(islands(kind), pixels, np.float32(np.nan)), quality) < 1.1 * large


def test_pixels_far_from_nodata_cost_what_they_did() -> None:
    """An image without nodata has nothing to do with it: the same bytes as ever, alone or beside a blank half."""
    pixels = tiny.simulated_db((128, 512), 3)
    blank = pixels.copy()
    blank[:, 256:] = np.nan
    alone, beside = (len(sarcodec.compress(image, quantity="db")) for image in (pixels[:, :256], blank))
    assert beside < 1.05 * alone + 400


CONSTANTS = {
    "db": ("db", np.float32, -12.34),
    "intensity": ("intensity", np.float32, 0.0312),
    "seven": ("intensity", np.float64, 7.1),
    "dn": ("dn", np.uint16, 100),
    "large dn": ("dn", np.uint16, 65535),
}


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("name", CONSTANTS)
def test_constant_images_are_exact(name: str, quality: int) -> None:
    quantity, dtype, value = CONSTANTS[name]
    pixels = np.full((2, 70, 90), value, dtype)
    pixels[1, 10:30, 20:50] = np.nan if np.dtype(dtype).kind == "f" else 0
    back = sarcodec.decompress(sarcodec.compress(pixels, quantity=quantity, quality=quality))
    np.testing.assert_array_equal(back, pixels)


def test_windows_of_constant_images_are_exact(tmp_path: Path) -> None:
    pixels = np.full((200, 150), np.float32(-12.34))
    (tmp_path / "a.sarc").write_bytes(sarcodec.compress(pixels, quantity="db"))
    with sarcodec.open(tmp_path / "a.sarc") as file:
        np.testing.assert_array_equal(file.read(1, window=((40, 90), (7, 100))), pixels[40:90, 7:100])


@pytest.mark.parametrize("value", [-1.0, 70000.0, 0.5, True, "7", [7]])
def test_a_header_that_tells_of_no_pixel_is_refused(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as forger:
        forged = {"constant": [value]}
        forger.setattr(header.Header, "with_constants", lambda self, _: dataclasses.replace(self, extra=forged))
        data = sarcodec.compress(np.full((64, 64), 100, np.uint16), quantity="dn")
    with pytest.raises(errors.FormatError, match=r"constant|all pixels of band 1"):
        sarcodec.decompress(data)
