"""Reports of scenes: what one pass over strips measures, against plain NumPy over the whole image."""

import dataclasses
import importlib.util
import json
import math
import sys

import numpy as np
import pytest
import rasterio

import places
import safe_product
import tiny
from sarcodec import cli, errors, report, tiling
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.metrics import error as metric_error
from sarcodec.metrics import summary
from sarcodec.raster import geotiff
from sarcodec.raster import source as raster_source
from sarcodec.report import classes, maps, samples, seams, section, sums, survey, tilebytes
from sarcodec.scene import files, model_store

pytest.importorskip("matplotlib")

SEAMS = places.REPOSITORY / "benchmarks" / "seams.py"
SHAPE = (203, 331)


def images(shape=SHAPE, seed=1):
    """A scene of water, fields and a town with an error that grows with brightness; NaN where invalid."""
    rng = np.random.default_rng(seed)
    ground = np.full(shape, -11.0)
    ground[:, : shape[1] // 3] = -22.0
    ground[shape[0] // 2 :, -shape[1] // 4 :] = -2.0
    original = ground + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, shape))
    restored = original + rng.normal(0, 0.5 + 0.02 * (ground + 22), shape)
    valid = np.ones(shape, bool)
    valid[:, :7] = valid[90:97, 200:220] = False
    original[~valid] = np.nan
    return original.astype(np.float32), restored.astype(np.float32), valid


def close(found, expected):
    """Whether figures of the same pixels agree, whatever strips they were summed in."""
    return list(found) == list(expected) and all(
        found[band].to_dict() == pytest.approx(expected[band].to_dict(), rel=1e-9, nan_ok=True) for band in found
    )


def strips(original, restored, valid, heights=(50, 1, 33, 64), panel=150):
    for left in range(0, valid.shape[1], panel):
        top, turn = 0, 0
        while top < len(valid):
            area = np.s_[top : top + heights[turn % len(heights)], left : left + panel]
            yield sums.Strip.of(top, original[area], restored[area], valid[area], left=left)
            top, turn = area[0].stop, turn + 1


def surveyed(pixels, tile=64, side=100):
    return survey.Survey.take(pixels[2].shape, tile, strips(*pixels), side)


@pytest.mark.parametrize("cell", [1, 7, 32, 400])
def test_sums_do_not_depend_on_the_strips(cell):
    values = np.random.default_rng(0).random((97, 131))
    found = sums.Sums(*(sums.cuts(length, cell) for length in values.shape))
    for top, bottom in ((0, 1), (1, 40), (40, 41), (41, 97)):
        for left, right in ((0, 77), (77, 131)):
            found.add(top, left, values[top:bottom, left:right])
    expected = [[values[r : r + cell, c : c + cell].sum() for c in range(0, 131, cell)] for r in range(0, 97, cell)]
    np.testing.assert_allclose(found.total, expected, rtol=1e-12)


def test_figures_from_sums_are_those_of_the_whole_image(monkeypatch):
    pixels = images()
    expected = summary.evaluate(*(np.where(pixels[2], image, 0) for image in pixels[:2]), pixels[2])
    monkeypatch.setattr(samples, "WHOLE_SIDE", 96)
    monkeypatch.setattr(samples, "WINDOW_SIDE", 32)
    found = surveyed(pixels)
    mosaic = found.samples.mosaic(1, header(SHAPE))
    measured = found.figures(mosaic)
    assert 0.1 < found.share < 0.2
    for name in samples.WHOLE_FIGURES:
        assert getattr(measured, name) == pytest.approx(getattr(expected, name), rel=1e-5), name
    sampled = summary.evaluate(mosaic.original, mosaic.restored, mosaic.valid)
    assert measured.ssim == sampled.ssim and measured.water_iou == sampled.water_iou


def test_small_images_are_measured_whole():
    pixels = images()
    found = surveyed(pixels)
    mosaic = found.samples.mosaic(1, header(SHAPE))
    assert found.share == 1 and found.samples.core(mosaic) is mosaic
    assert found.figures(mosaic) == summary.evaluate(mosaic.original, mosaic.restored, pixels[2])
    np.testing.assert_array_equal(mosaic.original, pixels[0])


def header(shape):
    """What the survey asks of a header."""

    class Header:
        bands, clips = (container_header.Band.of_offset(0.0),), False

    Header.shape = (1, *shape)
    return Header()


def test_windows_of_a_large_image_do_not_touch_and_lie_inside(monkeypatch):
    monkeypatch.setattr(samples, "WHOLE_SIDE", 60)
    monkeypatch.setattr(samples, "WINDOW_SIDE", 20)
    windows = samples.windows((50, 61))
    assert [w.shape for w in windows] == [(50, 20)] * 3
    windows = samples.windows(SHAPE)
    assert len(windows) == 9
    for number, window in enumerate(windows):
        window.check(*SHAPE)
        assert not any(window.overlaps(other) for other in windows[number + 1 :])
    centre = windows[4]
    assert abs(centre.top + centre.bottom - SHAPE[0]) <= 1 and abs(centre.left + centre.right - SHAPE[1]) <= 1


def test_an_empty_centre_is_not_shown(monkeypatch):
    monkeypatch.setattr(samples, "WHOLE_SIDE", 60)
    monkeypatch.setattr(samples, "WINDOW_SIDE", 20)
    original, restored, valid = images()
    valid[80:120, 140:190] = False
    found = surveyed((original, restored, valid))
    core = found.samples.core(found.samples.mosaic(1, header(SHAPE)))
    assert core.window != samples.windows(SHAPE)[4]
    assert core.valid.mean() > 0.9
    np.testing.assert_array_equal(core.restored[core.valid], restored[core.window.slices][core.valid])


def test_a_scene_with_valid_pixels_outside_the_windows_alone(monkeypatch):
    monkeypatch.setattr(samples, "WHOLE_SIDE", 60)
    monkeypatch.setattr(samples, "WINDOW_SIDE", 20)
    original, restored, valid = images()
    for window in samples.windows(SHAPE):
        valid[window.slices] = False
    found = surveyed((original, restored, valid))
    mosaic = found.samples.mosaic(1, header(SHAPE))
    measured = found.figures(mosaic)
    text = section.section("VV", found, mosaic, found.samples.core(mosaic), measured, 100)
    assert measured.valid_pixels == valid.sum() and math.isnan(measured.ssim)
    assert measured.rmse_db == pytest.approx(metric_error.rmse_db(original, restored, valid), rel=1e-6)
    assert "No valid pixel lies in the sample windows" in text and "By brightness" in text


def test_classes_are_those_of_plain_numpy():
    original, restored, valid = images()
    rows = classes.table(surveyed((original, restored, valid)))
    means, places = [], {}
    for top in range(0, SHAPE[0], 32):
        for left in range(0, SHAPE[1], 32):
            area = np.s_[top : top + 32, left : left + 32]
            if valid[area].any():
                means.append(10 * np.log10(np.mean(10.0 ** (original[area][valid[area]].astype(np.float64) / 10))))
                places[top, left] = means[-1]
    middle = np.median(means)
    index = np.full(SHAPE, -1)
    for (top, left), mean in places.items():
        index[top : top + 32, left : left + 32] = sum(mean >= middle + step for step in (-6, -2, 2, 6))
    index[~valid] = -1
    assert [row.name for row in rows] == [*classes.NAMES, "all"]
    for number, row in enumerate(rows[:-1]):
        inside = index == number
        assert row.share == pytest.approx(inside.sum() / valid.sum())
        if inside.any():
            error = (restored - original.astype(np.float64))[inside]
            assert row.rmse_db == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
            assert row.psnr_db == pytest.approx(20 * np.log10(30 / row.rmse_db))
            power = [np.mean(10.0 ** (image[inside].astype(np.float64) / 10)) for image in (restored, original)]
            assert row.bias_db == pytest.approx(10 * np.log10(power[0] / power[1]), rel=1e-5)
        else:
            assert math.isnan(row.rmse_db) and math.isnan(row.enl_ratio)
    assert rows[0].share > 0.25 and rows[4].share > 0.08
    assert rows[0].rmse_db < rows[2].rmse_db < rows[4].rmse_db
    assert sum(row.windows for row in rows[:-1]) == rows[-1].windows
    assert rows[0].enl_ratio < 1  # noise was added to speckle


def test_classes_do_not_depend_on_the_unit():
    original, restored, valid = images()
    plain = classes.table(surveyed((original, restored, valid)))
    shifted = classes.table(surveyed((original + np.float32(60), restored + np.float32(60), valid)))
    for before, after in zip(plain, shifted, strict=True):
        assert after.share == before.share
        assert after.rmse_db == pytest.approx(before.rmse_db, rel=1e-4, nan_ok=True)
        assert after.low == pytest.approx(before.low + 60, rel=1e-4)


def test_no_class_of_homogeneous_windows_is_made_up():
    original, restored, valid = images((64, 64))
    rows = classes.table(surveyed((original, restored, valid)))
    assert rows[-1].windows < classes.LEAST_WINDOWS and math.isnan(rows[-1].enl_ratio)


@pytest.mark.parametrize("shape", [SHAPE, (128, 192), (130, 70), (64, 200), (133, 260), (30, 20)])
@pytest.mark.parametrize("tile", [64, 16, 100])
def test_seams_are_those_of_the_benchmark(shape, tile, monkeypatch):
    spec = importlib.util.spec_from_file_location("seams_benchmark", SEAMS)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "TILE", tile)
    assert benchmark.BAND == seams.BAND
    original, restored, valid = (image[: shape[0], : shape[1]] for image in images((300, 340)))
    near = benchmark.near_borders(shape)
    squared = (restored - original) ** 2
    found = surveyed((original, restored, valid), tile).borders.ratio()
    if not (near & valid).any() or not (~near & valid).any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.sqrt(squared[valid & near].mean() / squared[valid & ~near].mean()), rel=1e-5)


def test_a_planted_seam_shows_at_its_border_alone():
    original, _, valid = images((256, 320))
    rng = np.random.default_rng(5)
    restored = original + rng.normal(0, 0.5, original.shape).astype(np.float32)
    restored[:, 120:136] = original[:, 120:136] + rng.normal(0, 1.0, (256, 16)).astype(np.float32)
    found = surveyed((original, restored, valid)).borders
    upright, level = found.ratios()
    assert upright.shape == (4, 4) and level.shape == (3, 5)
    np.testing.assert_allclose(upright[:, 1], 2.0, rtol=0.1)
    np.testing.assert_allclose(upright[:, [0, 2, 3]], 1.0, rtol=0.1)
    np.testing.assert_allclose(level, 1.0, rtol=0.1)
    assert found.ratio() > seams.EXPECTED


def test_a_border_without_valid_pixels_is_not_judged():
    original, restored, valid = images((128, 256))
    valid[:, 100:156] = False
    upright, _ = surveyed((original, restored, valid)).borders.ratios()
    assert np.isnan(upright[:, 1]).all() and np.isfinite(upright[:, [0, 2]]).all()


def test_overview_is_the_mean_intensity():
    original, restored, valid = images()
    found = surveyed((original, restored, valid), side=100).overview
    assert found.factor == 4
    before, after = found.images()
    assert before.shape == (51, 83)
    area = np.s_[40:44, 100:104]
    assert before[10, 25] == pytest.approx(10 * np.log10(np.mean(10.0 ** (original[area] / 10))), rel=1e-4)
    assert after[10, 25] == pytest.approx(10 * np.log10(np.mean(10.0 ** (restored[area] / 10))), rel=1e-4)
    assert np.isnan(before[:, 0]).all() and np.isfinite(before[0, 2:]).all()


def test_maps_are_drawn_to_scale():
    values = np.arange(6.0).reshape(2, 3)
    drawn = maps.to_scale(values, 64, (100, 150))
    assert drawn.shape == (100, 150)
    assert drawn[63, 63] == 0 and drawn[64, 63] == 3 and drawn[0, 128] == 2
    thinned = maps.to_scale(np.arange(16.0).reshape(2, 8), 1000, (1400, 7400))
    assert max(thinned.shape) <= maps.SIDE and set(thinned.ravel()) == set(range(16))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A single-band scene of several tiles, compressed and restored."""
    folder = tmp_path_factory.mktemp("large")
    original, _, valid = images((192, 288))
    with rasterio.open(
        folder / "scene.tif",
        "w",
        driver="GTiff",
        height=192,
        width=288,
        count=1,
        dtype="float32",
        nodata=np.nan,
        crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
    ) as raster:
        raster.write(np.where(valid, original, np.nan), 1)
        raster.update_tags(UNITS="sigma0 dB")
    options = files.encoding.Options(tile=64)
    files.compress_file(folder / "scene.tif", folder / "scene.sarc", model_store.open_codec(), options=options)
    files.decompress_file(folder / "scene.sarc", folder / "restored.tif")
    return folder


def test_report_of_a_large_image(large, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "WHOLE_SIDE", 96)
    monkeypatch.setattr(samples, "WINDOW_SIDE", 32)
    monkeypatch.setattr(section, "SCENE_SIDE", 1)
    counted = []
    given = large / "scene.tif", large / "scene.sarc"
    found = report.write_report(*given, tmp_path / "a.html", advance=counted.append)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert sum(counted) == 192 * 288
    assert "9 windows of 32 × 32 pixels" in text and "17 % of its pixels" in text
    assert text.count("of the sample windows") >= 6
    assert "One window at full resolution" in text and "Rows 80 to 112, columns 128 to 160." in text
    again = report.write_report(*given, tmp_path / "b.html", restored=large / "restored.tif")
    assert close(again, found)
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == text
    with rasterio.open(large / "scene.tif") as before, rasterio.open(large / "restored.tif") as after:
        original, restored = before.read(1), after.read(1)
    valid = np.isfinite(original)
    assert next(iter(found.values())).rmse_db == pytest.approx(
        metric_error.rmse_db(original, restored, valid), rel=1e-6
    )
    rows = classes.table(surveyed((original, restored, valid)))
    for row in rows:
        if row.share:
            assert f'<td class="number">{row.rmse_db:.3f}</td><td class="number">{row.psnr_db:.1f}</td>' in text
    ratio = surveyed((original, restored, valid)).borders.ratio()
    assert f"<strong>{ratio:.3f}</strong>" in text


def test_only_strips_are_read(large, tmp_path, monkeypatch):
    monkeypatch.setattr(sums, "STRIP_PIXELS", 3000)
    monkeypatch.setattr(sums, "PANEL_COLUMNS", 130)
    seen = []
    read = geotiff.RasterReader.read

    def recorded(self, band, window):
        seen.append(window)
        return read(self, band, window)

    monkeypatch.setattr(geotiff.RasterReader, "read", recorded)
    for restored in (None, large / "restored.tif"):
        seen.clear()
        report.write_report(
            large / "scene.tif", large / "scene.sarc", tmp_path / "r.html", restored=restored, overwrite=True
        )
        assert len({window.left for window in seen}) == (3 if restored is None else 1)
        assert max(math.prod(window.shape) for window in seen) <= 3000
        pixels = sum(math.prod(window.shape) for window in seen)
        assert pixels == 192 * 288 * (1 if restored is None else 2)


def test_bits_of_tiles_add_up(large):
    with archive.Reader(large / "scene.sarc") as reader:
        bits = tilebytes.bits_per_pixel(large / "scene.sarc", reader.header)
        sizes = reader.sizes()
    assert bits.shape == (1, 3, 5)
    pixels = [math.prod(tile.core.shape) for tile in tiling.TileGrid(192, 288, 64)]
    assert np.sum(bits.ravel() * pixels) / 8 == pytest.approx(sizes["symbols"] + sizes["masks"])


def test_one_tile_has_no_seams_and_no_map_of_bytes(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        height=70,
        width=90,
        count=1,
        dtype="float32",
        crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
    ) as raster:
        raster.write(tiny.db((70, 90)), 1)
    files.compress_file(
        tmp_path / "a.tif", tmp_path / "a.sarc", model_store.open_codec(), quantity=files.radiometry.Quantity.DB
    )
    report.write_report(tmp_path / "a.tif", tmp_path / "a.sarc", tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "there are no borders, and no seams" in text and "Bits per pixel, " not in text


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product")
    source = safe_product.make(folder)
    files.compress_file(source, folder / "both.sarc", model_store.open_codec())
    return source, folder / "both.sarc"


def test_report_of_a_product_in_a_folder_or_zip(product, tmp_path):
    source, compressed = product
    found = report.write_report(source, compressed, tmp_path / "folder.html")
    packed = report.write_report(safe_product.pack(source), compressed, tmp_path / "zip.html")
    assert list(found) == ["VV", "VH"] and close(packed, found)
    assert found.warnings == packed.warnings == []
    restored = tmp_path / "restored.SAFE"
    files.decompress_file(compressed, restored)
    again = report.write_report(source, compressed, tmp_path / "again.html", restored=restored)
    assert close(again, found) and again.warnings == []
    for pol, measured in found.items():
        before, after = (safe_product.read(folder, pol).astype(np.float64) for folder in (source, restored))
        error = 20 * np.log10(after[before > 0] / before[before > 0])
        assert measured.valid_pixels == (before > 0).sum()
        assert measured.rmse_db == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    text = (tmp_path / "folder.html").read_text(encoding="utf-8")
    assert "the product&#x27;s other files" in text or "the product's other files" in text


def test_report_of_one_polarisation_of_a_product(product, tmp_path):
    source, _ = product
    with raster_source.open(source, "VH") as raster:
        files.compress_file(raster, tmp_path / "vh.sarc", model_store.open_codec())
    found = report.write_report(source, tmp_path / "vh.sarc", tmp_path / "vh.html")
    assert list(found) == ["VH"]
    assert found["VH"].valid_pixels == (safe_product.read(source, "VH") > 0).sum()


def test_a_product_and_a_file_of_another_are_refused(product, large, tmp_path):
    with pytest.raises(errors.InputError, match="files of one image"):
        report.write_report(product[0], large / "scene.sarc", tmp_path / "r.html")
    with pytest.raises(errors.FormatError):
        report.write_report(tmp_path / "missing.SAFE", large / "scene.sarc", tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def test_command_reports_a_product(product, tmp_path, capsys, monkeypatch):
    arguments = ["sarcodec", "report", *map(str, product), str(tmp_path / "r.html"), "--json"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert set(json.loads(capsys.readouterr().out)["VV"]) == {f.name for f in dataclasses.fields(summary.Metrics)}
    assert (tmp_path / "r.html").stat().st_size > 10_000
