"""Files written by released versions must decode for ever, symbols to the bit."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from sarcodec import container, scene, stored_tiles

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = {
    "v1": ("all_invalid", "dn_gcps", "intensity_zero_and_negative", "one_pixel", "two_bands_db"),
}
CASES = [(version, name) for version, names in EXPECTED.items() for name in names]


@pytest.mark.parametrize(("version", "name"), CASES)
def test_symbols_are_those_of_the_release(version, name):
    coder = scene.open_codec(GOLDEN / version / "tiny.ckpt")
    expected = json.loads((GOLDEN / version / "symbols.json").read_text())[f"{name}.sarc"]
    found = {}
    with container.Reader(GOLDEN / version / f"{name}.sarc") as reader:
        for band, row, column, size in stored_tiles.tiles_with_symbols(reader):
            entry = container.tile_name(band, row, column)
            symbols = coder.engine.coder.decode(reader.read(entry, 1 << 24), size, reader.header.step)
            found[entry] = hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest()
    assert found == expected
    assert bool(found) == (name != "all_invalid")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("version", "name"), CASES)
def test_pixels_and_metadata_are_those_of_the_release(version, name, tmp_path):
    folder = GOLDEN / version
    restored = tmp_path / "restored.tif"
    scene.decompress_file(folder / f"{name}.sarc", restored, model=folder / "tiny.ckpt", precision="float32")
    with rasterio.open(restored) as found, rasterio.open(folder / f"{name}.restored.tif") as expected:
        assert found.profile.items() >= {k: v for k, v in expected.profile.items() if v == v}.items()
        assert found.tags() == expected.tags()
        assert found.descriptions == expected.descriptions
        assert [g.asdict() for g in found.gcps[0]] == [g.asdict() for g in expected.gcps[0]]
        a, b = found.read(), expected.read()
    np.testing.assert_array_equal(np.isfinite(a) & (a != 0), np.isfinite(b) & (b != 0))
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=1 if a.dtype == np.uint16 else 1e-3)
