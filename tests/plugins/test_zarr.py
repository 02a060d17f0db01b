"""The codecs of zarr 3 and numcodecs: what decompress gives, chunk by chunk, and no more bytes than a part takes."""

import json
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray
import zarr
from numcodecs.registry import get_codec
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.registry import get_codec_class
from zarr.storage import MemoryStore, WrapperStore

import places
import sarcodec
import tiny
from sarcodec import errors, simulate
from sarcodec.plugins.numcodecs_codec import Sarcodec
from sarcodec.plugins.zarr_codec import SarcCodec
from sarcodec.runtime import threads

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")

NAN = float("nan")


def off_db(found: np.ndarray, original: np.ndarray, quantity: str) -> np.ndarray:
    """The difference in dB."""
    if quantity == "db":
        return np.abs(found.astype(float) - original)
    return np.abs({"intensity": 10, "dn": 20}[quantity] * np.log10(found / original.astype(float)))


def db_units(shape: tuple[int, int]) -> np.ndarray:
    return np.rint(tiny.db(shape)).astype(np.int16)


def create(pixels: np.ndarray, chunks: tuple[int, ...], store: Any = None, **more: Any) -> zarr.Array:
    """An array of zarr 3 that holds pixels, opened again by what its metadata say."""
    store = MemoryStore() if store is None else store
    kinds = {"shape": pixels.shape, "dtype": pixels.dtype, "chunks": chunks, "compressors": None}
    zarr.create_array(store, **kinds | more)[:] = pixels
    return zarr.open_array(store, mode="r+")


def stored(array: zarr.Array, key: str) -> bytes:
    buffer = sync(array.store.get(key, default_buffer_prototype()))
    assert buffer is not None
    return bytes(buffer.to_bytes())


def replace(array: zarr.Array, key: str, data: bytes) -> None:
    sync(array.store.set(key, default_buffer_prototype().buffer.from_bytes(data)))


class Watched(WrapperStore[Any]):
    """A store that keeps what was asked of its chunks, and how many bytes it gave; or fails for ranges, or lies."""

    def __init__(self, store: Any = None) -> None:
        super().__init__(MemoryStore() if store is None else store)
        self.asked: list[Any] = []
        self.bytes = 0
        self.failing = self.lying = False

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        found = await self._store.get(key, prototype, byte_range)
        if not key.endswith(".json"):
            if self.failing and isinstance(byte_range, RangeByteRequest):
                raise TimeoutError("the network is down")
            if self.lying and isinstance(byte_range, RangeByteRequest):
                return prototype.buffer.from_bytes(bytes(len(found)))
            self.asked.append(byte_range)
            self.bytes += 0 if found is None else len(found)
        return found


KINDS = [
    ("intensity", NAN, tiny.intensity),
    ("dn", 0, tiny.dn),
    ("db", NAN, tiny.db),
    ("db", -9999, db_units),
]


@pytest.mark.parametrize(("quantity", "fill", "image"), KINDS)
def test_round_trip(quantity: str, fill: float, image: Callable[..., np.ndarray]) -> None:
    pixels = np.stack([image((150, 140)), image((150, 140))[::-1]])
    pixels[:, 20:40, :30] = fill
    pixels[1, 100, 100] = 0 if quantity != "db" else fill
    codec = SarcCodec(quantity=quantity, quality=70, tile=64)
    array = create(pixels, (1, 128, 128), serializer=codec, fill_value=fill)
    assert isinstance(array.serializer, SarcCodec) and array.serializer == codec
    found = array[:]
    assert found.dtype == pixels.dtype
    invalid = (pixels == fill) | (pixels != pixels) | ((pixels == 0) & (quantity != "db"))
    np.testing.assert_array_equal(found[invalid], pixels[invalid])
    error = off_db(found[~invalid], pixels[~invalid], quantity)
    assert 0 < np.sqrt(np.mean(error**2)) < 0.6
    chunk = sarcodec.decompress(stored(array, "c/1/0/0"))
    np.testing.assert_array_equal(found[1, :128, :128], chunk[0])


def test_chunks_at_the_border_and_without_pixels_cost_little() -> None:
    pixels = np.full((129, 400), NAN, np.float32)
    pixels[:, :130] = tiny.intensity((129, 130))
    codec = SarcCodec(quantity="intensity")
    config = {"write_empty_chunks": True}
    array = create(pixels, (128, 128), serializer=codec, fill_value=NAN, config=config)
    np.testing.assert_array_equal(np.isnan(array[:]), np.isnan(pixels))
    assert len(stored(array, "c/0/0")) > 2000
    assert max(len(stored(array, key)) for key in ("c/0/1", "c/1/0")) < 1000
    assert len(stored(array, "c/0/2")) < 300
    assert create(pixels, (128, 128), serializer=codec, fill_value=NAN).nchunks_initialized == 4


def test_chunks_written_in_parts() -> None:
    pixels = tiny.dn((256, 128))
    kinds = {"shape": pixels.shape, "dtype": "uint16", "chunks": (128, 128), "compressors": None}
    array = zarr.create_array(MemoryStore(), serializer=SarcCodec(quantity="dn"), **kinds)
    array[32:] = pixels[32:]  # a part of a chunk that is not there, and a whole one
    assert (array[:32] == 0).all() and (array[32:] > 0).all()
    before = array[:]
    array[128:] = before[128:]  # a whole one anew
    with pytest.warns(UserWarning, match="coded twice, and errs by more; write whole chunks"):
        array[:32] = pixels[:32]
    assert np.sqrt(np.mean(off_db(array[:32], pixels[:32], "dn") ** 2)) < 1.3
    with pytest.warns(UserWarning, match="write whole chunks"):
        array[3, 7] = 0
    assert array[3, 7] == 0 and np.count_nonzero(array[:] == 0) == 1
    array[:] = 0
    assert array.nchunks_initialized == 0


@pytest.mark.parametrize("shards", [None, (256, 128)])
def test_a_guaranteed_error_is_not_broken_by_writing_parts(shards: tuple[int, ...] | None) -> None:
    pixels = tiny.dn((256, 128))
    codec = SarcCodec(quantity="dn", max_error=0.5)
    array = create(pixels, (128, 128), serializer=codec, shards=shards)
    with pytest.raises(errors.InputError, match=r"err by more than 0\.5 dB; write whole chunks"):
        array[:10] = pixels[:10]
    array[128:] = pixels[128:]
    assert 0.4 < off_db(array[:], pixels, "dn").max() <= 0.5


@pytest.mark.parametrize(
    "write",
    [
        lambda array, image: array.oindex.__setitem__(([0, 1], 5, slice(10, 20)), image[:, 5, 10:20]),
        lambda array, image: array.vindex.__setitem__(([0, 1], [5, 6], [7, 8]), image[[0, 1], [5, 6], [7, 8]]),
        lambda array, image: array.__setitem__((1, slice(None), slice(70, 90)), image[1, :, 70:90]),
        lambda array, image: array.__setitem__((0, slice(None, None, 3)), 7),
    ],
)
def test_any_part_may_be_written(write: Callable[[Any, np.ndarray], None]) -> None:
    image = np.stack([tiny.dn((100, 100), seed) for seed in (0, 1)])
    kinds = {"shape": image.shape, "dtype": "uint16", "chunks": (1, 64, 64), "compressors": None}
    array = zarr.create_array(MemoryStore(), serializer=SarcCodec(quantity="dn", max_error=0.1), **kinds)
    plain = zarr.create_array(MemoryStore(), **kinds)
    write(array, image)
    write(plain, image)
    np.testing.assert_array_equal(array[:] == 0, plain[:] == 0)
    there = plain[:] > 0
    assert off_db(array[:][there], plain[:][there], "dn").max() <= 0.1


WINDOWS = [
    np.s_[10:20, 5:9],
    np.s_[200:330, 300],
    np.s_[::50, 130:150],
    np.s_[383, :],
    np.s_[0:400, 190:193],
]


@pytest.fixture(scope="module")
def tiled() -> tuple[zarr.Array, Watched, np.ndarray]:
    """An array of chunks of 3×3 tiles in a store that is watched, and all that it holds."""
    pixels, store = tiny.intensity((400, 400)), Watched()
    pixels[:30, :100] = pixels[300:310, 130:] = pixels[128:256, 128:256] = np.nan
    codec = SarcCodec(quantity="intensity", quality=45, tile=128)
    array = create(pixels, (384, 384), store, serializer=codec, fill_value=NAN)
    return array, store, array[:]


@pytest.mark.parametrize("window", WINDOWS)
def test_parts_are_the_pixels_of_the_whole(tiled: tuple[Any, Any, Any], window: tuple[Any, ...]) -> None:
    array, _, whole = tiled
    np.testing.assert_array_equal(array[window], whole[window])


def test_parts_by_places_are_the_pixels_of_the_whole(tiled: tuple[Any, Any, Any]) -> None:
    array, _, whole = tiled
    rows, columns = [3, 60, 150, 399], [7, 140, 150, 2]
    np.testing.assert_array_equal(array.oindex[rows, columns], whole[np.ix_(rows, columns)])
    np.testing.assert_array_equal(array.oindex[rows, 5:9], whole[rows, 5:9])
    np.testing.assert_array_equal(array.vindex[rows, columns], whole[rows, columns])
    np.testing.assert_array_equal(array.vindex[whole > 0.3], whole[whole > 0.3])


def test_a_part_takes_the_bytes_of_its_tiles(tiled: tuple[Any, Any, Any]) -> None:
    array, store, _ = tiled
    whole = len(stored(array, "c/0/0"))
    store.asked, store.bytes = [], 0
    array[10:20, 10:20]  # a tile; those beside it are too far to matter
    end, tile = store.asked  # its mask lies before its symbols
    assert isinstance(end, SuffixByteRequest) and isinstance(tile, RangeByteRequest)
    assert store.bytes < whole / 4
    store.asked, store.bytes = [], 0
    array[100:150, 10:20]  # two, one above the other
    assert [type(asked) for asked in store.asked] == [SuffixByteRequest, RangeByteRequest, RangeByteRequest]
    assert store.bytes < whole / 2
    store.asked = []
    array[10:20, 50:200]  # two that lie side by side in the file as well
    assert [type(asked) for asked in store.asked] == [SuffixByteRequest, RangeByteRequest]
    store.asked = []
    array[:384, :384]
    assert store.asked == [None]


def test_a_chunk_of_one_tile_is_read_at_once() -> None:
    store = Watched()
    array = create(tiny.intensity((100, 100)), (100, 100), store, serializer=SarcCodec(quantity="intensity"))
    store.asked = []
    array[:3, :4]
    assert store.asked == [None]


def test_parts_where_nothing_is_stored(tiled: tuple[Any, Any, Any]) -> None:
    codec = SarcCodec(quantity="dn", tile=64)
    empty = zarr.create_array(
        MemoryStore(), shape=(200, 200), dtype="uint16", chunks=(128, 128), serializer=codec, compressors=None
    )
    assert (empty[:] == 0).all() and (empty[3:5, 3:5] == 0).all()


def test_what_fails_in_the_store_is_what_is_told(tiled: tuple[Any, Any, Any]) -> None:
    array, store, _ = tiled
    store.failing = True
    try:
        with pytest.raises(TimeoutError, match="the network is down"):
            array[10:20, 10:20]
    finally:
        store.failing = False


def test_what_changes_while_it_is_read_is_read_again(tiled: tuple[Any, Any, Any]) -> None:
    array, store, whole = tiled
    store.lying, store.asked = True, []
    try:
        np.testing.assert_array_equal(array[40:50, 10:20], whole[40:50, 10:20])
    finally:
        store.lying = False
    assert store.asked[-1] is None


@pytest.mark.parametrize("part", [np.s_[:], np.s_[3:9, 3:9]])
def test_damaged_and_foreign_chunks(part: Any) -> None:
    pixels = tiny.intensity((128, 128))
    array = create(pixels, (128, 128), serializer=SarcCodec(quantity="intensity", tile=64))
    good = stored(array, "c/0/0")
    at = 40
    flipped = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    others = [
        (flipped, "damaged"),
        (good[:-30], "not a .sarc file, or truncated"),
        (b"no archive" * 30, "not a .sarc file"),
        (sarcodec.compress(pixels[None, :64], quantity="intensity"), "1×64×128 .* wants 1×128×128"),
        (sarcodec.compress(tiny.dn((128, 128))[None]), "uint16 dn, the array wants .* float32 intensity"),
        (sarcodec.compress(tiny.db((128, 128))[None]), "float32 db, the array wants .* float32 intensity"),
    ]
    for data, message in others:
        replace(array, "c/0/0", data)
        with pytest.raises(errors.FormatError, match=message):
            array[part]
    foreign = sarcodec.compress(pixels[None], quantity="intensity")  # of one tile, where the settings say four
    replace(array, "c/0/0", foreign)
    np.testing.assert_array_equal(array[part], sarcodec.decompress(foreign)[0][part])


def test_models_of_ones_own(tmp_path: Path) -> None:
    path = tiny.write_checkpoint(tmp_path)
    pixels = tiny.db((192, 192))
    codec = SarcCodec(quantity="db", tile=64, model=str(path))
    array = create(pixels, (192, 192), tmp_path / "a.zarr", serializer=codec, fill_value=NAN)
    whole = array[:]
    assert np.sqrt(np.mean(off_db(whole, pixels, "db") ** 2)) < 4
    np.testing.assert_allclose(array[60:70, 3:9], whole[60:70, 3:9], atol=1e-4)
    replace(array, "c/0/0", stored(create(pixels, (192, 192), serializer=SarcCodec(quantity="db")), "c/0/0"))
    with pytest.raises(errors.ModelMissing):
        array[:3]
    with pytest.raises(errors.InputError, match="neither a checkpoint file nor a shipped model"):
        create(pixels, (192, 192), serializer=SarcCodec(quantity="db", model="nothing.ckpt"))


def test_no_more_chunks_at_once_than_cores() -> None:
    pixels = tiny.intensity((384, 384))
    array = create(pixels, (64, 64), serializer=SarcCodec(quantity="intensity", quality=30))
    assert array[:].shape == pixels.shape
    working = [thread for thread in threading.enumerate() if thread.name.startswith("sarcodec-zarr")]
    assert 1 <= len(working) <= threads.count()


def test_shards() -> None:
    pixels = tiny.intensity((300, 260))
    codec = SarcCodec(quantity="intensity", quality=60, tile=64)
    store = Watched()
    array = create(pixels, (128, 128), store, shards=(256, 256), serializer=codec)
    assert array.metadata.codecs[0].codecs == (codec,)
    whole = array[:]
    assert np.sqrt(np.mean(off_db(whole, pixels, "intensity") ** 2)) < 0.9
    total = store.bytes
    store.bytes = 0
    for window in (np.s_[5:9, 3:60], np.s_[120:140, 100], np.s_[255:258, 250:]):
        np.testing.assert_array_equal(array[window], whole[window])
    store.bytes = 0
    array[5:9, 3:60]
    assert store.bytes < total / 3
    with pytest.raises(errors.InputError, match="float64"):
        create(pixels.astype(float), (128, 128), shards=(256, 256), serializer=codec)


def test_pixels_that_are_lost_are_said() -> None:
    pixels = tiny.intensity((64, 64))
    pixels[0, :5] = -1e-3
    codec = SarcCodec(quantity="intensity")
    with pytest.warns(UserWarning, match="come back as fill value"):
        array = create(pixels, (64, 64), serializer=codec, fill_value=NAN)
    assert np.isnan(array[0, :5]).all() and np.isnan(array[:]).sum() == 5
    pixels[:32] = -1e-3
    with pytest.raises(errors.InputError, match="accept_loss"):
        create(pixels, (64, 64), serializer=codec)
    with pytest.warns(UserWarning):
        create(pixels, (64, 64), serializer=SarcCodec(quantity="intensity", accept_loss=True))


BAD_SETTINGS = [
    ({"quantity": "decibel"}, "quantity: got 'decibel'"),
    ({"quantity": "db", "quality": 50, "max_error": 1}, "pass one of them"),
    ({"quantity": "db", "quality": 101}, "quality: got 101"),
    ({"quantity": "db", "quality": "50"}, "quality: got '50'"),
    ({"quantity": "db", "max_error": 0}, "max_error: got 0"),
    ({"quantity": "db", "max_error": 1000}, "max_error: got 1000"),
    ({"quantity": "db", "tile": 100}, "tile: got 100; pass a multiple of 64"),
    ({"quantity": "db", "model": 3}, "model: got 3"),
    ({"quantity": "db", "accept_loss": 1}, "accept_loss: got 1"),
    ({"quality": 50}, "has no quantity"),
    ({"quantity": "db", "qualty": 50}, "got qualty; allowed are quantity, quality"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_settings_that_there_are_not(settings: dict[str, Any], message: str) -> None:
    named = {"name": "sarcodec", "configuration": settings}
    with pytest.raises(ValueError, match=message):
        zarr.create_array(MemoryStore(), shape=(64, 64), dtype="float32", serializer=named)
    with pytest.raises(errors.InputError, match=message):
        get_codec({"id": "sarcodec", **settings})


@pytest.mark.parametrize(
    ("dtype", "chunks", "message"),
    [
        ("float64", (64, 64), r"float64; .* convert it first, astype\('float32'\)"),
        ("uint8", (64, 64), "uint8; sarcodec takes chunks of float32, int16, uint16"),
        ("float32", (64,), r"shape \(64,\)"),
        ("float32", (2, 64, 64), r"shape \(2, 64, 64\); pass chunks of one image each"),
        ("float32", (64, 64, 1), r"shape \(64, 64, 1\)"),
    ],
)
def test_arrays_that_are_refused(dtype: str, chunks: tuple[int, ...], message: str) -> None:
    codec = SarcCodec(quantity="db")
    with pytest.raises(ValueError, match=message):
        zarr.create_array(
            MemoryStore(), shape=(128,) * len(chunks), dtype=dtype, chunks=chunks, serializer=codec, compressors=None
        )


def test_settings_are_found_again() -> None:
    codec = SarcCodec(quantity="intensity", max_error=0.5, tile=128)
    said = {"name": "sarcodec", "configuration": {"quantity": "intensity", "max_error": 0.5, "tile": 128}}
    assert json.loads(json.dumps(codec.to_dict())) == said
    assert get_codec_class("sarcodec").from_dict(said) == codec == pickle.loads(pickle.dumps(codec))  # noqa: S301
    older = Sarcodec(quantity="dn", quality=40, nodata=7)
    assert older.get_config() == {"id": "sarcodec", "quantity": "dn", "quality": 40, "nodata": 7}
    assert get_codec(json.loads(json.dumps(older.get_config()))) == older
    assert repr(older) == "Sarcodec(quantity='dn', quality=40, nodata=7)"
    assert pickle.loads(pickle.dumps(older)) == older  # noqa: S301


@pytest.mark.parametrize(
    ("quantity", "fill", "image", "order"),
    [("intensity", NAN, tiny.intensity, "C"), ("dn", 0, tiny.dn, "F"), ("db", -9999, db_units, "F")],
)
def test_zarr_2(quantity: str, fill: float, image: Callable[..., np.ndarray], order: str) -> None:
    pixels = image((150, 140))
    pixels[20:40, :30] = fill
    codec = Sarcodec(quantity=quantity, quality=50, nodata=fill)
    kinds = {"zarr_format": 2, "compressors": codec, "order": order, "fill_value": fill}
    array = create(pixels, (96, 128), **kinds)
    assert isinstance(array.compressors[0], Sarcodec)
    found, invalid = array[:], (pixels == fill) | (pixels != pixels)
    np.testing.assert_array_equal(found[invalid], pixels[invalid])
    assert np.sqrt(np.mean(off_db(found[~invalid], pixels[~invalid], quantity) ** 2)) < 1.2
    np.testing.assert_array_equal(array[30:50, 100:110], found[30:50, 100:110])
    assert sum(len(stored(array, key)) for key in ("0.0", "0.1", "1.0", "1.1")) < pixels.size


def test_numcodecs_by_itself() -> None:
    codec, pixels = Sarcodec(quantity="intensity", max_error=0.5), tiny.intensity((70, 60))
    data = codec.encode(pixels)
    out = np.empty_like(pixels)
    codec.decode(data, out=out)
    np.testing.assert_array_equal(out, codec.decode(bytearray(data)))
    assert off_db(out, pixels, "intensity").max() <= 0.5
    assert codec.decode(codec.encode(pixels[None])).shape == (70, 60)
    for bad, message in [(pixels.tobytes(), "got |S"), (pixels.ravel(), "shape"), (pixels.astype(">f4"), ">f4")]:
        with pytest.raises(errors.InputError, match=re.escape(message) if "S" in message else message):
            codec.encode(bad)
    for bad, message in [
        (b"nothing", "not a .sarc file"),
        (sarcodec.compress(tiny.db((64, 64))), "float32 db"),
        (sarcodec.compress(tiny.intensity((64, 64)).astype(float), quantity="intensity"), "float64"),
    ]:
        with pytest.raises(errors.FormatError, match=message):
            codec.decode(bad)


def test_xarray_and_dask(tmp_path: Path) -> None:
    image = np.stack([tiny.intensity((130, 200), seed) for seed in (0, 1, 2)])
    image[:, :9] = np.nan
    lazy = dask.array.from_array(image, chunks=(1, 128, 128))
    times = np.array(["2024-01-01", "2024-01-13", "2024-01-25"], "M8[ns]")
    dataset = xarray.Dataset({"vv": (("time", "y", "x"), lazy, {"units": "1"})}, {"time": times})
    codec = SarcCodec(quantity="intensity", quality=60)
    dataset.to_zarr(tmp_path / "stack.zarr", encoding={"vv": {"serializer": codec, "compressors": None}})
    with xarray.open_zarr(tmp_path / "stack.zarr") as again:
        assert again.vv.chunksizes["x"] == (128, 72) and again.vv.encoding["serializer"] == codec
        found = again.vv.compute()
        assert found.attrs == {"units": "1"} and (again.time == times).all()
        np.testing.assert_array_equal(again.vv[1, 50:60, 3].values, found[1, 50:60, 3])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    assert np.sqrt(np.nanmean(off_db(found.values, image, "intensity") ** 2)) < 0.9
    more = dataset.isel(time=[2]).assign_coords(time=times[2:] + np.timedelta64(12, "D"))
    more.to_zarr(tmp_path / "stack.zarr", append_dim="time")
    with xarray.open_zarr(tmp_path / "stack.zarr") as again:
        assert again.vv.shape == (4, 130, 200)
        np.testing.assert_array_equal(again.vv[3], again.vv[2])


def test_packed_decibels_of_xarray(tmp_path: Path) -> None:
    decibels = tiny.db((100, 90))
    decibels[:20] = np.nan
    encoding = {"dtype": "int16", "_FillValue": -999, "fill_value": -999, "compressors": None}
    codec = SarcCodec(quantity="db", quality=60)
    dataset = xarray.Dataset({"vv": (("y", "x"), decibels)})
    dataset.to_zarr(tmp_path / "db.zarr", encoding={"vv": encoding | {"serializer": codec}})
    with xarray.open_zarr(tmp_path / "db.zarr") as again:
        np.testing.assert_array_equal(np.isnan(again.vv), np.isnan(decibels))
        assert again.vv.encoding["dtype"] == np.int16


def test_a_product_of_amplitudes_in_a_tenth_of_its_bytes(tmp_path: Path) -> None:
    """Laid out as Sentinel-1 GRD products in zarr are: uint16, an image a chunk, 0 where there is nothing, zstd."""
    sigma0 = simulate.scene(512, 900, seed=2).sigma0
    grd = np.where(np.isnan(sigma0), 0, np.rint(350 * np.sqrt(sigma0))).astype(np.uint16)
    dimensions = ("polarization", "azimuth_time", "ground_range")
    product = xarray.Dataset({"grd": (dimensions, grd, {"_FillValue": 0})})
    blocks = {"chunks": (1, 512, 512)}
    product.to_zarr(tmp_path / "product.zarr", group="measurements", encoding={"grd": blocks})
    with xarray.open_zarr(tmp_path / "product.zarr", group="measurements", mask_and_scale=False) as source:
        assert source.grd.dtype == np.uint16
        codec = SarcCodec(quantity="dn", quality=50)
        smaller = {"grd": blocks | {"serializer": codec, "compressors": None}}
        source.to_zarr(tmp_path / "small.zarr", group="measurements", encoding=smaller)
    before, after = (zarr.open_array(tmp_path / name / "measurements/grd") for name in ("product.zarr", "small.zarr"))
    assert [type(c).__name__ for c in before.compressors] == ["ZstdCodec"]
    assert 10 * after.nbytes_stored() < before.nbytes_stored()
    found = after[:]
    np.testing.assert_array_equal(found == 0, grd == 0)
    assert np.sqrt(np.mean(off_db(found[grd > 0], grd[grd > 0], "dn") ** 2)) < 1
    with xarray.open_zarr(tmp_path / "small.zarr", group="measurements") as masked:
        np.testing.assert_array_equal(masked.grd.isnull(), grd == 0)


def test_another_process_finds_the_codec_and_loads_no_engine(tmp_path: Path) -> None:
    create(tiny.intensity((64, 64)), (64, 64), tmp_path / "a.zarr", serializer=SarcCodec(quantity="intensity"))
    code = (
        "import sys, zarr; array = zarr.open_array(sys.argv[1], mode='r'); "
        "print(type(array.serializer).__name__, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "SarcCodec False", done.stderr


def test_without_zarr_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['zarr'] = sys.modules['numcodecs'] = None\n"
        "import sarcodec\n"
        "for name in ('zarr_codec', 'numcodecs_codec'):\n"
        "    try: __import__(f'sarcodec.plugins.{name}')\n"
        "    except sarcodec.SarcodecError as problem: print(problem)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.count('pip install "sarcodec[zarr]"') == 2, done.stderr


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The section of the page of other programs, in an empty folder."""
    section = re.split(r"^## ", (places.DOCS / "interop.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith("zarr\n")]
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "interop.md", "exec"), names)
