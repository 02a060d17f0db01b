"""Single files: ``.sarc`` files of three engines, TIFFs and checkpoints; damaged, or forged with sound checksums."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sarcodec
from hostile import changes
from sarcodec import tiling
from sarcodec.autoencoder import checkpoint
from sarcodec.container import archive as container_archive
from sarcodec.container import compact
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import files, model_store, verify
from sarcodec.simulate import scenes

KINDS = ("damaged .sarc", "forged .sarc", "damaged TIFF", "damaged checkpoint")
NAMES = ("/", "../x", "0/0.0", "0/00.0", "1/999999999.0", "header", "product/../x", "0/0.0m", "é\x00", "0/-1.0")


@dataclass(frozen=True)
class Sound:
    """A sound file, and what reading it gives."""

    data: bytes
    content: bytes
    suffix: str


@dataclass(frozen=True)
class Case:
    """A changed file: how, where it lies, what it may be read as, and whether anything would tell other content."""

    change: str
    path: Path
    contents: tuple[bytes, ...]
    is_told: bool


class Files:
    """Cases of one kind of file."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder, self.sound = kind, folder, _sound(kind, folder)

    def case(self, rng: random.Random) -> Case:
        """Draw a case and write it."""
        file, another = rng.choice(self.sound), rng.choice(self.sound)
        change, data = _changed(self.kind, file, another, rng)
        path = self.folder / f"case{file.suffix}"
        path.write_bytes(data)
        told = self.kind not in ("forged .sarc", "damaged TIFF")
        return Case(change, path, (file.content, another.content), told)

    def read(self, case: Case) -> bytes:
        """Return what a user would take from a file."""
        return READERS[case.path.suffix](case.path)


def _sarc(path: Path) -> bytes:
    verify.verify(path)
    return sarcodec.decompress(path).tobytes()


def _tiff(path: Path) -> bytes:
    files.compress_file(path, path.with_suffix(".sarc"), overwrite=True, quality=20)
    return path.with_suffix(".sarc").read_bytes()


def _weights(path: Path) -> bytes:
    tensors = checkpoint.load(path).weights
    return b"".join(name.encode() + value.numpy().tobytes() for name, value in sorted(tensors.items()))


READERS: dict[str, Callable[[Path], bytes]] = {".sarc": _sarc, ".tif": _tiff, ".ckpt": _weights}


def _sound(kind: str, folder: Path) -> list[Sound]:
    sigma0 = scenes.scene(96, 128, seed=3).sigma0
    if kind == "damaged checkpoint":
        path = folder / "sound.ckpt"
        checkpoint.save(path, checkpoint.load(model_store.shipped_models()["residual16"]))
        return [Sound(path.read_bytes(), _weights(path), ".ckpt")]
    if kind == "damaged TIFF":
        path = folder / "sound.tif"
        info = raster_info.RasterInfo(2, 96, 128, "float32", tags={"UNITS": "sigma0 intensity"})
        with geotiff.create_raster(path, info) as writer:
            for band, pixels in enumerate(sigma0):
                writer.write(band, tiling.Window(0, 96, 0, 128), pixels)
        return [Sound(path.read_bytes(), _tiff(path), ".tif")]
    made = []
    for asked in ({"quality": 40}, {"max_error": 0.5}, {"model": "residual16"}):
        data = sarcodec.compress(sigma0, quantity="intensity", **asked)
        made.append(Sound(data, sarcodec.decompress(data).tobytes(), ".sarc"))
    return made


def _changed(kind: str, file: Sound, another: Sound, rng: random.Random) -> tuple[str, bytes]:
    """Change a file in a way that is drawn; returns the name of the way too."""
    if kind == "forged .sarc":
        way = rng.choice((_forge_tile, _forge_header, _forge_name, _forge_bomb))
        return way.__name__, _signed(*way(_entries(file.data), rng))
    return changes.damage(file.data, another.data, rng)


def _entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _forge_tile(entries: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], bool]:
    name = rng.choice(
        [name for name in entries if name != container_archive.COMPACT_HEADER and name != container_archive.HEADER]
    )
    other = rng.choice(list(entries.values()))
    return entries | {name: changes.damage(entries[name] or b"\x00", other, rng)[1]}, False


def _forge_header(entries: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], bool]:
    values = (*changes.VALUES, *_record(entries).values())
    return _with_record(entries, changes.put_hostile(_record(entries), rng, values)), False


def _forge_name(entries: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], bool]:
    old = rng.choice(list(entries))
    new = rng.choice(NAMES)
    return {(new if name == old else name): data for name, data in entries.items()}, False


def _forge_bomb(entries: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], bool]:
    name = rng.choice(list(entries))
    return entries | {name: entries[name] + bytes(rng.choice((1 << 16, 1 << 20, 1 << 24)))}, True


def _record(entries: dict[str, bytes]) -> dict[str, Any]:
    if container_archive.HEADER in entries:
        return dict(json.loads(entries[container_archive.HEADER]))
    inflate = zlib.decompressobj(-15, zdict=compact.DICTIONARY)
    return dict(json.loads(inflate.decompress(entries[container_archive.COMPACT_HEADER])))


def _with_record(entries: dict[str, bytes], record: dict[str, Any]) -> dict[str, bytes]:
    text = json.dumps(record).encode()
    if container_archive.HEADER in entries:
        return entries | {container_archive.HEADER: text}
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=compact.DICTIONARY)
    return entries | {container_archive.COMPACT_HEADER: deflate.compress(text) + deflate.flush()}


def _signed(entries: dict[str, bytes], deflated: bool) -> bytes:
    """Pack entries with checksums and, where there is a header to hold it, a digest that hold."""
    packed = _packed(entries, deflated)
    header = (
        container_archive.COMPACT_HEADER if container_archive.COMPACT_HEADER in entries else container_archive.HEADER
    )
    with suppress(KeyError, ValueError, TypeError, zlib.error), zipfile.ZipFile(io.BytesIO(packed)) as archive:
        lines = sorted(f"{e.filename} {e.file_size} {e.CRC}\n" for e in archive.infolist() if e.filename != header)
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
        return _packed(_with_record(entries, _record(entries) | {"digest": digest}), deflated)
    return packed


def _packed(entries: dict[str, bytes], deflated: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()
