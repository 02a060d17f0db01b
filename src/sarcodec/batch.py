"""Many products into one folder: which source goes where, and one after the other on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sarcodec import codec, errors, radiometry, rate_control, safe, scene

SUFFIX = ".sarc"
RASTERS = (".tif", ".tiff")
"""What is taken of a folder, besides products."""


@dataclass(frozen=True)
class Request:
    """How to compress, in values that other processes understand; each as in :func:`scene.compress_file`.

    ``model``, a name or path, ``device`` and ``precision`` are those of :func:`scene.open_codec`; ``polarisation`` is
    the one to take of a product.
    """

    model: str | None = None
    device: str = "cpu"
    precision: str = "auto"
    polarisation: str | None = None
    quantity: radiometry.Quantity | None = None
    options: codec.Options = field(default_factory=codec.Options)
    goal: rate_control.Goal | None = None
    nodata: float | None = None

    def open_codec(self) -> codec.Codec:
        """Load the model; raises as :func:`scene.open_codec`."""
        return scene.open_codec(self.model, device=self.device, precision=self.precision)


@dataclass(frozen=True)
class Job:
    """A source, the file to be made of it, and the pixels of all its bands; 0 where it cannot be opened."""

    source: str
    target: Path
    pixels: int


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a file of ``size``, or none for the reason of ``error``."""

    job: Job
    size: scene.Size | None
    error: str | None = None

    @classmethod
    def failed(cls, job: Job, problem: Exception) -> Outcome:
        """Tell an error in one line that names the source."""
        known = isinstance(problem, errors.SarcodecError | OSError)
        text = " ".join(str(problem).split()) if known else f"{type(problem).__name__}: {problem}"
        return cls(job, None, text if job.source in text else f"{job.source}: {text}")


def jobs(
    sources: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    polarisation: str | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> list[Job]:
    """Say which file is made of which source, and check all that can be checked before anything is written.

    The file of ``S1A_….SAFE``, ``S1A_….SAFE.zip`` or ``S1A_….tif`` is ``FOLDER/S1A_….sarc``. A folder that is no
    product stands for the GeoTIFFs and products in it. A source that is there but cannot be opened is a job like any
    other, and fails when its turn comes. With ``skip_existing`` what has its file already is no job.

    Raises
    ------
    InputError
        When a source is missing, two have the same target, a target exists and ``overwrite`` is false, or the folder
        can be none.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise errors.InputError(f"output {place}: is a file; pass the name of a folder")
    if not place.parent.is_dir():
        raise errors.InputError(f"output {place}: the folder {place.parent} does not exist; create it first")
    owners: dict[Path, str] = {}
    for source in _expanded(sources):
        target = place / f"{_stem(source)}{SUFFIX}"
        if target in owners:
            raise errors.InputError(
                f"sources: {owners[target]} and {source} would both become {target}; rename one, or use two folders"
            )
        if target.exists() and skip_existing:
            continue
        if target.exists() and not overwrite:
            raise errors.InputError(f"output {target}: exists already; pass overwrite (--overwrite) to replace it")
        owners[target] = source
    return [Job(source, target, _pixels(source, polarisation)) for target, source in owners.items()]


def _expanded(sources: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the sources, and of a folder that is no product what lies in it; InputError for one with nothing."""
    found: list[str] = []
    for source in [os.fspath(source) for source in sources]:
        folder = Path(source)
        if not folder.is_dir() or safe.is_product(source):
            found.append(source)
            continue
        inside = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in RASTERS or safe.is_product(p)]
        if not inside:
            raise errors.InputError(
                f"sources: {folder} holds no GeoTIFF and no product; pass another folder or files"
            )
        found += map(str, inside)
    return found


def _stem(source: str) -> str:
    path = Path(source)
    if path.name == safe.MANIFEST:
        path = path.parent
    name = path.name or path.resolve().name
    if not path.is_dir():
        name = Path(name).stem
    return name[: -len(".SAFE")] if name.upper().endswith(".SAFE") else name


def _pixels(source: str, polarisation: str | None) -> int:
    """Count the pixels of all bands; 0 for a source that is damaged, InputError for one that is missing."""
    try:
        with scene.open_source(source, polarisation) as raster:
            return raster.info.count * raster.info.height * raster.info.width
    except (errors.SarcodecError, OSError) as cause:
        if not Path(source).exists():
            raise errors.InputError(f"sources: {cause}; nothing was written") from cause
        return 0


def compress(
    job: Job,
    model: codec.Codec,
    request: Request,
    *,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> scene.Size:
    """Compress one source as :func:`scene.compress_file` does, which says what is raised."""
    with scene.open_source(job.source, request.polarisation, nodata=request.nodata) as raster:
        return scene.compress_file(
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
        As of :func:`scene.compress_file`; in the end it has been told the pixels of all jobs, of failed ones too.

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
        model.complete(request.options)
    for job in jobs:
        if begin:
            begin(job)
        yield _outcome(job, model, request, overwrite, advance)


def _outcome(
    job: Job, model: codec.Codec, request: Request, overwrite: bool, advance: codec.Advance | None
) -> Outcome:
    told = 0

    def tell(pixels: int) -> None:
        nonlocal told
        told += pixels
        if advance:
            advance(pixels)

    try:
        job.target.parent.mkdir(exist_ok=True)
        return Outcome(job, compress(job, model, request, overwrite=overwrite, advance=tell))
    except Exception as problem:  # whatever it is, the others have their turn
        return Outcome.failed(job, problem)
    finally:
        tell(job.pixels - told)
