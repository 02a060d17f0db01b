"""What kills, full disks, read-only folders and second writers leave of compress, decompress and training."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hostile import folders
from sarcodec import errors
from sarcodec.autoencoder import checkpoint
from sarcodec.training import run_folder

SARCODEC = (sys.executable, "-m", "sarcodec")
TRAIN = ("train", "--base-channels", "8", "--latent-channels", "4", "--batch-size", "4", "--epochs", "6",
         "--seed", "1", "--precision", "float32", "--no-tensorboard", "--save-minutes", "1e-4", "-q")  # fmt: skip
FILES = ("best.ckpt", "last.ckpt", "history.jsonl")


@dataclass
class Ends:
    """How runs under a hardship ended: through, refused in one line, or killed; and what they left."""

    what: str
    runs: int = 0
    through: int = 0
    refused: int = 0
    killed: int = 0
    half: int = 0
    left: int = 0
    otherwise: int = 0
    note: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether anything happened that must not."""
        return self.half + self.left + self.otherwise > 0

    def note_end(self, status: int, said: str) -> None:
        """Count an end by its exit status and what stderr has."""
        self.runs += 1
        lines = said.strip().splitlines()
        if status == 0:
            self.through += 1
        elif status == -9:
            self.killed += 1
        elif status == 2 and len(lines) == 1 and lines[0].startswith("error: "):
            self.refused += 1
        else:
            self.otherwise += 1
            sys.stderr.write(f"{self.what}: status {status}, {said[-500:]!r}\n")

    def note_files(self, folder: Path, whole: dict[str, bytes]) -> None:
        """Count files that are not whole, and such as should not be there."""
        for path in folder.iterdir():
            if path.name not in whole:
                self.left += path.name not in ("lock", "run.json")
            elif path.read_bytes() != whole[path.name]:
                self.half += 1


class Work:
    """A scene, its file, a patch set, and what compress, decompress and train make of them undisturbed."""

    def __init__(self, folder: Path, side: int = 512) -> None:
        self.folder = folder
        folders.tiny.patch_set(folder / "patches", train=16, val=2)
        sound = folder / "sound"
        sound.mkdir()
        _sarcodec("simulate", folder / "a.tif", "--size", side, side)
        self.longest = {}
        for kind in ("compress", "decompress", "train"):
            begin = time.perf_counter()
            subprocess.run(self.command(kind, sound), check=True, stdout=subprocess.DEVNULL)
            self.longest[kind] = time.perf_counter() - begin
            if kind == "compress":
                shutil.copy(sound / "target.sarc", folder / "a.sarc")
        self.whole = {path.name: path.read_bytes() for path in sound.iterdir() if path.is_file()}
        self.run = {name: (sound / "run" / name).read_bytes() for name in FILES}

    def command(self, kind: str, out: Path, *more: str) -> list[str]:
        """Return the command that writes ``target.sarc``, ``target.tif`` or ``run``, which is resumed if begun."""
        if kind == "compress":
            words = [kind, self.folder / "a.tif", out / "target.sarc", "--quiet"]
        elif kind == "decompress":
            words = [kind, self.folder / "a.sarc", out / "target.tif", "--quiet"]
        elif (out / "run" / "run.json").exists():
            words = ["train", "--resume", out / "run", "--quiet"]
        else:
            words = [*TRAIN, self.folder / "patches", "-o", out / "run"]
        return [*SARCODEC, *map(str, words), *more]

    def begin(self, kind: str, out: Path, *more: str, limit: int = 0) -> subprocess.Popen[str]:
        """Begin a command; with a limit no file may grow over so many bytes."""

        def bound() -> None:
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        command = self.command(kind, out, *more)
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=bound
        )

    def check(self, ends: Ends, kind: str, out: Path) -> None:
        """Count what a run has left in a folder; a training's checkpoints must load, and nothing be half a line."""
        if kind != "train":
            ends.note_files(out, self.whole)
            return
        run = out / "run"
        if not run.is_dir():
            return
        ends.left += sum(path.name.startswith(".") for path in run.iterdir())
        with contextlib.suppress(FileNotFoundError):
            lines = (run / "history.jsonl").read_bytes()
            ends.half += lines[-1:] != b"\n"
        for name in ("best.ckpt", "last.ckpt"):
            try:
                if (run / name).exists():
                    checkpoint.load(run / name)
            except errors.SarcodecError:
                ends.half += 1
        with contextlib.suppress(errors.FormatError):
            run_folder.Settings.read(run)

    def finish(self, ends: Ends, out: Path) -> None:
        """Resume a training to its end, which must be that of the undisturbed one, byte for byte."""
        process = self.begin("train", out)
        said = process.communicate()[1]
        ends.otherwise += process.returncode != 0
        if process.returncode:
            sys.stderr.write(f"{ends.what}: cannot be resumed, {said[-500:]!r}\n")
            return
        ends.half += sum((out / "run" / name).read_bytes() != data for name, data in self.run.items())


def all_of(work: Work, kills: int, trainings: int, seed: int) -> Iterator[Ends]:
    """Try every hardship with every kind of work."""
    for kind, count in (("compress", kills // 2), ("decompress", kills - kills // 2), ("train", trainings)):
        yield killed(work, kind, count, seed)
    for kind in work.longest:
        yield full(work, kind)
    for kind in work.longest:
        yield read_only(work, kind)
    for kind in work.longest:
        yield twice(work, kind)


def killed(work: Work, kind: str, count: int, seed: int) -> Ends:
    """Kill at any moment; a training is resumed and killed again until it is through, then begun anew."""
    ends, rng, out = Ends(f"`kill -9` of {kind}"), random.Random(f"{seed} {kind}"), _empty(work.folder / "out")
    for _ in range(count):
        process = work.begin(kind, out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.3, 1.1) * work.longest[kind])
        process.kill()
        ends.note_end(process.wait(), process.communicate()[1])
        work.check(ends, kind, out)
        if kind != "train" or process.returncode == 0:
            _empty(out)
    if kind == "train":
        work.finish(ends, out)
        ends.note = "resumed, it ends in the same bytes"
    return ends


def full(work: Work, kind: str) -> Ends:
    """Let the disk be full after a share of what is written: a small file system, or else a limit of file sizes."""
    ends, out = Ends(f"full disk, {kind}"), _empty(work.folder / "out")
    need = len(work.run["last.ckpt"]) if kind == "train" else len(work.whole[_target(kind)])
    shares = (0.02, 0.3, 0.6, 0.9, 0.98, 1.2, 2.0, 2.6) if kind == "train" else (0.02, 0.1, 0.3, 0.6, 0.8, 0.9, 0.98)
    for share in shares:
        size = max(4096, int(share * need) // 4096 * 4096)
        with _mounted(out, "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as is_small:
            process = work.begin(kind, out, limit=0 if is_small else size)
            ends.note_end(process.wait(), process.communicate()[1])
            work.check(ends, kind, out)
            if is_small and kind == "train" and (out / "run" / "run.json").exists():
                subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
            if kind == "train":
                work.finish(ends, out)
        ends.note = f"{'a small tmpfs' if is_small else 'RLIMIT_FSIZE, for nothing can be mounted here'}"
        _empty(out)
    ends.note += ", resumed with room: the same bytes" if kind == "train" else ""
    return ends


def read_only(work: Work, kind: str) -> Ends:
    """Write into a folder that is mounted read-only: permissions do not bind root."""
    ends, out = Ends(f"read-only folder, {kind}"), _empty(work.folder / "out")
    with _mounted(out, "--bind", str(out)) as is_mounted:
        if is_mounted:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(out)], check=True)
        elif os.geteuid() == 0:
            ends.note = "left out: root, and nothing can be mounted"
            return ends
        else:
            out.chmod(0o555)
        process = work.begin(kind, out)
        ends.note_end(process.wait(), process.communicate()[1])
        work.check(ends, kind, out)
    out.chmod(0o755)
    ends.note = "a bind mount" if is_mounted else "without permission"
    return ends


def twice(work: Work, kind: str) -> Ends:
    """Let two write to one target at once, five times; files may be replaced by the later one every other time."""
    ends, out = Ends(f"two writers, {kind}"), _empty(work.folder / "out")
    for number in range(5):
        more = ("--overwrite",) if number % 2 and kind != "train" else ()
        processes = [work.begin(kind, out, *more) for _ in range(2)]
        for process in processes:
            said = process.communicate()[1]
            ends.note_end(process.returncode, said)
        work.check(ends, kind, out)
        if kind == "train":
            work.finish(ends, out)
        _empty(out)
    return ends


def table(found: list[Ends]) -> str:
    """Lay the ends out as a table of Markdown."""
    head = (
        "hardship",
        "runs",
        "through",
        "error in a line",
        "killed",
        "half-written",
        "left behind",
        "other end",
        "how",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 2) + "|---|"]
    for ends in found:
        counts = (ends.runs, ends.through, ends.refused, ends.killed, ends.half, ends.left, ends.otherwise)
        lines.append("| " + " | ".join([ends.what, *map(str, counts), ends.note]) + " |")
    return "\n".join(lines) + "\n"


def _sarcodec(*words: object) -> None:
    subprocess.run([*SARCODEC, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def _target(kind: str) -> str:
    return {"compress": "target.sarc", "decompress": "target.tif"}[kind]


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@contextlib.contextmanager
def _mounted(folder: Path, *how: str) -> Iterator[bool]:
    """Mount something over a folder where that is allowed; tells whether it was."""
    done = False
    if shutil.which("mount"):
        done = not subprocess.run(["mount", *how, str(folder)], capture_output=True, check=False).returncode
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True)
