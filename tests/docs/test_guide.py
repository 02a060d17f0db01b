"""The guide does what it says: its commands and its Python, from top to bottom, in an empty folder."""

import re
import shlex
import socket
from pathlib import Path

import pytest
import rasterio
import torch
from xarray.backends import plugins

import places
from sarcodec import cli
from sarcodec.plugins.xarray_engine import SarcBackend

GUIDE = places.DOCS / "guide.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command, comments=True)
    assert words[0] == "sarcodec", command
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code, command


def free_port() -> str:
    """A port for the scheduler of the guide that nothing else on this machine has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_every_line_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    engines = {"sarcodec": SarcBackend()} | plugins.list_engines()  # as after pip install
    monkeypatch.setattr(plugins, "list_engines", lambda: engines)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8").replace("8786", free_port()))
    assert len(blocks) >= 7
    for language, text in blocks:
        if language == "python":
            exec(compile(text, str(GUIDE), "exec"), names)
        else:
            assert language == "sh", f"a block of {language!r} is not run"
            for line in text.replace("\\\n", " ").splitlines():
                run(line, monkeypatch)
    with rasterio.open("crop.tif") as crop, rasterio.open("crop.cog.tif") as again:
        assert crop.shape == again.shape == (128, 256)
        assert crop.transform @ (0, 0) == (503000, 5398000)
        assert (crop.read() == again.read()).all()
    files = {name: Path(name).read_bytes() for name in ("scene.sarc", "rows.sarc", "again.sarc")}
    assert files["rows.sarc"] == files["again.sarc"] == files["scene.sarc"]
    assert {path.name for path in Path("archive").iterdir()} == {"scene.sarc", "coast.sarc"}
    assert {path.name for path in Path("other").iterdir()} == {"coast.sarc"}
    for name in ("dataset", "lazy"):
        names[name].close()  # type: ignore[attr-defined]
