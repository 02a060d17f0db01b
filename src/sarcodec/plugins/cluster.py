"""On the workers of a Dask cluster: many products, each a task, or the rows of tiles of one.

Workers open sources by their path and load the model by its name or path, so these must be the same everywhere, as on
a shared file system, and so must be the version of the package. The file of one product is written where the client
runs, and is the same byte for byte as one that was made there alone.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sarcodec import errors, tiling
from sarcodec.codec import codec, encoding
from sarcodec.codec import engine as engines
from sarcodec.codec import layout as codec_layout
from sarcodec.plugins import workers
from sarcodec.scene import batch, decision, model_store, sources

try:
    import distributed
except ImportError as cause:
    raise errors.MissingExtra("distributed", "cluster") from cause

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
            f"scheduler: {scheduler} cannot be reached ({workers.line(cause)}); pass the address that 'dask "
            "scheduler' prints, for example tcp://host:8786"
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
    task = workers.Task(_absolute(source), _everywhere(request), model.identity)
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
            task = workers.Task(_absolute(job.source), _everywhere(request), model.engine.identity)
            target = Path(_absolute(job.target))
            future = client.submit(workers.compress, task, target, overwrite, stop.name, pure=False)
            running[future] = job
            done.add(future)

    try:
        submit(AHEAD * threads)
        while running:
            future = next(done)
            job = running.pop(future)
            try:
                outcome = batch.Outcome(job, workers.result(future))
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


class _SpreadCodec(codec.Codec):
    """A codec whose tiles are coded by the workers of a cluster, a row of the grid a task."""

    def __init__(self, engine: engines.Engine, client: distributed.Client, task: workers.Task) -> None:
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
                pending.append(self._client.submit(workers.code_row, self._task, seen, plan, place, pure=False))
                if len(pending) >= most:
                    yield from workers.result(pending.popleft())
            while pending:
                yield from workers.result(pending.popleft())
        finally:
            self._client.cancel(list(pending))


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
