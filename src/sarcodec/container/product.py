"""What a ``.sarc`` file holds of the product it was made from: its name, its measurements, its other files.

The other files stand in the archive byte for byte, as entries ``product/<path inside the product>``. Paths come from
anyone, and are checked before any is written: none leads out of the folder that is written to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sarcodec import errors

PREFIX = "product/"
MAX_FILES = 4096
MAX_FILE_BYTES = 1 << 26
MAX_BYTES = 1 << 28
"""Of all files but the measurements; those of a real product take some 10 MB."""

_FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')


@dataclass(frozen=True)
class Measurement:
    """One measurement: its path in the product, and what its raster says unlike that of the file.

    ``raster`` replaces entries of the file's raster description; None stands for an entry that it lacks.
    """

    path: str
    raster: Mapping[str, Any]


@dataclass(frozen=True)
class Product:
    """A product as a header names it: its folder, and a measurement for every band, in their order."""

    name: str
    measurements: tuple[Measurement, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"name": self.name, "measurements": [[m.path, dict(m.raster)] for m in self.measurements]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Product:
        """Inverse of :meth:`to_dict`; raises FormatError for anything else, unsafe paths included."""
        try:
            found = cls(
                str(record["name"]),
                tuple(Measurement(str(path), dict(raster)) for path, raster in record["measurements"]),
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise errors.FormatError(
                f"product: not a valid description of a product ({errors.plain(cause)})"
            ) from cause
        check_path(found.name)
        if "/" in found.name:
            raise errors.FormatError(f"product: {errors.plain(repr(found.name))} is no name of a folder")
        for measurement in found.measurements:
            check_path(measurement.path)
        return found


def entry_name(path: str) -> str:
    """Return the name of the entry that holds a file of the product."""
    return PREFIX + path


def check_path(path: str) -> None:
    """Raise FormatError for a path that is not plainly relative, on any system: it could lead out of a folder."""
    parts = path.split("/")
    if not all(parts) or not path.isprintable() or any(_is_odd(part) for part in parts) or _FORBIDDEN.search(path):
        raise errors.FormatError(
            f"product: the path {errors.plain(repr(path))} is refused; allowed are relative paths without .., "
            "backslashes, colons, control characters, and names that end in a dot or space or have more than 255 "
            "bytes"
        )


def _is_odd(part: str) -> bool:
    return part.endswith((".", " ")) or len(part.encode()) > 255


def check_files(product: Product | None, files: Mapping[str, int], bands: int) -> None:
    """Check the files of a product against its description, and their sizes against the limits.

    Parameters
    ----------
    product : Product, optional
        As the header describes it.
    files : mapping
        Bytes of every file, by its path in the product.
    bands : int
        Of the raster.

    Raises
    ------
    FormatError
        For files without a product, a number of measurements other than ``bands``, unsafe paths, two files in one
        place, or files over the limits.
    """
    if product is None:
        if files:
            raise errors.FormatError(
                f"product: holds {errors.plain(repr(next(iter(files))))} of a product that its header lacks"
            )
        return
    if len(product.measurements) != bands:
        raise errors.FormatError(f"product: has {len(product.measurements)} measurements for {bands} bands")
    for path in files:
        check_path(path)
    check_places([*files, *(m.path for m in product.measurements)])
    if len(files) > MAX_FILES or sum(files.values()) > MAX_BYTES:
        raise errors.FormatError(
            f"product: {len(files)} files of {sum(files.values()):,} bytes besides the measurements; allowed are "
            f"{MAX_FILES} files of {MAX_BYTES:,} bytes"
        )
    for path, size in files.items():
        if size > MAX_FILE_BYTES:
            raise errors.FormatError(
                f"product: {errors.plain(path)} has {size:,} bytes; allowed are {MAX_FILE_BYTES:,}"
            )


def check_places(paths: Iterable[str]) -> None:
    """Raise FormatError when two paths are one place where case does not count, or one is a folder of another."""
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        place = path.casefold()
        if place in seen:
            raise errors.FormatError(f"product: two files are to be {errors.plain(repr(path))}")
        seen.add(place)
        parts = place.split("/")
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
    if both := seen & folders:
        raise errors.FormatError(f"product: {errors.plain(repr(min(both)))} is both a file and a folder")
