"""On the workers of a Dask cluster: many products, each a task, or the rows of tiles of one.

Workers open sources by their path and load the model by its name or path, so these must be the same everywhere, as on
a shared file system, and so must be the version of the package. The file of one product is written where the client
runs, and is the same byte for byte as one that was made there alone.
"""

from __future__ import annotations

import functools
import itertools
import os
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sarcodec import _version, errors, tiling
from sarcodec.codec import codec, encoding
from sarcodec.codec import engine as engines
from sarcodec.codec import layout as codec_layout
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.raster import geotiff, safe
from sarcodec.scene import batch, decision, model_store, sources

try:
    import distributed
except ImportError as cause:
    raise errors.MissingExtra("distributed", "cluster") from cause

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CONNECT_S = 10
"""Seconds to wait for a scheduler."""

AHEAD = 2
"""Tasks in flight for every thread of the workers: one that runs and one that waits beside it."""


@contextmanager
def connect(scheduler: str) -> Iterator[distributed.Client]:
    """Connect to a scheduler by its address; InputError when there is none within :data:`CONNECT_S`."""
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as cause:
        raise errors.InputError(
            f"scheduler: {scheduler} cannot be reached ({_line(cause)}); pass the address that 'dask scheduler' "
            "prints, for example tcp://host:8786"
        ) from cause
    with client:
        yield client


def compress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    client: distributed.Client,
    request: batch.Request | None = None,
    *,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> decision.Size:
    """Compress one source, its rows of tiles spread over the workers, as :func:`files.compress_file` does alone.

    At most :data:`AHEAD` rows for every thread of the workers are in flight. Towards a goal every trial is spread;
    errors are measured where the client runs.

    Parameters
    ----------
    source, target : path
        As of :func:`files.compress_file`; workers open ``source`` by its absolute path.
    client : distributed.Client
        Of a cluster with workers.
    request : Request, optional
        How to compress.
    overwrite, advance
        As of :func:`files.compress_file`.

    Raises
    ------
    InputError, FormatError, OutputError
        As :func:`files.compress_file`; InputError also for a cluster without workers, or whose workers do not see the
        source or the model.
    SarcodecError
        When the cluster fails, or its workers have another version of the package.
    """
    request = request or batch.Request()
    model = model_store.load_model(request.model)
    task = _Task(_absolute(source), _everywhere(request), model.identity)
    spread = _SpreadCodec(
        model_store.open_engine(model, device=request.device, precision=request.precision), client, task
    )
    job = sources.Job(os.fspath(source), Path(target), 0)
    return batch.compress(job, spread, request, overwrite=overwrite, advance=advance)


def compress_files(
    jobs: Sequence[sources.Job],
    client: distributed.Client,
    request: batch.Request,
    *,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> Generator[batch.Outcome]:
    """Compress every source as a task of its own, as :func:`batch.compress_files` does one after the other.

    Workers write the targets, each whole or not at all. Closing the generator early stops them at their next tile.

    Yields
    ------
    Outcome
        Of every job, as they end. ``advance`` is told the pixels of each by then.

    Raises
    ------
    InputError, FormatError
        For a cluster without workers, or a model that cannot be loaded.
    """
    threads = _threads(client)
    model = request.open_codec()
    if request.goal is None:
        encoding.settle(model.engine, request.options)
    for folder in {job.target.parent for job in jobs}:
        folder.mkdir(exist_ok=True)
    stop = distributed.Event(f"sarcodec-{secrets.token_hex(8)}", client=client)
    waiting = iter(jobs)
    running: dict[distributed.Future[Any], sources.Job] = {}
    done = distributed.as_completed(loop=client.loop)

    def submit(count: int) -> None:
        for job in itertools.islice(waiting, count):
            task = _Task(_absolute(job.source), _everywhere(request), model.engine.identity)
            future = client.submit(_compress, task, Path(_absolute(job.target)), overwrite, stop.name, pure=False)
            running[future] = job
            done.add(future)

    try:
        submit(AHEAD * threads)
        while running:
            future = next(done)
            job = running.pop(future)
            try:
                outcome = batch.Outcome(job, _result(future))
                if not job.target.is_file():
                    raise errors.OutputError(
                        f"output {job.target}: a worker wrote it where this machine does not see it; pass a folder "
                        "that is the same for all of them"
                    )
            except (errors.SarcodecError, OSError) as problem:
                outcome = batch.Outcome.failed(job, problem)
            submit(1)
            if advance:
                advance(job.pixels)
            yield outcome
    finally:
        if running:
            stop.set()
            client.cancel(list(running))


@dataclass(frozen=True)
class _Task:
    """What a worker must know: the source, how to compress it, and which model that is."""

    source: str
    request: batch.Request
    identity: str
    max_error_db: float | None = None
    version: str = _version.__version__

    def open_codec(self) -> codec.Codec:
        """Return the codec; models are loaded once a process."""
        if self.version != _version.__version__:
            raise errors.SarcodecError(
                f"cluster: {_here()} has sarcodec {_version.__version__}, this machine {self.version}; install one "
                "version everywhere"
            )
        if self.max_error_db is not None:
            return codec.Codec(nearlossless_engine.BoundedEngine(self.max_error_db))
        return _load(self.request.model, self.request.device, self.request.precision, self.identity)

    @contextmanager
    def open_source(self) -> Iterator[geotiff.RasterReader | safe.ProductReader]:
        """Open the source; InputError says that a worker must see it."""
        with ExitStack() as stack:
            try:
                raster = stack.enter_context(
                    safe.open_source(self.source, self.request.polarisation, nodata=self.request.nodata)
                )
            except (errors.SarcodecError, OSError) as cause:
                raise errors.InputError(
                    f"source: {_here()} cannot open {self.source} ({_line(cause)}); all workers must see it under "
                    "this path"
                ) from cause
            yield raster


class _SpreadCodec(codec.Codec):
    """A codec whose tiles are coded by the workers of a cluster, a row of the grid a task."""

    def __init__(self, engine: engines.Engine, client: distributed.Client, task: _Task) -> None:
        super().__init__(engine)
        self._client, self._task = client, task

    def with_engine(self, engine: engines.Engine) -> codec.Codec:
        """Return a codec of an engine that guarantees an error, on the same workers."""
        return _SpreadCodec(engine, self._client, replace(self._task, max_error_db=engine.max_error_db))

    def coded_tiles(
        self,
        source: codec_layout.Source,
        layout: codec_layout.Layout,
        plan: encoding.Plan,
        part: tuple[int, int] | None = None,
    ) -> Generator[encoding.CodedTile]:
        """Code the tiles of all bands in the order of the file: see :meth:`codec.Codec.coded_tiles`."""
        if part is not None:
            raise errors.InputError(f"part: got {part}; the workers code whole files")
        seen = replace(layout, record={}, product=None, files=tuple)  # all that tiles ask for
        rows = tiling.TileGrid(layout.height, layout.width, plan.tile).rows
        most = AHEAD * _threads(self._client)
        pending: deque[distributed.Future[Any]] = deque()
        try:
            for place in itertools.product(range(len(engines.groups(layout.count))), range(rows)):
                pending.append(self._client.submit(_code_row, self._task, seen, plan, place, pure=False))
                if len(pending) >= most:
                    yield from _result(pending.popleft())
            while pending:
                yield from _result(pending.popleft())
        finally:
            self._client.cancel(list(pending))


@dataclass(frozen=True)
class _Failure:
    """An error of the package, as a value: an exception drags along causes that other processes cannot read."""

    kind: type[errors.SarcodecError]
    text: str


def _told(work: Callable[Parameters, Result]) -> Callable[Parameters, Result | _Failure]:
    """Let a task return its error."""

    @functools.wraps(work)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result | _Failure:
        try:
            return work(*arguments, **options)
        except errors.SarcodecError as problem:
            return _Failure(type(problem), str(problem))

    return run


@_told
def _code_row(
    task: _Task, layout: codec_layout.Layout, plan: encoding.Plan, place: tuple[int, int]
) -> list[encoding.CodedTile]:
    """Code a row of the grid of a band; runs on a worker."""
    model = task.open_codec()
    with task.open_source() as raster:
        found = raster.info.count, raster.info.height, raster.info.width, raster.info.working_dtype
        if found != (layout.count, layout.height, layout.width, layout.dtype):
            raise errors.InputError(f"source: {_here()} sees another raster under {task.source}; pass a shared path")
        return list(model.coded_tiles(raster, layout, plan, place))


@_told
def _compress(task: _Task, target: Path, overwrite: bool, stop: str) -> decision.Size:
    """Compress a product; runs on a worker."""
    model = task.open_codec()
    event = distributed.Event(stop)

    def check(pixels: int) -> None:
        del pixels
        if event.is_set():
            raise errors.SarcodecError(f"{task.source}: interrupted")

    with task.open_source():
        pass  # if this works, what else goes wrong says itself what it is
    if not target.parent.is_dir():
        raise errors.OutputError(
            f"output {target}: {_here()} does not see this folder; pass one that all workers see"
        )
    return batch.compress(
        sources.Job(task.source, target, 0), model, task.request, overwrite=overwrite, advance=check
    )


@functools.lru_cache(maxsize=2)
def _load(model: str | None, device: str, precision: str, identity: str) -> codec.Codec:
    """Load a model on a worker; InputError when it is not there, or another than the client's."""
    try:
        found = model_store.open_codec(model, device=device, precision=precision)
    except (errors.SarcodecError, OSError) as cause:
        raise errors.InputError(f"model: {_here()} cannot load it ({_line(cause)})") from cause
    if found.engine.identity != identity:
        raise errors.InputError(
            f"model: {_here()} has model {found.engine.identity} as {model or model_store.DEFAULT_MODEL}, this "
            f"machine {identity}; make them the same"
        )
    return found


def _result(future: distributed.Future[Any]) -> Any:
    """Wait for a task; every error is one of the package."""
    try:
        result = future.result()
    except Exception as cause:
        raise errors.SarcodecError(
            f"cluster: a task failed ({type(cause).__name__}: {_line(cause)}); every worker needs sarcodec "
            f"{_version.__version__} and memory for some tiles"
        ) from cause
    if isinstance(result, _Failure):
        raise result.kind(result.text)
    return result


def _threads(client: distributed.Client) -> int:
    """Count the threads of all workers; InputError when there are none."""
    threads = sum(client.nthreads().values())
    if not threads:
        raise errors.InputError(
            "scheduler: has no workers; start some ('dask worker' with its address); an adaptive cluster needs one"
        )
    return int(threads)


def _absolute(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of what is on this machine; other names, as of GDAL's file systems, as they are."""
    return str(Path(path).absolute()) if Path(path).parent.is_dir() else os.fspath(path)


def _everywhere(request: batch.Request) -> batch.Request:
    is_file = request.model is not None and Path(request.model).exists()
    return replace(request, model=_absolute(request.model)) if request.model and is_file else request


def _here() -> str:
    """Name the worker that runs this."""
    with suppress(ValueError):
        return f"worker {distributed.get_worker().address}"
    return "this machine"


def _line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__
