"""The engines behind the codec: windows agree, tiles meet without a seam, every step works."""

import dataclasses
import io as bytes_io
from dataclasses import replace

import numpy as np
import pytest

import tiny
from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec, encoding
from sarcodec.codec import engine as codec_engine
from sarcodec.container import archive, header
from sarcodec.entropy import scale
from sarcodec.lapped import engine as lapped_engine
from sarcodec.lapped import transform
from sarcodec.lapped.transform import BLOCK
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.scene import arrays, model_store

DB = radiometry.Quantity.DB
BAND = header.Band(-12.0, -11.0)
FINE = 700
"""A step of 0.1 dB, at which what tiles disagree on would show."""


def lapped(precision: str = "float32") -> lapped_engine.LappedEngine:
    return lapped_engine.LappedEngine(tiny.lapped(), "cpu", precision)


def restored(engine: codec_engine.Engine, latent: np.ndarray, band: header.Band, step: int) -> np.ndarray:
    height, width = (side * engine.stride for side in latent.shape[-2:])
    return engine.at([band], step).restore([latent], whole((height, width)))[0]


def info(pixels: np.ndarray) -> codec_engine.BandInfo:
    return codec_engine.BandInfo(lambda: pixels, DB, "VV", None)


def whole(shape: tuple[int, int]) -> codec_engine.Core:
    return slice(0, shape[0]), slice(0, shape[1])


def round_trip(
    pixels: np.ndarray, tile: int, step: int, model: codec.Codec | None = None
) -> tuple[np.ndarray, list[str]]:
    """Restore pixels (H, W) in dB from a file of small tiles; returns names of its entries too."""
    model = model or tiny.lapped_codec()
    data = tiny.compress(tiny.Array(pixels[None]), "db", tile, step, model)
    target = tiny.Array(np.zeros_like(pixels[None]))
    with archive.Reader(bytes_io.BytesIO(data)) as reader:
        model.check(reader)
        model.decompress(reader, target)
        grid = tiling.TileGrid(*reader.header.shape[1:], reader.header.tile)
        names = [f"{t.row}.{t.column}" for t in grid if archive.tile_name(0, t.row, t.column) in reader]
    return target.cube[0], names


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((a.astype(float) - b) ** 2)))


def test_windows_of_a_latent_decode_as_the_whole_does() -> None:
    """A block of context is enough, for the transform and for the network."""
    engine = lapped()
    pixels = tiny.simulated_db((256, 320), 5)
    coefficients = transform.analyse(pixels - np.float32(BAND.offset_db))
    latent = np.round(coefficients / 2).astype(np.float32).reshape(engine.channels, 4, 5) * 2
    for step in (FINE, 1792, 2500):
        expected = restored(engine, latent, BAND, step)
        assert rmse(expected, pixels) > 0.01
        for top, left, bottom, right in ((0, 0, 2, 2), (1, 2, 3, 3), (2, 3, 4, 5), (0, 1, 4, 4)):
            first, last = (max(top - 1, 0), max(left - 1, 0)), (min(bottom + 1, 4), min(right + 1, 5))
            window = latent[:, first[0] : last[0], first[1] : last[1]]
            found = restored(engine, np.ascontiguousarray(window), BAND, step)
            inner = found[(top - first[0]) * 64 : (bottom - first[0]) * 64, (left - first[1]) * 64 :]
            core = expected[top * 64 : bottom * 64, left * 64 : right * 64]
            np.testing.assert_allclose(inner[:, : core.shape[1]], core, atol=1e-3)


IMAGES = {
    "multiples of a block": ((128, 192), 64),
    "a few pixels of a last tile": ((69, 133), 64),
    "a few pixels of a last large tile": ((133, 200), 128),
    "odd": ((103, 86), 64),
    "less than a tile": ((90, 60), 128),
}


@pytest.mark.parametrize(("shape", "tile"), IMAGES.values(), ids=IMAGES.keys())
def test_tiles_meet_without_a_seam(shape: tuple[int, int], tile: int) -> None:
    """Small tiles err by no more than one tile does, near their borders or elsewhere."""
    pixels = tiny.simulated_db(shape, 6)
    alone = np.abs(round_trip(pixels, 1024, FINE)[0] - pixels)
    tiled = np.abs(round_trip(pixels, tile, FINE)[0] - pixels)
    assert rmse(tiled, 0) < 1.03 * rmse(alone, 0)
    assert tiled.max() < 1.35 * alone.max()
    for axis in (0, 1):
        near = np.flatnonzero(np.abs((np.arange(shape[axis]) + 32) % tile - 31.5) < 32)
        assert rmse(np.take(tiled, near, axis), 0) < 1.1 * rmse(alone, 0)


def holes(shape: tuple[int, int], kind: str) -> np.ndarray:
    """Where pixels are valid."""
    rows, columns = np.indices(shape)
    if kind == "whole tiles":
        return ~((rows < 64) & (columns >= 128))
    if kind == "slanted border":
        return columns < 110 + rows // 4
    if kind == "scattered":
        return np.random.default_rng(0).random(shape) < 0.4
    return (rows % 90 < 20) & (columns % 70 < 20)


@pytest.mark.parametrize(
    ("kind", "tile"),
    [("whole tiles", 64), ("slanted border", 64), ("slanted border", 128), ("scattered", 128), ("islands", 64)],
)
def test_tiles_agree_on_invalid_pixels(kind: str, tile: int) -> None:
    """What fills them is seen from both sides of a border between tiles, and must be the same."""
    valid = holes((140, 192), kind)
    ramp = np.float32(0.05) * np.arange(140, dtype=np.float32)[:, None]
    pixels = np.where(valid, tiny.simulated_db((140, 192), 7) - ramp, np.float32(np.nan))
    alone = np.abs(round_trip(pixels, 1024, FINE)[0] - pixels)
    restored, _ = round_trip(pixels, tile, FINE)
    np.testing.assert_array_equal(np.isnan(restored), ~valid)
    tiled = np.abs(restored - pixels)
    assert rmse(tiled, 0) < 1.1 * rmse(alone, 0)
    assert np.nanmax(tiled) < 1.6 * np.nanmax(alone)


def test_tiles_near_valid_pixels_have_symbols() -> None:
    """Transforms reach 32 pixels over a border: only what is further from every valid pixel may be left out."""
    pixels = np.full((256, 320), np.nan, np.float32)
    pixels[:100, :90] = tiny.simulated_db((100, 90), 8)
    found, names = round_trip(pixels, 64, FINE)
    assert names == ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    assert rmse(found, pixels) < 0.1


@pytest.mark.parametrize("step", [1, 255, 1791, scale.STEPS[-1] - 1, scale.STEPS[-1]])
def test_every_step_works(step: int) -> None:
    pixels = tiny.simulated_db((70, 100), 9)
    restored, _ = round_trip(pixels, 64, step)
    assert np.isfinite(restored).all()
    assert rmse(restored, pixels) < min(1.1 * scale.step_db(step), 1.2 * np.std(pixels))


@pytest.mark.parametrize("value", [-3e38, -1e6, 2000.0, 1e30])
def test_absurd_pixels_do_no_harm_to_the_program(value: float) -> None:
    pixels = tiny.simulated_db((64, 64), 9)
    pixels[5, 6] = value
    for step in (1, 1792):
        restored, _ = round_trip(pixels, 64, step)
        assert np.isfinite(restored).all()


def test_finer_steps_are_closer_and_larger() -> None:
    pixels = tiny.simulated_db((128, 128), 10)
    found = []
    for step in range(500, 2600, 300):
        data = tiny.compress(tiny.Array(pixels[None]), "db", 1024, step, tiny.lapped_codec())
        found.append((-len(data), rmse(arrays.decompress(data, model=tiny.lapped_codec()), pixels)))
    assert found == sorted(found)
    assert [error for _, error in found] == sorted(error for _, error in found)


@pytest.mark.parametrize("step", [0, -1, scale.STEPS[-1] + 1, 1 << 16])
def test_steps_out_of_range(step: int) -> None:
    with pytest.raises(errors.InputError, match=f"step: got index {step}"):
        tiny.compress(tiny.Array(tiny.db((64, 64))[None]), "db", 64, step, tiny.lapped_codec())


@pytest.mark.parametrize("tile", [32, 96, 0, 4160])
def test_tiles_that_are_not_blocks(tile: int) -> None:
    with pytest.raises(errors.InputError, match="tile"):
        tiny.compress(tiny.Array(tiny.db((64, 64))[None]), "db", tile, 1792, tiny.lapped_codec())


def engine_and_step(name: str) -> tuple[codec_engine.Engine, int]:
    if name == "lapped":
        return lapped(), 1500
    if name == "variable":
        return tiny.variable_codec().engine, 1500
    return (tiny.coder().engine, 1) if name == "autoencoder" else (nearlossless_engine.BoundedEngine(0.3), 1)


@pytest.mark.parametrize("name", ["lapped", "autoencoder", "bounded", "variable"])
@pytest.mark.parametrize("shape", [(64, 128), (70, 50)])
def test_preview_is_what_is_decoded(name: str, shape: tuple[int, int]) -> None:
    engine, step = engine_and_step(name)
    db = tiny.db(shape, 2)
    record = engine.band(info(db))
    coder = engine.at([record], step)
    (encoded,) = coder.encode([db], whole(shape), [np.ones(shape, bool)])
    size = -(-shape[0] // engine.stride), -(-shape[1] // engine.stride)
    (latent,) = coder.decode([encoded.data], size)
    assert latent.shape == (engine.channels, *size)
    assert latent.dtype == np.float32
    decoded = coder.restore([latent], whole(shape))[0]
    assert encoded.preview().shape == shape
    np.testing.assert_allclose(encoded.preview(), decoded, atol=1e-3)


@pytest.mark.parametrize("name", ["lapped", "autoencoder", "bounded", "variable"])
def test_filling_leaves_valid_pixels_and_no_invalid_ones(name: str) -> None:
    engine, step = engine_and_step(name)
    db = tiny.db((100, 130), 2)
    coder = engine.at([engine.band(info(db))], step)
    assert coder.fill([db], [np.ones(db.shape, bool)])[0] is db
    valid = np.random.default_rng(0).random(db.shape) < 0.5
    (filled,) = coder.fill([np.where(valid, db, np.float32(np.nan))], [valid])
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled[valid], db[valid], atol=1e-5)
    assert (np.abs(filled[~valid] - db[valid].mean()) < 10).all()


def test_offset_of_a_band() -> None:
    engine = lapped()
    pixels = np.array([[np.nan, -20.0, -10.004], [np.nan, -3.0, np.nan]])
    assert engine.band(info(pixels)) == header.Band(-10.0, -9.0)
    assert engine.band(info(np.full((3, 3), np.nan))) == header.Band(0.0, 1.0)


def test_bounded_engine() -> None:
    for bound in (0.001, 0.4, 100.0):
        engine = nearlossless_engine.BoundedEngine(bound)
        db = tiny.db((40, 70), 4)
        (encoded,) = engine.at([BAND], 1).encode([db], whole(db.shape), [np.ones(db.shape, bool)])
        assert np.abs(encoded.preview() - db).max() <= bound
    for bound in (0.0, 0.0009, 100.1, float("nan")):
        with pytest.raises(errors.InputError, match="max_error"):
            nearlossless_engine.BoundedEngine(bound)
    with pytest.raises(errors.InputError, match="step: got 2"):
        engine.check_step(2)


def test_precision() -> None:
    with pytest.raises(errors.InputError, match="precision: got 'half'"):
        lapped("half")
    db = tiny.simulated_db((64, 128), 3)
    latent = transform.analyse(db - np.float32(BAND.offset_db)).reshape(BLOCK**2, 1, 2)
    exact, rounded = (restored(lapped(p), latent, BAND, 1792) for p in ("float32", "bfloat16"))
    assert 0 < np.abs(exact - rounded).max() < 0.1


def test_restorer_is_left_out_from_its_step_on() -> None:
    engine = lapped_engine.LappedEngine(replace(tiny.lapped(), restored_below=1800), "cpu", "float32")
    db = tiny.simulated_db((64, 128), 3)
    coefficients = transform.analyse(db - np.float32(BAND.offset_db))
    latent = coefficients.reshape(BLOCK**2, 1, 2)
    plain = transform.synthesise(coefficients) + np.float32(BAND.offset_db)
    np.testing.assert_array_equal(restored(engine, latent, BAND, 1800), plain)
    assert np.abs(restored(engine, latent, BAND, 1799) - plain).max() > 1e-3


def test_workers_do_not_change_a_byte() -> None:
    cube = tiny.Array(tiny.simulated_db((130, 150), 11)[None])
    files = []
    for workers in (1, 3):
        model = model_store.codec_of(tiny.lapped(), precision="float32")
        model.engine.workers = workers
        files.append(tiny.compress(cube, "db", 64, 1792, model))
    assert files[0] == files[1]


def test_speckle_where_tiles_have_no_valid_pixel() -> None:
    pixels = np.full((128, 256), np.nan, np.float32)
    pixels[:, :110] = tiny.simulated_db((128, 110), 8)
    data = tiny.compress(tiny.Array(pixels[None]), "db", 64, 2300, tiny.lapped_codec())
    assert b"lapped" not in data
    with archive.Reader(bytes_io.BytesIO(data)) as reader:
        assert reader.header.seed == encoding.SEED
        for speckle in (False, True):
            target = tiny.Array(np.zeros_like(pixels[None]))
            tiny.lapped_codec().decompress(reader, target, speckle=speckle)
            np.testing.assert_array_equal(np.isnan(target.cube[0]), np.isnan(pixels))


def test_another_model_is_refused() -> None:
    data = tiny.compress(tiny.Array(tiny.db((64, 64))[None]), "db", 64, 1792, tiny.lapped_codec())
    other = model_store.codec_of(dataclasses.replace(tiny.lapped(), identity="1" * 16), precision="float32")
    with pytest.raises(errors.ModelMissing, match=tiny.lapped().identity):
        arrays.decompress(data, model=other)
    with pytest.raises(errors.ModelMissing):
        arrays.decompress(data, model=tiny.coder())
