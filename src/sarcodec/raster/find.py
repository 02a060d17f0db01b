"""Rasters in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sarcodec import errors

RASTER_SUFFIXES = (".tif", ".tiff")
CODED_SUFFIX = ".sarc"
"""As :mod:`sarcodec.scene.transcoding` has it, which would load torch."""


def find_images(inputs: Sequence[str | os.PathLike[str]], *, coded: bool = False) -> list[Path]:
    """Collect GeoTIFFs from files and folders, sorted by name; InputError when there are none.

    ``.sarc`` files are refused unless ``coded``: what was coded has lost speckle, which models are trained to keep.
    """
    found: list[Path] = []
    for item in map(Path, inputs):
        if not item.exists():
            raise errors.InputError(f"input {item}: does not exist; pass GeoTIFF files or folders with some")
        found += [p for p in item.iterdir() if p.suffix.lower() in RASTER_SUFFIXES] if item.is_dir() else [item]
        if item.suffix.lower() == CODED_SUFFIX and not item.is_dir() and not coded:
            raise errors.InputError(
                f"input {item}: is a .sarc file, whose image has been coded and is not what a model should learn; "
                "pass its original, or restore it first if that is what you want (sarcodec decompress)"
            )
    names = [p.stem for p in found]
    if not found:
        advice = "; .sarc files are named one by one" if coded else ""
        raise errors.InputError(f"inputs: no GeoTIFF in {', '.join(map(str, inputs))}{advice}")
    if len(set(names)) < len(names):
        raise errors.InputError("inputs: two images have the same name; rename one")
    return sorted(found, key=lambda p: p.name)
