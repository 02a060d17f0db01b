"""Damaged and hostile files: what reading them comes to, and what kills leave.

    python benchmarks/robustness.py [--cases 20000] [--kills 100] [--seed 1] [-o docs/results/robustness.md]

Every case changes one sound file, reads the result, and is one of: *error*, one of the package's own; *identical*,
the pixels or weights of the sound file, or of the other one that it was spliced with; *other*, other content that
no checksum forbids (a forged ``.sarc`` file, whose checksums and digest were made anew, a TIFF file, which has
none); *wrong*, other content in spite of a checksum; *crashed*, any other exception or the end of the process.
There must be none of the last two. The same cases come from the same seed.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import sarcodec
from sarcodec import errors, tiling
from sarcodec.autoencoder import checkpoint
from sarcodec.container import archive as container_archive
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import files, model_store, verify
from sarcodec.simulate import scenes

CHUNK = 100
KINDS = ("damaged .sarc", "forged .sarc", "damaged TIFF", "damaged checkpoint")
SHARES = (0.4, 0.35, 0.15, 0.1)
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -1e308, 1e-320, "", "x" * 5000, "\x00\n\x1b[2J", [], {}, [[]],
    [None], {"a": 1}, [1] * 3000, "nan", "../../etc/passwd", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
)  # fmt: skip
"""Values for the fields of a header."""
NAMES = ("/", "../x", "0/0.0", "0/00.0", "1/999999999.0", "header", "product/../x", "0/0.0m", "é\x00", "0/-1.0")


@dataclass
class Tally:
    """What the cases of one kind came to."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest_s: float = 0.0
    most_mib: float = 0.0
    bad: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.outcomes += other.outcomes
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.most_mib = max(self.most_mib, other.most_mib)
        self.bad += other.bad


@dataclass(frozen=True)
class Sound:
    """A sound file, and what reading it gives."""

    data: bytes
    content: bytes
    suffix: str


def main() -> None:
    """Run all cases and kills, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    tallies = cases(asked.cases, asked.seed, asked.workers)
    text = table(tallies) + killed(asked.kills, asked.seed)
    print(text)
    for line in (line for tally in tallies.values() for line in tally.bad):
        print(line, file=sys.stderr)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")
    sys.exit(any(tally.bad for tally in tallies.values()))


def cases(count: int, seed: int, workers: int | None) -> dict[str, Tally]:
    """Run cases in processes of their own; a process that ends is a crash of its chunk."""
    chunks = []
    for kind, share in zip(KINDS, SHARES, strict=True):
        numbers = list(range(round(count * share)))
        chunks += [(kind, seed, tuple(numbers[i : i + CHUNK])) for i in range(0, len(numbers), CHUNK)]
    found = {kind: Tally() for kind in KINDS}
    while chunks:
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            futures = {pool.submit(run, *chunk): chunk for chunk in chunks}
            chunks = []
            for future in concurrent.futures.as_completed(futures):
                chunk = futures[future]
                try:
                    found[chunk[0]].add(future.result())
                except concurrent.futures.process.BrokenProcessPool:
                    half = len(chunk[2]) // 2
                    if half:
                        chunks += [(*chunk[:2], chunk[2][:half]), (*chunk[:2], chunk[2][half:])]
                    else:
                        ended = Tally(collections.Counter(crashed=1), bad=[f"{chunk}: the process ended"])
                        found[chunk[0]].add(ended)
    return found


def run(kind: str, seed: int, numbers: tuple[int, ...]) -> Tally:
    """Run some cases of a kind in this process."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = _sound_files(kind, folder)
        for number in numbers:
            rng = random.Random(f"{seed} {kind} {number}")
            file, another = rng.choice(sound), rng.choice(sound)
            change, data = _changed(kind, file, another, rng)
            path = folder / f"case{file.suffix}"
            path.write_bytes(data)
            before, start = _reset_peak(), time.perf_counter()
            outcome, said = _read(kind, path, (file.content, another.content))
            tally.slowest_s = max(tally.slowest_s, time.perf_counter() - start)
            tally.most_mib = max(tally.most_mib, _peak() - before)
            tally.outcomes[outcome] += 1
            if outcome in ("wrong", "crashed"):
                tally.bad.append(f"{kind} {number}, {change}: {outcome}, {said}")
    return tally


def _read(kind: str, path: Path, contents: tuple[bytes, bytes]) -> tuple[str, str]:
    try:
        content = READERS[path.suffix](path)
    except errors.SarcodecError as problem:
        clear = "\n" not in str(problem) and len(str(problem)) < 1000
        return ("error", "") if clear else ("crashed", f"message of {len(str(problem))} characters")
    except Exception as problem:
        return "crashed", repr(problem)[:300]
    if content in contents:
        return "identical", ""
    return ("other" if kind in ("forged .sarc", "damaged TIFF") else "wrong"), "other content"


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


def _sound_files(kind: str, folder: Path) -> list[Sound]:
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
    return damage(file.data, another.data, rng)


def damage(data: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage bytes: flips, a cut, an insertion, a loss, two ranges swapped, a splice with another file."""
    way = rng.choice(("flip", "flips", "truncate", "insert", "delete", "swap", "splice"))
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    if way in ("flip", "flips"):
        changed = bytearray(data)
        for _ in range(1 if way == "flip" else rng.randrange(2, 64)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return way, bytes(changed)
    if way == "truncate":
        return way, data[:a]
    if way == "insert":
        return way, data[:a] + rng.randbytes(rng.randrange(1, 100)) + data[a:]
    if way == "delete":
        return way, data[:a] + data[min(b, a + rng.randrange(1, 1000)) :]
    if way == "swap":
        length = rng.randrange(1, 200)
        return way, data[:a] + data[b : b + length] + data[a + length : b] + data[a : a + length] + data[b + length :]
    return way, data[:a] + other[min(a, len(other)) :]


def _entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _forge_tile(entries: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], bool]:
    name = rng.choice(
        [name for name in entries if name != container_archive.COMPACT_HEADER and name != container_archive.HEADER]
    )
    return entries | {name: damage(entries[name] or b"\x00", rng.choice(list(entries.values())), rng)[1]}, False


def _forge_header(entries: dict[str, bytes], rng: random.Random) -> tuple[dict[str, bytes], bool]:
    record = _record(entries)
    at: Any = record
    while True:
        key = rng.choice(list(at) if isinstance(at, dict) else list(range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        if isinstance(at, dict) and rng.random() < 0.1:
            del at[key]
        else:
            at[key] = rng.choice((*HOSTILE, *_record(entries).values()))
        return _with_record(entries, record), False


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
    inflate = zlib.decompressobj(-15, zdict=container_archive.DICTIONARY)
    return dict(json.loads(inflate.decompress(entries[container_archive.COMPACT_HEADER])))


def _with_record(entries: dict[str, bytes], record: dict[str, Any]) -> dict[str, bytes]:
    text = json.dumps(record).encode()
    if container_archive.HEADER in entries:
        return entries | {container_archive.HEADER: text}
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=container_archive.DICTIONARY)
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


def _reset_peak() -> float:
    """Begin to measure the most memory anew, and return what is in use, in MiB; Linux alone."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def killed(count: int, seed: int) -> str:
    """Kill compressing and decompressing at any time; say how often something was left, or half-written."""
    rng = random.Random(seed)
    left = half = ended = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sarcodec_ = [sys.executable, "-m", "sarcodec"]
        subprocess.run(
            [*sarcodec_, "simulate", str(folder / "a.tif"), "--size", "512", "512"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        begin = time.perf_counter()
        subprocess.run(
            [*sarcodec_, "compress", str(folder / "a.tif"), str(folder / "a.sarc")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        longest = time.perf_counter() - begin
        subprocess.run(
            [*sarcodec_, "decompress", str(folder / "a.sarc"), str(folder / "b.tif")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        whole = {".sarc": (folder / "a.sarc").read_bytes(), ".tif": (folder / "b.tif").read_bytes()}
        for words, suffix in _turns(folder, count):
            process = subprocess.Popen([*sarcodec_, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.3, 1.1) * longest)
            process.kill()
            process.wait()
            target = folder / "out" / f"target{suffix}"
            ended += target.exists()
            half += target.exists() and target.read_bytes() != whole[suffix]
            left += sum(path != target for path in target.parent.iterdir())
            for path in target.parent.iterdir():
                path.unlink()
    return (
        f"\n{count} times `kill -9` at any moment of compressing and decompressing: {ended} were through, {half} "
        f"targets half-written, {left} files left behind.\n"
    )


def _turns(folder: Path, count: int) -> Iterator[tuple[list[str], str]]:
    (folder / "out").mkdir()
    for number in range(count):
        suffix = (".sarc", ".tif")[number % 2]
        word, source = (("compress", "a.tif"), ("decompress", "a.sarc"))[number % 2]
        yield [word, str(folder / source), str(folder / "out" / f"target{suffix}"), "--quiet"], suffix


def table(tallies: dict[str, Tally]) -> str:
    """Lay the tallies out as a table of Markdown."""
    head = ("kind", "cases", "error", "identical", "other", "wrong", "crashed", "slowest, s", "most memory, MiB")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for kind, tally in tallies.items():
        counts = [f"{tally.outcomes[name]:,}" for name in head[2:7]]
        cells = [kind, f"{tally.outcomes.total():,}", *counts, f"{tally.slowest_s:.2f}", f"{tally.most_mib:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
