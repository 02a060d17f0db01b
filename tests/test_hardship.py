"""Kills, full disks, read-only folders, second writers, damaged lines: nothing is half-written, a training goes on.

A full disk is a limit of file sizes here, which needs no rights; the benchmark takes a small file system too.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import places
import tiny
from command import call
from runs import FILES, config, history
from sarcodec import errors
from sarcodec.autoencoder import checkpoint
from sarcodec.codec import codec, encoding
from sarcodec.scene import files, model_store
from sarcodec.training import loop

resource = pytest.importorskip("resource", reason="limits as POSIX has them")
CODER = codec.Codec(model_store.bounded_engine(1.0))
TILES = encoding.Options(tile=64)
TRAIN = """
import sys, tiny
from pathlib import Path
from sarcodec.training import loop
from runs import config
folder, patches = map(Path, sys.argv[1:])
steps = loop.resume(folder) if (folder / "run.json").exists() else loop.start(
    folder, patches, tiny.CONFIG, config(epochs=60, save_minutes=1e-9))
for step in steps:
    print(step.step, flush=True)
"""


@pytest.fixture(scope="module")
def patch_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.patch_set(tmp_path_factory.mktemp("set") / "patches")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, patch_set: Path) -> dict[str, bytes]:
    """The files of a run of three epochs that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    list(loop.start(run, patch_set, tiny.CONFIG, config()))
    return contents(run)


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES}


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file of this process grows over so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that cannot be written: by its permissions, which do not bind root, for whom it is mounted."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("permissions do not bind root, and nothing can be mounted here")
    try:
        subprocess.run([mount, "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_training_that_is_killed_again_and_again(tmp_path: Path, patch_set: Path) -> None:
    """It saves after every step; whenever the kill comes, what is there loads, and it goes on from there."""
    run, reached = tmp_path / "run", 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(places.TESTS), *sys.path])}
    for steps in (3, 9):
        words = [sys.executable, "-c", TRAIN, str(run), str(patch_set)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        for _ in range(steps):
            seen = int(process.stdout.readline())
        time.sleep(0.007 * steps)  # somewhere between two steps
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        position = checkpoint.load(run / "last.ckpt").training["position"]
        assert position["step"] >= seen - 1 >= reached
        reached = position["step"]
        done = position["epoch"]
        assert not done or [line["epoch"] for line in history(run)][:done] == [*range(1, done + 1)]
        assert not [path.name for path in run.iterdir() if path.name.startswith(".")]
    end = -(-reached // 4) + 1
    list(loop.resume(run, epochs=end))
    undisturbed = tmp_path / "undisturbed"
    settings = config(epochs=60, save_minutes=1e-9)
    steps = loop.start(undisturbed, patch_set, tiny.CONFIG, settings)
    while next(steps).step < reached:
        pass
    steps.close()
    list(loop.resume(undisturbed, epochs=end))
    assert contents(run) == contents(undisturbed)


def test_a_kill_before_the_first_checkpoint(tmp_path: Path, patch_set: Path, whole: dict[str, bytes]) -> None:
    """History and best.ckpt of the first epoch are there, last.ckpt is not."""
    run = tmp_path / "run"
    steps = loop.start(run, patch_set, tiny.CONFIG, config())
    while next(steps).val is None:
        pass
    steps.close()
    (run / "last.ckpt").unlink()
    assert (run / "history.jsonl").exists()
    list(loop.resume(run))
    assert contents(run) == whole


@pytest.mark.parametrize("size", [100, 100_000, 250_000])
def test_a_full_disk_ends_a_training_in_a_line(
    tmp_path: Path, patch_set: Path, whole: dict[str, bytes], size: int
) -> None:
    """With room again it continues to the same end."""
    run = tmp_path / "run"
    with limited(size), pytest.raises(errors.OutputError, match=r"run .*: .*(large|space).*continue with --resume"):
        list(loop.start(run, patch_set, tiny.CONFIG, config()))
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    for name in FILES[:2]:
        if (run / name).exists():
            checkpoint.load(run / name)
    if (run / "run.json").exists():
        list(loop.resume(run))
        assert contents(run) == whole
    else:
        assert size == 100 and list(run.iterdir()) == []


def test_a_torn_line_of_history_is_mended(tmp_path: Path, patch_set: Path, whole: dict[str, bytes]) -> None:
    """As a full disk leaves it: the epoch it is of comes again."""
    run = tmp_path / "run"
    steps = loop.start(run, patch_set, tiny.CONFIG, config())
    while next(steps).step < 6:
        pass
    steps.close()
    with (run / "history.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    list(loop.resume(run))
    assert contents(run) == whole


def test_a_damaged_line_of_history_is_dropped_and_told(
    tmp_path: Path, patch_set: Path, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    list(loop.start(run, patch_set, tiny.CONFIG, config()))
    lines = whole["history.jsonl"].splitlines(keepends=True)
    (run / "history.jsonl").write_bytes(lines[0] + b'{"epoch": \xff\n' + lines[2])
    list(loop.resume(run))
    assert (run / "history.jsonl").read_bytes() == lines[0] + lines[2]
    assert "history.jsonl lacks 1 of 3 epochs, it was damaged" in caplog.text


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0.5), ("seed", 9), ("latent_channels", 8)])
def test_settings_that_changed_under_a_run_are_told(tmp_path: Path, patch_set: Path, name: str, value: Any) -> None:
    """run.json has no digest, last.ckpt has one."""
    run = tmp_path / "run"
    list(loop.start(run, patch_set, tiny.CONFIG, config(epochs=1)))
    record = json.loads((run / "run.json").read_text())
    record["model" if name in record["model"] else "training"][name] = value
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(errors.FormatError, match=rf"run\.json says {name} {value}, last\.ckpt was trained with"):
        loop.resume(run)


def test_a_read_only_folder(tmp_path: Path, patch_set: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    source, packed = tmp_path / "a.tif", tmp_path / "a.sarc"
    assert call("simulate", source, "--size", 64, 64) == 0
    files.compress_file(source, packed, CODER, options=TILES)
    with read_only(place):
        with pytest.raises(errors.OutputError, match=r"b\.sarc: .*nothing was written"):
            files.compress_file(source, place / "b.sarc", CODER)
        with pytest.raises(errors.OutputError, match=r"b\.tif: .*nothing was written"):
            files.decompress_file(packed, place / "b.tif")
        with pytest.raises(errors.OutputError, match=r"run .*give permission"):
            loop.start(place / "run", patch_set, tiny.CONFIG, config())
    assert list(place.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    source, packed, place = tmp_path / "a.tif", tmp_path / "a.sarc", tmp_path / "place"
    place.mkdir()
    assert call("simulate", source, "--size", 256, 256) == 0
    files.compress_file(source, packed, CODER, options=TILES)
    for share in (0.01, 0.5, 0.95):
        with (
            limited(int(share * packed.stat().st_size)),
            pytest.raises(errors.OutputError, match="nothing was written"),
        ):
            files.compress_file(source, place / "b.sarc", CODER, options=TILES)
        with (
            limited(int(share * source.stat().st_size)),
            pytest.raises(errors.OutputError, match="nothing was written"),
        ):
            files.decompress_file(packed, place / "b.tif")
        assert list(place.iterdir()) == []


def test_room_is_asked_for_before_a_raster_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, packed, place = tmp_path / "a.tif", tmp_path / "a.sarc", tmp_path / "place"
    place.mkdir()
    assert call("simulate", source, "--size", 64, 64) == 0
    files.compress_file(source, packed, CODER, options=TILES)
    need = 2 * 64 * 64 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 30, free=need - 1))
    with pytest.raises(errors.OutputError, match="no space left on device: 32,768 bytes are needed, 32,767 are free"):
        files.decompress_file(packed, place / "b.tif")
    assert list(place.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 30, free=need))
    files.decompress_file(packed, place / "b.tif")


def test_two_trainings_in_one_folder(tmp_path: Path, patch_set: Path, whole: dict[str, bytes]) -> None:
    """The second is refused, whether it begins or resumes; the first one's files are whole."""
    run = tmp_path / "run"
    first = loop.start(run, patch_set, tiny.CONFIG, config())
    next(first)
    with pytest.raises(errors.InputError, match="exists already"):
        loop.start(run, patch_set, tiny.CONFIG, config())
    with pytest.raises(errors.InputError, match="another process is training it"):
        list(loop.resume(run))
    list(first)
    assert contents(run) == whole
