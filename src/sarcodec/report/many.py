"""Reports of many files in one folder: which original belongs to which file, a page each, and an index of all."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sarcodec import baselines, errors, report
from sarcodec.codec import codec
from sarcodec.container import archive
from sarcodec.files import atomic, vsi
from sarcodec.metrics import summary
from sarcodec.pages import charts
from sarcodec.report import index, pair
from sarcodec.scene import batch, decision, model_store, sources, verify

INDEX = "index.html"
NAMES = 8
"""Most names that an error lists."""


@dataclass(frozen=True)
class Job:
    """An original, its ``.sarc`` file, the page to be made of them, and the pixels of all bands.

    These are 0 where one of both cannot be opened.
    """

    original: str
    compressed: str
    target: Path
    pixels: int


@dataclass(frozen=True)
class Outcome:
    """What became of a job: size of the file and figures of its bands by their names, or the reason for none.

    ``warnings`` are lines on what makes the figures doubtful.
    """

    job: Job
    size: decision.Size | None
    figures: Mapping[str, summary.Metrics]
    error: str | None = None
    warnings: Sequence[str] = ()


def jobs(
    paths: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str], *, overwrite: bool = False
) -> list[Job]:
    """Say which original belongs to which file, and check all that can be checked before anything is written.

    Pairs go by name, as :func:`sarcodec.scene.batch.jobs` makes them: ``S1A_….sarc`` belongs to ``S1A_….SAFE``,
    ``S1A_….SAFE.zip`` or ``S1A_….tif``. The page is ``FOLDER/S1A_….html``.

    Parameters
    ----------
    paths : sequence of paths
        Originals and ``.sarc`` files in any order; a folder stands for the GeoTIFFs, products and ``.sarc`` files in
        it.
    folder : path
        Where the pages go; it need not be there yet.
    overwrite : bool
        Whether pages that are there may be replaced.

    Returns
    -------
    list of Job
        By the names of the files. A pair of which one is damaged is one of them, and fails when its turn comes.

    Raises
    ------
    InputError
        When a path is missing, an original has no file or a file no original, two have the same name, two of one name
        differ in size, a page is there already and ``overwrite`` is false, or the folder can be none.
    """
    place = sources.check_folder(folder)
    originals: dict[str, str] = {}
    files: dict[str, str] = {}
    for path in sources.expanded(paths, _is_wanted, "GeoTIFF, product or .sarc file"):
        _check_there(path)
        group = files if Path(path).suffix.lower() == sources.SUFFIX else originals
        name = sources.stem(path)
        if name in group:
            raise errors.InputError(
                f"report: {group[name]} and {path} have the same name, by which pairs go; pass one of them"
            )
        group[name] = path
    _check_complete(originals, files)
    targets = {name: place / f"{name}.html" for name in sorted(files)}
    for name, target in targets.items():
        if target.name.lower() == INDEX:
            raise errors.InputError(f"report: the page of {files[name]} would be the index; rename it")
    for target in (*targets.values(), place / INDEX):
        if target.exists():
            atomic.check(target, overwrite=overwrite)
    return [Job(originals[n], files[n], target, _pixels(originals[n], files[n])) for n, target in targets.items()]


def _is_wanted(path: Path) -> bool:
    return sources.is_source(path) or sources.is_file(path)


def _check_there(path: str) -> None:
    if not vsi.is_virtual(path) and not Path(path).exists():
        raise errors.InputError(f"report: {path}: there is no such file; nothing was written")


def _check_complete(originals: Mapping[str, str], files: Mapping[str, str]) -> None:
    """Raise InputError that names what has no counterpart."""
    alone = [
        f"no {what} for {_listed([path for name, path in sorted(have.items()) if name not in other])}"
        for what, have, other in (("original", files, originals), (".sarc file", originals, files))
        if have.keys() - other.keys()
    ]
    if alone:
        raise errors.InputError(
            f"report: {'; '.join(alone)}; pairs go by name, pass originals and their .sarc files and nothing else"
        )


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(vsi.public(path) for path in paths[:NAMES])
    return shown if len(paths) <= NAMES else f"{shown} and {len(paths) - NAMES} more"


def _pixels(original: str, compressed: str) -> int:
    """Count the pixels of a pair; 0 where one of both is damaged, InputError where they are of two images."""
    try:
        with archive.Reader(compressed) as reader, verify.open_original(original, reader.header) as raster:
            pair.check_match(reader.header, raster)
            return math.prod(reader.header.shape)
    except errors.InputError as cause:
        raise errors.InputError(f"report: {compressed}: {cause}; nothing was written") from cause
    except (errors.FormatError, OSError):
        return 0


def write(
    jobs: Sequence[Job],
    *,
    model: str | os.PathLike[str] | None = None,
    peer: str | None = None,
    overwrite: bool = False,
    begin: Callable[[Job], None] | None = None,
    advance: codec.Advance | None = None,
) -> Generator[Outcome]:
    """Write one page after the other, and after the last an index; one that fails does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        From :func:`jobs`. Their folder is made where there is none.
    model, peer, overwrite, advance
        As of :func:`report.write_report`, for every page.
    begin : callable, optional
        Called with every job before it begins.

    Yields
    ------
    Outcome
        Of every job, in their order. Run it to the end: ``index.html`` comes last, and names what failed, too.

    Raises
    ------
    MissingExtra
        When matplotlib is not installed.
    InputError, FormatError, OutputError
        For a model or peer that there is not, or a folder or index that cannot be written.
    """
    charts.require_matplotlib()
    if peer is not None and peer not in baselines.PEERS:
        raise errors.InputError(f"peer: got {peer!r}; pass one of {', '.join(baselines.PEERS)}")
    if model is not None:
        model_store.load_model(model)
    done: list[Outcome] = []
    for job in jobs:
        if begin:
            begin(job)
        with batch.accounted(job.pixels, advance) as tell:
            done.append(_outcome(job, model, peer, overwrite, tell))
        yield done[-1]
    if done:
        text = index.page([_line(outcome) for outcome in done])
        atomic.write_bytes(done[0].job.target.parent / INDEX, text.encode(), overwrite=overwrite)


def _outcome(
    job: Job, model: str | os.PathLike[str] | None, peer: str | None, overwrite: bool, advance: codec.Advance
) -> Outcome:
    try:
        job.target.parent.mkdir(exist_ok=True)
        figures = report.write_report(
            job.original, job.compressed, job.target, model=model, peer=peer, overwrite=overwrite, advance=advance
        )
        with archive.Reader(job.compressed) as reader:
            size = decision.Size(Path(job.compressed).stat().st_size, *reader.header.shape)
        return Outcome(job, size, figures, warnings=figures.warnings)
    except Exception as problem:  # whatever it is, the others have their turn
        return Outcome(job, None, {}, batch.reason(problem, job.compressed))


def _line(outcome: Outcome) -> index.Line:
    names = Path(outcome.job.compressed).name, Path(vsi.public(outcome.job.original)).name
    return index.Line(*names, outcome.job.target.name, outcome.size, outcome.figures, outcome.error)
