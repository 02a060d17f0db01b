"""Files written by released versions must decode for ever, symbols to the bit."""

import json

import numpy as np
import pytest
import rasterio
import torch

import conformance
import places
from sarcodec.container import archive
from sarcodec.scene import files, model_store

GOLDEN = places.GOLDEN
EXPECTED = {
    "v1": ("all_invalid", "dn_gcps", "intensity_zero_and_negative", "one_pixel", "two_bands_db"),
    "v2": ("all_invalid", "dn_gcps", "intensity_zero_and_negative", "one_pixel", "two_bands_db"),
}
CASES = [(version, name) for version, names in EXPECTED.items() for name in names]


@pytest.mark.parametrize(("version", "name"), CASES)
def test_symbols_are_those_of_the_release(version, name):
    expected = json.loads((GOLDEN / version / "symbols.json").read_text())[f"{name}.sarc"]
    with archive.Reader(GOLDEN / version / f"{name}.sarc") as reader:
        coder = model_store.codec_for(reader, GOLDEN / version / "tiny.ckpt")
        assert conformance.symbol_hashes(coder, reader) == expected
    assert bool(expected) == (name != "all_invalid")


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_symbols_depend_neither_on_threads_nor_on_precision(threads, precision):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for version, name in CASES:
            expected = json.loads((GOLDEN / version / "symbols.json").read_text())[f"{name}.sarc"]
            with archive.Reader(GOLDEN / version / f"{name}.sarc") as reader:
                coder = model_store.codec_for(reader, GOLDEN / version / "tiny.ckpt", precision=precision)
                assert conformance.symbol_hashes(coder, reader) == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("version", "name"), CASES)
def test_pixels_and_metadata_are_those_of_the_release(version, name, tmp_path):
    folder = GOLDEN / version
    restored = tmp_path / "restored.tif"
    files.decompress_file(folder / f"{name}.sarc", restored, model=folder / "tiny.ckpt", precision="float32")
    with rasterio.open(restored) as found, rasterio.open(folder / f"{name}.restored.tif") as expected:
        assert found.profile.items() >= {k: v for k, v in expected.profile.items() if v == v}.items()
        assert found.tags() == expected.tags()
        assert found.descriptions == expected.descriptions
        assert [g.asdict() for g in found.gcps[0]] == [g.asdict() for g in expected.gcps[0]]
        a, b = found.read(), expected.read()
    np.testing.assert_array_equal(np.isfinite(a) & (a != 0), np.isfinite(b) & (b != 0))
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=1 if a.dtype == np.uint16 else 1e-3)
