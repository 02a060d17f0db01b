import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sarcodec import errors
from sarcodec.files import atomic


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether files can be open without a name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("files without a name are Linux's")
    return str(request.param)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "out.sarc"
    path.write_bytes(b"old")
    return path


def test_appears_only_when_the_block_ends(tmp_path: Path, system: str) -> None:
    target = tmp_path / "out.tif"
    with atomic.output(target) as temporary:
        temporary.write_bytes(b"new")
        assert names(tmp_path) == ([] if system == "unnamed" else [temporary.name])
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out.tif"]


def test_a_temporary_that_must_have_a_name(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    with atomic.output(target, named=True) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".tif"
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out.tif"]


def test_overwrite_replaces_whole(old: Path) -> None:
    with atomic.output(old, overwrite=True) as temporary:
        temporary.write_bytes(b"newer")
        assert old.read_bytes() == b"old"
    assert old.read_bytes() == b"newer"


@pytest.mark.parametrize("fault", [ValueError("x"), KeyboardInterrupt(), errors.FormatError("x")])
def test_an_exception_inside_leaves_the_old_file_and_nothing_else(old: Path, fault: BaseException) -> None:
    with pytest.raises(type(fault)) as caught, atomic.output(old, overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        raise fault
    assert caught.value is fault
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["out.sarc"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EFBIG, errno.EIO])
def test_a_system_error_becomes_an_output_error_that_names_the_path(tmp_path: Path, code: int) -> None:
    target = tmp_path / "out.sarc"
    with pytest.raises(errors.OutputError) as caught, atomic.output(target) as temporary:
        temporary.write_bytes(b"half")
        raise OSError(code, os.strerror(code))
    assert str(target) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert names(tmp_path) == []


def test_an_output_error_inside_is_passed_on_as_it_is(tmp_path: Path) -> None:
    inner = errors.OutputError("inner")
    with pytest.raises(errors.OutputError) as caught, atomic.output(tmp_path / "a"):
        raise inner
    assert caught.value is inner


def test_a_block_that_writes_nothing_is_an_output_error(old: Path) -> None:
    with pytest.raises(errors.OutputError, match=r"out\.sarc"), atomic.output(old, overwrite=True):
        pass
    assert old.read_bytes() == b"old"


def test_refusals_come_before_the_block_runs(old: Path) -> None:
    folder = old.parent
    refused = [
        (old, False, "exists already; pass overwrite"),
        (folder / "missing" / "a.sarc", True, "missing does not exist"),
        (old / "a.sarc", True, "does not exist"),
        (folder, True, "is a folder"),
        (Path(os.devnull), True, "is a device"),
    ]
    for target, overwrite, reason in refused:
        with pytest.raises(errors.InputError, match=reason), atomic.output(target, overwrite=overwrite):
            pytest.fail("the block must not run")
    assert names(folder) == ["out.sarc"]
    assert old.read_bytes() == b"old"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "ours", b"x")
    (tmp_path / "other").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_scratch_folders_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic.scratch(tmp_path / "out.zip") as folder:
        (folder / "sub").mkdir()
        assert names(tmp_path) == [folder.name]
        raise ValueError
    assert names(tmp_path) == []


def test_long_names(tmp_path: Path) -> None:
    longest = "ä" * 125 + ".tif"
    atomic.write_bytes(tmp_path / longest, b"x")
    with pytest.raises(errors.OutputError):
        atomic.write_bytes(tmp_path / ("a" * 300 + ".tif"), b"x")
    assert names(tmp_path) == [longest]


def test_write_bytes(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    atomic.write_bytes(str(target), b"one")
    with pytest.raises(errors.InputError, match="exists"):
        atomic.write_bytes(target, b"two")
    assert target.read_bytes() == b"one"
    atomic.write_bytes(target, b"two", overwrite=True)
    assert target.read_bytes() == b"two"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(errors.OutputError, match="denied"):
        atomic.write_bytes(tmp_path / "a", b"x")


def test_a_full_device(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is a Linux device")
    with (
        pytest.raises(errors.OutputError, match="No space left"),
        atomic.output(tmp_path / "a", named=True) as temporary,
    ):
        temporary.symlink_to(full)
        temporary.write_bytes(b"x" * 100)
    assert names(tmp_path) == []
    assert full.exists()


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    path = tmp_path / "out.SAFE"
    (path / "sub").mkdir(parents=True)
    (path / "mark").write_text("old")
    return path


def test_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.SAFE"
    with atomic.folder(target, mark="mark") as temporary:
        (temporary / "mark").write_text("new")
        assert not target.exists() and temporary.parent == target.parent
    assert names(tmp_path) == ["out.SAFE"] and names(target) == ["mark"]


def test_folder_is_replaced_whole(old_folder: Path) -> None:
    with atomic.folder(old_folder, overwrite=True, mark="mark") as temporary:
        (temporary / "other").write_text("new")
        assert names(old_folder) == ["mark", "sub"]
    assert names(old_folder) == ["other"] and names(old_folder.parent) == ["out.SAFE"]


@pytest.mark.parametrize("fault", [ValueError("x"), KeyboardInterrupt(), errors.FormatError("x")])
def test_an_exception_inside_leaves_the_old_folder(old_folder: Path, fault: BaseException) -> None:
    with pytest.raises(type(fault)), atomic.folder(old_folder, overwrite=True, mark="mark") as temporary:
        (temporary / "half").write_text("half")
        raise fault
    assert names(old_folder) == ["mark", "sub"] and names(old_folder.parent) == ["out.SAFE"]


def test_a_failed_rename_puts_the_old_folder_back(old_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with (
        pytest.raises(errors.OutputError, match="nothing was written"),
        atomic.folder(old_folder, overwrite=True, mark="mark"),
    ):
        pass
    assert names(old_folder) == ["mark", "sub"] and names(old_folder.parent) == ["out.SAFE"]


def test_a_folder_that_another_made_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.SAFE"
    with pytest.raises(errors.InputError, match="--overwrite"), atomic.folder(target, mark="mark") as temporary:
        (temporary / "mark").write_text("mine")
        target.mkdir()
        (target / "theirs").write_text("theirs")
    assert names(target) == ["theirs"] and names(tmp_path) == ["out.SAFE"]


def test_folders_that_are_not_replaced(tmp_path: Path, old_folder: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    for name, overwrite, message in (
        ("file", True, "is a file"),
        ("full", True, "without mark"),
        ("out.SAFE", False, "--overwrite"),
        ("nowhere/out", True, "create it first"),
    ):
        with (
            pytest.raises(errors.InputError, match=message),
            atomic.folder(tmp_path / name, overwrite=overwrite, mark="mark"),
        ):
            pass
    assert names(tmp_path) == ["file", "full", "out.SAFE"]


def test_the_second_of_two_writers_is_told(tmp_path: Path) -> None:
    target = tmp_path / "out.sarc"
    with (
        pytest.raises(errors.InputError, match=r"out\.sarc: exists already; pass overwrite"),
        atomic.output(target) as late,
    ):
        late.write_bytes(b"late")
        with atomic.output(target) as early:
            early.write_bytes(b"early")
    assert target.read_bytes() == b"early" and names(tmp_path) == ["out.sarc"]


@pytest.mark.parametrize("there", [False, True])
def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = tmp_path / "out.sarc"
    try:
        with atomic.output(target) as temporary:
            temporary.write_bytes(b"mine")
            if there:
                target.write_bytes(b"theirs")
    except errors.InputError as problem:
        assert there and "exists already" in str(problem)
    assert target.read_bytes() == (b"theirs" if there else b"mine") and names(tmp_path) == ["out.sarc"]


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_writers_left_is_named_and_removed(
    tmp_path: Path, dead: int, caplog: pytest.LogCaptureFixture
) -> None:
    with atomic.output(tmp_path / "out.sarc", named=True) as alive:
        alive.write_bytes(b"another thread's")
        left = tmp_path / alive.name.replace(f"-{os.getpid()}-", f"-{dead}-")
        left.write_bytes(b"half")
        folder = tmp_path / left.with_suffix("").name
        (folder / "sub").mkdir(parents=True)
        elsewhere = tmp_path / left.name.replace(atomic.machine(), "0" * 8)
        elsewhere.write_bytes(b"another machine's")
        other = tmp_path / left.name.replace(".out.", ".put.")
        other.write_bytes(b"another target's")
        atomic.write_bytes(tmp_path / "out.sarc", b"new")
        assert names(tmp_path) == sorted([alive.name, elsewhere.name, other.name, "out.sarc"])
        alive.unlink()
        atomic.write_bytes(alive, b"again")
        (tmp_path / "out.sarc").unlink()
    assert (tmp_path / "out.sarc").read_bytes() == b"again"
    assert sorted(record.getMessage().split()[1] for record in caplog.records) == sorted([f"{left},", f"{folder},"])


def test_a_process_of_another_user_is_alive() -> None:
    assert atomic.lives(os.getpid()) and atomic.lives(1)
