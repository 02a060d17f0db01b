"""A static catalogue of an archive: ``catalog.json`` and an item a file, with relative links, in its own folder."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sarcodec import errors
from sarcodec.files import atomic
from sarcodec.scene import sources
from sarcodec.stac import item
from sarcodec.text import jsontext

CATALOG = "catalog.json"
FOLDER = "stac"
"""Beside the files, where no other is named."""


class Written(NamedTuple):
    """What came of it: the catalogue, how many items it has, and what is wrong with files that it has not."""

    path: Path
    items: int
    faults: list[str]


def write(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    begin: Callable[[Path], None] | None = None,
) -> Written:
    """Write the catalogue of the ``.sarc`` files in a folder, whole or not at all.

    Parameters
    ----------
    archive : path
        Folder of the files.
    folder : path, optional
        Where the catalogue goes; ``ARCHIVE/stac`` when not given. Links from there to the files are relative.
    overwrite : bool
        Whether a catalogue that is there is replaced.
    begin : callable, optional
        Called with every file before it is read.

    Raises
    ------
    InputError, OutputError
        When there is no such file, none can be described, or the folder cannot be written.
    """
    place = Path(archive)
    if not place.is_dir():
        raise errors.InputError(f"archive: {place} is no folder; pass a folder of .sarc files")
    files = [Path(name) for name in sources.expanded([place], sources.is_file, ".sarc file")]
    target = place / FOLDER if folder is None else Path(folder)
    faults = []
    with atomic.folder(target, overwrite=overwrite, mark=CATALOG) as temporary:
        links = [_link("root", CATALOG)]
        for file in files:
            if begin:
                begin(file)
            try:
                record = item.item(file, _relative(file, target))
            except (errors.FormatError, OSError) as problem:
                faults.append(str(problem))
                continue
            name = _name(file.stem, temporary)
            record["links"] = [_link("root", CATALOG), _link("parent", CATALOG)]
            _write(temporary / name, record)
            links.append(_link("item", name, "application/geo+json"))
        if len(links) == 1:
            raise errors.InputError(f"archive: none of the files in {place} can be described: {faults[0]}")
        _write(temporary / CATALOG, _catalog(place, links))
    return Written(target / CATALOG, len(links) - 1, faults)


def _catalog(place: Path, links: list[dict[str, Any]]) -> dict[str, Any]:
    name = place.resolve().name or "archive"
    return {
        "type": "Catalog",
        "stac_version": item.VERSION,
        "id": name,
        "title": name,
        "description": f"SAR backscatter in the {len(links) - 1} .sarc files of {name}",
        "links": links,
    }


def _name(stem: str, folder: Path) -> str:
    """Return a free name for an item, of letters that need no quotes in a link: not all clients take them away."""
    plain, number = re.sub(r"[^A-Za-z0-9_.-]", "_", stem), 2
    name = f"{plain}.json"
    while name == CATALOG or (folder / name).exists():
        name, number = f"{plain}-{number}.json", number + 1
    return name


def _link(relation: str, name: str, kind: str = "application/json") -> dict[str, Any]:
    return {"rel": relation, "href": f"./{name}", "type": kind}


def _relative(file: Path, folder: Path) -> str:
    """Return the address of a file, relative to that of an item in a folder."""
    parts = Path(os.path.relpath(file.resolve(), folder.resolve())).parts
    return "/".join(urllib.parse.quote(part) for part in parts)


def _write(path: Path, record: dict[str, Any]) -> None:
    path.write_text(jsontext.dumps(record, indent=1) + "\n", encoding="utf-8")
