"""The command compress: one source to one file, or many into a folder, here or on the workers of a cluster."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarcodec import errors
from sarcodec.cli import terminal
from sarcodec.text import numerals

if TYPE_CHECKING:
    from sarcodec.scene import batch, sources


def compress(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="SOURCE TARGET, or with -o any number of sources. A source is a raster (intensity, amplitude DN or "
            "dB), or a SAFE folder or zip file, or with -o a folder of these; the target is the .sarc file to write.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder: all paths are sources, and NAME.sarc is written for each."),
    ] = None,
    quality: Annotated[
        float | None, typer.Option(help="1 (smallest) to 100 (best); 50 when nothing is asked for.")
    ] = None,
    bpp: Annotated[float | None, typer.Option(help="Bits per pixel of the file, met within 2 %.")] = None,
    ratio: Annotated[float | None, typer.Option(help="True ratio to 16 bit, met within 2 %.")] = None,
    psnr: Annotated[float | None, typer.Option(help="PSNR in dB (peak 30 dB), met within 0.05 dB.")] = None,
    rmse: Annotated[float | None, typer.Option(help="Root mean square error in dB, met within 0.6 %.")] = None,
    max_error: Annotated[float | None, typer.Option(help="No valid pixel is off by more dB than this.")] = None,
    speckle: Annotated[
        str, typer.Option(help="Record of lost speckle for decompress: auto (where much is lost), keep or drop.")
    ] = "auto",
    polarisation: Annotated[str | None, typer.Option(help="The one to take of a SAFE product: VV, VH …")] = None,
    model: terminal.Model = None,
    quantity: terminal.QuantityName = None,
    nodata: Annotated[
        float | None, typer.Option(help="Value of pixels that hold nothing, where the source does not declare it.")
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Compress also where many pixels are lost, or a product's checksums do not hold."
        ),
    ] = False,
    step: Annotated[int | None, typer.Option(help="The model's own quantisation step.")] = None,
    effort: Annotated[int, typer.Option(help="Searches for the best symbols, 1 to 4.")] = 1,
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 1024,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler: its workers take a source each, or parts of a single one."),
    ] = None,
    overwrite: terminal.Overwrite = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="With -o: leave out sources that have their file already.")
    ] = False,
    device: terminal.Device = "cpu",
    precision: terminal.Precision = "auto",
    quiet: terminal.Quiet = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Compress rasters or SAFE products to .sarc files: to a quality, size or error, or with a guaranteed error."""
    said = [f"nothing was written to {output or paths[-1]}"]
    with terminal.interruptible(lambda: said[-1]):
        from sarcodec import radiometry
        from sarcodec.codec import encoding
        from sarcodec.scene import asking, batch, sources

        asked = {
            "quality": quality,
            "bpp": bpp,
            "ratio": ratio,
            "psnr": psnr,
            "rmse": rmse,
            "max_error": max_error,
            "step": step,
        }
        found_step, goal = asking.step_or_goal(asked)
        keep = terminal.choice("speckle", speckle, {"auto": None, "keep": True, "drop": False})
        request = batch.Request(
            model,
            device,
            precision,
            polarisation,
            radiometry.Quantity.parse(quantity) if quantity else None,
            encoding.Options(found_step, tile, keep, effort, accept_loss),
            goal,
            nodata,
        )
        if output is None:
            if skip_existing:
                raise errors.InputError("skip-existing: goes with a folder; pass sources and a folder (-o)")
            if len(paths) != 2:
                raise errors.InputError(
                    f"compress: got {' '.join(paths)}; pass a source and a target, or sources and a folder (-o)"
                )
            job = sources.Job(paths[0], Path(paths[1]), _pixels(paths[0], polarisation))
            _compress_one(job, request, scheduler, overwrite, quiet, as_json, said)
        else:
            jobs = sources.jobs(
                paths, output, polarisation=polarisation, overwrite=overwrite, skip_existing=skip_existing
            )
            if not jobs:
                terminal.say_nothing_to_do(output, as_json)
                return
            _compress_many(jobs, request, scheduler, overwrite, quiet, as_json, said)


def _pixels(source: str, polarisation: str | None) -> int:
    from sarcodec.scene import source as scene_source

    with scene_source.open(source, polarisation) as raster:
        return raster.info.count * raster.info.height * raster.info.width


def _compress_one(
    job: sources.Job,
    request: batch.Request,
    scheduler: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    said: list[str],
) -> None:
    from sarcodec.scene import batch

    with _bar(job.pixels, request, quiet or as_json) as advance:
        if scheduler is None:
            size = batch.compress(job, request.open_codec(), request, overwrite=overwrite, advance=advance)
        else:
            from sarcodec.plugins import cluster

            with _connect(scheduler) as client:
                size = cluster.compress_file(
                    job.source, job.target, client, request, overwrite=overwrite, advance=advance
                )
    said.append(f"{job.target} is whole")
    terminal.print_size("compressed", job.target, size, as_json)
    _tell_decision(size, "", as_json)
    _tell_limit(size, request, "")
    _warn_of_clipping(job.target, "")


def _compress_many(
    jobs: list[sources.Job],
    request: batch.Request,
    scheduler: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    said: list[str],
) -> None:
    from sarcodec.scene import batch

    outcomes: dict[sources.Job, batch.Outcome] = {}
    with ExitStack() as stack:
        bar = stack.enter_context(_bar(sum(job.pixels for job in jobs), request, quiet or as_json))
        if scheduler is None:
            work = batch.compress_files(
                jobs, request, overwrite=overwrite, begin=lambda job: bar.begin(Path(job.source).name), advance=bar
            )
        else:
            from sarcodec.plugins import cluster

            client = stack.enter_context(_connect(scheduler))
            work = cluster.compress_files(jobs, client, request, overwrite=overwrite, advance=bar)
            bar.begin(f"0 of {len(jobs)} products")
        for outcome in stack.enter_context(closing(work)):
            outcomes[outcome.job] = outcome
            said.append(terminal.count_written(outcomes.values(), jobs))
            if scheduler is not None:
                bar.begin(f"{len(outcomes)} of {len(jobs)} products")
    _print_outcomes([outcomes[job] for job in jobs], request, as_json)


def _connect(scheduler: str) -> AbstractContextManager[Any]:
    from sarcodec.plugins import cluster

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said in one line
    return cluster.connect(scheduler)


def _bar(pixels: int, request: batch.Request, quiet: bool) -> AbstractContextManager[terminal.PixelBar]:
    return terminal.pixel_bar("compress" if request.goal is None else "search", pixels, quiet)


def _print_outcomes(outcomes: list[batch.Outcome], request: batch.Request, as_json: bool) -> None:
    """Print what became of every source; exit status 1 when any failed."""

    def more(outcome: batch.Outcome) -> None:
        prefix = f"{outcome.job.target}: "
        _tell_decision(outcome.size, prefix, as_json)
        _tell_limit(outcome.size, request, prefix)
        _warn_of_clipping(outcome.job.target, prefix)

    terminal.print_outcomes("compressed", outcomes, as_json, more)


def _tell_decision(size: Any, prefix: str, as_json: bool) -> None:
    """Say what the source was taken for, and warn of pixels that its quantity cannot hold."""
    from sarcodec.codec import validity

    if size.decision is None:
        return
    if not as_json:
        terminal.say(f"{prefix}{size.decision}")
    if lost := validity.reason(size.decision.tally, size.decision.quantity):
        terminal.warn(f"{prefix}{lost}")


def _tell_limit(size: Any, request: batch.Request, prefix: str) -> None:
    """Say when an image does not need as many bits as were asked for."""
    from sarcodec.scene import rate_control

    goal = request.goal
    if goal and goal.kind is rate_control.Kind.BITS_PER_PIXEL and size.bits_per_pixel < 0.95 * goal.value:
        terminal.warn(
            f"{prefix}{numerals.significant(goal.value, 3)} bits per pixel are a limit: this image needs no more "
            f"than {numerals.significant(size.bits_per_pixel, 3)}"
        )


def _warn_of_clipping(target: Path, prefix: str) -> None:
    from sarcodec.container import archive

    with archive.Reader(target) as reader:
        header = reader.header
    for band, record in enumerate(header.bands, 1):
        if record.clipped > 0.01:
            terminal.warn(
                f"{prefix}band {band}: {100 * record.clipped:.1f} % of the valid pixels lie outside the bounds of "
                f"the model, {record.vmin:.1f} … {record.vmax:.1f} dB, and are clipped"
            )
