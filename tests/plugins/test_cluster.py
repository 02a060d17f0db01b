"""On a cluster of two worker processes: files as of one machine, byte for byte, and clear errors."""

import dataclasses
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import distributed
import pytest

import safe_product
import tiny
from command import call
from sarcodec import errors, tiling
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.plugins import cluster, workers
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import batch, decision, model_store
from sarcodec.scene import sources as scene_sources
from sarcodec.scene.rate_control import Goal
from sarcodec.simulate import scenes


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lapped model, two scenes, a product, and a raster that is cut off."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    for seed, name in enumerate(("harbour", "forest")):
        write_scene(folder / f"{name}.tif", (260, 200), seed)
    safe_product.pack(safe_product.make(folder))
    (folder / "cut.tif").write_bytes((folder / "forest.tif").read_bytes()[:20000])
    return folder


def write_scene(path: Path, size: tuple[int, int], seed: int) -> None:
    sigma0 = scenes.scene(*size, seed=seed).sigma0
    info = raster_info.RasterInfo(2, *size, "float32", float("nan"), descriptions=("VV", "VH"))
    with geotiff.create_raster(path, info) as writer:
        for band, pixels in enumerate(sigma0):
            writer.write(band, tiling.Window(0, size[0], 0, size[1]), pixels)


def request(work: Path, **changes: object) -> batch.Request:
    standard = batch.Request(str(work / "tiny.ckpt"), precision="float32", options=encoding.Options(tile=128))
    return dataclasses.replace(standard, **changes)


def alone(source: Path, target: Path, asked: batch.Request) -> bytes:
    batch.compress(scene_sources.Job(str(source), target, 0), asked.open_codec(), asked)
    return target.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"options": encoding.Options(step=2300, tile=64, speckle=True)},
        {"goal": Goal.psnr(30.0)},
        {"goal": Goal.max_error(1.0)},
    ],
    ids=["default", "speckle", "psnr", "max_error"],
)
def test_rows_make_the_file_of_one_machine(
    client: distributed.Client, work: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    asked, told = request(work, **changes), []
    size = cluster.compress_file(work / "harbour.tif", tmp_path / "a.sarc", client, asked, advance=told.append)
    assert (tmp_path / "a.sarc").read_bytes() == alone(work / "harbour.tif", tmp_path / "b.sarc", asked)
    assert size.bytes == (tmp_path / "a.sarc").stat().st_size
    assert sum(told) == 2 * 260 * 200 and names(tmp_path) == ["a.sarc", "b.sarc"]


def test_clipped_pixels_are_counted(
    client: distributed.Client, write_tif: Callable[..., Path], tmp_path: Path
) -> None:
    """What the header says of a band is gathered from all rows of its tiles."""
    pixels = tiny.db((200, 130))
    pixels[:50] = 40
    source = write_tif("bright.tif", pixels, bands=("VV",))
    model, options = str(tiny.write_checkpoint(tmp_path)), encoding.Options(tile=64)
    asked = batch.Request(model, precision="float32", options=options)
    cluster.compress_file(source, tmp_path / "a.sarc", client, asked)
    with archive.Reader(tmp_path / "a.sarc") as reader:
        assert reader.header.bands[0].clipped == 0.25
    assert (tmp_path / "a.sarc").read_bytes() == alone(source, tmp_path / "b.sarc", asked)


def test_a_product_in_rows(client: distributed.Client, work: Path, tmp_path: Path) -> None:
    (source,) = work.glob("*.zip")
    asked = request(work, polarisation="VH")
    cluster.compress_file(source, tmp_path / "a.sarc", client, asked)
    assert (tmp_path / "a.sarc").read_bytes() == alone(source, tmp_path / "b.sarc", asked)


def test_a_file_in_rows(client: distributed.Client, work: Path, tmp_path: Path) -> None:
    """Workers open what is opened here: a .sarc file, too."""
    source = tmp_path / "coded.sarc"
    alone(work / "harbour.tif", source, request(work, goal=Goal.max_error(0.5)))
    asked = request(work)
    cluster.compress_file(source, tmp_path / "a.sarc", client, asked)
    assert (tmp_path / "a.sarc").read_bytes() == alone(source, tmp_path / "b.sarc", asked)


def test_tasks_in_flight_are_bounded(client: distributed.Client, work: Path, tmp_path: Path) -> None:
    class Counting:
        """A client that notes how many of its futures nobody has asked for yet."""

        def __init__(self) -> None:
            self.flying, self.most, self.all = 0, 0, 0

        def submit(self, *arguments: object, **options: object) -> object:
            future = client.submit(*arguments, **options)
            self.flying, self.all = self.flying + 1, self.all + 1
            self.most = max(self.most, self.flying)
            original = future.result

            def result() -> object:
                self.flying -= 1
                return original()

            future.result = result
            return future

        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

    asked, counting = request(work), Counting()
    cluster.compress_file(work / "harbour.tif", tmp_path / "a.sarc", counting, asked)  # type: ignore[arg-type]
    assert counting.all == 2 * 3 and counting.most == 2 * cluster.AHEAD


def test_many_products(client: distributed.Client, work: Path, tmp_path: Path) -> None:
    """One that is cut off does not stop the others; goals are met by each."""
    sources = [work / "cut.tif", work / "harbour.tif", *work.glob("*.zip"), work / "forest.tif"]
    asked, told = request(work, goal=Goal.max_error(1.0)), []
    jobs = scene_sources.jobs(sources, tmp_path / "archive")
    assert not (tmp_path / "archive").exists()
    outcomes = {o.job: o for o in cluster.compress_files(jobs, client, asked, advance=told.append)}
    assert outcomes.keys() == set(jobs) and sum(told) == sum(job.pixels for job in jobs)
    cut, *good = jobs
    assert outcomes[cut].size is None and "cut.tif" in (outcomes[cut].error or "")
    here = {o.job.source: o for o in batch.compress_files(scene_sources.jobs(sources, tmp_path / "here"), asked)}
    assert names(tmp_path / "archive") == names(tmp_path / "here") == sorted(job.target.name for job in good)
    for job in good:
        assert outcomes[job].size == here[job.source].size
        assert job.target.read_bytes() == here[job.source].job.target.read_bytes()


def test_stopping_leaves_no_half_files(client: distributed.Client, work: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.tif"
    write_scene(big, (1024, 1024), 3)
    asked = request(work, options=encoding.Options(tile=64, effort=4))
    jobs = scene_sources.jobs([work / "harbour.tif", big], tmp_path / "archive")
    outcomes = cluster.compress_files(jobs, client, asked)
    next(outcomes)
    outcomes.close()  # as on an interruption
    assert wait_until(lambda: not any(client.processing().values()))
    assert wait_until(lambda: all(not name.startswith(".") for name in names(tmp_path / "archive")))
    assert names(tmp_path / "archive") == ["harbour.sarc"]


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_source_that_workers_do_not_see(client: distributed.Client, work: Path, tmp_path: Path) -> None:
    """A file that is open here, and gone for all others."""
    source = tmp_path / "a.tif"
    shutil.copy(work / "harbour.tif", source)
    task = workers.Task(str(source), request(work), "")
    source.unlink()
    with pytest.raises(errors.InputError, match=r"worker tcp://.* cannot open .*a\.tif .*all workers must see it"):
        workers.result(client.submit(open_source, task, pure=False))


@workers.telling
def open_source(task: workers.Task) -> None:
    with task.open_source():
        pass


def test_another_model_or_version_on_a_worker(client: distributed.Client, work: Path) -> None:
    task = workers.Task("a.tif", request(work), "0" * 16)
    for other, message in (
        (task, "has model .* as .*tiny.ckpt, this machine 0000000000000000"),
        (dataclasses.replace(task, request=request(work, model="/nowhere.ckpt")), "cannot load it .*nowhere"),
        (dataclasses.replace(task, version="9.9"), r"has sarcodec .*, this machine 9\.9; install one version"),
    ):
        with pytest.raises(errors.SarcodecError, match=f"worker tcp://.*{message}"):
            workers.result(client.submit(open_codec, other, pure=False))


@workers.telling
def open_codec(task: workers.Task) -> None:
    task.open_codec()


def test_no_workers() -> None:
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        distributed.Client(empty, set_as_default=False) as client,
        pytest.raises(errors.InputError, match="no workers; start some"),
    ):
        next(cluster.compress_files([], client, batch.Request()))


def test_command_line(
    client: distributed.Client, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = client.scheduler.address
    options = ("--model", work / "tiny.ckpt", "--tile", 128, "--precision", "float32", "--scheduler", address)
    assert call("compress", work / "harbour.tif", tmp_path / "a.sarc", *options) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'a.sarc'}: compressed") and err == ""
    assert (tmp_path / "a.sarc").read_bytes() == alone(work / "harbour.tif", tmp_path / "b.sarc", request(work))
    sources = (work / "cut.tif", work / "harbour.tif", work / "forest.tif")
    assert call("compress", *sources, "-o", tmp_path / "archive", *options, "--json") == 1
    out, err = capsys.readouterr()
    records = json.loads(out)
    assert [record["source"] for record in records] == list(map(str, sources))
    assert "bytes" not in records[0] and "cut.tif" in records[0]["error"]
    assert err.startswith("error: ") and err.count("\n") == 1
    assert (tmp_path / "archive/harbour.sarc").read_bytes() == (tmp_path / "a.sarc").read_bytes()


def test_no_scheduler(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens
        for address in (f"tcp://127.0.0.1:{free.getsockname()[1]}", "nonsense://host"):
            options = ("--model", work / "tiny.ckpt", "--scheduler", address)
            assert call("compress", work / "harbour.tif", tmp_path / "a.sarc", *options) == 2
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1) and f"scheduler: {address} cannot be reached" in err
    assert names(tmp_path) == []


def test_without_distributed(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "sarcodec.plugins.cluster")
    monkeypatch.delattr("sarcodec.plugins.cluster")
    words = ("compress", work / "harbour.tif", tmp_path / "a.sarc", "--scheduler", "tcp://localhost:8786")
    assert call(*words, "--model", work / "tiny.ckpt") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and 'pip install "sarcodec[cluster]"' in err
    assert names(tmp_path) == []


def test_shapes_agree(client: distributed.Client, work: Path) -> None:
    """A worker that sees another raster under the same path says so."""
    task = workers.Task(str(work / "harbour.tif"), request(work), model_store.load_model(work / "tiny.ckpt").identity)
    with geotiff.open_raster(work / "harbour.tif") as raster:
        layout = dataclasses.replace(decision.layout_of(raster, None), files=tuple)
        plan = request(work).open_codec().plan(raster, layout, encoding.Options(tile=64))
    other = dataclasses.replace(layout, record={}, height=261)
    with pytest.raises(errors.InputError, match="sees another raster"):
        workers.result(client.submit(workers.code_row, task, other, plan, (0, 0), pure=False))
    tiles = workers.result(client.submit(workers.code_row, task, layout, plan, (1, 4), pure=False))
    assert [(tile.band, tile.tile.row, tile.tile.column) for tile in tiles] == [(1, 4, column) for column in range(4)]


def test_a_worker_that_dies_is_one_error(client: distributed.Client) -> None:
    future = client.submit(os._exit, 1, pure=False, retries=0)
    with pytest.raises(errors.SarcodecError, match="cluster: a task failed"):
        workers.result(future)
    client.wait_for_workers(2, timeout=60)  # a cluster that is closed while a worker starts again complains
