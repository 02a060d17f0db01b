"""The files of a Sentinel-1 product, in a folder or a zip file, and whether they are what the manifest says."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path, PurePosixPath

from sarcodec import errors
from sarcodec.container import archive as container_archive
from sarcodec.container import product
from sarcodec.raster import manifest

MANIFEST = manifest.NAME


class Files:
    """The files of a product in a folder or zip file: :attr:`name` of the product, :attr:`sizes` by path."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        path = Path(place)
        self.place = path.parent if path.name == MANIFEST else path
        self._zip: zipfile.ZipFile | None = None
        try:
            if self.place.is_dir():
                self.name = self.place.resolve().name
                self._root = ""
                found = {file.relative_to(self.place).as_posix(): file for file in sorted(self.place.rglob("*"))}
                self.sizes = {name: file.stat().st_size for name, file in found.items() if file.is_file()}
            else:
                self._zip = zipfile.ZipFile(self.place)
                self.name, self._root, self.sizes = _in_zip(self._zip, self.place)
        except FileNotFoundError as cause:
            raise errors.FormatError(f"product {self.place}: there is no such file") from cause
        except errors.SarcodecError:
            self.close()
            raise
        except container_archive.DAMAGE as cause:
            raise errors.FormatError(
                f"product {self.place}: cannot be opened, or is truncated ({errors.plain(cause)})"
            ) from cause
        if MANIFEST not in self.sizes:
            self.close()
            raise errors.FormatError(f"product {self.place}: has no {MANIFEST}; pass a whole SAFE folder or its zip")

    def close(self) -> None:
        """Close the zip file, where it is one."""
        if self._zip is not None:
            self._zip.close()

    def read(self, path: str) -> bytes:
        """Return a file of at most :data:`product.MAX_FILE_BYTES`; FormatError when it is missing or damaged."""
        if path not in self.sizes:
            raise errors.FormatError(f"product {self.place}: {errors.plain(path)} is missing")
        if self.sizes[path] > product.MAX_FILE_BYTES:
            raise errors.FormatError(
                f"product {self.place}: {errors.plain(path)} has {self.sizes[path]:,} bytes, and the manifest "
                "does not call it a "
                f"measurement; allowed are {product.MAX_FILE_BYTES:,}"
            )
        try:
            if self._zip is not None:
                return self._zip.read(self._root + path)
            return (self.place / path).read_bytes()
        except container_archive.DAMAGE as cause:
            raise errors.FormatError(
                f"product {self.place}: {errors.plain(path)} is damaged ({errors.plain(cause)})"
            ) from cause

    def check(self, entry: manifest.Entry) -> None:
        """Read a file to its end; FormatError when its checksum in the manifest, or in a zip file, does not hold."""
        try:
            with (
                self._zip.open(self._root + entry.path) if self._zip else (self.place / entry.path).open("rb") as file
            ):
                holds = entry.holds(file)
        except container_archive.DAMAGE as cause:
            raise errors.FormatError(
                f"product {self.place}: {errors.plain(entry.path)} is damaged ({errors.plain(cause)})"
            ) from cause
        if not holds:
            raise errors.FormatError(
                f"product {self.place}: {errors.plain(entry.path)} has not the checksum that {MANIFEST} says: it is "
                "damaged, or was changed or restored since; get the product again, or pass --accept-loss "
                "(accept_loss) to compress it as it is"
            )

    def raster(self, path: str) -> str:
        """Return the name by which GDAL opens a file."""
        if self._zip is not None:
            return f"/vsizip/{{{self.place.resolve().as_posix()}}}/{self._root}{path}"
        return str(self.place / path)


def _in_zip(archive: zipfile.ZipFile, place: Path) -> tuple[str, str, dict[str, int]]:
    """Return the product's name, the folder in the archive with a slash, and its files' sizes by path below it."""
    entries = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.filename.endswith("/")}
    if "" in entries:
        raise errors.FormatError(f"product {place}: holds a file without a name, it is damaged")
    roots = [name.removesuffix(MANIFEST) for name in entries if PurePosixPath(name).name == MANIFEST]
    roots = [root for root in roots if root.count("/") <= 1]
    if len(roots) != 1:
        held = f"{len(roots)} products; unpack it and pass one" if roots else f"no {MANIFEST}; pass a whole product"
        raise errors.FormatError(f"product {place}: holds {held}")
    (root,) = roots
    for name in entries:
        if not name.startswith(root):
            archive.open(name).close()  # fails where the name is a damaged one, by which a file would be lost
    files = {name.removeprefix(root): size for name, size in entries.items() if name.startswith(root)}
    return root.rstrip("/") or place.stem, root, files
