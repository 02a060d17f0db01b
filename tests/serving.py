"""Files on a server of this machine, what it was asked for, and files of many tiles that are quickly made."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import places
import sarcodec
import tiny
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.scene import files


class Server:
    """A server of a folder's files, and what it was asked for: see range_server.py."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, places.TESTS / "range_server.py", folder]
        self.folder = folder
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.host = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def asked(self) -> list[str]:
        log = self.folder.parent / "asked.txt"
        return log.read_text().splitlines() if log.exists() else []

    def sent(self) -> list[int]:
        """Bytes of every answer since this was asked last; of one to HEAD 0."""
        log = self.folder.parent / "sent.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return [int(line.split()[1]) for line in lines]

    def tokens(self) -> list[str]:
        """The header ``X-Token`` of every request since :meth:`sent` was asked last."""
        return [line.split()[2] for line in (self.folder.parent / "sent.txt").read_text().splitlines()]

    def behave(self, manner: str) -> None:
        (self.folder.parent / "manner.txt").write_text(manner)

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)


def many_tiles(path: Path, side: int, tile: int, quality: float = 100) -> Path:
    """Write a file of side² tiles that all hold the same symbols, those of one tile of speckle that was coded."""
    one = io.BytesIO()
    source = path.with_suffix(".one")
    files.compress_file(
        tiny.db((tile, tile)), source, quantity="db", quality=quality, options=encoding.Options(tile=tile)
    )
    one.write(source.read_bytes())
    source.unlink()
    with sarcodec.Reader(one) as reader, archive.Writer(path) as writer:
        raster = reader.header.raster | {"height": side * tile, "width": side * tile}
        entry = reader.read("0/0.0", 1 << 24)
        for row in range(side):
            for column in range(side):
                writer.add(archive.tile_name(0, row, column), entry)
        writer.finish(dataclasses.replace(reader.header, raster=raster))
    return path
