"""Which files are shown, by which name; nothing that a request says becomes a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sarcodec import errors
from sarcodec.container import archive
from sarcodec.files import vsi
from sarcodec.scene import sources
from sarcodec.serve import cache, images

BLOCK_BYTES = 256 << 20
"""Decoded blocks that are kept, of all images."""
OPEN = 12
"""Files that are kept open."""


class Gone(errors.FormatError):
    """A file is not there, or not any more."""


@dataclass(frozen=True)
class Entry:
    """A file that is shown: its name in addresses, its path, and of an original the path of its ``.sarc`` file."""

    name: str
    path: str
    of: str | None = None


class Library:
    """The files that were named when it was made, and what is open of them.

    Parameters
    ----------
    paths : sequence of path
        ``.sarc`` files, and folders of them. Of a folder what is a link to elsewhere is left out.
    original : path, optional
        What the one file was made from; anything that can be compressed.

    Raises
    ------
    InputError
        When there is nothing to show, or an original of several files.
    FormatError, ModelMissing
        When a file that was named cannot be opened.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], original: str | os.PathLike[str] | None = None
    ) -> None:
        found = [path for path in sources.expanded(paths, sources.is_file, ".sarc file") if _stays(path, paths)]
        if not found:
            raise errors.InputError("paths: all files there are links to other folders; name those files themselves")
        if original is not None and len(found) != 1:
            raise errors.InputError(f"original: belongs to one file, got {len(found)}; pass one, or leave it out")
        self.entries: dict[str, Entry] = {}
        for path in found:
            self._add(path, Path(path).name)
        if original is not None:
            self._add(os.fspath(original), Path(vsi.public(original)).name or "original", found[0])
        self._opener = images.codec_opener()
        self._blocks: images.Blocks = cache.Cache(BLOCK_BYTES, lambda block: block.nbytes)
        self._open: cache.Cache[images.Image] = cache.Cache(OPEN, lambda image: 1)
        self._real = {name: os.path.realpath(entry.path) for name, entry in self.entries.items()}
        named = {os.fspath(path) for path in paths}
        for entry in self.entries.values():
            if entry.of or entry.path in named:
                if not (Path(entry.path).exists() or vsi.is_virtual(entry.path)):
                    raise Gone(f"{entry.path}: there is no such file")
                self.open(entry.name)

    def _add(self, path: str, name: str, of: str | None = None) -> None:
        known, number = name, 2
        while known in self.entries:
            known, number = f"{name}-{number}", number + 1
        self.entries[known] = Entry(known, path, of)

    def open(self, name: str) -> images.Image:
        """Return the image of a name, opened again where its file has changed.

        Raises Gone for a name that there is not or a file that is away, FormatError for a damaged one.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise Gone(f"there is no file {errors.plain(name)} here; / lists those that are")
        return self._open.get(self._stamp(entry), lambda: self._opened(entry))

    def _opened(self, entry: Entry) -> images.Image:
        if entry.of is None:
            pixels: images.Pixels = images.Coded(Path(entry.path), self._opener)
        else:
            with archive.Reader(entry.of) as reader:
                pixels = images.Original(entry.path, reader.header)
        return images.Image(self._stamp(entry), pixels, self._blocks)

    def _stamp(self, entry: Entry) -> tuple[str, int, int, int]:
        """Return what is another when the file is; of what GDAL reads elsewhere, nothing is."""
        if entry.of is not None and vsi.is_virtual(entry.path):
            return entry.name, 0, 0, 0
        try:
            found = Path(entry.path).stat()
        except OSError as cause:
            raise Gone(f"{entry.name}: is not there any more ({cause.strerror})") from cause
        if os.path.realpath(entry.path) != self._real[entry.name]:
            raise Gone(f"{entry.name}: has become a link to elsewhere; start again to see that")
        return entry.name, found.st_mtime_ns, found.st_size, found.st_ino

    def said(self, text: str) -> str:
        """Return a message with names in place of paths, which are nobody's business beyond this machine."""
        for entry in sorted(self.entries.values(), key=lambda entry: -len(entry.path)):
            text = text.replace(entry.path, entry.name)
        return text


def _stays(path: str, paths: Sequence[str | os.PathLike[str]]) -> bool:
    """Tell whether a path was named itself, or lies in the folder it was found in."""
    if path in [os.fspath(named) for named in paths]:
        return True
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(Path(path).parent))
