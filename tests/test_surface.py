"""The public names, how little an import loads, and what works without the extras."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sarcodec
import tiny


def fresh(code: str, *arguments: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light() -> None:
    code = "import sys, json, sarcodec; sarcodec.__version__; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(fresh(code)))
    assert "sarcodec" in loaded
    assert loaded & {"torch", "rasterio", "xarray", "typer", "rich", "numpy", "scipy", "matplotlib"} == set()


def test_headers_are_read_without_torch() -> None:
    code = (
        "import sys, sarcodec; sarcodec.Reader, sarcodec.Quantity, sarcodec.evaluate; print('torch' in sys.modules)"
    )
    assert fresh(code).strip() == "False"


def test_public_names() -> None:
    assert sarcodec.__all__ == sorted(sarcodec.__all__)
    assert set(sarcodec.__all__) == {*sarcodec._HOMES, "__version__"}
    for name in sarcodec.__all__:
        assert getattr(sarcodec, name) is not None
    for name, home in sarcodec._HOMES.items():
        assert getattr(sarcodec, name).__module__ == f"sarcodec.{home}"  # its home, not where it is passed on
    assert set(sarcodec.__all__) <= set(dir(sarcodec))


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="'sarcodec' has no attribute 'compres'"):
        sarcodec.compres  # noqa: B018


WITHOUT_EXTRAS = """
import sys
MISSING = {
    "onnx",
    "av",
    "bjontegaard",
    "dask",
    "imagecodecs",
    "matplotlib",
    "numcodecs",
    "pandas",
    "psutil",
    "pytorch_msssim",
    "skimage",
    "tensorboard",
    "xarray",
    "zarr",
}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import numpy, torch, sarcodec
torch.set_num_threads(1)
pixels = numpy.load(sys.argv[2])
data = sarcodec.compress(pixels, model=sys.argv[1])
restored = sarcodec.decompress(data, model=sys.argv[1])
for name in sarcodec.__all__:
    getattr(sarcodec, name)
from sarcodec import cli
try:
    from sarcodec import baselines
    baselines.restore(baselines.PEERS["JPEG XL"] if "JPEG XL" in baselines.PEERS else
                      next(iter(baselines.PEERS.values())), pixels, pixels < 99, 500)
except sarcodec.SarcodecError as problem:
    print(problem)
assert not MISSING & {name.split(".")[0] for name in sys.modules}
print(restored.shape, float(numpy.abs(restored - pixels).mean()))
"""


def test_works_without_the_extras(tmp_path: Path) -> None:
    model = tiny.write_checkpoint(tmp_path)
    np.save(tmp_path / "pixels.npy", tiny.db((48, 40)))
    problem, result = fresh(WITHOUT_EXTRAS, str(model), str(tmp_path / "pixels.npy")).splitlines()
    assert 'pip install "sarcodec[bench]"' in problem
    assert result.startswith("(48, 40) ")
    assert float(result.split()[-1]) < 4
