"""The command vrt: a file as other programs open it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarcodec import errors
from sarcodec.cli import terminal


def vrt(
    source: Annotated[Path, typer.Argument(help="A .sarc file.")],
    target: Annotated[Path | None, typer.Argument(help="The VRT to write. Default: beside the file.")] = None,
    model: terminal.Model = None,
    overwrite: terminal.Overwrite = False,
) -> None:
    """Write a VRT by which GDAL, rasterio, QGIS and rio-tiler open a file, and say which options they need.

    Exit status 1 when the VRT is written, but GDAL cannot read it here.
    """
    from sarcodec.gdal import settings
    from sarcodec.gdal import vrt as gdal_vrt

    written = gdal_vrt.write_vrt(source, target, model=model, overwrite=overwrite)
    try:
        gdal_vrt.check(written, source, model)
    except errors.FormatError as problem:
        terminal.fail(f"{written}: is written, but does not work here: {problem}")
        raise typer.Exit(1) from None
    terminal.say(f"{written}: GDAL reads the pixels of {source}, a window was compared")
    words = " ".join(f"{name}={value}" for name, value in settings.options().items())
    terminal.say(f"shell   export {words}")
    terminal.say(f"QGIS    Settings > Options > System > Environment: {words}; pip install sarcodec in QGIS's Python")
    terminal.say("Python  from sarcodec import gdal; gdal.enable()")
