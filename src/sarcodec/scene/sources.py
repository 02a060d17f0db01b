"""The sources of many files and where each goes; all that can be checked before anything is written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sarcodec import errors
from sarcodec.container import archive
from sarcodec.files import atomic, vsi
from sarcodec.raster import info as raster_info
from sarcodec.raster import product_files, safe, safe_output
from sarcodec.scene import source as scene_source
from sarcodec.scene import transcoding
from sarcodec.scene.output import Output

SUFFIX = transcoding.SUFFIX
RASTERS = (".tif", ".tiff")
"""What is taken of a folder, besides products."""
FILES = (SUFFIX, *RASTERS, ".html")
"""Suffixes of what is written: a folder that is made has none of them, for who names it so means a file."""


@dataclass(frozen=True)
class Job:
    """A source, the file to be made of it, and the pixels of all its bands; 0 where it cannot be opened."""

    source: str
    target: Path
    pixels: int


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
    place = check_folder(folder)
    found = expanded(sources, is_source, "GeoTIFF and no product (.sarc files are named one by one)")
    named = [(source, place / f"{stem(source)}{SUFFIX}") for source in found]
    todo = _without_clashes(named, overwrite, skip_existing)
    return [Job(source, target, _pixels(source, polarisation)) for source, target in todo]


def decompress_jobs(
    sources: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    output: Output | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> list[Job]:
    """Say what is restored from which ``.sarc`` file; mirrors :func:`jobs`.

    Of ``scene.sarc`` it is ``FOLDER/scene.tif``, or ``FOLDER/scene.SAFE`` where the file was made from a product and
    ``output`` asks for no window, bands or Cloud Optimized GeoTIFF. A folder stands for the ``.sarc`` files in it. A
    file that is damaged is a job like any other, and fails when its turn comes.

    Raises
    ------
    InputError
        As :func:`jobs`; also when ``output`` names a window or band that a file has not, or speckle of a file without
        a record of it.
    """
    place, wanted = check_folder(folder), output or Output()
    found = expanded(sources, is_file, ".sarc file")
    parts = {source: _part(source, wanted) for source in found}
    named = [(source, place / f"{stem(source)}{parts[source][0]}") for source in found]
    todo = _without_clashes(named, overwrite, skip_existing)
    return [Job(source, target, parts[source][1]) for source, target in todo]


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the folder for what is made of many; InputError where it can be none. It need not be there yet."""
    place = Path(folder)
    if str(place) == "-":
        raise errors.InputError("output -: nothing is written to standard output; pass the name of a folder")
    if place.exists() and not place.is_dir():
        raise errors.InputError(f"output {place}: is a file; pass the name of a folder")
    if safe.is_product(place) or (place.suffix.lower() in FILES and not place.exists()):
        raise errors.InputError(
            f"output {place}: is the name of a file or product; with a folder (-o) all paths are sources, pass the "
            "name of one"
        )
    if not place.parent.is_dir():
        raise errors.InputError(f"output {place}: the folder {place.parent} does not exist; create it first")
    return place


def is_source(path: Path) -> bool:
    """Tell whether a path in a folder is a source of :func:`jobs`: a GeoTIFF or a product."""
    return safe.is_product(path) or (path.suffix.lower() in RASTERS and not path.is_dir())


def is_file(path: Path) -> bool:
    """Tell whether a path in a folder is a ``.sarc`` file, by its name."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def expanded(sources: Sequence[str | os.PathLike[str]], wanted: Callable[[Path], bool], kind: str) -> list[str]:
    """Return the sources, and of a folder what is wanted of it; InputError for one that holds nothing of the kind.

    What begins with a dot, as temporaries do, is not taken of a folder.
    """
    found: list[str] = []
    for source in [os.fspath(source) for source in sources]:
        folder = Path(source)
        if not folder.is_dir() or wanted(folder):
            found.append(source)
            continue
        inside = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".") and wanted(p)]
        if not inside:
            raise errors.InputError(f"sources: {folder} holds no {kind}; pass another folder or files")
        found += map(str, inside)
    return found


def _without_clashes(
    named: Iterable[tuple[str, Path]], overwrite: bool, skip_existing: bool
) -> list[tuple[str, Path]]:
    """Return sources with their targets, but for those to be skipped; InputError for a target that is in the way."""
    owners: dict[Path, str] = {}
    todo = []
    for source, target in named:
        if target in owners:
            two = " and ".join(map(vsi.public, (owners[target], source)))
            raise errors.InputError(f"sources: {two} would both become {target}; rename one, or use two folders")
        owners[target] = source
        if not target.exists():
            todo.append((source, target))
        elif not skip_existing:
            if safe_output.is_product_target(target):
                atomic.check_folder(target, overwrite, product_files.MANIFEST)
            else:
                atomic.check(target, overwrite=overwrite)
            todo.append((source, target))
    return todo


def stem(source: str) -> str:
    """Return what a source is called: the name of a raster, file or product without its suffix."""
    path = Path(vsi.public(source).removesuffix("?…") if vsi.is_virtual(source) else source)
    if path.name == product_files.MANIFEST:
        path = path.parent
    name = path.name or path.resolve().name
    if not path.is_dir():
        name = Path(name).stem
    return name[: -len(".SAFE")] if name.upper().endswith(".SAFE") else name


def _pixels(source: str, polarisation: str | None) -> int:
    """Count the pixels of all bands; 0 for a source that is damaged, InputError for one that is missing."""
    try:
        with scene_source.open(source, polarisation) as raster:
            return raster.info.count * raster.info.height * raster.info.width
    except (errors.SarcodecError, OSError) as cause:
        if not Path(source).exists():
            raise errors.InputError(f"sources: {cause}; nothing was written") from cause
        return 0


def _part(source: str, output: Output) -> tuple[str, int]:
    """Return the suffix and the pixels of what is restored from a file; 0 for one that is damaged."""
    try:
        with archive.Reader(source) as reader:
            header, info = reader.header, raster_info.RasterInfo.from_dict(reader.header.raster)
    except errors.FormatError as cause:
        if is_file(Path(source)) and Path(source).exists():
            return RASTERS[0], 0
        raise errors.InputError(f"sources: {cause}; nothing was written") from cause
    try:
        pixels = len(output.bands_of(info)) * math.prod(output.window_of(info).shape)
        if output.speckle and header.seed is None:
            raise errors.InputError("speckle: there is no record of what was lost; leave the file or this out")
    except errors.InputError as cause:
        raise errors.InputError(f"{vsi.public(source)}: {cause}; nothing was written") from cause
    return ".SAFE" if header.product is not None and output.is_whole else RASTERS[0], pixels
