"""The xarray engine: what decompress gives, lazily, with coordinates, in dask and in other processes."""

import concurrent.futures
import io
import json
import math
import multiprocessing
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import rasterio.control
import rioxarray  # noqa: F401
import xarray
from xarray.backends import plugins as xarray_plugins

import places
import tiny
from sarcodec import errors
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.plugins import xarray_engine
from sarcodec.plugins.xarray_engine import SarcBackend
from sarcodec.scene import arrays, files, model_store

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:rioxarray")

Written = Callable[..., Path]
GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -20, 5400000)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("model"))


def pack(source: Path, tile: int = 64, **options: Any) -> Path:
    packed = source.with_suffix(".sarc")
    files.compress_file(source, packed, tiny.coder(), options=encoding.Options(tile=tile), **options)
    return packed


@pytest.fixture
def dual(write_tif: Written) -> Path:
    cube = np.stack([tiny.db((300, 260), seed) for seed in (0, 1)])
    cube[:, :60, 90:] = math.nan
    tags = {"UNITS": "sigma0 dB", "ATTRIBUTION": "someone"}
    return pack(write_tif("a.tif", cube, bands=("VV", "VH"), tags=tags, nodata=math.nan, **GEO))


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the entries of tiles that are read from now on."""
    names, read = [], archive.Reader.read

    def counted(reader: archive.Reader, name: str, limit: int) -> bytes:
        if name[0].isdigit() and not name.endswith("m"):
            names.append(name)
        return read(reader, name, limit)

    monkeypatch.setattr(archive.Reader, "read", counted)
    return names


def opened(path: Path, model: Path | None, **options: Any) -> xarray.Dataset:
    return xarray.open_dataset(path, engine=SarcBackend, model=model, precision="float32", **options)


def decompressed(path: Path, model: Path) -> np.ndarray:
    target = path.with_name("whole.tif")
    files.decompress_file(path, target, model=model, precision="float32", overwrite=True)
    with rasterio.open(target) as dataset:
        pixels: np.ndarray = dataset.read()
    return pixels


def test_what_decompress_gives(dual: Path, model: Path) -> None:
    with opened(dual, model) as dataset:
        assert list(dataset.data_vars) == ["VV", "VH"]
        assert dict(dataset.sizes) == {"y": 300, "x": 260}
        np.testing.assert_array_equal(dataset.to_dataarray().values, decompressed(dual, model))
        np.testing.assert_allclose(dataset.x[:2], [500005, 500015])
        np.testing.assert_allclose(dataset.y[:2], [5399990, 5399970])
        assert dataset.VV.attrs == {"units": "dB", "quantity": "db", "long_name": "VV", "polarisation": "VV"}
        assert math.isnan(dataset.VV.encoding["_FillValue"])
        assert dataset.attrs["ATTRIBUTION"] == "someone"
        assert dataset.attrs["model"] == f"plain {tiny.coder().engine.identity}"
        assert dataset.attrs["step"] == 1
        assert dataset.attrs["bits_per_pixel"] == pytest.approx(8 * dual.stat().st_size / (2 * 300 * 260))


def test_only_touched_tiles_are_decoded(dual: Path, model: Path, counts: list[str]) -> None:
    with opened(dual, model) as dataset:
        assert counts == []
        part = dataset.VH.isel(y=slice(150, 160), x=slice(90, 100))
        assert (part.shape, counts) == ((10, 10), [])
        part.load()
        assert {name[0] for name in counts} == {"1"}
        assert len(counts) == len(set(counts)) == 9  # of 25: one and, for context, its neighbours
        counts.clear()
        inside = {"y": slice(5399990, 5399900), "x": slice(500005, 500055)}
        assert dataset.VV.sel(inside).load().shape == (5, 6)
        assert len(counts) == 4


def test_headers_need_no_model(dual: Path) -> None:
    with opened(dual, None) as dataset:
        assert dataset.VV.shape == (300, 260)
        with pytest.raises(errors.ModelMissing):
            dataset.VV.load()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (5, 7),
        (-1, slice(None)),
        (slice(10, 200, 7), slice(None, None, -3)),
        (slice(5, 5), slice(0, 9)),
        ([200, 3, 70], slice(60, 70)),
        ([0, 299], [259, 1, 1]),
        (slice(-20, None), -5),
    ],
    ids=str,
)
def test_every_way_to_index(dual: Path, model: Path, rows: Any, columns: Any) -> None:
    expected = xarray.DataArray(decompressed(dual, model)[0], dims=("y", "x")).isel(y=rows, x=columns)
    with opened(dual, model) as dataset:
        np.testing.assert_array_equal(dataset.VV.isel(y=rows, x=columns).values, expected.values)
        points = {"y": xarray.DataArray([1, 150, 299], dims="p"), "x": xarray.DataArray([5, 100, 0], dims="p")}
        wanted = decompressed(dual, model)[0][[1, 150, 299], [5, 100, 0]]
        np.testing.assert_array_equal(dataset.VV.isel(points).values, wanted)


def test_nodata_of_integers(write_tif: Written, model: Path) -> None:
    pixels = tiny.dn((90, 100))
    pixels[:20, :30] = 0
    packed = pack(write_tif("a.tif", pixels, nodata=0, bands=("VV",), **GEO))
    expected = decompressed(packed, model)[0]
    with opened(packed, model) as dataset:
        np.testing.assert_array_equal(dataset.VV.values, np.where(expected == 0, np.nan, expected))
        assert (dataset.VV.encoding["_FillValue"], dataset.VV.encoding["dtype"]) == (0, np.uint16)
        assert dataset.VV.attrs["units"] == "1"
    with opened(packed, model, mask_and_scale=False) as dataset:
        assert (dataset.VV.dtype, dataset.VV.attrs["_FillValue"]) == (np.uint16, 0)
        np.testing.assert_array_equal(dataset.VV.values, expected)


def test_rioxarray_reads_where_it_lies(dual: Path, model: Path) -> None:
    with opened(dual, model) as dataset:
        assert dataset.rio.crs == rasterio.CRS.from_epsg(32632)
        assert dataset.VV.rio.transform() == GEO["transform"]
        assert dataset.VV.rio.bounds() == (500000, 5394000, 502600, 5400000)
        assert math.isnan(dataset.VV.rio.encoded_nodata)
        part = dataset.VH.isel(y=slice(100, 110), x=slice(50, 90))
        assert part.rio.transform(recalc=True) == GEO["transform"] @ rasterio.Affine.translation(50, 100)


def test_ground_control_points(write_tif: Written, model: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c / 9, 50 - r / 9, 5.5, id=f"p{r}{c}", info="grid")
        for r in (0, 40)
        for c in (0, 50)
    ]
    packed = pack(write_tif("a.tif", tiny.dn((40, 50)), nodata=0, gcps=points, crs="EPSG:4326"))
    with opened(packed, model) as dataset:
        assert list(dataset.data_vars) == ["band_1"]
        assert set(dataset.coords) == {"spatial_ref"}
        found = dataset.rio.get_gcps()
        assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [(p.row, p.col, p.x, p.y, p.z) for p in points]
        assert dataset.rio.crs == rasterio.CRS.from_epsg(4326)


def test_other_coordinates(write_tif: Written, model: Path) -> None:
    degrees = rasterio.Affine(0.001, 0, 10, 0, -0.001, 50)
    with opened(pack(write_tif("a.tif", tiny.db((30, 40)), crs="EPSG:4326", transform=degrees)), model) as dataset:
        assert dataset.x.attrs["units"] == "degrees_east"
        assert float(dataset.y[0]) == pytest.approx(49.9995)
    rotated = rasterio.Affine(8, 3, 5000, 2, -9, 7000)
    with opened(pack(write_tif("b.tif", tiny.db((30, 40)), crs="EPSG:32632", transform=rotated)), model) as dataset:
        assert set(dataset.coords) == {"spatial_ref"}
        assert dataset.rio.transform() == rotated
    with opened(pack(write_tif("c.tif", tiny.db((30, 40)))), model) as dataset:
        assert set(dataset.coords) == set()


def test_a_name_of_its_own_is_kept_beside_those_that_are_shared(write_tif: Written) -> None:
    """Also where a neighbour's polarisation, or number, is the same word."""
    cube = np.stack([tiny.db((30, 40), seed) for seed in range(4)])
    for said, names in (
        (("VH", "first VV", "VV", "last VH"), ["VH", "band_2", "VV", "band_4"]),
        (("VV", "VV", "ratio", "VV (old)"), ["band_1", "band_2", "ratio", "band_4"]),
        (("band_2", "two words", "x", "VV"), ["band_2", "band_2_", "band_3", "VV"]),
    ):
        with opened(pack(write_tif(f"{said[0]}{said[1]}.tif", cube, bands=said, **GEO)), None) as dataset:
            assert list(dataset.data_vars) == names


def test_tags_of_a_band_are_its_attributes(write_tif: Written) -> None:
    """But for those by which xarray would decode its pixels."""
    source = write_tif("a.tif", tiny.db((30, 40)), bands=("VV",), **GEO)
    with rasterio.open(source, "r+") as dataset:
        dataset.update_tags(1, NOISE="removed", scale_factor="7", _FillValue="0", units="K", long_name="gamma nought")
    with opened(pack(source), None) as opened_again:
        attrs = opened_again.VV.attrs
    assert (attrs["NOISE"], attrs["units"], attrs["long_name"]) == ("removed", "dB", "gamma nought")
    assert not {"scale_factor", "_FillValue"} & (attrs.keys() | opened_again.VV.encoding.keys())


def test_bands_of_the_same_name(write_tif: Written, model: Path) -> None:
    cube = np.stack([tiny.db((30, 40), seed) for seed in range(3)])
    packed = pack(write_tif("a.tif", cube, bands=("VV", "VH before", "VH after"), **GEO))
    with opened(packed, model) as dataset:
        assert list(dataset.data_vars) == ["VV", "band_2", "band_3"]
        assert dataset.band_3.attrs["long_name"] == "VH after"
    with opened(packed, model, drop_variables=["VV", "band_3"]) as dataset:
        assert list(dataset.data_vars) == ["band_2"]
        np.testing.assert_array_equal(dataset.band_2.values, decompressed(packed, model)[1])
    with opened(packed, model, drop_variables="VV") as dataset:
        assert list(dataset.data_vars) == ["band_2", "band_3"]


def test_dask_chunks(dual: Path, model: Path, counts: list[str]) -> None:
    """Chunks are tiles, each decoded once although its neighbours take it too, for context."""
    expected = decompressed(dual, model)
    counts.clear()
    with opened(dual, model, chunks={}) as dataset:
        assert dataset.VV.chunks == ((64, 64, 64, 64, 44), (64, 64, 64, 64, 4))
        assert counts == []
        with dask.config.set(scheduler="synchronous"):
            np.testing.assert_allclose(dataset.VV.values, expected[0], atol=2e-5)  # convolutions may round otherwise
        assert len(counts) == len(set(counts)) == 25
        assert float(dataset.VH.isel(y=slice(200, 210), x=slice(100, 120)).mean()) == pytest.approx(
            expected[1, 200:210, 100:120].mean(), rel=1e-5
        )
    with opened(dual, model, chunks="auto") as dataset:
        assert dataset.VV.chunks == ((300,), (260,))
        np.testing.assert_allclose(dataset.to_dataarray().values, expected, atol=2e-5)


def test_tiles_that_are_kept_are_few(
    dual: Path, model: Path, counts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xarray_engine, "CACHE_BYTES", 0)
    with opened(dual, model, cache=False) as dataset:
        for _ in range(2):
            dataset.VV[:5, :5].load()
        assert len(counts) == 8 and len(set(counts)) == 4


@pytest.mark.parametrize(
    ("chunks", "rows", "columns"),
    [
        ({}, (64, 64, 64, 64, 44), (64, 64, 64, 64, 4)),
        ({"x": 128}, (64, 64, 64, 64, 44), (128, 128, 4)),
        ({"x": 64, "y": 256}, (256, 44), (64, 64, 64, 64, 4)),
        ({"x": -1, "y": 192}, (192, 108), (260,)),
        ({"x": (64, 192, 4), "y": 300}, (300,), (64, 192, 4)),
        ("auto", (300,), (260,)),
    ],
    ids=str,
)
def test_chunks_at_borders_of_tiles_are_silent(
    dual: Path, chunks: Any, rows: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    """Warnings are errors here."""
    with opened(dual, None, chunks=chunks) as dataset:
        assert dataset.VV.chunks == (rows, columns)


def test_automatic_chunks_lie_at_borders_of_tiles(dual: Path) -> None:
    with dask.config.set({"array.chunk-size": "100kB"}), opened(dual, None, chunks="auto") as dataset:
        for sizes in dataset.VV.chunks:
            assert len(sizes) > 1 and all(side % 64 == 0 for side in sizes[:-1])


def test_chunks_within_tiles_are_warned_of(dual: Path) -> None:
    with pytest.warns(UserWarning, match='separate the stored chunks along dimension "x" starting at index 100'):
        opened(dual, None, chunks={"x": 100}).close()


def test_the_only_tile_is_one_chunk(write_tif: Written) -> None:
    with opened(pack(write_tif("a.tif", tiny.db((90, 100))), tile=1024), None, chunks={}) as dataset:
        assert dataset.band_1.chunks == ((90,), (100,))


def mean_of(pickled: bytes) -> float:
    """Read a pickled dataset, in another process."""
    return float(pickle.loads(pickled).VV.isel(y=slice(100, 150)).mean())  # noqa: S301


def test_pickled_and_read_in_another_process(dual: Path, model: Path) -> None:
    expected = decompressed(dual, model)
    with opened(dual, model) as dataset:
        pickled = pickle.dumps(dataset)
        dataset.VV[:5].load()
        again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
        np.testing.assert_array_equal(again.VH.values, expected[1])
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        found = pool.submit(mean_of, pickled).result(timeout=120)
    assert found == pytest.approx(np.nanmean(expected[0, 100:150]), rel=1e-4)


def test_dask_in_other_processes(dual: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk is decoded in a process that opens the file for itself."""
    expected = decompressed(dual, model)
    with opened(dual, model, chunks={"y": 128, "x": 128}) as dataset:
        part = dataset.VH.isel(y=slice(90, 280), x=slice(20, 90))
        monkeypatch.setattr(archive.Reader, "read", None)  # here nothing can be decoded
        settings = {"scheduler": "processes", "num_workers": 1, "multiprocessing.context": "spawn"}
        with dask.config.set(settings):
            np.testing.assert_allclose(part.values, expected[1, 90:280, 20:90], atol=2e-5)


def test_closing(dual: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is opened for the first pixel, closed with the dataset, and opened again if pixels are asked for."""
    closed, close = [], archive.Reader.close

    def noted(reader: archive.Reader) -> None:
        closed.append(reader)
        close(reader)

    monkeypatch.setattr(archive.Reader, "close", noted)
    dataset = opened(dual, model, cache=False)
    assert len(closed) == 1  # that of the header
    dataset.VV[:5].load()
    assert len(closed) == 1
    dataset.close()
    assert len(closed) == 2 and closed[1]._zip.fp is None
    dual.rename(dual.with_name("moved.sarc"))
    with pytest.raises(errors.FormatError, match=r"a\.sarc: there is no such file"):
        dataset.VV[5:9].load()
    dual.with_name("moved.sarc").rename(dual)
    np.testing.assert_array_equal(dataset.VV[5:9].values, decompressed(dual, model)[0, 5:9])
    dataset.close()
    dual.unlink()


def test_coordinates_choose_tiles(dual: Path, model: Path, counts: list[str]) -> None:
    """A pixel by its coordinates, the nearest one, and a box: only the tiles around are read."""
    expected = decompressed(dual, model)
    counts.clear()
    with opened(dual, model, cache=False) as dataset:
        box = dataset.VV.sel(x=slice(501500, 501600), y=slice(5397000, 5396800))
        np.testing.assert_array_equal(box.values, expected[0, 150:160, 150:160])
        assert len(counts) == len(set(counts)) == 9
        counts.clear()
        point = dataset.VH.sel(x=502599, y=5394003, method="nearest")
        assert float(point) == expected[1, 299, 259]
        assert set(counts) == {f"1/{row}.{column}" for row in (3, 4) for column in (2, 3, 4)}
        counts.clear()
        with pytest.raises(KeyError):
            dataset.VV.sel(x=502599, y=5394003)
        assert dataset.VV.sel(x=slice(0, 1000)).shape == (300, 0) and counts == []


def test_guessed_by_its_name(dual: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SarcBackend()
    assert engine.guess_can_open("a/b.sarc")
    assert engine.guess_can_open(dual)
    assert not engine.guess_can_open("a.tif")
    assert not engine.guess_can_open(io.BytesIO(dual.read_bytes()))
    engines = xarray_plugins.list_engines()
    monkeypatch.setattr(xarray_plugins, "list_engines", lambda: {"sarcodec": engine} | engines)
    with xarray.open_dataset(dual) as dataset:
        assert list(dataset.data_vars) == ["VV", "VH"]


def test_rendered_speckle(write_tif: Written, tmp_path: Path) -> None:
    path, packed = tmp_path / "lapped.ckpt", tmp_path / "a.sarc"
    path.write_bytes(tiny.lapped_bytes())
    options = encoding.Options(1792, 128, speckle=True)
    files.compress_file(write_tif("a.tif", tiny.db((150, 140))), packed, tiny.lapped_codec(), options=options)
    with opened(packed, path) as plain, opened(packed, path, speckle=True) as rendered:
        assert rendered.attrs["speckle"] == "rendered, not measured"
        assert rendered.band_1.values.std() > plain.band_1.values.std() + 0.1


def test_without_the_restoring_network(write_tif: Written, tmp_path: Path) -> None:
    path, packed = tmp_path / "lapped.ckpt", tmp_path / "a.sarc"
    path.write_bytes(tiny.lapped_bytes())
    files.compress_file(write_tif("a.tif", tiny.db((80, 90))), packed, tiny.lapped_codec())
    with opened(packed, path) as dataset, opened(packed, path, restorer=False) as plain:
        expected = arrays.decompress(packed, model=path, restorer=False)[0]
        np.testing.assert_array_equal(plain.band_1.values, expected)
        assert np.abs(dataset.band_1.values - expected).max() > 1e-3


def test_guaranteed_error_is_told(write_tif: Written, tmp_path: Path) -> None:
    bounded = codec.Codec(model_store.bounded_engine(0.5))
    files.compress_file(write_tif("a.tif", tiny.db((70, 80))), tmp_path / "a.sarc", bounded)
    with opened(tmp_path / "a.sarc", None) as dataset:
        assert dataset.attrs["max_error_db"] == 0.5
        assert dataset.attrs["model"] == "bounded 0000000000000000"
        assert abs(dataset.band_1.values - tiny.db((70, 80))).max() <= 0.5


def test_damaged_files(dual: Path, tmp_path: Path, model: Path) -> None:
    (tmp_path / "b.sarc").write_bytes(dual.read_bytes()[:-30])
    with pytest.raises(errors.FormatError, match=r"not a \.sarc file, or truncated"):
        opened(tmp_path / "b.sarc", model)
    with pytest.raises(errors.FormatError, match="no such file"):
        opened(tmp_path / "c.sarc", model)


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_engine_alone_loads_no_torch() -> None:
    """xarray loads every engine at its first open_dataset."""
    code = "import sys, json; from sarcodec.plugins import xarray_engine; print(json.dumps(sorted(sys.modules)))"
    assert set(json.loads(fresh(code))) & {"torch", "rasterio", "dask"} == set()


def test_without_xarray() -> None:
    code = "import sys; sys.modules['xarray'] = None\ntry:\n import sarcodec.plugins.xarray_engine\n"
    assert 'pip install "sarcodec[xarray]"' in fresh(code + "except ImportError as problem: print(problem)")


def test_entry_point() -> None:
    """What pyproject.toml names is the engine; what is installed here may be older than it."""
    project = tomllib.loads((places.REPOSITORY / "pyproject.toml").read_text())["project"]
    (named,) = project["entry-points"]["xarray.backends"].items()
    assert EntryPoint(*named, "xarray.backends").load() is SarcBackend
    assert named[0] == "sarcodec"
