"""An installation without extras: no PyTorch, and yet the default model and guaranteed errors, both ways."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

import tiny

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pytorch_msssim", "tensorboard", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""

PYTHON = """
import numpy, sarcodec, sys
from sarcodec.codec import codec
data = sarcodec.compress(numpy.load("pixels.npy"), quantity="db")
restored = sarcodec.decompress(data)
plain = sarcodec.decompress(data, restorer=False)
assert 0.001 < numpy.abs(restored - plain).max() < 3
with sarcodec.open("scene.sarc") as file:
    assert file.read(1).shape == (70, 90)
import xarray
assert xarray.open_dataset("scene.sarc", engine="sarcodec").to_array().shape == (1, 70, 90)
for asked in ({"device": "cuda"}, {"precision": "bfloat16"}):
    try:
        sarcodec.open_codec(**asked)
    except sarcodec.SarcodecError as problem:
        print(type(problem).__name__, problem)
"""

GEO = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 500000, 0, -20, 5400000)}
COMMAND = 'pip install "sarcodec[train]"'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image, where PyTorch cannot be had."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    np.save(folder / "pixels.npy", tiny.simulated_db((70, 90), 2))
    profile = {"driver": "GTiff", "count": 1, "height": 70, "width": 90, "dtype": "float32"}
    with rasterio.open(folder / "scene.tif", "w", **profile, **GEO) as raster:
        raster.write(tiny.simulated_db((70, 90), 2), 1)
        raster.update_tags(UNITS="sigma0 dB")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def sarcodec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "sarcodec", *arguments)


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_both_ways_on_the_command_line(place: Path) -> None:
    source = np.load(place / "pixels.npy")
    for name, asked in (("scene", ()), ("bounded", ("--max-error", "0.5"))):
        done = sarcodec(place, "compress", "scene.tif", f"{name}.sarc", *asked)
        assert done.returncode == 0, done.stderr
        done = sarcodec(place, "decompress", f"{name}.sarc", f"{name}.back.tif")
        assert done.returncode == 0, done.stderr
        assert np.abs(pixels(place / f"{name}.back.tif") - source).mean() < 1
    assert np.abs(pixels(place / "bounded.back.tif") - source).max() <= 0.5
    done = sarcodec(place, "verify", "scene.sarc", "--against", "scene.tif")
    assert done.returncode == 0, done.stderr
    done = sarcodec(place, "info", "scene.sarc", "--json")
    assert json.loads(done.stdout)["model_name"] == "lapped64"


@pytest.mark.parametrize(
    "arguments",
    [
        ("compress", "scene.tif", "other.sarc", "--model", "residual16"),
        ("train", "patches", "-o", "run"),
        ("train-lapped", "scene.tif", "-o", "run"),
        ("models",),
    ],
    ids=" ".join,
)
def test_what_needs_it_says_how_to_get_it(place: Path, arguments: tuple[str, ...]) -> None:
    done = sarcodec(place, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: PyTorch is not installed") and COMMAND in done.stderr
    assert not (place / "other.sarc").exists() and not (place / "run").exists()


def test_in_python(place: Path) -> None:
    if not (place / "scene.sarc").exists():
        assert sarcodec(place, "compress", "scene.tif", "scene.sarc").returncode == 0
    done = run(place, "-c", PYTHON)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["MissingExtra"] * 2
    assert all(COMMAND in line for line in lines)
