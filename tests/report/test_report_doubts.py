"""What a report says on top: every mark, and that an original is evidently not the image of the file."""

import dataclasses
import json
import math
import re
import sys

import numpy as np
import pytest
import rasterio

import sarcodec
from sarcodec import cli, report
from sarcodec.metrics import summary
from sarcodec.pages import figures
from sarcodec.report import marks
from sarcodec.scene.output import Output
from sarcodec.simulate import scenes

pytest.importorskip("matplotlib")

GRID = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 4000000)}
EXPONENT = re.compile(r"\d[eE][+-]?\d\d")


def write(path, pixels, unit="sigma0 intensity", **grid):
    pixels = np.atleast_3d(pixels.T).T
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    nodata = None if pixels.dtype.kind == "u" else grid.pop("nodata", np.nan)
    with rasterio.open(
        path, "w", driver="GTiff", dtype=pixels.dtype, nodata=nodata, **shape, **GRID | grid
    ) as raster:
        raster.write(pixels)
        raster.update_tags(UNITS=unit)
    return path


def speckle(shape=(256, 320), seed=0, looks=4.4):
    return (np.random.default_rng(seed).gamma(looks, 1 / looks, shape) * 0.05).astype(np.float32)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A simulated scene of two bands, its file at a good quality and at the lowest."""
    folder = tmp_path_factory.mktemp("scene")
    pixels = scenes.scene(384, 448, seed=1).sigma0
    write(folder / "scene.tif", pixels)
    for quality in (1, 60):
        sarcodec.compress_file(folder / "scene.tif", folder / f"q{quality}.sarc", quality=quality)
    return folder, pixels


def reported(original, compressed, target, **how):
    found = report.write_report(original, compressed, target, overwrite=True, **how)
    return found, target.read_text(encoding="utf-8")


def top(text):
    """Everything above the first band."""
    return text.split("</header>")[0]


def test_every_mark_is_on_top_and_is_that_of_the_table_below(scene, tmp_path):
    found, text = reported(scene[0] / "scene.tif", scene[0] / "q60.sarc", tmp_path / "r.html")
    assert not found.warnings and "Warning:" not in text
    strip = top(text)
    for number, values in enumerate(found.values(), start=1):
        row = strip.split(f'href="#band-{number}"')[1].split("</tr>")[0]
        below = text.split(f'id="band-{number}"')[1].split("</section>")[0]
        for name in summary.TARGETS:
            value = getattr(values, name)
            mark = f'<span class="mark {summary.grade(name, value)}">'
            assert f"<strong>{report.format_figure(name, value)}</strong> {mark}" in row, name
            assert f'<td class="number">{report.format_figure(name, value)}</td><td>{mark}' in below, name
    grades = [summary.grade(name, getattr(values, name)) for values in found.values() for name in summary.TARGETS]
    assert (
        f"8 marks: {', '.join(f'{grades.count(g)} {g}' for g in ('poor', 'good', 'excellent') if g in grades)}."
        in strip
    )


def measured(**values):
    nothing = dict.fromkeys((field.name for field in dataclasses.fields(summary.Metrics)), math.nan)
    return summary.Metrics(**nothing | values)


def test_the_worst_mark_stands_first():
    fine = {"psnr_db": 36.0, "ssim": 0.96, "enl_ratio": 1.15, "epi": 0.97}
    bands = {"VV": measured(**fine), "VH": measured(**fine | {"enl_ratio": 1.3}), "HH": measured()}
    text = marks.strip(bands, frozenset({"ssim"}))
    assert re.findall(r'href="#band-(\d)"', text) == ["2", "1", "3"]
    heads = re.findall(r'<th scope="col">([^<]*)', text)
    assert heads == ["Band", "ENL ratio", "PSNR", "SSIM", "Edge preservation"]
    assert "12 marks: 1 poor, 1 good, 6 excellent, 4 not defined." in text
    assert text.count("of the sample windows") == 1
    assert text.index('class="mark poor"') < text.index('class="mark good"') < text.index("not defined</strong>")


def test_no_power_of_ten_where_people_read(scene, tmp_path, capsys, monkeypatch):
    pixels = np.full((600, 700), 0.05, np.float32) * speckle((600, 700)) * 20
    degrees = rasterio.Affine(8.983152841195215e-05, 0, 7, 0, -8.983152841195215e-05, 50)
    write(tmp_path / "a.tif", pixels, crs="EPSG:4326", transform=degrees)

    def said(*arguments):
        monkeypatch.setattr(sys, "argv", ["sarcodec", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    out = said("compress", tmp_path / "a.tif", tmp_path / "a.sarc", "--quality", 1, "-q")
    out += said("info", tmp_path / "a.sarc")
    out += said("evaluate", "lapped64", tmp_path / "a.tif", "--step", 2700, "-q")
    table = said("report", tmp_path / "a.tif", tmp_path / "a.sarc", tmp_path / "a.html", "-q")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    visible = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)
    for text in (out, table, visible):
        assert not EXPONENT.search(re.sub(r"[0-9a-f]{16}", "", text)), EXPONENT.search(text)
    assert "420,000" in table and "420,000" in visible
    assert "0.00008983152841195215" in out and "0.00008983152841195215" in visible


def test_another_image_is_warned_of(scene, tmp_path, capsys, monkeypatch):
    folder, _ = scene
    other = write(tmp_path / "other.tif", scenes.scene(384, 448, seed=2).sigma0)
    found, text = reported(other, folder / "q1.sarc", tmp_path / "r.html")
    assert len(found.warnings) == 1 and "other.tif is hardly the image that q1.sarc was made of." in found.warnings[0]
    assert "own spread only" in found.warnings[0] and "correlation of both is 0." in found.warnings[0]
    assert f"{found['Band 1'].rmse_db:.2f} dB" in found.warnings[0]
    assert "<strong>Warning:</strong> other.tif is hardly" in top(text)
    command = ["sarcodec", "report", other, folder / "q1.sarc", tmp_path / "cli.html", "--json"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert not ended.value.code and set(json.loads(said.out)) == set(found)
    assert said.err == f"warning: {found.warnings[0]}\n" and said.err.count("\n") == 1


def test_another_date_of_the_same_place_is_warned_of(tmp_path):
    """Correlation is high, and the error well below the spread: but the step explains less."""
    ground = 10 ** (np.kron(np.random.default_rng(5).normal(0, 0.6, (8, 10)), np.ones((32, 32))))
    first, second = (write(tmp_path / f"{n}.tif", (ground * speckle(seed=n)).astype(np.float32)) for n in (1, 2))
    sarcodec.compress_file(first, tmp_path / "1.sarc", quality=60)
    assert reported(first, tmp_path / "1.sarc", tmp_path / "r.html")[0].warnings == []
    (warning,) = reported(second, tmp_path / "1.sarc", tmp_path / "r.html")[0].warnings
    assert "quantisation steps of 1.15 dB leave less; the correlation of both is 0.8" in warning


def test_other_valid_pixels_are_warned_of(scene, tmp_path):
    folder, pixels = scene
    holes = pixels.copy()
    valid = np.isfinite(holes[0, 100:110, 200:230])
    holes[0, 100:110, 200:230] = np.nan
    assert valid.all()
    original = write(tmp_path / "holes.tif", holes)
    found, _ = reported(original, folder / "q60.sarc", tmp_path / "r.html")
    assert len(found.warnings) == 1 and "Band 1: 300 pixels are valid in one image alone" in found.warnings[0]
    assert "Band 2" not in found.warnings[0]
    sarcodec.compress_file(original, tmp_path / "holes.sarc", quality=60)
    found, _ = reported(folder / "scene.tif", tmp_path / "holes.sarc", tmp_path / "r.html")
    assert "300 pixels" in found.warnings[0] and math.isfinite(found["Band 1"].psnr_db)


def test_a_guarantee_that_is_not_kept_is_warned_of(tmp_path):
    pixels = speckle()
    original = write(tmp_path / "a.tif", pixels)
    sarcodec.compress_file(original, tmp_path / "a.sarc", max_error=0.5)
    assert reported(original, tmp_path / "a.sarc", tmp_path / "r.html")[0].warnings == []
    pixels[100, 100] *= 10
    found, _ = reported(write(tmp_path / "b.tif", pixels), tmp_path / "a.sarc", tmp_path / "r.html")
    assert re.search(r"errors reach (9\.[5-9]|10\.[0-5])\d dB, and the file guarantees 0.5 dB", found.warnings[0])


def test_another_grid_is_warned_of(scene, tmp_path):
    folder, pixels = scene
    moved = rasterio.Affine(10, 0, 500010, 0, -10, 4000000)
    original = write(tmp_path / "moved.tif", pixels, crs="EPSG:32632", transform=moved)
    found, text = reported(original, folder / "q60.sarc", tmp_path / "r.html")
    words = (
        "the CRS of the file is EPSG:32633, that of the original EPSG:32632; the transform of the file is "
        "(10, 0, 500000, 0, -10, 4000000), that of the original (10, 0, 500010, 0, -10, 4000000)"
    )
    assert found.warnings == [f"moved.tif does not lie on the grid of q60.sarc: {words}."]
    assert words in top(text)


@pytest.mark.parametrize("looks", [1.0, 4.4, 200.0])
@pytest.mark.parametrize("quality", [1, 25, 60])
def test_honest_files_of_featureless_images_are_not_doubted(tmp_path, looks, quality):
    """At the lowest rates nothing of it is left, and the correlation is undefined or about 0."""
    original = write(tmp_path / "sea.tif", speckle(looks=looks))
    sarcodec.compress_file(original, tmp_path / "sea.sarc", quality=quality)
    assert reported(original, tmp_path / "sea.sarc", tmp_path / "r.html")[0].warnings == []


def test_the_lowest_quality_of_a_scene_is_not_doubted(scene, tmp_path):
    assert reported(scene[0] / "scene.tif", scene[0] / "q1.sarc", tmp_path / "r.html")[0].warnings == []


def test_honest_files_with_few_valid_pixels_are_not_doubted(tmp_path):
    pixels = speckle(looks=1.0)
    pixels[np.random.default_rng(3).random(pixels.shape) > 0.01] = np.nan
    original = write(tmp_path / "few.tif", pixels)
    for quality in (1, 80):
        sarcodec.compress_file(original, tmp_path / "few.sarc", quality=quality, overwrite=True)
        assert reported(original, tmp_path / "few.sarc", tmp_path / "r.html")[0].warnings == []


def test_the_lowest_quality_of_real_chips_is_not_doubted(data_dir, tmp_path):
    for chip in sorted((data_dir / "test").glob("*.tif")):
        sarcodec.compress_file(chip, tmp_path / "chip.sarc", quality=1, overwrite=True)
        found, _ = reported(chip, tmp_path / "chip.sarc", tmp_path / "r.html")
        assert found.warnings == [], chip.name


def test_nodata_that_the_source_does_not_declare_is_that_of_the_file(tmp_path):
    db = 10 * np.log10(speckle())
    db[:40] = -9999
    original = write(tmp_path / "a.tif", db, "dB", nodata=None)
    sarcodec.compress_file(original, tmp_path / "a.sarc", nodata=-9999, quality=60)
    found, _ = reported(original, tmp_path / "a.sarc", tmp_path / "r.html")
    assert found.warnings == [] and found["Band 1"].valid_pixels == 216 * 320
    assert found["Band 1"].rmse_db < 2


def test_rendered_speckle_is_said_and_is_not_another_image(tmp_path):
    original = write(tmp_path / "sea.tif", speckle())
    sarcodec.compress_file(original, tmp_path / "sea.sarc", quality=10)
    sarcodec.decompress_file(tmp_path / "sea.sarc", tmp_path / "drawn.tif", output=Output(speckle=True))
    found, _ = reported(original, tmp_path / "sea.sarc", tmp_path / "r.html", restored=tmp_path / "drawn.tif")
    assert len(found.warnings) == 1 and "its speckle is rendered" in found.warnings[0]


def test_an_exact_copy_of_a_constant_image_is_called_exact(tmp_path, capsys, monkeypatch):
    original = write(tmp_path / "flat.tif", np.full((200, 230), 100, np.uint16), "DN")
    sarcodec.compress_file(original, tmp_path / "flat.sarc", max_error=0.1)
    found, text = reported(original, tmp_path / "flat.sarc", tmp_path / "r.html")
    assert found.warnings == []
    assert found["Band 1"].enl_ratio == found["Band 1"].epi == found["Band 1"].water_iou == 1.0
    assert "Every valid pixel of Band 1 is restored exactly." in top(text)
    assert "4 marks: 3 excellent, 1 exact." in top(text)
    assert '∞ dB</strong> <span class="mark exact">✓✓ exact</span>' in top(text)
    assert "nan" not in re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", text, flags=re.DOTALL)
    assert "The original is constant: it has no spectrum." in text
    rows = dict(figures.lines(found))
    assert rows["PSNR"] == ["∞ dB (exact)"] and rows["ENL ratio"] == ["1.000 (excellent)"]


def test_a_constant_image_that_is_not_exact_is_not_called_poor(tmp_path):
    original = write(tmp_path / "flat.tif", np.full((200, 230), 0.1, np.float32))
    sarcodec.compress_file(original, tmp_path / "flat.sarc", max_error=0.1)
    another = write(tmp_path / "restored.tif", np.full((200, 230), 0.1005, np.float32))
    found, text = reported(original, tmp_path / "flat.sarc", tmp_path / "r.html", restored=another)
    assert 0 < found["Band 1"].rmse_db < 0.1
    rows = dict(figures.lines(found))
    assert rows["ENL ratio"] == rows["Edge preservation"] == ["not defined"]
    assert 'class="mark poor"' not in text and "2 excellent, 2 not defined." in top(text)


def test_a_large_exact_copy(tmp_path):
    """Where figures are summed over the whole image."""
    original = write(tmp_path / "flat.tif", np.full((40, 2100), 100, np.uint16), "DN")
    sarcodec.compress_file(original, tmp_path / "flat.sarc", max_error=0.1)
    found, text = reported(original, tmp_path / "flat.sarc", tmp_path / "r.html")
    assert found["Band 1"].enl_ratio == 1.0 and found["Band 1"].psnr_db == math.inf
    assert "Every valid pixel of Band 1 is restored exactly." in top(text)
