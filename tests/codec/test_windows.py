"""Windows out of the middle: the pixels of a full decode, from no more tiles than they take."""

import io
import types
from typing import Any

import numpy as np
import pytest

import tiny
from sarcodec import errors, tiling
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.nearlossless import engine as nearlossless_engine

Window = tiling.Window
NAN = np.nan


def holed(height: int, width: int) -> np.ndarray:
    """Two bands in dB with holes, and a corner without a valid pixel that is larger than a tile."""
    cube = np.stack([tiny.db((height, width), seed) for seed in (1, 2)])
    cube[:, 60:75, 50:140] = NAN
    cube[0, 5, 5] = np.inf
    cube[0, -140:, -140:] = NAN
    return cube


def as_dn(cube: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(cube), np.rint(10 ** ((cube + 60) / 20)), 0).astype(np.uint16)


def bounded() -> codec.Codec:
    return codec.Codec(nearlossless_engine.BoundedEngine(0.5))


CASES = {
    "autoencoder": (tiny.coder, 64, 1),
    "lapped": (tiny.lapped_codec, 128, 1792),
    "bounded": (bounded, 64, 1),
    "variable": (tiny.variable_codec, 128, 1792),
}


@pytest.fixture(scope="module", params=[(name, kind) for name in CASES for kind in ("db", "dn")], ids="-".join)
def case(request: pytest.FixtureRequest) -> Any:
    """A codec, a file of 330×410 pixels, and its full decode."""
    name, kind = request.param
    make, tile, step = CASES[name]
    cube = holed(330, 410) if kind == "db" else as_dn(holed(330, 410))
    data = tiny.compress(tiny.Array(cube), kind, tile, step, make())
    sink = tiny.Array(np.zeros_like(cube))
    with archive.Reader(io.BytesIO(data)) as reader:
        make().decompress(reader, sink)
        yield make(), reader, sink.cube


def windows(height: int, width: int) -> list[Window]:
    """The whole, corners, single pixels, borders of tiles of 64 and 128 pixels and around, and some at random."""
    fixed = [
        Window(0, 1, 0, 1),
        Window(0, height, 0, width),
        Window(height - 1, height, width - 1, width),
        Window(64, 128, 128, 192),
        Window(63, 129, 127, 257),
        Window(128, 129, 0, width),
        Window(0, height, 255, 256),
        Window(120, 136, 120, 136),
        Window(112, 113, 143, 144),
        Window(height - 130, height, width - 130, width),
    ]
    rng = np.random.default_rng(0)
    for _ in range(6):
        rows, columns = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in (height, width))
        fixed.append(Window(*map(int, rows), *map(int, columns)))
    return fixed


def same(model: codec.Codec, pixels: np.ndarray, expected: np.ndarray) -> None:
    """Compare to the last bit; but a convolution may round otherwise, by 1e-6 dB, where the window is narrow."""
    if model.engine.architecture in ("lapped", "variable"):
        np.testing.assert_array_equal(np.isfinite(pixels) & (pixels != 0), np.isfinite(expected) & (expected != 0))
        finite = np.isfinite(pixels)
        off = np.abs(np.subtract(pixels[finite], expected[finite], dtype=np.float64))
        assert off.max(initial=0) <= (2e-5 if pixels.dtype.kind == "f" else 1)
        assert np.count_nonzero(off > 2e-5) <= 1e-3 * off.size
    else:
        np.testing.assert_array_equal(pixels, expected)


def test_windows_equal_the_full_decode(case: Any) -> None:
    model, reader, full = case
    every = 2 if model.engine.architecture in ("lapped", "variable") else 1  # the slowest of them
    for index, window in enumerate(windows(330, 410)[::every]):
        pixels = model.restore_window(reader, index % 2, window)
        assert pixels.dtype == full.dtype
        same(model, pixels, full[index % 2][window.slices])


def test_bands_and_window_into_a_sink(case: Any) -> None:
    model, reader, full = case
    window = Window(50, 200, 100, 350)
    sink, seen = tiny.Array(np.zeros((1, *window.shape), full.dtype)), []
    model.decompress(reader, sink, seen.append, window=window, bands=[1])
    same(model, sink.cube[0], full[1][window.slices])
    assert sum(seen) == sink.cube.size
    assert {band for band, _ in sink.windows} == {0}


def tiles_read(model: codec.Codec, reader: archive.Reader, window: Window, patch: pytest.MonkeyPatch) -> set[str]:
    """Names of the entries of tiles that are read for a window of band 0, each once."""
    read, names = reader.read, []

    def counted(name: str, limit: int) -> bytes:
        names.append(name)
        return read(name, limit)

    at, decoded = model.engine.at, []

    def counting(*given: Any, **options: Any) -> types.SimpleNamespace:
        coder = at(*given, **options)
        kept = {name: getattr(coder, name) for name in ("stride", "channels", "networked", "restore")}
        return types.SimpleNamespace(decode=lambda *data: decoded.append(1) or coder.decode(*data), **kept)

    with patch.context() as context:
        context.setattr(reader, "read", counted)
        context.setattr(model.engine, "at", counting)
        model.restore_window(reader, 0, window)
    tiles = [name for name in names if not name.endswith("m")]
    assert len(decoded) == len(tiles) == len(set(tiles))
    return set(tiles)


@pytest.mark.parametrize("name", CASES)
def test_no_more_tiles_than_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those within the margin of the window, of the blocks that it touches or, for autoencoders, of its tiles."""
    make, tile, step = CASES[name]
    model = make()
    data = tiny.compress(tiny.Array(tiny.db((640, 640))[None]), "db", tile, step, model)
    ramp, margin = model.engine.ramp, model.engine.margin
    unit = tile if model.engine.whole else model.engine.stride
    with archive.Reader(io.BytesIO(data)) as reader:
        for window in (Window(5 * 64, 5 * 64 + 1, 300, 301), Window(0, 10, 630, 640), Window(250, 390, 270, 380)):
            around = window.grow(ramp, 640, 640).aligned(unit).grow(ramp + margin, 640, 640)
            grid = tiling.TileGrid(640, 640, tile)
            wanted = {archive.tile_name(0, t.row, t.column) for t in grid if t.core.overlaps(around)}
            assert tiles_read(model, reader, window, monkeypatch) == wanted
            assert len(wanted) < 50


def test_a_window_inside_a_tile_decodes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.lapped_codec()
    data = tiny.compress(tiny.Array(tiny.db((768, 768))[None]), "db", 256, 1792, model)
    with archive.Reader(io.BytesIO(data)) as reader:
        assert tiles_read(model, reader, Window(330, 440, 325, 448), monkeypatch) == {"0/1.1"}
        assert tiles_read(model, reader, Window(330, 440, 310, 440), monkeypatch) == {"0/1.0", "0/1.1"}
        assert tiles_read(model, reader, Window(0, 64, 0, 64), monkeypatch) == {"0/0.0"}
    data = tiny.compress(tiny.Array(tiny.db((192, 192))[None]), "db", 64, 1, bounded())
    with archive.Reader(io.BytesIO(data)) as reader:
        assert tiles_read(bounded(), reader, Window(64, 128, 64, 128), monkeypatch) == {"0/1.1"}


def test_rendered_speckle_is_the_same_in_a_window() -> None:
    model = tiny.lapped_codec()
    cube = holed(300, 280)
    buffer = io.BytesIO()
    with archive.Writer(buffer) as writer:
        options = encoding.Options(1792, 128, speckle=True)
        model.compress(tiny.Array(cube), tiny.layout(tiny.Array(cube), "db"), writer, options)
    sink = tiny.Array(np.zeros_like(cube))
    with archive.Reader(buffer) as reader:
        model.decompress(reader, sink, speckle=True)
        for window in windows(300, 280)[1::3]:
            pixels = model.restore_window(reader, 0, window, speckle=True)
            same(model, pixels, sink.cube[0][window.slices])


@pytest.mark.parametrize(
    "window",
    [(0, 0, 0, 9), (0, 9, 5, 5), (9, 3, 0, 9), (-1, 9, 0, 9), (0, 331, 0, 9), (0, 9, 405, 411)],
    ids=str,
)
def test_window_out_of_bounds(case: Any, window: tuple[int, ...]) -> None:
    model, reader, _ = case
    with pytest.raises(errors.InputError, match=r"window: got rows .* inside the image of 330 rows and 410 columns"):
        model.restore_window(reader, 0, Window(*window))


@pytest.mark.parametrize("band", [-1, 2])
def test_no_such_band(case: Any, band: int) -> None:
    model, reader, _ = case
    with pytest.raises(errors.InputError, match=f"band: got {band}; the file has 2, pass 0 to 1"):
        model.restore_window(reader, band, Window(0, 9, 0, 9))


def test_a_file_may_lack_tiles_elsewhere() -> None:
    """Damage of a tile that is not needed does no harm to a window."""
    model = bounded()
    data = bytearray(tiny.compress(tiny.Array(tiny.db((128, 128))[None]), "db", 64, 1, model))
    with archive.Reader(io.BytesIO(bytes(data))) as reader:
        entry = reader._zip.getinfo("0/1.1")
        full = model.restore_window(reader, 0, Window(0, 60, 0, 60))
    data[entry.header_offset + 60] ^= 255
    with archive.Reader(io.BytesIO(bytes(data))) as reader:
        np.testing.assert_array_equal(model.restore_window(reader, 0, Window(0, 60, 0, 60)), full)
        with pytest.raises(errors.FormatError, match=r"entry 0/1\.1 is damaged"):
            model.restore_window(reader, 0, Window(0, 65, 0, 65))
