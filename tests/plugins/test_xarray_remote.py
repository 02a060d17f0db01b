"""Remote files as xarray opens them: by URL or as an open file, in other processes, without credentials."""

import concurrent.futures
import io
import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest
import xarray

import serving
import tiny
from sarcodec import errors
from sarcodec.codec import encoding
from sarcodec.files import remote
from sarcodec.plugins.xarray_engine import SarcBackend
from sarcodec.scene import files

SECRET = "X-Amz-Signature=5ec2e7%2Fvh&token=5ec2e7"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Server]:
    folder = tmp_path_factory.mktemp("server") / "www"
    folder.mkdir()
    options = encoding.Options(tile=64)
    files.compress_file(tiny.db((256, 192)), folder / "a.sarc", quantity="db", max_error=0.5, options=options)
    found = serving.Server(folder)
    yield found
    found.close()


@pytest.fixture
def url(server: serving.Server) -> str:
    server.sent()
    return f"http://reader:5ec2e7@{server.host}/a.sarc?{SECRET}"


@pytest.fixture
def expected(server: serving.Server) -> np.ndarray:
    with opened(server.folder / "a.sarc") as dataset:
        pixels: np.ndarray = dataset.band_1.values
    return pixels


def opened(source: Any, **options: Any) -> xarray.Dataset:
    return xarray.open_dataset(source, engine=SarcBackend, **options)


def test_by_url(server: serving.Server, url: str, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TAIL", 4096)
    with opened(url) as dataset:
        assert server.sent() == [0, 4096]
        np.testing.assert_array_equal(dataset.band_1[70:80, 100:110].values, expected[70:80, 100:110])
        (asked,) = server.sent()  # what lies between its tiles is read along
        assert asked < 16_000
        shown = [repr(dataset), str(dataset.attrs), str(dataset.encoding), dataset._repr_html_()]
        shown += [str(dataset.band_1.encoding), repr(dataset.band_1.variable), repr(dataset.band_1.attrs)]
        assert "5ec2e7" not in "".join(shown)
        assert dataset.encoding["source"] == f"http://{server.host}/a.sarc?…"
        assert dataset.band_1.encoding["source"] == dataset.encoding["source"]


def test_open_files(server: serving.Server, url: str, expected: np.ndarray) -> None:
    data = (server.folder / "a.sarc").read_bytes()
    with fsspec.open(url) as remote_stream, (server.folder / "a.sarc").open("rb") as local_stream:
        for source in (remote_stream, local_stream, io.BytesIO(data)):
            with opened(source) as dataset:
                np.testing.assert_array_equal(dataset.band_1[:70].values, expected[:70])
                assert "5ec2e7" not in str(dataset.encoding)
    fsspec.filesystem("memory").pipe("/x/a.sarc", data)
    with opened("memory://x/a.sarc", chunks={}) as dataset:
        np.testing.assert_array_equal(dataset.band_1.values, expected)


def test_guessed_by_its_name(server: serving.Server, url: str) -> None:
    guess = SarcBackend().guess_can_open
    assert guess(url) and guess("s3://bucket/a.SARC") and guess(fsspec.open(url))
    assert not guess("https://host/a.nc?name=a.sarc")
    with fsspec.open(url) as stream, (server.folder / "a.sarc").open("rb") as local:
        assert guess(stream) and guess(local)


def mean_of(pickled: bytes) -> float:
    """Read a pickled dataset, in another process."""
    return float(pickle.loads(pickled).band_1[70:80].mean())  # noqa: S301


def test_pickled_and_read_in_another_process(server: serving.Server, url: str, expected: np.ndarray) -> None:
    with fsspec.open(url) as stream, opened(url) as one, opened(stream) as other:
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
            for dataset in (one, other):
                found = pool.submit(mean_of, pickle.dumps(dataset)).result(timeout=120)
                assert found == pytest.approx(expected[70:80].mean(), rel=1e-4)


def test_dask_in_threads(server: serving.Server, url: str, expected: np.ndarray) -> None:
    """All read through one open file, which keeps what it fetched."""
    with opened(url, chunks={}) as dataset, dask.config.set(scheduler="threads", num_workers=3):
        np.testing.assert_array_equal(dataset.band_1.values, expected)
    assert sum(server.sent()) < 4 * (server.folder / "a.sarc").stat().st_size


def test_storage_options(server: serving.Server, url: str) -> None:
    """Here: what a request says of itself; they come along in a pickle."""
    options = {"headers": {"X-Token": "5ec2e7"}}
    with opened(url, storage_options=options) as dataset:
        assert "5ec2e7" not in repr(dataset) + str(dataset.encoding)
        assert float(pickle.loads(pickle.dumps(dataset)).band_1[0, 0]) == float(dataset.band_1[0, 0])  # noqa: S301
    assert set(server.tokens()) == {"5ec2e7"}
    with pytest.raises(errors.InputError, match="storage_options: belong to a URL"):
        opened("a.sarc", storage_options={"anon": True})


def test_a_file_that_was_replaced_meanwhile(tmp_path: Path, server: serving.Server) -> None:
    """Also by one of the same size: a dataset never shows the pixels of another file."""
    path, options = tmp_path / "b.sarc", encoding.Options(tile=64)
    path.write_bytes((server.folder / "a.sarc").read_bytes())
    with opened(path) as dataset:
        files.compress_file(
            tiny.db((256, 192), 1), path, quantity="db", max_error=0.5, options=options, overwrite=True
        )
        with pytest.raises(errors.FormatError, match=r"b\.sarc: is another file by now; open the dataset again"):
            dataset.band_1.load()
