import contextlib
import html.parser
import io
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode

import numpy as np
import pytest
import rasterio
import torch

from sarcodec import errors, radiometry, report
from sarcodec.autoencoder import architecture, checkpoint, normalization, variants
from sarcodec.autoencoder import latents as autoencoder_latents
from sarcodec.metrics import error, summary
from sarcodec.pages import pictures
from sarcodec.report import charts, section
from sarcodec.scene import files as scene_files
from sarcodec.scene import model_store

matplotlib_image = pytest.importorskip("matplotlib.image")

HOSTILE = "<script>alert(1)</script>"
BANDS = (f"{HOSTILE} VV", "VH", "HH")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,900",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(7)
    config = architecture.ModelConfig(base_channels=8, latent_channels=4)
    latents = np.random.default_rng(7).normal(size=(4, 64, 64)).astype(np.float32)
    coder = autoencoder_latents.LatentCoder.fit([latents], np.full(4, 0.1, np.float32))
    bounds = {"db/VV": normalization.Bounds(-40.0, 15.0), "db/VH": normalization.Bounds(-18.5, -17.5)}
    path = tmp_path_factory.mktemp("model") / "tiny.ckpt"
    checkpoint.save(
        path,
        checkpoint.Checkpoint(
            config=config,
            normalizer=normalization.Normalizer(normalization.Clipping(), bounds),
            weights=variants.build(config).state_dict(),
            tables={name: torch.from_numpy(value) for name, value in coder.to_arrays().items()},
        ),
    )
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory, model):
    """A scene of sigma0 with a NaN border, its third band without a valid pixel, and its .sarc file."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(3)
    looks = rng.gamma(4.4, 1 / 4.4, size=(2, 200, 300))
    pixels = np.full((3, 200, 300), np.nan, np.float32)
    pixels[:2, 8:-8, 8:-8] = (looks * np.array([0.1, 0.02])[:, None, None])[:, 8:-8, 8:-8]
    original, compressed = folder / "scene.tif", folder / "scene.sarc"
    profile = {"driver": "GTiff", "count": 3, "height": 200, "width": 300, "dtype": "float32", "nodata": np.nan}
    transform = rasterio.Affine(10, 0, 500000, 0, -10, 4000000)
    with rasterio.open(original, "w", crs="EPSG:32633", transform=transform, **profile) as raster:
        raster.write(pixels)
        raster.update_tags(NOTE=HOSTILE)
        for band, name in enumerate(BANDS, start=1):
            raster.set_band_description(band, name)
    scene_files.compress_file(
        original, compressed, model_store.open_codec(model), quantity=radiometry.Quantity.INTENSITY
    )
    return original, compressed


@pytest.fixture(scope="module")
def written(tmp_path_factory, files, model):
    target = tmp_path_factory.mktemp("page") / "report.html"
    return target, report.write_report(*files, target, model=model)


@pytest.fixture(scope="module")
def text(written):
    return written[0].read_text(encoding="utf-8")


def section_of(text, band):
    return text.split(f'id="band-{band}"')[1].split("</section>")[0]


class Resources(html.parser.HTMLParser):
    """Collects what a page loads or links, its scripts and its ids."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts, self.ids = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value)
            if name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}:
                self.found.append(value)


def test_page_is_self_contained(text):
    parser = Resources()
    parser.feed(text)
    assert parser.found
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in parser.found)
    anchors = {value[1:] for value in parser.found if value.startswith("#")}
    assert anchors <= set(parser.ids)
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert re.search(r"\$\{?[a-z]", text) is None
    assert len(text) < 4e6


def test_page_names_no_folder(text, files):
    assert str(files[0].parent) not in text
    assert "scene.tif" in text


def test_every_figure_of_every_band_is_shown(text, written):
    figures = written[1]
    assert list(figures) == list(BANDS)
    for number in (1, 2):
        section = section_of(text, number)
        for name, value in figures[BANDS[number - 1]].to_dict().items():
            assert f'<td class="number">{report.format_figure(name, value)}</td>' in section, name
            if name in summary.TARGETS and not math.isnan(value):
                assert f'class="mark {summary.grade(name, value)}"' in section


def test_figures_are_those_of_the_restored_file(tmp_path, files, model, written):
    restored = tmp_path / "restored.tif"
    scene_files.decompress_file(files[1], restored, model=model)
    again = report.write_report(*files, tmp_path / "again.html", restored=restored)
    assert again[BANDS[1]] == written[1][BANDS[1]]
    with rasterio.open(files[0]) as before, rasterio.open(restored) as after:
        original, pixels = before.read(1), after.read(1)
    valid = np.isfinite(original)
    expected = error.rmse_db(10 * np.log10(original), 10 * np.log10(pixels), valid)
    assert written[1][BANDS[0]].rmse_db == pytest.approx(expected, rel=1e-4)
    assert written[1][BANDS[0]].valid_pixels == 184 * 284


def test_bytes_and_ratios_are_those_of_the_file(text, files):
    size = files[1].stat().st_size
    bpp = 8 * size / (3 * 200 * 300)
    assert f"<dd>{size:,} bytes<" in text
    assert f"<dd>{bpp:.4f} bits/pixel<" in text
    assert f"<dd>{16 / bpp:.2f} : 1<" in text
    assert "<dd>64<" in text  # latent ratio: 16² pixels on 4 values
    assert f'whole file</th><td class="number">{size:,}</td>' in text


def test_header_facts_are_shown(text, model):
    for fact in (checkpoint.load(model).identity, "EPSG:32633", "intensity", "3 × 200 × 300", "−18.5 to −17.5 dB"):
        assert fact in text


def test_text_from_the_file_is_escaped(text):
    parser = Resources()
    parser.feed(text)
    assert parser.scripts == 1
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


def test_clipping_above_one_percent_is_warned_of(text):
    assert "Warning:" not in section_of(text, 1)
    assert "Warning:" in section_of(text, 2)


def test_band_without_a_valid_pixel_says_so(text, written):
    assert "no valid pixel" in section_of(text, 3)
    assert math.isnan(written[1]["HH"].psnr_db)


def test_thinned_overview_comes_with_the_centre_at_full_resolution(tmp_path, files, model, monkeypatch):
    monkeypatch.setattr(section, "VIEW_SIDE", 1)  # the least side is 160 pixels, which 300 exceed
    report.write_report(*files, tmp_path / "thin.html", model=model)
    band = section_of((tmp_path / "thin.html").read_text(encoding="utf-8"), 1)
    assert band.count('type="range"') == 2
    assert "mean intensity of 2 × 2" in band and "One row and column in 2" in band


def test_existing_target_is_kept_and_nothing_left_behind(tmp_path, files, model):
    target = tmp_path / "report.html"
    target.write_text("mine")
    with pytest.raises(errors.InputError, match="overwrite"):
        report.write_report(*files, target, model=model)
    assert target.read_text() == "mine"
    report.write_report(*files, target, model=model, overwrite=True)
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_foreign_files_are_refused_and_nothing_left_behind(tmp_path, files, model):
    other = tmp_path / "other.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 20, "width": 20, "dtype": "float32"}
    with rasterio.open(
        other, "w", crs="EPSG:4326", transform=rasterio.Affine(1, 0, 9, 0, -1, 9), **profile
    ) as raster:
        raster.write(np.ones((1, 20, 20), np.float32))
    target = tmp_path / "report.html"
    with pytest.raises(errors.InputError, match="files of one image"):
        report.write_report(other, files[1], target, model=model)
    with pytest.raises(errors.InputError, match="files of one image"):
        report.write_report(*files, target, restored=other)
    with pytest.raises(errors.FormatError):
        report.write_report(files[0], other, target, model=model)
    with pytest.raises(errors.ModelMissing):
        report.write_report(*files, target)
    with pytest.raises(errors.InputError, match="files to compare"):
        report.write_report(*files, files[0], model=model, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["other.tif"]


def test_missing_matplotlib_names_the_extra(tmp_path, files, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(errors.MissingExtra, match=r"sarcodec\[report\]"):
        report.write_report(*files, tmp_path / "report.html", model=model)
    assert not list(tmp_path.iterdir())


def test_undefined_and_infinite_figures_are_words():
    assert report.format_figure("enl_ratio", math.nan) == "not defined"
    assert report.format_figure("psnr_db", math.inf) == "∞ dB"
    assert report.format_figure("bias_db", -0.5) == "−0.500 dB"
    assert report.format_figure("valid_pixels", 12345) == "12,345"


def test_picture_keeps_shape_values_and_transparency():
    values = np.array([[-1.0, 0.0, np.nan], [1.0, 5.0, -5.0]], np.float32)
    data = b64decode(pictures.png(pictures.indexed(values, -1.0, 1.0), pictures.grey()).split(",")[1])
    image = matplotlib_image.imread(io.BytesIO(data), format="png")
    assert image.shape == (2, 3, 4)
    np.testing.assert_array_equal(image[..., 3], [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_allclose(image[..., 0], [[0, 0.5, 0], [1, 1, 0]], atol=0.004)


def test_error_colours_are_white_at_zero_and_symmetric():
    palette = pictures.diverging().astype(int)
    assert palette.shape == (256, 3)
    assert palette[128].min() > 240
    assert palette[255][0] > palette[255][2] and palette[1][2] > palette[1][0]


@pytest.mark.parametrize("shape", [(7, 5), (6, 6), (1, 9)])
def test_multilook_averages_intensity_over_valid_pixels(shape):
    db = np.full(shape, 10.0, np.float32)
    np.testing.assert_allclose(pictures.multilook(db, 3)[: shape[0] // 3, : shape[1] // 3], 10.0, rtol=1e-6)
    mixed = np.array([[0.0, 10.0], [np.nan, np.nan]], np.float32)
    assert pictures.multilook(mixed, 2)[0, 0] == pytest.approx(10 * math.log10(5.5), rel=1e-6)
    assert np.isnan(pictures.multilook(np.array([[0.0, np.nan], [np.nan, np.nan]], np.float32), 2)).all()


@pytest.mark.parametrize("hole", [False, True])
def test_spectrum_of_white_noise_is_its_variance(hole):
    noise = np.random.default_rng(1).normal(-12.0, 2.0, size=(256, 320)).astype(np.float32)
    valid = np.ones(noise.shape, bool)
    valid[:100, :120] = not hole
    frequency, power = charts.radial_spectrum(np.where(valid, noise, np.float32(np.nan)), valid)
    assert frequency[0] > 0 and frequency[-1] < 0.5
    np.testing.assert_allclose(power[5:].mean(), 4.0, rtol=0.05)


def test_spectrum_finds_a_wave_at_its_frequency():
    wave = np.tile(np.sin(2 * np.pi * 0.2 * np.arange(256)), (200, 1)).astype(np.float32)
    frequency, power = charts.radial_spectrum(wave, np.ones(wave.shape, bool))
    assert frequency[np.argmax(power)] == pytest.approx(0.2, abs=0.01)


class Browser:
    """A headless Chromium behind chromedriver's HTTP protocol, which needs no package."""

    def __init__(self, port, browser, profile):
        self.base = f"http://127.0.0.1:{port}"
        options = {"binary": browser, "args": [*BROWSER_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.base += "/session/" + self.post("/session", capabilities={"alwaysMatch": wanted})["sessionId"]

    def post(self, path, **body):
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.post("/execute/sync", script=script, args=[])

    def keys(self, *keys):
        pressed = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": pressed}])

    def drag(self, kind, x0, x1, y):
        moves = [
            {"type": "pointerMove", "x": x0, "y": y, "duration": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "x": x1, "y": y, "duration": 50},
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": moves}
        self.post("/actions", actions=[pointer])


@pytest.fixture
def browser(tmp_path):
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and chromedriver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            session = Browser(port, program, tmp_path / "profile")
            yield session
            urllib.request.urlopen(urllib.request.Request(session.base, method="DELETE"), timeout=30).close()
        finally:
            process.terminate()


def shown_share(browser):
    """Percentage of the original that the computed clip path of the first swipe leaves in sight."""
    path = browser.run("return getComputedStyle(document.querySelector('.above')).clipPath")
    inset = re.fullmatch(r"inset\(0px (?:calc\(100% - ([\d.]+)%\)|([\d.]+)%) 0px 0px\)", path)
    assert inset, path
    return float(inset[1]) if inset[1] else 100 - float(inset[2])


def test_slider_moves_the_swipe(browser, written):
    browser.post("/url", url=written[0].as_uri())
    assert shown_share(browser) == pytest.approx(50)
    browser.run("document.querySelector('.swipe input').focus()")
    browser.keys("\ue014", "\ue014")  # two arrows right, half a percent each
    assert shown_share(browser) == pytest.approx(51)
    browser.keys("\ue011")  # Home
    assert shown_share(browser) == pytest.approx(0)

    browser.run("document.querySelector('.swipe').scrollIntoView({block: 'start'})")
    where = (
        "const b = document.querySelector('.swipe %s').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    x, y, width, height = browser.run(where % ".frame")
    for kind, share in (("mouse", 0.75), ("touch", 0.25)):
        browser.drag(kind, round(x + width / 2), round(x + share * width), round(y + height / 2))
        assert shown_share(browser) == pytest.approx(100 * share, abs=1)
    x, y, width, height = browser.run(where % "input")
    browser.drag("mouse", round(x + width / 4), round(x + width * 0.6), round(y + height / 2))
    assert shown_share(browser) == pytest.approx(60, abs=2)
    assert browser.run("return document.querySelector('.swipe input').getAttribute('aria-valuetext')").endswith(
        "original"
    )


def test_page_loads_nothing_and_fits_narrow_screens(browser, written):
    narrow = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    browser.post("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=narrow)
    browser.post("/url", url=written[0].as_uri())
    loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert not [name for name in loaded if not name.startswith("data:")]
    assert browser.run("return document.documentElement.scrollWidth") <= 400
    assert browser.run("return [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert browser.post("/se/log", type="browser") == []
