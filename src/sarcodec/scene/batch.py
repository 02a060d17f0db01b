"""Many files into one folder, both ways: one after the other on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Unpack

from sarcodec import errors, radiometry
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.files import vsi
from sarcodec.scene import decision, files, model_store, rate_control, source
from sarcodec.scene.output import Output
from sarcodec.scene.sources import Job


@dataclass(frozen=True)
class Request:
    """How to compress, in values that other processes understand; each as in :func:`files.compress_file`.

    ``model``, a name or path, ``device`` and ``precision`` are those of :func:`model_store.open_codec`;
    ``polarisation`` is the one to take of a product.
    """

    model: str | None = None
    device: str = "cpu"
    precision: str = "auto"
    polarisation: str | None = None
    quantity: radiometry.Quantity | None = None
    options: encoding.Options = field(default_factory=encoding.Options)
    goal: rate_control.Goal | None = None
    nodata: float | None = None

    def open_codec(self) -> codec.Codec:
        """Load the model; raises as :func:`model_store.open_codec`."""
        return model_store.open_codec(self.model, device=self.device, precision=self.precision)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a file of ``size``, or none for the reason of ``error``."""

    job: Job
    size: decision.Size | None
    error: str | None = None

    @classmethod
    def failed(cls, job: Job, problem: Exception) -> Outcome:
        """Tell an error in one line that names the source."""
        return cls(job, None, reason(problem, job.source))


def reason(problem: Exception, source: str) -> str:
    """Tell an error in one line that names a source."""
    known = isinstance(problem, errors.SarcodecError | OSError)
    text = " ".join(str(problem).split()) if known else f"{type(problem).__name__}: {problem}"
    name = vsi.public(source)
    return text if name in text else f"{name}: {text}"


def compress(
    job: Job,
    model: codec.Codec,
    request: Request,
    *,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> decision.Size:
    """Compress one source as :func:`files.compress_file` does, which says what is raised."""
    with source.open(job.source, request.polarisation, nodata=request.nodata) as raster:
        return files.compress_file(
            raster,
            job.target,
            model,
            quantity=request.quantity,
            options=request.options,
            goal=request.goal,
            nodata=request.nodata,
            overwrite=overwrite,
            advance=advance,
        )


def compress_files(
    jobs: Sequence[Job],
    request: Request,
    *,
    overwrite: bool = False,
    begin: Callable[[Job], None] | None = None,
    advance: codec.Advance | None = None,
) -> Generator[Outcome]:
    """Compress one source after the other; one that fails does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        From :func:`jobs`. Their folder is made where there is none.
    request : Request
        How to compress.
    overwrite : bool
        Whether existing targets may be replaced.
    begin : callable, optional
        Called with every job before it begins.
    advance : callable, optional
        As of :func:`files.compress_file`; in the end it has been told the pixels of all jobs, of failed ones too.

    Yields
    ------
    Outcome
        Of every job, in their order.

    Raises
    ------
    InputError, FormatError
        When the model cannot be loaded or cannot do what the options say.
    """
    model = request.open_codec()
    if request.goal is None:
        encoding.settle(model.engine, request.options)

    def make(job: Job, tell: codec.Advance) -> decision.Size:
        return compress(job, model, request, overwrite=overwrite, advance=tell)

    for job in jobs:
        if begin:
            begin(job)
        yield _outcome(job, advance, make)


def decompress_files(
    jobs: Sequence[Job],
    *,
    output: Output | None = None,
    model: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    begin: Callable[[Job], None] | None = None,
    advance: codec.Advance | None = None,
    **running: Unpack[model_store.Running],
) -> Generator[Outcome]:
    """Restore one file after the other; mirrors :func:`compress_files`.

    Parameters
    ----------
    jobs : sequence of Job
        From :func:`decompress_jobs` with the same ``output``. Their folder is made where there is none.
    output, model, overwrite, advance, **running
        As of :func:`files.decompress_file`, for every file.
    begin : callable, optional
        Called with every job before it begins.

    Yields
    ------
    Outcome
        Of every job, in their order; the size is that of the ``.sarc`` file.

    Raises
    ------
    InputError, FormatError
        When the model cannot be loaded.
    """
    given = None if model is None else model_store.open_codec(model, **running)
    known: dict[Any, codec.Codec] = {}  # loading one takes as long as restoring a small image

    def make(job: Job, tell: codec.Advance) -> decision.Size:
        with archive.Reader(job.source) as reader:
            name = reader.header.model, reader.header.architecture, reader.header.max_error_db
            if name not in known:
                known[name] = model_store.codec_for(reader, given, **running)
        return files.decompress_file(
            job.source, job.target, output=output, model=known[name], overwrite=overwrite, advance=tell
        )

    for job in jobs:
        if begin:
            begin(job)
        yield _outcome(job, advance, make)


def _outcome(job: Job, advance: codec.Advance | None, make: Callable[[Job, codec.Advance], decision.Size]) -> Outcome:
    with accounted(job.pixels, advance) as tell:
        try:
            job.target.parent.mkdir(exist_ok=True)
            return Outcome(job, make(job, tell))
        except Exception as problem:  # whatever it is, the others have their turn
            return Outcome.failed(job, problem)


@contextmanager
def accounted(pixels: int, advance: codec.Advance | None) -> Iterator[codec.Advance]:
    """Yield what tells ``advance`` of pixels; when the block ends it has told of ``pixels``, however it went."""
    told = 0

    def tell(more: int) -> None:
        nonlocal told
        told += more
        if advance:
            advance(more)

    try:
        yield tell
    finally:
        tell(pixels - told)
