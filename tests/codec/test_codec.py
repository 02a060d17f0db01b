"""The codec on arrays: every size, dtype and kind of invalid pixel, seamless tiles, damage, bounded windows."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

import tiny
from sarcodec import errors, radiometry
from sarcodec.codec import codec, encoding, stored_tiles
from sarcodec.codec import layout as codec_layout
from sarcodec.container import archive as container_archive
from sarcodec.container import header
from sarcodec.raster import arrays as raster_arrays
from sarcodec.scene import arrays, decision

NAN, INF = np.nan, np.inf


def round_trip(pixels: np.ndarray, **options: Any) -> np.ndarray:
    data = arrays.compress(pixels, model=tiny.coder(), **options)
    return arrays.decompress(data, model=tiny.coder())


def rmse_db(a: np.ndarray, b: np.ndarray, quantity: str) -> float:
    q = radiometry.Quantity(quantity)
    return float(np.sqrt(np.mean((radiometry.to_db(a, q) - radiometry.to_db(b, q)) ** 2)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (17, 1), (16, 16), (257, 300)], ids=str)
def test_every_size(shape: tuple[int, int]) -> None:
    pixels = tiny.db(shape)
    restored = round_trip(pixels)
    assert restored.shape == shape
    assert rmse_db(pixels, restored, "db") < 4


def test_better_than_the_mean() -> None:
    """The tiny model has learned something, so that the other tests here mean something."""
    pixels = tiny.db((128, 128), 3)
    assert rmse_db(pixels, round_trip(pixels), "db") < 0.7 * pixels.std()


def test_bands_are_apart() -> None:
    cube = np.stack([tiny.db((70, 50), seed) for seed in range(3)])
    cube[1, 20, 30] = NAN
    restored = round_trip(cube)
    assert restored.shape == cube.shape
    np.testing.assert_array_equal(np.isnan(restored), np.isnan(cube))
    for band in (0, 2):
        np.testing.assert_array_equal(restored[band], round_trip(cube[band]))
    assert round_trip(cube[:1]).shape == (1, 70, 50)


@pytest.mark.parametrize(
    ("make", "dtype", "quantity"),
    [
        (tiny.dn, "uint16", None),
        (tiny.dn, "int16", None),
        (tiny.dn, "int32", "dn"),
        (tiny.dn, ">u2", None),
        (tiny.intensity, "float32", None),
        (tiny.intensity, "float64", None),
        (tiny.db, "float32", None),
        (tiny.db, "float64", None),
        (tiny.db, "int16", "db"),
        (tiny.db, "float16", "db"),
    ],
)
def test_every_dtype(make: Any, dtype: str, quantity: str | None) -> None:
    pixels = make((64, 80)).astype(dtype)
    restored = round_trip(pixels, quantity=quantity)
    assert restored.dtype == pixels.dtype
    kind = quantity or {tiny.dn: "dn", tiny.intensity: "intensity", tiny.db: "db"}[make]
    assert rmse_db(pixels, restored, kind) < 4
    if kind != "db":
        assert restored.min() > 0  # a valid pixel never becomes an invalid one


@pytest.mark.parametrize("nodata", [None, NAN, -9999.0, 0.0])
def test_invalid_pixels_of_intensity(nodata: float | None) -> None:
    """All come back where they were: NaN, infinities, zeros and nodata as they were, negatives as nodata or NaN."""
    pixels = tiny.intensity((70, 90))
    pixels[0, :4] = NAN, INF, -INF, 0
    pixels[1, 1] = -9999
    pixels[40:60, 64:] = NAN
    pixels[66, 3] = -0.5
    expected = np.where(pixels < 0, NAN if nodata is None else nodata, pixels)
    expected[0, 2] = -INF
    restored = round_trip(pixels, quantity="intensity", nodata=nodata)
    valid = np.isfinite(pixels) & (pixels > 0)
    assert (np.isfinite(restored) & (restored > 0))[valid].all()
    if nodata is not None and np.isnan(nodata):
        expected[1, 1] = NAN
    np.testing.assert_array_equal(restored[~valid], expected[~valid])
    assert rmse_db(pixels[valid], restored[valid], "intensity") < 4


def test_invalid_pixels_of_decibels() -> None:
    """Zero and negative values are valid; a nodata value is not, though it looks like one."""
    pixels = tiny.db((70, 90))
    pixels[0, :4] = NAN, INF, -INF, 0
    pixels[30:50, 40:] = -25
    restored = round_trip(pixels, quantity="db", nodata=-25.0)
    np.testing.assert_array_equal(restored[0, :3], [NAN, INF, -INF])
    np.testing.assert_array_equal(restored == -25, pixels == -25)
    assert np.isfinite(restored[1:]).all()


def test_invalid_pixels_of_integers() -> None:
    pixels = tiny.dn((70, 90)).astype(np.int16)
    pixels[:20, :30], pixels[60, 60], pixels[61, 61] = 0, -3, -1
    restored = round_trip(pixels, quantity="dn", nodata=np.int16(-1))
    np.testing.assert_array_equal(restored == 0, pixels == 0)
    np.testing.assert_array_equal(np.argwhere(restored == -1), [[60, 60], [61, 61]])
    assert round_trip(pixels, quantity="dn")[60, 60] == 0  # a negative amplitude without a nodata value


def test_invalid_pixels_leave_their_neighbours_alone() -> None:
    """What stands in for invalid pixels is near the valid ones: a hole costs the pixels around it little."""
    whole = tiny.db((64, 64))
    holed = whole.copy()
    holed[20:40, 20:40] = NAN
    valid = ~np.isnan(holed)
    assert rmse_db(whole[valid], round_trip(holed)[valid], "db") < 1.2 * rmse_db(
        whole[valid], round_trip(whole)[valid], "db"
    )


@pytest.mark.parametrize(("dtype", "value"), [("float32", NAN), ("float32", 0), ("uint16", 0), ("float64", -INF)])
def test_nothing_valid(dtype: str, value: float) -> None:
    pixels = np.full((2, 70, 80), value, dtype)
    data = arrays.compress(pixels, quantity="intensity", model=tiny.coder())
    np.testing.assert_array_equal(arrays.decompress(data, model=tiny.coder()), pixels)
    with container_archive.Reader(io.BytesIO(data)) as reader:
        assert reader.sizes()["symbols"] == 0


def test_tiles_without_a_valid_pixel_cost_no_symbols() -> None:
    cube = tiny.db((128, 192))[None]
    cube[0, 64:, 64:128] = NAN
    data = tiny.compress(tiny.Array(cube), "db", 64)
    with container_archive.Reader(io.BytesIO(data)) as reader:
        found = [f"0/{row}.{column}" in reader for row in range(2) for column in range(3)]
    assert found == [True, True, True, True, False, True]
    restored = arrays.decompress(data, model=tiny.coder())
    np.testing.assert_array_equal(np.isnan(restored), np.isnan(cube))


def test_constant_image() -> None:
    restored = round_trip(np.full((96, 96), -12.5, np.float32))
    assert np.abs(restored + 12.5).mean() < 2.5


def test_values_beyond_the_bounds_are_clipped_and_counted() -> None:
    pixels = tiny.db((64, 64))
    pixels[:16] = 40
    data = arrays.compress(pixels, quantity="db", model=tiny.coder())
    with container_archive.Reader(io.BytesIO(data)) as reader:
        assert reader.header.bands[0].clipped == 0.25
    assert arrays.decompress(data, model=tiny.coder()).max() <= tiny.BOUNDS.vmax


def test_bytes_are_deterministic() -> None:
    pixels = tiny.db((100, 90))
    assert arrays.compress(pixels, model=tiny.coder()) == arrays.compress(pixels.copy(), model=tiny.coder())


@pytest.mark.parametrize("shape", [(200, 230), (64, 129)], ids=str)
def test_tiles_are_seamless(shape: tuple[int, int]) -> None:
    """Many small tiles hold the symbols of one big tile, and decode to its pixels, borders included."""
    cube = tiny.db(shape)[None]
    files = [tiny.compress(tiny.Array(cube), "db", tile) for tile in (64, 256)]
    small, big = map(tiny.symbols, files)
    assert np.abs(big).max() > 2
    np.testing.assert_array_equal(small, big)
    decoded = [arrays.decompress(data, model=tiny.coder()) for data in files]
    np.testing.assert_allclose(*decoded, atol=1e-3)


def test_tiles_down_to_the_stride() -> None:
    cube = tiny.db((50, 70))[None]
    data = tiny.compress(tiny.Array(cube), "db", 16)
    whole = tiny.compress(tiny.Array(cube), "db", 256)
    np.testing.assert_array_equal(tiny.symbols(data), tiny.symbols(whole))
    decoded = [arrays.decompress(d, model=tiny.coder()) for d in (data, whole)]
    np.testing.assert_allclose(*decoded, atol=1e-3)


def test_coarser_steps_are_smaller_and_worse() -> None:
    cube = tiny.db((128, 128))[None]
    files = [tiny.compress(tiny.Array(cube), "db", 256, step) for step in (1, 2, 4, 8)]
    sizes = []
    for data in files:
        with container_archive.Reader(io.BytesIO(data)) as reader:
            sizes.append(reader.sizes()["symbols"])
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[3]
    worse = [rmse_db(cube, arrays.decompress(data, model=tiny.coder()), "db") for data in files]
    assert worse[0] < worse[1] < worse[3]


@pytest.mark.parametrize("step", [3, 0, -1])
def test_step_that_is_not_calibrated(step: int) -> None:
    with pytest.raises(errors.InputError, match=rf"step: got multiplier {step}.*\[1, 2, 4, 8\]"):
        arrays.compress(tiny.db((16, 16)), model=tiny.coder(), step=step)


@pytest.mark.parametrize("tile", [0, 8, 100, 8192])
def test_bad_tile(tile: int) -> None:
    with pytest.raises(errors.InputError, match=f"tile: got {tile}; pass a multiple of 16 up to 4096"):
        tiny.compress(tiny.Array(tiny.db((32, 32))[None]), "db", tile)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros(5), np.zeros((0, 4)), np.zeros((2, 2), complex), np.array([["a"]]), np.ones((2, 2), bool)],
    ids=["1-D", "empty", "complex", "text", "bool"],
)
def test_unusable_arrays(pixels: np.ndarray) -> None:
    with pytest.raises(errors.InputError, match="pixels: got"):
        arrays.compress(pixels, model=tiny.coder())


def test_ambiguous_quantity() -> None:
    both = np.random.default_rng(0).uniform(0.5, 40, (64, 64)).astype(np.float32)
    with pytest.raises(errors.AmbiguousQuantity, match="pass quantity"):
        arrays.compress(both, model=tiny.coder())
    assert round_trip(both, quantity="intensity").shape == both.shape
    with pytest.raises(errors.InputError, match=r"'power'.*intensity, dn, db"):
        arrays.compress(both, quantity="power", model=tiny.coder())


def test_wrong_model() -> None:
    data = arrays.compress(tiny.db((32, 32)), model=tiny.coder())
    with pytest.raises(errors.ModelMissing, match=rf"{tiny.coder().engine.identity}.*{'0' * 16}.*--model"):
        arrays.decompress(data, model=tiny.other_coder())
    with pytest.raises(errors.ModelMissing, match=tiny.coder().engine.identity):
        arrays.decompress(data)


def rebuild(data: bytes, change: Any) -> bytes:
    """Build the file again, digest and checksums right, with ``change(name, bytes)`` for every entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, container_archive.Writer(buffer) as writer:
        for name in archive.namelist():
            changed = None if name == container_archive.HEADER else change(name, archive.read(name))
            if changed is not None:
                writer.add(name, changed)
        with container_archive.Reader(io.BytesIO(data)) as reader:
            writer.finish(reader.header)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: None if name == "0/1.1" else data,
        lambda name, data: data[:-2] if name == "0/1.1" else data,
        lambda name, data: data[:-1] if name == "0/0.0m" else data,
        lambda name, data: b"\x02\x00\x09" + data[3:] if name == "0/0.0m" else data,
        lambda name, data: bytes(1 << 20) if name.startswith("0/1") else data,
    ],
    ids=["lost", "cut in a word", "mask cut", "unknown code", "far too long"],
)
def test_entries_that_are_whole_but_wrong(change: Any) -> None:
    """A file made with wrong entries on purpose: checksums are right, so the codec itself must notice."""
    cube = tiny.db((100, 100))[None]
    cube[0, 5, 5] = NAN
    data = tiny.compress(tiny.Array(cube), "db", 64)
    arrays.decompress(rebuild(data, lambda name, entry: entry), model=tiny.coder())
    with pytest.raises(errors.FormatError):
        arrays.decompress(rebuild(data, change), model=tiny.coder())


def test_flipped_bytes_never_pass() -> None:
    """Anywhere in the file: a FormatError, or pixels exactly as without the damage (names of the ZIP's system…)."""
    cube = tiny.db((70, 70))[None]
    cube[0, :3] = NAN
    data = tiny.compress(tiny.Array(cube), "db", 64)
    expected = arrays.decompress(data, model=tiny.coder())
    refused = 0
    for place in range(0, len(data), 17):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        try:
            restored = arrays.decompress(bytes(damaged), model=tiny.coder())
        except errors.FormatError:
            refused += 1
        else:
            np.testing.assert_array_equal(restored, expected)
    assert refused > 0.5 * len(range(0, len(data), 17))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", 3),
        ("step", 3),
        ("quantity", "power"),
        ("tile", 32),
        ("bands", [[5.0, -30.0, 0.0]]),
        ("raster", {"count": 1, "height": 1 << 20, "width": 1 << 20, "dtype": "float32"}),
        ("raster", {"count": 1, "height": 100, "width": 100, "dtype": "object"}),
        ("raster", {"count": 1, "height": 100, "width": 100, "dtype": "float32", "nodata": "none"}),
    ],
)
def test_header_that_does_not_fit(key: str, value: Any) -> None:
    """Refused before memory is taken for the pixels it claims."""
    data = tiny.compress(tiny.Array(tiny.db((100, 100))[None]), "db", 64)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(buffer, "w") as target:
        for name in archive.namelist():
            entry = archive.read(name)
            if name == container_archive.HEADER:
                record = json.loads(entry)
                record[key] = [*record["model"][:3], value] if key == "model" else value
                entry = json.dumps(record).encode()
            target.writestr(name, entry)
    with pytest.raises(errors.FormatError):
        arrays.decompress(buffer.getvalue(), model=tiny.coder())


def test_windows_are_bounded_and_cover_everything() -> None:
    """Never more than a tile and its margin is read, and every pixel is read and written; written once."""
    source = tiny.Array(np.stack([tiny.db((210, 150), seed) for seed in (0, 1)]))
    data = tiny.compress(source, "db", 64)
    margin = tiny.coder().engine.transform.margin
    read = np.zeros(source.cube.shape, int)
    for band, window in source.windows:
        assert max(window.shape) <= 64 + 2 * margin
        read[band][window.slices] += 1
    assert read.min() >= 1
    assert len(source.windows) == 2 * 4 * 3  # a window a tile and band, none twice
    sink = tiny.Array(np.zeros_like(source.cube))
    with container_archive.Reader(io.BytesIO(data)) as reader:
        tiny.coder().decompress(reader, sink)
    written = np.zeros(source.cube.shape, int)
    for band, window in sink.windows:
        assert window.shape[0] <= 64 + 16
        written[band][window.slices] += 1
    assert (written == 1).all()
    np.testing.assert_array_equal(sink.cube, arrays.decompress(data, model=tiny.coder()))


def test_latent_shape() -> None:
    assert stored_tiles.latent_shape((1, 17), 16) == (1, 2)
    assert stored_tiles.latent_shape((32, 33), 16) == (2, 3)


def test_rasters_beyond_the_format_are_refused_before_any_work() -> None:
    layout = codec_layout.Layout(1, 1, header.MAX_SIDE + 1, "float32", None, radiometry.Quantity.DB, ("VV",), {})
    with pytest.raises(errors.InputError, match="more than a file holds"):
        tiny.coder().compress(None, layout, None, encoding.Options())


def test_panels_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide image is restored in columns of tiles: the same pixels, all of them once."""
    source = tiny.Array(tiny.db((150, 400), 4)[None])
    raster = raster_arrays.source_of(source.cube)
    coder, buffer = tiny.lapped_codec(), io.BytesIO()
    with container_archive.Writer(buffer) as writer:
        layout = decision.layout_of(raster, radiometry.Quantity.DB)
        coder.compress(source, layout, writer, encoding.Options(step=1700, tile=64))
    restored = []
    for panel in (codec.PANEL, 128):
        monkeypatch.setattr(codec, "PANEL", panel)
        sink = tiny.Array(np.zeros_like(source.cube))
        with container_archive.Reader(buffer) as reader:
            coder.decompress(reader, sink)
        restored.append(sink)
    np.testing.assert_allclose(restored[1].cube, restored[0].cube, atol=1e-3)
    assert {window.left for _, window in restored[1].windows} == {0, 128, 256, 384}
    assert sum(window.shape[0] * window.shape[1] for _, window in restored[1].windows) == source.cube.size
