"""Signals end commands without a trace; what a kill leaves, the next run removes; writers do not mix."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import tiny
from command import INTERRUPTIBLE, call
from sarcodec.autoencoder import checkpoint
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.entropy import scale
from sarcodec.scene import files

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

START = INTERRUPTIBLE

NAMED = f"import os; vars(os).pop('O_TMPFILE', None)\n{START}"
"""As where no file can be open without a name."""

WAIT_S = 120
FAST = ("--tile", "256", "--effort", "1")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scene that takes some time to code, a model, and a file of the scene."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.ckpt").write_bytes(tiny.lapped_bytes())
    for name, side in (("scene", 512), ("small", 64)):
        assert call("simulate", folder / f"{name}.tif", "--size", side, side) == 0
    options = encoding.Options(step=2300, tile=128)
    files.compress_file(folder / "scene.tif", folder / "scene.sarc", tiny.lapped_codec(), options=options)
    return folder


def start(work: Path, target: Path, *more: str, program: str = START) -> subprocess.Popen[str]:
    """Begin to compress or decompress to ``target``; slow enough that a signal comes in between."""
    if target.suffix == ".sarc":
        words = ["compress", str(work / "scene.tif"), str(target), "--tile", "64", "--effort", "4"]
    else:
        words = ["decompress", str(work / "scene.sarc"), str(target)]
    command = [sys.executable, "-c", program, *words, "--model", str(work / "tiny.ckpt"), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def temporary_of(process: subprocess.Popen[str], folder: Path, after: Path | None = None) -> Path:
    """Wait until the process has its temporary, and that has bytes; it may be an open file without a name.

    One that has become the file ``after`` already, but is still open, does not count.
    """
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with suppress(OSError):  # it has ended
            for path in [*folder.glob(f".*-{process.pid}-*.part*"), *unnamed(process, folder)]:
                if path.stat().st_size > 0 and not (after and path.samefile(after)):
                    return path
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise TimeoutError(f"no temporary in {folder}")


def unnamed(process: subprocess.Popen[str], folder: Path) -> list[Path]:
    """Open files of a process that have no name, in a folder."""
    handles = Path(f"/proc/{process.pid}/fd")
    if not handles.is_dir():
        return []
    return [path for path in handles.iterdir() if str(path.readlink()).startswith(f"{folder}/#")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["out.sarc", "out.tif"])
def test_a_signal_leaves_nothing(work: Path, tmp_path: Path, number: signal.Signals, name: str) -> None:
    process = start(work, tmp_path / name)
    temporary_of(process, tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (128 + number, "")
    assert err == f"interrupted; nothing was written to {tmp_path / name}\n"
    assert names(tmp_path) == []


def test_an_old_file_stays(work: Path, tmp_path: Path) -> None:
    (tmp_path / "out.sarc").write_bytes(b"old")
    process = start(work, tmp_path / "out.sarc", "--overwrite", "--psnr", "33")
    temporary_of(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 143
    process.communicate()
    assert names(tmp_path) == ["out.sarc"] and (tmp_path / "out.sarc").read_bytes() == b"old"


def test_many_products_tell_how_many_there_are(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    words = ["compress", str(work / "small.tif"), str(work / "scene.tif"), "-o", str(folder)]
    options = ["--model", str(work / "tiny.ckpt"), "--tile", "64", "--effort", "4"]
    command = [sys.executable, "-c", START, *words, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for((folder / "small.sarc").is_file)
    temporary_of(process, folder, after=folder / "small.sarc")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert err == f"interrupted; 1 of 2 files were written to {folder}\n"
    assert names(folder) == ["small.sarc"]


def test_many_files_tell_how_many_are_restored(work: Path, tmp_path: Path) -> None:
    folder, small = tmp_path / "restored", tmp_path / "small.sarc"
    files.compress_file(work / "small.tif", small, tiny.lapped_codec())
    words = [
        "decompress",
        str(small),
        str(work / "scene.sarc"),
        "-o",
        str(folder),
        "--model",
        str(work / "tiny.ckpt"),
    ]
    command = [sys.executable, "-c", START, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for((folder / "small.tif").is_file)
    temporary_of(process, folder)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    assert err == f"interrupted; 1 of 2 files were written to {folder}\n"
    assert names(folder) == ["small.tif"]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_ignored_signal_stays_ignored(work: Path, tmp_path: Path) -> None:
    ignoring = START.replace("signal.default_int_handler", "signal.SIG_IGN")
    words = ["decompress", str(work / "scene.sarc"), str(tmp_path / "out.tif"), "--model", str(work / "tiny.ckpt")]
    process = subprocess.Popen([sys.executable, "-c", ignoring, *words], stdout=subprocess.PIPE, text=True)
    temporary_of(process, tmp_path)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 0 and names(tmp_path) == ["out.tif"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
@pytest.mark.parametrize("name", ["out.sarc", "out.tif"])
def test_a_kill_leaves_nothing(work: Path, tmp_path: Path, name: str) -> None:
    killed = start(work, tmp_path / name)
    temporary_of(killed, tmp_path)
    killed.kill()
    killed.communicate(timeout=WAIT_S)
    assert killed.returncode == -signal.SIGKILL and names(tmp_path) == []


def test_a_kill_leaves_a_named_temporary_and_the_next_run_removes_it(work: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.sarc"
    killed = start(work, target, program=NAMED)
    left = temporary_of(killed, tmp_path)
    killed.kill()
    killed.communicate(timeout=WAIT_S)
    assert names(tmp_path) == [left.name]
    slow = start(work, target, program=NAMED)
    other = temporary_of(slow, tmp_path)
    assert names(tmp_path) == [other.name]
    slow.send_signal(signal.SIGSTOP)
    fast = start(work, target, *FAST)
    temporary_of(fast, tmp_path)
    assert other.exists()  # for its writer lives
    assert fast.communicate(timeout=WAIT_S)[1] == "" and fast.returncode == 0
    whole = target.read_bytes()
    slow.send_signal(signal.SIGCONT)
    warning, error = slow.communicate(timeout=WAIT_S)[1].splitlines()
    assert warning == f"removed {left}, which a writer that was killed had left"
    assert error.startswith(f"error: output {target}: exists already; pass overwrite") and slow.returncode == 2
    assert names(tmp_path) == ["out.sarc"] and target.read_bytes() == whole
    with archive.Reader(target) as reader:
        assert reader.header.shape == (2, 512, 512)


def test_two_writers_that_may_overwrite(work: Path, tmp_path: Path) -> None:
    """Each file is whole; the last to finish stays."""
    target = tmp_path / "out.sarc"
    one, two = (start(work, target, "--overwrite", *FAST, "--quality", quality) for quality in ("30", "50"))
    assert [process.communicate(timeout=WAIT_S)[1] for process in (one, two)] == ["", ""]
    assert (one.returncode, two.returncode) == (0, 0)
    with archive.Reader(target) as reader:
        assert reader.header.step in (scale.DEFAULT_STEP, 2202)
    assert names(tmp_path) == ["out.sarc"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["compress", "Mpx/s"]),
        (("--psnr", "31"), ["search, pass", "Mpx/s"]),
        (("-o", "archive"), ["small.tif: compress", "Mpx/s"]),
    ],
)
def test_the_bar_on_a_terminal(work: Path, tmp_path: Path, options: tuple[str, ...], expected: list[str]) -> None:
    shown, out = on_terminal(work, tmp_path, *options)
    for text in expected:
        assert text in shown
    assert out.startswith("archive/small.sarc" if "-o" in options else "out.sarc")


def test_no_bar_when_quiet(work: Path, tmp_path: Path) -> None:
    shown, out = on_terminal(work, tmp_path, "--quiet")
    assert (shown, out.count("\n")) == ("", 2)  # the size, and what the source was taken for


def on_terminal(work: Path, folder: Path, *options: str) -> tuple[str, str]:
    """Run compress with a terminal for stderr; return what that has shown, and stdout."""
    paths = [str(work / "small.tif")] + ([] if "-o" in options else ["out.sarc"])
    words = ["compress", *paths, "--model", str(work / "tiny.ckpt"), *options]
    import pty  # which is not everywhere

    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", START, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
        env={**os.environ, "COLUMNS": "160", "TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    while part := read(master):
        shown += part
    os.close(master)
    out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, shown
    return shown.decode(), out


def read(terminal: int) -> bytes:
    """Read what there is; nothing once the other side is closed, which Linux tells by an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_training(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of an epoch: one line that says how to continue, and a continuation from there."""
    patch_set, run = tiny.patch_set(tmp_path / "patches", train=64), tmp_path / "run"
    words = [str(patch_set), "-o", str(run), "--base-channels", "8", "--latent-channels", "4", "--batch-size", "1"]
    command = [sys.executable, "-c", START, "train", *words, "--epochs", "40", "--no-tensorboard", "--seed", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + WAIT_S
    while not (run / "history.jsonl").exists() and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1] == f"interrupted; saved; continue with: sarcodec train --resume {run}"
    at = checkpoint.load(run / "last.ckpt").training["position"]
    assert at["step"] == 64 * at["epoch"] + at["batch"] >= 64
    refused = subprocess.run(
        [sys.executable, "-c", START, "train", "--resume", str(run), "--learning-rate", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2 and "--learning-rate" in refused.stderr
    epochs = str(at["epoch"] + 1)
    rest = subprocess.run(
        [sys.executable, "-c", START, "train", "--resume", str(run), "--epochs", epochs, "--quiet"], check=False
    )
    assert rest.returncode == 0
    assert checkpoint.load(run / "last.ckpt").training["position"]["epoch"] == at["epoch"] + 1
