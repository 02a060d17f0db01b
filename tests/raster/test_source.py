"""One opener for all sources: every reader gives what any may be asked, and none is known by its class."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import safe_product
import sarcodec
import tiny
from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec, encoding
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.raster import source as raster_source
from sarcodec.scene import decision, files, verify
from sarcodec.scene import source as scene_source

CODER = codec.Codec(nearlossless_engine.BoundedEngine(0.5))
TILES = encoding.Options(tile=64)
ROOT = Path(sarcodec.__file__).parent


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A source of every kind, and the reason for which its quantity is known."""
    folder = tmp_path_factory.mktemp("places")
    product = safe_product.make(folder)
    safe_product.pack(product)
    files.compress_file(product, folder / "product.sarc", CODER, options=TILES)
    pixels = tiny.intensity((40, 50))
    with scene_source.open(pixels) as raster:
        files.compress_file(raster, folder / "array.sarc", CODER, options=TILES)
    files.decompress_file(folder / "array.sarc", folder / "array.tif")
    return {
        "raster": (folder / "array.tif", None),
        "folder": (product, "product"),
        "zip": (next(folder.glob("*.zip")), "product"),
        "array": (pixels, None),
        "labelled": (xarray.DataArray(pixels, dims=("y", "x"), attrs={"quantity": "intensity"}), "attributes"),
        "file": (folder / "array.sarc", "header"),
        "file of a product": (folder / "product.sarc", "header"),
    }


KINDS = ("raster", "folder", "zip", "array", "labelled", "file", "file of a product")


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_gives_all(places: dict[str, Any], kind: str) -> None:
    place, reason = places[kind]
    with scene_source.open(place) as raster:
        assert isinstance(raster, raster_source.Raster)
        window = tiling.Window(0, 8, 0, 9)
        assert raster.read(0, window).shape == (8, 9) and raster.sample(0).ndim == 2
        known = raster.known_quantity()
        assert (known and known.reason) == reason
        assert raster.name and raster.picture is None
        assert (raster.product is not None) == ("product" in kind or kind in ("folder", "zip"))
        assert bool(list(raster.files())) == (raster.product is not None)
        assert list(raster.extra()) == (["history"] if "file" in kind else [])
        raster.check()
        layout = decision.layout_of(raster, None)
        assert layout.reason == (reason or layout.reason) and layout.product == raster.product
        wanted = "dn" if raster.product is not None else "intensity"
        assert layout.quantity is radiometry.Quantity.parse(wanted)
        assert decision.layout_of(raster, layout.quantity).reason == "as asked"


@pytest.mark.parametrize("kind", ["array", "labelled"])
def test_an_array_has_no_polarisations(places: dict[str, Any], kind: str) -> None:
    with pytest.raises(errors.InputError, match=r"^polarisation: got VH; of an array none is taken, pass one band"):
        scene_source.open(places[kind][0], "VH")


@pytest.mark.parametrize("opener", [raster_source.open, scene_source.open])
@pytest.mark.parametrize("place", [7, [1.0], None])
def test_what_no_driver_takes(opener: Callable[..., Any], place: Any) -> None:
    with pytest.raises(errors.InputError, match=r"^source: got a value of type \w+; pass a path, a NumPy array"):
        opener(place)


def test_rasters_know_no_codec(places: dict[str, Any]) -> None:
    """Without the floor that knows engines, a .sarc file is a raster that GDAL cannot read."""
    with pytest.raises(errors.FormatError, match="cannot be opened"), raster_source.open(places["file"][0]):
        pass


def test_a_reader_of_ones_own(tmp_path: Path) -> None:
    """What derives from the protocol needs pixels, a name and a description, and nothing else."""

    class Ramp(raster_source.Raster):
        name = "ramp_vv"

        def __init__(self) -> None:
            with raster_source.open(np.zeros((70, 90), np.float32)) as plain:
                self.info = plain.info

        def read(self, band: int, window: tiling.Window) -> np.ndarray:
            rows, columns = np.mgrid[window.slices]
            return (1 + rows + columns).astype(np.float32)

        def sample(self, band: int) -> np.ndarray:
            return self.read(band, tiling.Window(0, 70, 0, 90))

    files.compress_file(Ramp(), tmp_path / "a.sarc", CODER, quantity="intensity", options=TILES)
    with scene_source.open(tmp_path / "a.sarc") as raster:
        ratio = raster.sample(0) / Ramp().sample(0)
    assert np.abs(10 * np.log10(ratio)).max() <= 0.5


def test_an_undeclared_nodata_value_is_that_of_the_file(write_tif: Callable[..., Path], tmp_path: Path) -> None:
    pixels = tiny.intensity((70, 90))
    pixels[:9] = -5
    source = write_tif("a.tif", pixels)
    files.compress_file(source, tmp_path / "a.sarc", CODER, quantity="intensity", options=TILES, nodata=-5)
    assert verify.verify(tmp_path / "a.sarc", against=source).holds


def isinstances(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            yield ast.unparse(node.args[1])


def test_no_reader_is_known_by_its_class() -> None:
    classes = {one.__name__ for one in raster_source.Raster.__subclasses__()} | {"FileSource"}
    assert {"RasterReader", "ProductReader", "ArraySource", "LabelledSource"} <= classes
    asked = [text for path in sorted(ROOT.rglob("*.py")) for text in isinstances(path)]
    assert [text for text in asked if any(name in text for name in classes)] == []


def test_no_argument_is_deleted() -> None:
    """A parameter that a function does not need says so by its name."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                names = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
                for node in ast.walk(function):
                    if isinstance(node, ast.Delete):
                        gone = {target.id for target in node.targets if isinstance(target, ast.Name)}
                        found += [f"{path.name}: {function.name}: {name}" for name in gone & names]
    assert found == []
