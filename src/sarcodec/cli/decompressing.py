"""The command decompress: one file to one image or product, or many into a folder."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarcodec import errors
from sarcodec.cli import terminal
from sarcodec.files import vsi

if TYPE_CHECKING:
    from sarcodec.scene import batch, model_store, sources
    from sarcodec.scene.output import Output


def decompress(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="SOURCE TARGET, or with -o any number of sources. A source is a .sarc file, also by URL, or with "
            "-o a folder of them; the target is the GeoTIFF to write, or ….SAFE or ….zip for a whole product.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A folder: all paths are sources, and NAME.tif is written for each, NAME.SAFE of a product.",
        ),
    ] = None,
    window: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            metavar="COLUMN ROW WIDTH HEIGHT",
            help="Only this window, read from the tiles that it takes; in pixels, as gdal_translate -srcwin.",
        ),
    ] = None,
    polarisation: Annotated[str | None, typer.Option(help="Only this band, by polarisation or name: VV.")] = None,
    reduce: Annotated[
        int, typer.Option(metavar="N", help="0 to 6: the image at 1/2^N of the resolution; windows stay as they are.")
    ] = 0,
    power: Annotated[
        bool,
        typer.Option("--power", help="With --reduce: means of power, as multilooking makes them, not of decibels."),
    ] = False,
    cog: Annotated[bool, typer.Option("--cog", help="Write a Cloud Optimized GeoTIFF, with overviews.")] = False,
    speckle: Annotated[
        str, typer.Option(help="coded: pixels as coded; restore: draw lost speckle anew, a rendering, never data.")
    ] = "coded",
    model: terminal.Model = None,
    overwrite: terminal.Overwrite = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="With -o: leave out files that have been restored already.")
    ] = False,
    no_restorer: Annotated[
        bool,
        typer.Option(
            "--no-restorer", help="Leave out the default codec's network: several times as fast, 0.1 to 0.2 dB worse."
        ),
    ] = False,
    device: terminal.Device = "cpu",
    precision: terminal.Precision = "auto",
    quiet: terminal.Quiet = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Restore .sarc files to GeoTIFFs or SAFE products like those they were made from, or parts to GeoTIFFs."""
    said = [f"nothing was written to {folder or vsi.public(paths[-1])}"]
    with terminal.interruptible(lambda: said[-1]):
        from sarcodec import tiling
        from sarcodec.scene import model_store, sources
        from sarcodec.scene.output import Output

        output = Output(
            None if window is None else tiling.Window.at(window[1], window[0], window[3], window[2]),
            None if polarisation is None else (polarisation,),
            bool(terminal.choice("speckle", speckle, {"coded": False, "restore": True})),
            cog,
            reduce,
            power,
        )
        running = model_store.Running(device=device, precision=precision, restorer=not no_restorer)
        if folder is None:
            source, target = _two(paths, skip_existing)
            _decompress_one(source, target, output, model, running, overwrite, quiet, as_json, said)
            return
        jobs = sources.decompress_jobs(paths, folder, output=output, overwrite=overwrite, skip_existing=skip_existing)
        if not jobs:
            terminal.say_nothing_to_do(folder, as_json)
            return
        _decompress_many(jobs, output, model, running, overwrite, quiet, as_json, said)


def _two(paths: list[str], skip_existing: bool) -> tuple[str, Path]:
    """Return the one source and its target; InputError for what needs a folder."""
    words = " ".join(map(vsi.public, paths))
    if skip_existing:
        raise errors.InputError("skip-existing: goes with a folder; pass sources and a folder (-o)")
    if len(paths) != 2:
        raise errors.InputError(f"decompress: got {words}; pass a source and a target, or sources and a folder (-o)")
    if all(path.lower().endswith(".sarc") for path in paths):
        raise errors.InputError(
            f"decompress: got two .sarc files, {words}; pass a folder for what is restored from them (-o), or a "
            "target that ends in .tif, .SAFE or .zip"
        )
    return paths[0], Path(paths[1])


def _decompress_one(
    source: str,
    target: Path,
    output: Output,
    model: str | None,
    running: model_store.Running,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    said: list[str],
) -> None:
    from sarcodec.container import archive
    from sarcodec.raster import info as raster_info
    from sarcodec.scene import files

    with archive.Reader(source) as reader:
        raster = raster_info.RasterInfo.from_dict(reader.header.raster)
    height, width = output.window_of(raster).shape
    pixels = len(output.bands_of(raster)) * height * width
    with terminal.pixel_bar("decompress", pixels, quiet or as_json) as advance:
        size = files.decompress_file(
            source,
            target,
            output=output,
            model=model,
            overwrite=overwrite,
            advance=advance,
            **running,
        )
    said.append(f"{target} is whole")
    terminal.print_size("restored from", target, size, as_json)


def _decompress_many(
    jobs: list[sources.Job],
    output: Output,
    model: str | None,
    running: model_store.Running,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    said: list[str],
) -> None:
    from sarcodec.scene import batch

    outcomes: list[batch.Outcome] = []
    pixels = sum(job.pixels for job in jobs)
    with terminal.pixel_bar("decompress", pixels, quiet or as_json) as bar:
        work = batch.decompress_files(
            jobs,
            output=output,
            model=model,
            overwrite=overwrite,
            begin=lambda job: bar.begin(Path(vsi.public(job.source)).name),
            advance=bar,
            **running,
        )
        with closing(work):
            for outcome in work:
                outcomes.append(outcome)
                said.append(terminal.count_written(outcomes, jobs))
    terminal.print_outcomes("restored from", outcomes, as_json)
