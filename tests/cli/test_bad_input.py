"""What goes wrong with files and arguments, from end to end: one line that says what and why, and nothing written."""

import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import safe_product
import tiny
from sarcodec import cli, errors
from sarcodec.codec import codec
from sarcodec.container import compact
from sarcodec.raster import arrays as raster_arrays
from sarcodec.scene import arrays, files, model_store

Run = Callable[..., tuple[int, str, str]]
Entries = dict[str, bytes]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, as the console script does: status, stdout and stderr."""

    def runner(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["sarcodec", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return runner


@pytest.fixture(scope="module")
def scenes() -> tuple[bytes, bytes]:
    """Two files of two bands and 3×2 tiles each, with masks, alike but for the pixels."""
    made = []
    for seed in (1, 5):
        cube = np.stack([tiny.db((150, 120), seed + band) for band in range(2)])
        cube[:, 40:90, 100:] = np.nan
        coder = codec.Codec(model_store.bounded_engine(0.5))
        made.append(tiny.compress(tiny.Array(cube), "db", 64, 1, coder))
    return made[0], made[1]


def entries_of(data: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries: Entries, method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


def refused(run: Run, folder: Path, data: bytes, message: str) -> None:
    """Every way to read the file says the same in one line, and leaves the folder as it is."""
    (folder / "a.sarc").write_bytes(data)
    for command in (
        ("decompress", folder / "a.sarc", folder / "b.tif", "-q"),
        ("decompress", folder / "a.sarc", folder / "b.tif", "-q", "--window", 0, 0, 5, 5),
        ("decompress", folder / "a.sarc", folder / "b.SAFE", "-q"),
        ("info", folder / "a.sarc"),
    ):
        status, out, err = run(*command)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("error: ") and message in err
    with pytest.raises(errors.FormatError):
        arrays.decompress(data)
    assert [path.name for path in folder.iterdir()] == ["a.sarc"]


def exchanged(entries: Entries, one: str, other: str) -> Entries:
    return entries | {one: entries[other], other: entries[one]}


CHANGES: dict[str, Callable[[Entries, Entries], Entries]] = {
    "a tile is missing": lambda a, b: {k: v for k, v in a.items() if k != "0/1.1"},
    "a mask is missing": lambda a, b: {k: v for k, v in a.items() if k != "0/1.1m"},
    "tiles are swapped": lambda a, b: exchanged(a, "0/0.0", "0/1.0"),
    "masks are swapped": lambda a, b: exchanged(a, "0/0.1m", "0/1.1m"),
    "bands are swapped": lambda a, b: exchanged(a, "0/2.0", "1/2.0"),
    "a tile is from another scene": lambda a, b: a | {"1/0.1": b["1/0.1"]},
    "all but the header is from another scene": lambda a, b: b | {"header": a["header"]},
    "a tile too many": lambda a, b: a | {"0/3.0": b["0/0.0"]},
    "a tile is renamed": lambda a, b: {("0/9.9" if k == "0/1.1" else k): v for k, v in a.items()},
    "a tile is empty": lambda a, b: a | {"0/1.1": b""},
}


@pytest.mark.parametrize("name", CHANGES)
def test_archives_put_together_from_others(run: Run, tmp_path: Path, scenes: tuple[bytes, bytes], name: str) -> None:
    changed = CHANGES[name](*map(entries_of, scenes))
    refused(run, tmp_path, packed(changed), "its entries are not those it was written with")


@pytest.mark.parametrize("name", ["0/", "readme.txt", "__MACOSX/0/._0.0", "product/", "1/0.0.bak"])
def test_packed_again_with_what_does_not_belong(
    run: Run, tmp_path: Path, scenes: tuple[bytes, bytes], name: str
) -> None:
    """As zip -r or a file manager do: the message names it."""
    refused(run, tmp_path, packed({name: b""} | entries_of(scenes[0])), f"{name!r} is none of its kind")


def test_harmless_changes_of_the_archive(scenes: tuple[bytes, bytes]) -> None:
    """The order of entries, their compression and dates, a comment: all as before."""
    entries = entries_of(scenes[0])
    expected = arrays.decompress(scenes[0])
    names = list(entries)
    mixed = np.random.default_rng(0).permutation(names).tolist()
    for order in (names[::-1], sorted(names), mixed):
        again = packed({name: entries[name] for name in order})
        assert again != scenes[0]
        np.testing.assert_array_equal(arrays.decompress(again), expected)
    for again in (
        packed(entries, zipfile.ZIP_DEFLATED),
        packed(entries, comment=b"mine"),
        b"#!/bin/sh\n" + scenes[0],
    ):
        np.testing.assert_array_equal(arrays.decompress(again), expected)


def reheaded(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Change the header of a file; its digest, of the other entries, stays."""
    entries = entries_of(data)
    inflate = zlib.decompressobj(-15, zdict=compact.DICTIONARY)
    record = json.loads(inflate.decompress(entries["header"]))
    change(record)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=compact.DICTIONARY)
    text = json.dumps(record).encode()
    return packed(entries | {"header": deflate.compress(text) + deflate.flush()})


def raster(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["raster"].update(values)


def top(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update(values)


def bands(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda record: (record["raster"].update(count=count), record.update(bands=[[0.0]] * count))[0]


ABSURD: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "2^31 × 2^31": (raster(height=1 << 31, width=1 << 31), f"height is {1 << 31}; allowed are 1 to {1 << 20}"),
    "2^20 × 2^20": (raster(height=1 << 20, width=1 << 20), "is missing"),
    "2^31 wide": (raster(width=1 << 31), f"width is {1 << 31}"),
    "no rows": (raster(height=0), "height is 0"),
    "negative": (raster(width=-120), "width is -120"),
    "10^400": (raster(height=10**400), "allowed are 1 to"),
    "half a row": (raster(height=150.5), "not a valid raster description"),
    "10^6 bands": (raster(count=10**6), "bands is 1000000; allowed are 1 to 1024"),
    "2·10^4 bands with records": (bands(20_000), "bands is 20000; allowed are 1 to 1024"),
    "1024 bands": (bands(1024), "0.0 is missing"),
    "no bands": (bands(0), "bands is 0"),
    "tile 0": (top(tile=0), "tile is 0; allowed are 1 to 4096"),
    "tile -64": (top(tile=-64), "tile is -64"),
    "tile 2^31": (top(tile=1 << 31), f"tile is {1 << 31}"),
    "smaller tiles": (top(tile=1), "is missing"),
    "endless error": (top(max_error_db=1e308), "header: "),
    "no error": (top(max_error_db=0), "header: "),
    "complex": (raster(dtype="complex128"), "not a valid raster description"),
    "a billion bytes a pixel": (raster(dtype="V1000000000"), "not a valid raster description"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_fail_before_memory_is_taken(
    run: Run, tmp_path: Path, scenes: tuple[bytes, bytes], name: str
) -> None:
    change, message = ABSURD[name]
    data = reheaded(scenes[0], change)
    (tmp_path / "a.sarc").write_bytes(data)
    tracemalloc.start()
    try:
        status, out, err = run("decompress", tmp_path / "a.sarc", tmp_path / "b.tif", "-q")
        with pytest.raises(errors.FormatError, match=r"header|raster|missing"):
            arrays.decompress(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert peak < 20_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.sarc"]


def test_more_pixels_than_memory() -> None:
    with pytest.raises(errors.InputError, match=r"data: got a file of 1024×1048576×1048576 pixels.*decompress_file"):
        raster_arrays.room((1024, 1 << 20, 1 << 20), "float64")


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ((0, 0, 121, 10), "columns 0 to 121"),
        ((0, 149, 10, 2), "rows 149 to 151"),
        ((-1, 0, 10, 10), "columns -1 to 9"),
        ((0, -5, 10, 10), "rows -5 to 5"),
        ((5, 5, 0, 10), "columns 5 to 5"),
        ((5, 5, 10, 0), "rows 5 to 5"),
        ((50, 50, -10, 10), "columns 50 to 40"),
        ((1 << 40, 0, 1, 1), "columns 1099511627776 to"),
    ],
    ids=str,
)
def test_windows_that_are_not_there(
    run: Run, tmp_path: Path, scenes: tuple[bytes, bytes], window: tuple[int, ...], said: str
) -> None:
    (tmp_path / "a.sarc").write_bytes(scenes[0])
    status, out, err = run("decompress", tmp_path / "a.sarc", tmp_path / "b.tif", "-q", "--window", *window)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: window: got rows") and said in err and "150 rows and 120 columns" in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.sarc"]


@pytest.fixture
def work(tmp_path: Path, scenes: tuple[bytes, bytes], write_tif: Callable[..., Path]) -> Path:
    """A folder with a raster, a product, and a file of each."""
    write_tif("a.tif", tiny.db((150, 120)), tags={"UNITS": "sigma0 dB"})
    (tmp_path / "a.sarc").write_bytes(scenes[0])
    folder = safe_product.make(tmp_path).rename(tmp_path / "p.SAFE")
    files.compress_file(folder, tmp_path / "p.sarc", codec.Codec(model_store.bounded_engine(0.5)))
    return tmp_path


def listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_size) for path in folder.rglob("*")}


COMMANDS = {
    "compress": ("a.tif", "b.sarc"),
    "goal": ("a.tif", "b.sarc"),
    "product": ("p.SAFE", "b.sarc"),
    "decompress": ("a.sarc", "b.tif"),
    "cog": ("a.sarc", "b.tif"),
    "folder": ("p.sarc", "b.SAFE"),
    "zip": ("p.sarc", "b.zip"),
}


def command_of(name: str, work: Path, folder: Path) -> list[object]:
    source, target = COMMANDS[name]
    verb = "decompress" if source.endswith(".sarc") else "compress"
    more = {"cog": ("--cog",), "goal": ("--bpp", 2)}.get(name, () if verb == "decompress" else ("--max-error", 0.05))
    return [verb, work / source, folder / target, "-q", *more]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_in_place_of_the_target(run: Run, work: Path, name: str) -> None:
    (work / COMMANDS[name][1]).mkdir()
    (work / COMMANDS[name][1] / "note.txt").write_text("mine")
    before = listing(work)
    for overwrite in ((), ("--overwrite",)):
        status, out, err = run(*command_of(name, work, work), *overwrite)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        said = ("is a folder", "exists already", "is a folder without manifest.safe")
        assert f"output {work / COMMANDS[name][1]}: " in err and any(text in err for text in said)
        assert listing(work) == before


IN_A_NAMESPACE = """
mount -t tmpfs -o size=$1 none "$2" || exit 77
if [ "$3" = ro ]; then mount -o remount,ro "$2" || exit 77; fi
shift 3
"$@"
"""
REPORT = """
import os, sys, json
from pathlib import Path
import torch
from sarcodec import cli
torch.set_num_threads(1)
folder = Path(sys.argv[1])
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["sarcodec", *arguments]
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code
    sys.stderr.flush()
    print(f"{arguments[0]} {Path(arguments[2]).name} {status} {sorted(os.listdir(folder))}", flush=True)
"""


@pytest.mark.parametrize("kind", ["full", "ro"])
def test_full_and_read_only_disks(work: Path, kind: str) -> None:
    """A real file system without room, or to which nothing may be written, in a mount namespace of its own."""
    if shutil.which("unshare") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted only by root, on Linux")
    disk = work / "disk"
    disk.mkdir()
    commands = [list(map(str, command_of(name, work, disk))) for name in COMMANDS]
    size = "4k" if kind == "full" else "1m"
    job = [sys.executable, "-c", REPORT, disk, json.dumps(commands)]
    command = ["unshare", "--mount", "sh", "-c", IN_A_NAMESPACE, "sh", size, disk, kind, *job]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=240)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    lines, said = done.stdout.splitlines(), done.stderr.splitlines()
    assert lines == [f"{command[0]} {Path(command[2]).name} 2 []" for command in commands], done.stderr
    problems = [line for line in said if line.startswith("error: ")]
    assert len(problems) == len(commands)
    for (_, _, target, *_), line in zip(commands, problems, strict=True):
        assert line.startswith(f"error: output {target}: ") and line.endswith("nothing was written there")
