"""The command simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarcodec.cli import terminal


def simulate(
    target: Annotated[Path, typer.Argument(help="The GeoTIFF to write: linear sigma0, float32, nodata NaN.")],
    size: Annotated[tuple[int, int], typer.Option(help="Height and width in pixels.")] = (1024, 1024),
    looks: Annotated[float, typer.Option(help="Equivalent number of looks.")] = 4.4,
    seed: terminal.Seed = 0,
    border: Annotated[bool, typer.Option(help="Slanted no-data borders, as a swath has.")] = True,
    overwrite: terminal.Overwrite = False,
) -> None:
    """Simulate a scene: sea, fields, forest, towns, a river, ships, under correlated speckle."""
    from sarcodec import tiling
    from sarcodec.raster import geotiff
    from sarcodec.raster import info as raster_info
    from sarcodec.simulate import scenes

    scene = scenes.scene(*size, looks=looks, seed=seed, nodata_border=border)
    raster = raster_info.RasterInfo(
        count=len(scene.polarisations),
        height=size[0],
        width=size[1],
        dtype="float32",
        nodata=float("nan"),
        crs="EPSG:32632",
        transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5400000.0),
        descriptions=scene.polarisations,
        tags={"UNITS": "sigma0 intensity", "SOURCE": f"simulated by sarcodec, {looks} looks, seed {seed}"},
    )
    with geotiff.create_raster(target, raster, overwrite=overwrite) as writer:
        for band, pixels in enumerate(scene.sigma0):
            writer.write(band, tiling.Window(0, size[0], 0, size[1]), pixels)
    terminal.say(f"{target}: {raster.count} bands of {size[0]:,}×{size[1]:,} pixels")
