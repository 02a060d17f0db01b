"""The sections on the viewer and on STAC of docs/interop.md do what they say."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import command
import places

PAGE = places.DOCS / "interop.md"


def blocks(heading: str) -> dict[str, str]:
    """The code of a section by its language."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    assert command.call("simulate", folder / "scene.tif", "--size", 300, 280, "--seed", 1) == 0
    assert command.call("compress", folder / "scene.tif", folder / "scene.sarc") == 0
    return folder


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_the_viewer(folder: Path) -> None:
    code = blocks("A viewer in the browser")
    words = shlex.split(code["sh"])
    assert words[0] == "sarcodec"
    line = [sys.executable, "-c", command.INTERRUPTIBLE, *words[1:], "--port", "0"]
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        names: dict[str, object] = {}
        exec(compile(code["python"].replace("http://127.0.0.1:8035/", url), str(PAGE), "exec"), names)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "" and process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_the_catalogue(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks("STAC")
    (folder / "archive").mkdir()
    (folder / "archive" / "scene.sarc").write_bytes((folder / "scene.sarc").read_bytes())
    monkeypatch.chdir(folder)
    for line in code["sh"].splitlines():
        assert command.call(*shlex.split(line)[1:]) == 0
    exec(compile(code["python"], str(PAGE), "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1].startswith("scene [9.")
