"""The page for other programs does what it says of lower resolutions and quick looks."""

import re
import shlex
from pathlib import Path

import pytest
import rasterio
from xarray.backends import plugins

import places
import sarcodec
from command import call
from sarcodec.plugins.xarray_engine import SarcBackend

TITLE = "## Lower resolutions and quick looks\n"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_lower_resolutions_and_quick_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("simulate", "scene.tif", "--size", 768, 1024, "--seed", 1) == 0
    sarcodec.compress_file("scene.tif", "scene.sarc")
    engines = {"sarcodec": SarcBackend()} | plugins.list_engines()  # as after pip install
    monkeypatch.setattr(plugins, "list_engines", lambda: engines)
    text = (places.DOCS / "interop.md").read_text(encoding="utf-8").split(TITLE)[1].split("\n## ")[0]
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for line in blocks["sh"].splitlines():
        assert call(*shlex.split(line)[1:]) == 0, line
    names: dict[str, object] = {}
    exec(compile(blocks["python"], "interop.md", "exec"), names)
    names["low"].close()  # type: ignore[attr-defined]
    with rasterio.open("eighth.tif") as part, rasterio.open("looks.tif") as whole:
        assert (part.shape, whole.shape) == ((20, 32), (96, 128))
        assert whole.overviews(1) == [] and whole.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open("vh.webp") as picture:
        assert picture.shape == (384, 512)
