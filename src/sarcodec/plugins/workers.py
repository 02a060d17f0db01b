"""What a worker of a cluster does: open the source and the model, code, and tell what went wrong.

:mod:`sarcodec.plugins.cluster` gives the work out, and says so where ``distributed`` is not installed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sarcodec import _version, errors
from sarcodec.codec import codec, encoding
from sarcodec.codec import layout as codec_layout
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.raster import source as raster_source
from sarcodec.scene import batch, decision, model_store, sources
from sarcodec.scene import source as scene_source

if TYPE_CHECKING:
    import distributed

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
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
    def open_source(self) -> Iterator[raster_source.Raster]:
        """Open the source; InputError says that a worker must see it."""
        with ExitStack() as stack:
            try:
                raster = stack.enter_context(
                    scene_source.open(self.source, self.request.polarisation, nodata=self.request.nodata)
                )
            except (errors.SarcodecError, OSError) as cause:
                raise errors.InputError(
                    f"source: {_here()} cannot open {self.source} ({line(cause)}); all workers must see it under "
                    "this path"
                ) from cause
            yield raster


@dataclass(frozen=True)
class Failure:
    """An error of the package, as a value: an exception drags along causes that other processes cannot read."""

    kind: type[errors.SarcodecError]
    text: str


def telling(work: Callable[Parameters, Result]) -> Callable[Parameters, Result | Failure]:
    """Let a task return its error."""

    @functools.wraps(work)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result | Failure:
        try:
            return work(*arguments, **options)
        except errors.SarcodecError as problem:
            return Failure(type(problem), str(problem))

    return run


@telling
def code_row(
    task: Task, layout: codec_layout.Layout, plan: encoding.Plan, place: tuple[int, int]
) -> list[encoding.CodedTile]:
    """Code a row of the grid of a band; runs on a worker."""
    model = task.open_codec()
    with task.open_source() as raster:
        found = raster.info.count, raster.info.height, raster.info.width, raster.info.working_dtype
        if found != (layout.count, layout.height, layout.width, layout.dtype):
            raise errors.InputError(f"source: {_here()} sees another raster under {task.source}; pass a shared path")
        return list(model.coded_tiles(raster, layout, plan, place))


@telling
def compress(task: Task, target: Path, overwrite: bool, stop: str) -> decision.Size:
    """Compress a product; runs on a worker."""
    import distributed

    model = task.open_codec()
    event = distributed.Event(stop)

    def check(_pixels: int) -> None:
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
        raise errors.InputError(f"model: {_here()} cannot load it ({line(cause)})") from cause
    if found.engine.identity != identity:
        raise errors.InputError(
            f"model: {_here()} has model {found.engine.identity} as {model or model_store.DEFAULT_MODEL}, this "
            f"machine {identity}; make them the same"
        )
    return found


def result(future: distributed.Future[Any]) -> Any:
    """Wait for a task; every error is one of the package."""
    try:
        found = future.result()
    except Exception as cause:
        raise errors.SarcodecError(
            f"cluster: a task failed ({type(cause).__name__}: {line(cause)}); every worker needs sarcodec "
            f"{_version.__version__} and memory for some tiles"
        ) from cause
    if isinstance(found, Failure):
        raise found.kind(found.text)
    return found


def _here() -> str:
    """Name the worker that runs this."""
    import distributed

    with suppress(ValueError):
        return f"worker {distributed.get_worker().address}"
    return "this machine"


def line(problem: BaseException) -> str:
    """Tell an error in one line."""
    return " ".join(str(problem).split()) or type(problem).__name__
