"""Images at a lower resolution: from low frequencies where an engine can, else by averaging; windows, masks."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import sarcodec
import tiny
from sarcodec import errors
from sarcodec.codec import boxes, codec, stored_tiles
from sarcodec.container import archive, header
from sarcodec.scene import model_store
from sarcodec.tiling import Window

SHAPE = (333, 290)
MODELS = {
    "lapped": (tiny.lapped_codec, 128, 1400),
    "autoencoder": (tiny.coder, 128, 1),
    "variable": (tiny.variable_codec, 128, 1400),
    "bounded": (lambda: codec.Codec(model_store.bounded_engine(0.5)), 128, 1),
}


def smooth(shape: tuple[int, int]) -> np.ndarray:
    """A scene and some speckle: what a lower resolution keeps."""
    rows, columns = np.indices(shape)
    waves = 4 * np.sin(rows / 40) * np.cos(columns / 55) - 12
    return (waves + np.random.default_rng(3).normal(0, 0.5, shape)).astype(np.float32)


@pytest.fixture(scope="module", params=MODELS)
def file(request: pytest.FixtureRequest) -> Any:
    """A codec, a file of it, and its pixels at full resolution."""
    make, tile, step = MODELS[request.param]
    model, pixels = make(), smooth(SHAPE)
    pixels[40:90, 60:140] = np.nan
    data = tiny.compress(tiny.Array(pixels[None]), "db", tile, step, model)
    with archive.Reader(io.BytesIO(data)) as reader:
        yield model, reader, model.restore_window(reader, 0)


@pytest.mark.parametrize("reduce", [1, 2, 3, 4, 5, 6])
def test_reduced_images_are_means_of_boxes(file: Any, reduce: int) -> None:
    model, reader, full = file
    factor = 1 << reduce
    found = model.restore_window(reader, 0, reduce=reduce)
    valid = np.isfinite(full)
    counts = boxes.sums(valid, factor)
    share = counts / boxes.sums(np.ones(full.shape, bool), factor)
    assert found.shape == share.shape == tuple(-(-side >> reduce) for side in SHAPE)
    np.testing.assert_array_equal(np.isfinite(found), share >= 0.5)
    inside = share == 1
    means = boxes.sums(np.where(valid, full, 0), factor)[inside] / counts[inside]
    limit = 0.7 if model.engine.reduces else 1e-3
    assert float(np.sqrt(np.mean((found[inside] - means) ** 2))) < limit


@pytest.mark.parametrize("reduce", [1, 3, 6])
def test_means_of_power(file: Any, reduce: int) -> None:
    """Which lie above means of decibels; of engines that average they are exact."""
    model, reader, full = file
    factor = 1 << reduce
    decibels, power = (model.restore_window(reader, 0, reduce=reduce, power=flag) for flag in (False, True))
    counts = boxes.sums(np.isfinite(full), factor)
    inside = counts == boxes.sums(np.ones(full.shape, bool), factor)
    true = 10 * np.log10(
        boxes.sums(np.where(np.isfinite(full), 10 ** (full / 10), 0), factor)[inside] / counts[inside]
    )
    np.testing.assert_array_equal(np.isfinite(power), np.isfinite(decibels))
    before, after = (abs(float(np.mean(found[inside] - true))) for found in (decibels, power))
    assert after < (0.5 * before + 0.02 if model.engine.reduces else 1e-3)


def test_mean_power_of_what_no_float_holds() -> None:
    db = np.array([[4000, 3990], [-4000, -4000], [0, 0]], np.float32)
    np.testing.assert_allclose(boxes.means_of_power(db, 2), [[4000 + 10 * np.log10(1.1 / 4)], [0]], rtol=1e-6)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("reduce", [1, 3, 5])
def test_windows_of_reduced_images_are_parts_of_them(file: Any, reduce: int, power: bool) -> None:
    model, reader, _ = file
    whole = model.restore_window(reader, 0, reduce=reduce, power=power)
    height, width = whole.shape
    for window in (
        Window(0, 1, 0, 1),
        Window(height // 3, height, 1, width // 2 + 1),
        Window(0, height, width - 1, width),
    ):
        part = model.restore_window(reader, 0, window, reduce=reduce, power=power)
        np.testing.assert_allclose(part, whole[window.slices], atol=1e-4)


def test_low_frequencies_alone_are_decoded() -> None:
    """The prefix of a stream is enough: what follows may be lost, as where a remote file is read in part."""
    model, pixels = tiny.lapped_codec(), smooth((128, 128))
    bands = [header.Band.of_offset(-12.0)]
    whole, coder = (model.engine.at(bands, 1400, reduce=reduce) for reduce in (0, 4))
    (encoded,) = whole.encode([pixels], (slice(0, 128), slice(0, 128)), [np.ones(pixels.shape, bool)])
    cut = encoded.data[: 1 + (len(encoded.data) // 8) * 4]
    expected, found = (
        coder.restore(coder.decode([data], (2, 2)), (slice(0, 8), slice(0, 8)))[0] for data in (encoded.data, cut)
    )
    assert expected.shape == (8, 8)
    np.testing.assert_array_equal(found, expected)


def test_what_cannot_be(file: Any) -> None:
    model, reader, _ = file
    for reduce in (-1, 7):
        with pytest.raises(errors.InputError, match=f"reduce: got {reduce}; pass 0 to 6"):
            model.restore_window(reader, 0, reduce=reduce)
    with pytest.raises(errors.InputError, match="window"):
        model.restore_window(reader, 0, Window(0, 50, 0, 10), reduce=3)
    with pytest.raises(errors.InputError, match="full resolution alone"):
        model.restore_window(reader, 0, speckle=True, reduce=1)


def test_decoded_tiles_are_kept_apart_by_their_resolution(file: Any) -> None:
    model, reader, full = file
    recent = stored_tiles.Recent(1 << 24)
    for _ in range(2):
        for reduce, power in ((0, False), (2, False), (3, False), (3, True)):
            rows = model.restore_rows(reader, 0, recent=recent, reduce=reduce, power=power)
            strips = [pixels for _, pixels in rows]
            expected = full if reduce == 0 else model.restore_window(reader, 0, reduce=reduce, power=power)
            np.testing.assert_array_equal(np.concatenate(strips), expected)


@pytest.mark.parametrize("name", ["s1f11_India_900498_db", "s1f11_Ghana_97059_db"])
def test_real_chips(data_dir: Path, name: str) -> None:
    """Within 0.6 dB of the means of boxes at every resolution, and within 0.35 dB of their power on the mean."""
    model = model_store.open_codec()
    data = sarcodec.compress(rasterio.open(data_dir / "test" / f"{name}.tif").read(), quantity="db", model=model)
    with archive.Reader(io.BytesIO(data)) as reader:
        for band in (0, 1):
            full = model.restore_window(reader, band)
            for reduce in range(1, 7):
                decibels, power = (
                    model.restore_window(reader, band, reduce=reduce, power=flag) for flag in (False, True)
                )
                factor = 1 << reduce
                assert float(np.sqrt(np.mean((decibels - boxes.means(full, factor)) ** 2))) < 0.6
                assert abs(float(np.mean(power - boxes.means_of_power(full, factor)))) < 0.35
