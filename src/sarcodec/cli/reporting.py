"""The command report: one page of an original and its file, or pages of many and an index."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import rich.markup
import typer
from rich.table import Table

from sarcodec import errors
from sarcodec.cli import terminal

if TYPE_CHECKING:
    from sarcodec.report import many


def report(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="ORIGINAL COMPRESSED PAGE: what was compressed (a raster, a SAFE folder or its zip file), its .sarc "
            "file, and the HTML file to write. Or with -o any number of originals and .sarc files, or folders of "
            "them, which belong together by their names.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder: NAME.html is written for each pair, and index.html of all."),
    ] = None,
    restored: Annotated[Path | None, typer.Option(help="What was restored, to save decoding again.")] = None,
    peer: Annotated[str | None, typer.Option(help="A codec to set beside it at equal bytes, say jpeg2000.")] = None,
    model: terminal.Model = None,
    overwrite: terminal.Overwrite = False,
    as_json: terminal.AsJson = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Compare an original of any size with its .sarc file on one self-contained HTML page, or many on one each."""
    said = [f"nothing was written to {output or paths[-1]}"]
    with terminal.interruptible(lambda: said[-1]):
        if output is None:
            if len(paths) != 3:
                raise errors.InputError(
                    f"report: got {' '.join(paths)}; pass an original, its .sarc file and the page to write, or "
                    "originals and .sarc files and a folder (-o)"
                )
            _report_one(paths, restored, peer, model, overwrite, quiet, as_json, said)
            return
        from sarcodec.report import many

        if restored is not None:
            raise errors.InputError("restored: belongs to one file; leave it out, or pass one pair and a page")
        jobs = many.jobs(paths, output, overwrite=overwrite)
        _report_many(jobs, peer, model, overwrite, quiet, as_json, said)


def _report_one(
    paths: list[str],
    restored: Path | None,
    peer: str | None,
    model: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    said: list[str],
) -> None:
    from sarcodec import report as reporting
    from sarcodec.container import archive
    from sarcodec.pages import figures

    original, compressed, target = paths
    with archive.Reader(compressed) as reader:
        pixels = math.prod(reader.header.shape)
    with terminal.pixel_bar("compare", pixels, quiet or as_json) as advance:
        measured = reporting.write_report(
            original,
            compressed,
            target,
            restored=restored,
            model=model,
            peer=peer,
            overwrite=overwrite,
            advance=advance,
        )
    said.append(f"{target} is whole")
    for text in measured.warnings:
        terminal.warn(rich.markup.escape(f"warning: {text}"))
    if as_json:
        terminal.print_json({band: values.to_dict() for band, values in measured.items()})
        return
    title = rich.markup.escape(f"{compressed} against {original}")
    table = Table("figure", *map(rich.markup.escape, measured), title=title)
    for label, cells in figures.lines(measured):
        table.add_row(label, *cells)
    terminal.say(table)
    terminal.say(f"{target}: report written")


def _report_many(
    jobs: list[many.Job],
    peer: str | None,
    model: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    said: list[str],
) -> None:
    from sarcodec.report import many

    outcomes: list[many.Outcome] = []
    with terminal.pixel_bar("compare", sum(job.pixels for job in jobs), quiet or as_json) as bar:
        work = many.write(
            jobs,
            model=model,
            peer=peer,
            overwrite=overwrite,
            begin=lambda job: bar.begin(Path(job.compressed).name),
            advance=bar,
        )
        with closing(work):
            for outcome in work:
                outcomes.append(outcome)
                said.append(f"{terminal.count_written(outcomes, jobs)}, {many.INDEX} was not")
                for text in outcome.warnings:
                    terminal.warn(rich.markup.escape(f"warning: {outcome.job.compressed}: {text}"))
    if as_json:
        terminal.print_json([_record(outcome) for outcome in outcomes])
    else:
        terminal.say(_table(outcomes))
        terminal.say(f"{jobs[0].target.parent / many.INDEX}: index written")
    terminal.fail_all(outcomes)


def _record(outcome: many.Outcome) -> dict[str, object]:
    job = outcome.job
    record = {"original": job.original, "compressed": job.compressed, "page": str(job.target)}
    if outcome.size is None:
        return record | {"error": outcome.error}
    bands = {band: found.to_dict() for band, found in outcome.figures.items()}
    return record | terminal.size_record(outcome.size) | {"bands": bands}


def _table(outcomes: list[many.Outcome]) -> Table:
    from sarcodec.pages import figures

    columns = figures.KEY
    table = Table("page", "bytes", "bpp", "ratio", "band", *columns)
    for outcome in outcomes:
        size = outcome.size
        if size is None:
            continue
        first = [str(outcome.job.target), f"{size.bytes:,}", f"{size.bits_per_pixel:.3f}", f"{size.ratio:.1f}"]
        for band, found in outcome.figures.items():
            values = found.to_dict()
            marks = [figures.grade(name, values[name]) for name in columns]
            cells = [
                figures.text(name, values[name]) + (f" ({mark})" if mark else "")
                for name, mark in zip(columns, marks, strict=True)
            ]
            table.add_row(*map(rich.markup.escape, (*first, band, *cells)))
            first = [""] * len(first)
    return table
