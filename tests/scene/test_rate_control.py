"""Goals for size and error: met, or refused with what there is."""

import io as bytes_io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiny
from sarcodec import cli, errors, radiometry
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.entropy import scale
from sarcodec.metrics import summary
from sarcodec.scene import arrays, files, rate_control
from sarcodec.scene.rate_control import Goal

SHAPES = [(64, 64), (100, 70), (33, 131)]


def header(data: bytes) -> container_header.Header:
    with archive.Reader(bytes_io.BytesIO(data)) as reader:
        return reader.header


def bits_per_pixel(data: bytes, pixels: np.ndarray) -> float:
    return 8 * len(data) / pixels.size


def compress(pixels: np.ndarray, goal: Goal, **options: object) -> tuple[bytes, np.ndarray]:
    data = arrays.compress(pixels, model=tiny.lapped_codec(), goal=goal, **options)
    return data, arrays.decompress(data, model=tiny.lapped_codec())


Curve = Callable[[int], float]
CURVES: dict[str, Curve] = {
    "linear": lambda step: 100 - step / 40,
    "decaying": lambda step: 3 * math.exp(-step / 700),
    "kinked": lambda step: 50 - step / 100 if step < 2000 else 30 - (step - 2000) / 3,
    "flat and steep": lambda step: -20 * math.tanh((step - 300) / 200),
    "flat at first": lambda step: 10 - (step / 900) ** 6,
    "with a jump": lambda step: 60 - step / 50 - (10 if step > 1100 else 0),
    "with a jump up": lambda step: 60 - step / 50 + (2 if step > 1865 else 0),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("target", [1, 2, 40, 700, 1791, 1792, 1793, 2500, 3327, 3328])
def test_finds_the_step(name: str, target: int) -> None:
    """Wherever a step reaches the value, it is found to within what neighbouring steps differ by."""
    curve, measured = CURVES[name], []

    def measure(step: int) -> float:
        assert 1 <= step <= scale.STEPS[-1]
        measured.append(step)
        return curve(step)

    near = [abs(curve(step) - curve(target)) for step in (max(target - 1, 1), min(target + 1, scale.STEPS[-1]))]
    tolerance = max(*near, 1e-3 * abs(curve(1) - curve(scale.STEPS[-1])))
    step, value = rate_control.find_step(measure, scale.STEPS, scale.DEFAULT_STEP, curve(target), tolerance)
    assert value == curve(step)
    assert abs(value - curve(target)) <= tolerance
    assert measured[-1] == step
    assert len(measured) <= rate_control.TRIALS + 1


@pytest.mark.parametrize(("wanted", "expected"), [(200.0, 1), (-5.0, scale.STEPS[-1])])
def test_what_no_step_reaches_ends_at_the_nearest(wanted: float, expected: int) -> None:
    measured = []

    def measure(step: int) -> float:
        measured.append(step)
        return 100 - step / 40

    step, value = rate_control.find_step(measure, scale.STEPS, scale.DEFAULT_STEP, wanted, 0.05)
    assert (step, value) == (expected, 100 - expected / 40)
    assert measured[-1] == step
    assert len(measured) <= rate_control.TRIALS + 1


def test_a_gap_ends_at_its_nearer_side_and_measures_it_last() -> None:
    measured = []

    def measure(step: int) -> float:
        measured.append(step)
        return 10.0 if step < 1000 else 3.0

    step, value = rate_control.find_step(measure, scale.STEPS, scale.DEFAULT_STEP, 4.0, 0.05)
    assert value == 3.0
    assert step >= 1000
    assert measured[-1] == step


def test_steps_of_qualities() -> None:
    steps = [scale.step_of_quality(q) for q in range(1, 101)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 100
    assert steps[49] == scale.DEFAULT_STEP
    assert 1 <= steps[-1] <= steps[0] <= scale.STEPS[-1]
    assert scale.step_of_quality(50.5) < steps[49]


@pytest.mark.parametrize("quality", [0, 0.9, 100.1, -5, math.nan, math.inf])
def test_qualities_out_of_range(quality: float) -> None:
    with pytest.raises(errors.InputError, match=f"quality: got {quality}"):
        scale.step_of_quality(quality)


@pytest.mark.parametrize("make", [Goal.bpp, Goal.ratio, Goal.psnr, Goal.rmse, Goal.max_error])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_goals_that_make_no_sense(make: Callable[[float], Goal], value: float) -> None:
    with pytest.raises(errors.InputError, match="pass a"):
        make(value)


def test_goals_in_other_words() -> None:
    assert Goal.ratio(8).value == Goal.bpp(2).value
    assert Goal.rmse(3).value == pytest.approx(Goal.psnr(20).value)


@pytest.mark.parametrize(("shape", "bpp"), [(SHAPES[0], 6.0), (SHAPES[1], 3.0), (SHAPES[2], 4.0)])
def test_bits_per_pixel(shape: tuple[int, int], bpp: float) -> None:
    pixels = tiny.simulated_db(shape, 5)
    data, _ = compress(pixels, Goal.bpp(bpp), quantity="db")
    assert bits_per_pixel(data, pixels) == pytest.approx(bpp, rel=0.0201)


def test_ratio_of_several_bands() -> None:
    cube = np.stack([tiny.intensity((90, 64), seed) for seed in (1, 2)])
    data, restored = compress(cube, Goal.ratio(8), quantity="intensity")
    assert 16 / bits_per_pixel(data, cube) == pytest.approx(8, rel=0.0201)
    assert restored.shape == cube.shape


@pytest.mark.parametrize(("shape", "psnr"), [(SHAPES[0], 32.0), (SHAPES[1], 45.0), (SHAPES[2], 35.0)])
def test_psnr(shape: tuple[int, int], psnr: float) -> None:
    pixels = tiny.simulated_db(shape, 6)
    _, restored = compress(pixels, Goal.psnr(psnr), quantity="db")
    found = summary.evaluate(pixels, restored, np.ones(shape, bool)).psnr_db
    assert found == pytest.approx(psnr, abs=0.0501)


def test_rmse_of_valid_pixels_of_integers() -> None:
    """What the source's dtype rounds is counted, and what is invalid is not."""
    pixels = tiny.dn((96, 80), 4)
    pixels[:30, 50:] = 0
    _, restored = compress(pixels, Goal.rmse(0.5), quantity="dn", nodata=0)
    valid = pixels > 0
    assert (restored[~valid] == 0).all()
    error = 20 * np.log10(restored[valid] / pixels[valid])
    assert np.sqrt(np.mean(error**2)) == pytest.approx(0.5, rel=0.006)


@pytest.mark.parametrize("goal", [Goal.bpp(0.01), Goal.psnr(150)])
def test_out_of_reach(goal: Goal) -> None:
    with pytest.raises(errors.InputError, match=r"out of reach.*nearest is"):
        arrays.compress(tiny.simulated_db((64, 64)), quantity="db", model=tiny.lapped_codec(), goal=goal)


def invalid(pixels: np.ndarray, marker: float) -> np.ndarray:
    marked = pixels.copy()
    marked[: len(marked) // 3, : marked.shape[1] // 2] = marker
    marked[-1, -1] = marker
    return marked


def in_db(pixels: np.ndarray, quantity: str) -> np.ndarray:
    return radiometry.to_db(pixels, radiometry.Quantity(quantity)).astype(float)


@pytest.mark.parametrize("bound", [0.02, 0.5, 3.0])
@pytest.mark.parametrize("kind", ["db", "intensity", "dn", "small dn"])
@pytest.mark.parametrize("shape", [(70, 65), (1, 1), (2, 130)])
def test_max_error_holds(kind: str, bound: float, shape: tuple[int, int]) -> None:
    make = {"db": tiny.db, "intensity": tiny.intensity, "dn": tiny.dn, "small dn": tiny.dn}[kind]
    quantity, nodata = kind.split()[-1], 0.0 if "dn" in kind else math.nan
    pixels = invalid(make(shape, 3), nodata) if shape != (1, 1) else make(shape, 3)
    if kind == "small dn":
        pixels = np.maximum(pixels // 40, pixels > 0).astype(np.uint16)
    data, restored = compress(pixels, Goal.max_error(bound), quantity=quantity, nodata=nodata)
    valid = pixels > 0 if "dn" in kind else np.isfinite(pixels)
    np.testing.assert_array_equal(restored[~valid], pixels[~valid])
    assert np.abs(in_db(restored[valid], quantity) - in_db(pixels[valid], quantity)).max() <= bound
    assert header(data).architecture == "bounded"
    assert header(data).max_error_db <= bound


def test_a_larger_error_makes_a_smaller_file() -> None:
    pixels = tiny.db((128, 128), 2)
    sizes = [len(compress(pixels, Goal.max_error(bound), quantity="db")[0]) for bound in (0.05, 0.5, 2.0)]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


def test_a_bounded_file_needs_no_model() -> None:
    pixels = tiny.db((40, 50))
    data, restored = compress(pixels, Goal.max_error(0.1), quantity="db")
    np.testing.assert_array_equal(arrays.decompress(data), restored)


@pytest.mark.parametrize("bound", [1e-4, 101.0])
def test_errors_that_cannot_be_guaranteed(bound: float) -> None:
    with pytest.raises(errors.InputError, match="max_error"):
        compress(tiny.db((32, 32)), Goal.max_error(bound), quantity="db")


def test_integers_that_rounding_keeps_from_the_bound() -> None:
    """In whole DN neither 200 nor its neighbours are within reach of every bound, but exact is always possible."""
    pixels = tiny.dn((64, 64), 5)
    _, restored = compress(pixels, Goal.max_error(0.005), quantity="dn")
    assert np.abs(in_db(restored, "dn") - in_db(pixels, "dn")).max() <= 0.005


@pytest.mark.parametrize("goal", [Goal.bpp(1), Goal.psnr(35)])
def test_models_with_fixed_steps_cannot_aim(goal: Goal) -> None:
    with pytest.raises(errors.InputError, match="fixed steps"):
        arrays.compress(tiny.db((32, 32)), quantity="db", model=tiny.coder(), goal=goal)


def test_all_invalid() -> None:
    pixels = np.full((64, 70), np.nan, np.float32)
    _, restored = compress(pixels, Goal.max_error(0.5), quantity="db")
    assert np.isnan(restored).all()
    assert np.isnan(compress(pixels, Goal.psnr(30), quantity="db")[1]).all()


def test_files(write_tif: Callable[..., Path], tmp_path: Path) -> None:
    """By path, with what was there before overwritten only when it was met."""
    source = write_tif("a.tif", tiny.simulated_db((100, 90), 8), tags={"UNITS": "dB"})
    target = tmp_path / "a.sarc"
    size = files.compress_file(source, target, tiny.lapped_codec(), goal=Goal.bpp(3))
    assert size.bytes == target.stat().st_size
    assert size.bits_per_pixel == pytest.approx(3, rel=0.0201)
    before = target.read_bytes()
    with pytest.raises(errors.InputError, match="out of reach"):
        files.compress_file(source, target, tiny.lapped_codec(), goal=Goal.bpp(0.01), overwrite=True)
    assert target.read_bytes() == before


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["sarcodec", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bpp", 1, "--psnr", 30), "--bpp and --psnr"),
        (("--quality", 50, "--step", 1792), "--quality and --step"),
        (("--quality", 0), "quality"),
        (("--max-error", -1), "max_error"),
        (("--rmse", "nan"), "rmse"),
        (("--speckle", "perhaps"), "speckle"),
    ],
)
def test_options_that_contradict(
    write_tif: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    message: str,
) -> None:
    source = write_tif("a.tif", tiny.db((64, 64)), tags={"UNITS": "dB"})
    assert call(monkeypatch, "compress", source, tmp_path / "a.sarc", *options) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a.sarc").exists()


def test_commands(write_tif: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = tiny.simulated_db((90, 100), 3)
    source = write_tif("a.tif", pixels, tags={"UNITS": "dB"})
    model = tmp_path / "tiny.ckpt"
    model.write_bytes(tiny.lapped_bytes())
    steps = []
    for options in (("--quality", 60), ("--step", 1600), ("--psnr", 35), ("--max-error", 0.5)):
        target = tmp_path / f"{options[0]}.sarc"
        assert call(monkeypatch, "compress", source, target, *options, "--model", model, "-q") == 0
        steps.append(header(target.read_bytes()).step)
    assert steps[0] == scale.step_of_quality(60)
    assert steps[1] == 1600
    assert steps[3] == 1


def test_a_psnr_that_even_the_coarsest_step_exceeds_is_met_by_it():
    flat = np.full((70, 80), -12.0, np.float32)
    data = arrays.compress(flat, quantity="db", model=tiny.lapped_codec(), goal=rate_control.Goal.psnr(30))
    restored = arrays.decompress(data, model=tiny.lapped_codec())
    assert np.sqrt(np.mean((restored - flat) ** 2)) < 30 / 10**1.5
