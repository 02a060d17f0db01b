"""Commands of a study: run the matrix, write its report, choose an operating point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import rich.markup
import typer
from rich.table import Table

from sarcodec import errors
from sarcodec.cli import terminal

app = typer.Typer(help="Comparative studies: train a matrix of models, report, choose.", no_args_is_help=True)


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="A study as TOML.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the study; one begun is continued.")],
    device: terminal.Device = "cpu",
    quiet: terminal.Quiet = False,
) -> None:
    """Train and measure every cell of a study that is not finished yet."""
    from sarcodec.study import plan as plans
    from sarcodec.study import results
    from sarcodec.study import run as running

    cells = plans.read(plan)
    results.write_plan(cells, output)
    begun = f"saved; continue with: sarcodec study run {plan} -o {output}"
    with terminal.stoppable(begun) as stop, terminal.bar("{task.fields[note]}", quiet) as progress:
        task = progress.add_task("study", note="", total=None)
        for step in stop.watch(running.run(cells, output, device=device)):
            note = f"cell {step.number}/{step.cells} {step.cell} · {step.note}"
            progress.update(task, total=step.total, completed=step.done, note=rich.markup.escape(note))
    terminal.say(f"{output}: {len(cells.cells)} cells in the plan, all of this process are finished")


@app.command()
def report(
    study: terminal.StudyFolder,
    plan: Annotated[
        Path | None, typer.Option(help="The study as TOML, for a folder without study.json: names the images.")
    ] = None,
    train: Annotated[
        list[Path] | None, typer.Option(help="Training images to fit the linear bounds on; may be given again.")
    ] = None,
    peers: Annotated[bool, typer.Option(help="Measure what is missing of the peers and bounds first.")] = True,
    target: Annotated[Path | None, typer.Option(help="The HTML file; default: report.html in the study.")] = None,
    place: Annotated[
        list[str] | None, typer.Option(help="A crop to show, as NAME=IMAGE:BAND:ROW:COLUMN; may be given again.")
    ] = None,
    quiet: terminal.Quiet = False,
) -> None:
    """Write the report of a study: one HTML page, three CSV tables and summary.json."""
    from sarcodec.study import export, page, results, sites
    from sarcodec.study import plan as plans

    images = plans.read(plan).images if plan else ()
    places = dict(_place(text, sites.Place) for text in place) if place else None
    found = results.load(study, images)
    if peers:
        _measure_peers(found, study, train or [], quiet)
        found = results.load(study, images)
    export.write(found, study)
    written = page.write_page(study, target, study=found, places=places)
    for cell in found.unfinished:
        terminal.warn(rich.markup.escape(f"not finished: {cell.name} ({cell.state})"))
    terminal.say(f"{written}: report of {len(found.cells)} cells")


def _place(text: str, make: Any) -> tuple[str, Any]:
    name, _, rest = text.partition("=")
    parts = rest.rsplit(":", 3)
    if not name or len(parts) != 4 or not (parts[2].isdigit() and parts[3].isdigit()):
        raise errors.InputError(f"place: got {text!r}; pass NAME=IMAGE:BAND:ROW:COLUMN")
    return name, make(parts[0], parts[1], int(parts[2]), int(parts[3]))


def _measure_peers(found: Any, folder: Path, train: list[Path], quiet: bool) -> None:
    """Measure what ``peers.json`` lacks, with a bar."""
    from sarcodec.study import linear_bounds, peers

    if not found.images:
        raise errors.InputError(
            f"study {folder}: has no study.json that names its images; pass --plan STUDY.toml, or --no-peers"
        )
    bounds = linear_bounds.fit(train) if train else None
    if bounds and found.patches is not None and (found.patches / "manifest.json").exists():
        linear_bounds.measure_validation(folder, found.patches, bounds)
    with terminal.bar("{task.fields[note]}", quiet) as progress:
        task = progress.add_task("peers", note="", total=None)
        for row in peers.measure_peers(found.images, folder, linear=bounds):
            note = rich.markup.escape(f"{row.image} {row.band} · {row.codec} · {row.bits_per_pixel:.2f} bpp")
            progress.update(task, advance=1, note=note)


@app.command()
def choose(
    study: terminal.StudyFolder,
    psnr: Annotated[float, typer.Option(help="Least mean PSNR in dB.")] = 30.0,
    ssim: Annotated[float, typer.Option(help="Least mean SSIM.")] = 0.85,
    enl: Annotated[tuple[float, float], typer.Option(help="Least and largest mean ENL ratio.")] = (0.8, 1.2),
    epi: Annotated[float, typer.Option(help="Least mean EPI.")] = 0.85,
    as_json: terminal.AsJson = False,
) -> None:
    """Find the highest true ratio that meets targets of quality, of our models and of peers, and what to use."""
    from sarcodec.study import choose as choosing

    found = choosing.choose(study, psnr, ssim, enl, epi)
    if as_json:
        terminal.print_json([choice.to_dict() for choice in found])
        return
    table = Table("codec", "model", "true ratio", "bpp", "step to use", "checkpoint, or what fails")
    for line in choosing.describe(found):
        table.add_row(*map(rich.markup.escape, line))
    terminal.say(table)
    terminal.say("means over images; between measured points, figures are linear in the logarithm of the rate")
