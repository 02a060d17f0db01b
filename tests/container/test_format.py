"""docs/format.md is enough: a decoder written from it alone restores what the package restores."""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import places
import plain_decoder
import plain_pixels
import plain_speckle
import sarcodec
import tiny

GOLDEN = places.GOLDEN
WEIGHTS = Path(sarcodec.__file__).parent / "weights"
TOLERANCE_DB = 1e-3


def test_the_page_stands_alone() -> None:
    """It sends nobody to the source: no file or module of the package is named."""
    assert re.findall(r"\S*\.py\b|\bsarcodec\.\w+|\bsrc/\S*", plain_decoder.page()) == []


def test_the_page_prints_the_preset_dictionary() -> None:
    dictionary = plain_decoder.preset_dictionary()
    assert hashlib.sha256(dictionary).hexdigest() in plain_decoder.page()
    assert f"{len(dictionary)} bytes" in plain_decoder.page()


def test_numbers_are_those_of_the_page() -> None:
    """Long ones, which a slip of the pen would spoil in silence."""
    page = plain_decoder.page()
    for number in plain_speckle.FACTORS + plain_speckle.INCREMENTS:
        assert f"0x{number:X}" in page
    assert ", ".join(f"{a:.7f}" for a in plain_speckle.A) in page
    groups, weights = plain_decoder.Bounded.GROUPS, plain_decoder.Bounded.FIXED
    for number, (cells_of, fixed) in enumerate(zip(groups, weights, strict=True), 1):
        cells = " ".join(f"({dy},{dx})" for dy, dx in cells_of), " ".join(map(str, fixed)).replace("-", "−")
        assert f"| {number} | {cells[0]} | {cells[1]} |" in page


def test_the_plain_decoder_knows_nothing_else() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in places.TESTS.glob("plain_*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    assert imported - sys.stdlib_module_names == {"numpy", "plain_decoder", "plain_speckle"}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("v*/*.sarc")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_of_releases(path: Path) -> None:
    found = plain_pixels.restore(path.read_bytes(), (path.parent / "tiny.ckpt").read_bytes())
    with rasterio.open(path.with_suffix(".restored.tif")) as raster:
        expected = raster.read()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE_DB / 5, atol=1 if found.dtype == np.uint16 else 1e-4)


@pytest.mark.parametrize(
    ("shape", "max_error"),
    [((1, 1), 1.0), ((1, 5), 0.5), ((3, 2), 0.2), ((37, 21), 8.0), ((70, 64), 0.5), ((128, 130), 1.0)],
)
def test_a_guaranteed_error(shape: tuple[int, int], max_error: float) -> None:
    image = tiny.simulated_db(shape, 1)
    data = sarcodec.compress(image, quantity="db", max_error=max_error)
    found = plain_pixels.restore(data)[0]
    np.testing.assert_array_equal(found, sarcodec.decompress(data))
    assert np.abs(found - image).max() <= max_error


def test_a_guaranteed_error_of_a_wild_image() -> None:
    """Escapes, low bits as they are, an offset, and invalid pixels."""
    image = 5 * tiny.simulated_db((60, 75), 2)
    image[3, 4], image[30:40, 20:50], image[7, 7] = 90, -145, np.nan
    data = sarcodec.compress(image, quantity="db", max_error=0.01)
    found = plain_pixels.restore(data)[0]
    np.testing.assert_array_equal(found, sarcodec.decompress(data))
    assert np.nanmax(np.abs(found - image)) <= 0.01
    flags = plain_decoder.File(data).entries["0/0.0"][0]
    assert flags >> 6 == 3


@pytest.mark.parametrize(
    ("kind", "shape", "step"),
    [
        ("lapped", (70, 130), 1400),
        ("lapped", (64, 64), 600),
        ("lapped", (1, 3), 1500),
        ("variable", (40, 66), 1400),
        ("variable", (16, 16), 700),
        ("variable", (1, 3), 1500),
    ],
)
def test_codecs_for_all_rates(kind: str, shape: tuple[int, int], step: int) -> None:
    make, file = {
        "lapped": (tiny.lapped_codec, tiny.lapped_bytes),
        "variable": (tiny.variable_codec, tiny.variable_bytes),
    }[kind]
    image = tiny.simulated_db(shape, 3)
    data = sarcodec.compress(image, quantity="db", step=step, model=make())
    found = plain_pixels.restore(data, file())[0]
    assert np.abs(found - sarcodec.decompress(data, model=make())).max() < TOLERANCE_DB


def test_tiles_of_the_lapped_codec() -> None:
    """Borders of tiles, one of them without a valid pixel, and one without symbols."""
    image = tiny.simulated_db((64, 290), 4)
    image[:, 60:250] = np.nan
    data = tiny.compress(tiny.Array(image[None]), "db", 64, 1600, tiny.lapped_codec())
    assert sorted(plain_decoder.File(data).entries) == [
        f"0/0.{name}" for name in ("0", "0m", "1", "1m", "2m", "3", "3m", "4")
    ]
    found = plain_pixels.restore(data, tiny.lapped_bytes())
    expected = sarcodec.decompress(data, model=tiny.lapped_codec())
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE_DB)


def test_tiles_of_the_variable_rate_autoencoder() -> None:
    """Borders of tiles, one of them without a valid pixel and near to some, and one without symbols."""
    image = tiny.simulated_db((48, 500), 4)
    image[:, 60:450] = np.nan
    data = tiny.compress(tiny.Array(image[None]), "db", 64, 1700, tiny.variable_codec())
    names = sorted(plain_decoder.File(data).entries)
    assert {"0/0.0", "0/0.1", "0/0.1m", "0/0.7"} <= set(names)
    assert "0/0.3" not in names
    found = plain_pixels.restore(data, tiny.variable_bytes())
    expected = sarcodec.decompress(data, model=tiny.variable_codec())
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE_DB)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("lapped64", {"step": 1800}),
        ("lapped64", {"step": 2500}),
        ("residual16", {}),
        ("residual64", {"step": 1800}),
    ],
)
def test_shipped_models(name: str, asked: dict[str, Any]) -> None:
    """Of ``lapped64``, with the restoring network and beyond the step from which it is left out."""
    image, model = tiny.simulated_db((70, 90), 5), sarcodec.open_codec(name, precision="float32")
    data = sarcodec.compress(image, quantity="db", model=model, **asked)
    found = plain_pixels.restore(data, (WEIGHTS / f"{name}.ckpt").read_bytes())[0]
    assert np.abs(found - sarcodec.decompress(data, model=model)).max() < TOLERANCE_DB


VARIANTS = [
    {"arch": "plain"},
    {"arch": "plain", "output": "sigmoid", "stages": 1},
    {"arch": "residual", "stages": 2},
    {"arch": "residual", "shortcut": "strided"},
    {"arch": "residual", "shortcut": "strided", "activation_first": True, "bottleneck_blocks": True},
    {"arch": "residual", "bottleneck_blocks": True},
    {"arch": "cbam", "attention_at": "everywhere"},
    {"arch": "cbam", "attention_at": "decoder", "shortcut": "strided", "bottleneck_blocks": True},
    {"arch": "residual", "self_attention": True},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(str(value) for value in changes.values()))
def test_autoencoders(changes: dict[str, Any], tmp_path: Path) -> None:
    """Windows of tiles are blended, and those of models that pool are cut into smaller ones besides."""
    pools = changes["arch"] == "cbam" or "self_attention" in changes
    image = tiny.db((50, 290) if pools else (50, 100))
    (tmp_path / "model.ckpt").write_bytes(tiny.variant_bytes(**changes))
    model = sarcodec.open_codec(tmp_path / "model.ckpt", precision="float32")
    for tile in (64, 512):
        data = tiny.compress(tiny.Array(image[None]), "db", tile, 2, model)
        found = plain_pixels.restore(data, tiny.variant_bytes(**changes))
        assert np.abs(found - sarcodec.decompress(data, model=model)).max() < TOLERANCE_DB


def rendered(image: np.ndarray, tile: int, step: int) -> None:
    model = tiny.lapped_codec()
    data = tiny.compress(tiny.Array(image[None]), "db", tile, step, model)
    file = plain_decoder.File(data)
    plain, expected = (sarcodec.decompress(data, model=model, speckle=speckle)[0] for speckle in (False, True))
    found = plain.copy()
    for row, column, rows, columns in file.tiles():
        record, _ = file.entry(0, row, column) or (b"", b"")
        if record:
            lost, seed = plain_speckle.Record.parse(record), file.header["seed"]
            found[rows, columns] += plain_speckle.field_of(lost, seed, rows.start, columns.start)
    assert np.nanstd(found - plain) > 0.5
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE_DB)


def test_lost_speckle() -> None:
    """One tile, part of it calm, with invalid pixels, and blocks that do not come out even."""
    image = tiny.simulated_db((150, 170), 6)
    image[50:, 70:] = 0.1 * image[50:, 70:] - 10
    image[:20, 30:90] = np.nan
    rendered(image, 1024, 2500)


def test_lost_speckle_of_tiles() -> None:
    """The field runs on over their borders and those of its own cells; one tile has no valid pixel."""
    image = tiny.simulated_db((70, 330), 7)
    image[:, 128:192] = np.nan
    rendered(image, 64, 2300)


def test_a_whole_file_with_lost_speckle() -> None:
    image, model = tiny.simulated_db((64, 70), 8), tiny.lapped_codec()
    data = sarcodec.compress(image, quantity="db", step=2600, model=model)
    found = plain_pixels.restore(data, tiny.lapped_bytes(), speckle=True)[0]
    assert np.abs(found - sarcodec.decompress(data, model=model, speckle=True)).max() < 2 * TOLERANCE_DB
