"""The command quicklook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarcodec import errors
from sarcodec.cli import terminal


def quicklook(
    source: Annotated[str, typer.Argument(help="A .sarc file, or a raster or product.")],
    target: Annotated[Path, typer.Argument(help="The picture to write: .png, .jpg or .webp.")],
    size: Annotated[int, typer.Option(help="Pixels of the longest side; smaller images are not enlarged.")] = 1024,
    band: Annotated[str | None, typer.Option(help="Only this band, in grey, by polarisation or name: VV.")] = None,
    composite: Annotated[
        bool,
        typer.Option(
            "--composite",
            help="VV, VH and VV/VH in red, green and blue, as by default where both are there; else an error.",
        ),
    ] = False,
    stretch: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="dB of the bands that are black and bright. Default, and of the ratio: 2nd and 98th percentile.",
        ),
    ] = None,
    legend: Annotated[
        bool, typer.Option("--legend/--no-legend", help="A strip below that names bands and dB.")
    ] = True,
    model: terminal.Model = None,
    overwrite: terminal.Overwrite = False,
) -> None:
    """Make a small picture of a file at once, in grey or colours; as it is stored, so north need not be up."""
    said = [f"nothing was written to {target}"]
    with terminal.interruptible(lambda: said[-1]):
        from sarcodec.looks import quicklook as looks

        if band is not None and composite:
            raise errors.InputError(f"band: got {band} and a composite; pass one of them")
        chosen = looks.COMPOSITE if composite else band
        drawn = looks.quicklook(
            source,
            target,
            size=size,
            band=chosen,
            stretch=stretch,
            legend=legend,
            model=model,
            overwrite=overwrite,
        )
        said.append(f"{target} is whole")
    rows, columns = drawn.shape[:2]
    terminal.say(f"{target}: {columns} × {rows} pixels")
