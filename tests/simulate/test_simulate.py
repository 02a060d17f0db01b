import re

import numpy as np
import pytest

from sarcodec import errors
from sarcodec.simulate import ground, scenes, speckle


@pytest.fixture(scope="module")
def big():
    return scenes.scene(1024, 1024, seed=7)


def lag(image, rows, columns):
    """Autocorrelation at one lag."""
    deviation = image.astype(np.float64) - image.mean(dtype=np.float64)
    first = deviation[: image.shape[0] - rows, : image.shape[1] - columns]
    return float((first * deviation[rows:, columns:]).mean() / deviation.var())


def mean_db(scene, band, name):
    where = scene.land_cover == ground.CLASSES.index(name)
    return 10 * np.log10(scene.noise_free[band][where].mean(dtype=np.float64))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (2, 2), (257, 300)])
def test_every_size_gives_valid_arrays_with_nan_in_the_border_only(height, width):
    scene = scenes.scene(height, width, seed=3)
    assert scene.sigma0.shape == scene.noise_free.shape == (2, height, width)
    assert scene.land_cover.shape == (height, width)
    assert scene.sigma0.dtype == scene.noise_free.dtype == np.float32
    assert scene.land_cover.dtype == np.uint8
    assert scene.polarisations == ("VV", "VH")
    assert scene.land_cover.max() < len(ground.CLASSES)
    assert np.isfinite(scene.noise_free).all()
    # Nothing lies below the noise floor.
    assert scene.noise_free.min() >= 10 ** (ground.NESZ_DB / 10)
    valid = np.isfinite(scene.sigma0)
    assert (scene.sigma0[valid] > 0).all()
    assert np.array_equal(valid[0], valid[1])
    assert valid.any()


def test_border_is_two_wedges_and_can_be_left_out():
    bordered = scenes.scene(200, 480, seed=1)
    whole = scenes.scene(200, 480, seed=1, nodata_border=False)
    outside = np.isnan(bordered.sigma0[0])
    assert outside[0, :20].all() and not outside[0, 20:].any()
    assert outside[-1, -20:].all() and not outside[-1, :-20].any()
    assert not outside[:, 20:-20].any()
    assert np.isfinite(whole.sigma0).all()
    assert np.array_equal(bordered.sigma0[:, ~outside], whole.sigma0[:, ~outside])


def test_equal_seeds_give_equal_scenes_and_others_differ():
    first, again, other = (scenes.scene(96, 80, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.sigma0, again.sigma0, equal_nan=True)
    assert np.array_equal(first.land_cover, again.land_cover)
    assert not np.array_equal(first.noise_free, other.noise_free)
    assert not np.array_equal(speckle.draw(64, 64, seed=5), speckle.draw(64, 64, seed=6))


def test_global_random_state_is_not_touched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    scenes.scene(40, 40)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_ground_does_not_depend_on_speckle_or_choice_of_bands():
    both = scenes.scene(120, 100, seed=2)
    swapped = scenes.scene(120, 100, seed=2, polarisations=("VH", "VV"))
    single = scenes.scene(120, 100, seed=2, polarisations=("VH",), looks=20, correlation=0)
    assert np.array_equal(swapped.sigma0[::-1], both.sigma0, equal_nan=True)
    assert single.sigma0.shape == (1, 120, 100)
    assert np.array_equal(single.noise_free[0], both.noise_free[1])
    assert np.array_equal(single.land_cover, both.land_cover)
    assert not np.array_equal(single.sigma0[0], both.sigma0[1], equal_nan=True)


@pytest.mark.parametrize("looks", [1, 4.4, 10])
def test_speckle_has_unit_mean_and_the_requested_looks(looks):
    factors = speckle.draw(700, 700, looks=looks, seed=11).astype(np.float64)
    # Correlation leaves 700² / sum of r^(2 k²)-like lags, about 700² / 4, independent samples at lag-1 0.65.
    samples = 700**2 / 8
    assert factors.min() > 0
    assert factors.mean() == pytest.approx(1, abs=5 / np.sqrt(looks * samples))
    # Relative error of a sample ENL: sqrt(2 (1 + 1/looks) / n) for Gamma variates.
    assert factors.mean() ** 2 / factors.var() == pytest.approx(looks, rel=5 * np.sqrt(2 * (1 + 1 / looks) / samples))


def test_speckle_is_gamma_distributed():
    factors = speckle.draw(400, 400, looks=1, correlation=0, seed=4)
    # One look is exponential: P(x > t) = exp(-t). Five standard errors of a share of 160000.
    for level in (0.1, 1.0, 3.0, 6.0):
        share = np.exp(-level)
        assert (factors > level).mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 160_000))


@pytest.mark.parametrize("looks", [0.7, 1, 4.4])
@pytest.mark.parametrize("correlation", [0, 0.2, 0.65, 0.8])
def test_lag_one_correlation_is_the_requested_one_along_both_axes(looks, correlation):
    factors = speckle.draw(600, 600, looks=looks, correlation=correlation, seed=9)
    assert lag(factors, 0, 1) == pytest.approx(correlation, abs=0.015)
    assert lag(factors, 1, 0) == pytest.approx(correlation, abs=0.015)


def test_higher_lags_fall_as_in_real_chips():
    factors = speckle.draw(700, 700, seed=9)
    assert 0.13 < lag(factors, 0, 2) < 0.24
    assert abs(lag(factors, 0, 4)) < 0.02
    assert lag(factors, 1, 1) == pytest.approx(0.65**2, abs=0.02)
    assert lag(10 * np.log10(factors), 0, 1) == pytest.approx(0.65, abs=0.02)


def test_scene_is_its_ground_times_independent_speckle(big):
    valid = np.isfinite(big.sigma0[0])
    vv, vh = (big.sigma0[band][valid] / big.noise_free[band][valid] for band in (0, 1))
    assert vv.mean(dtype=np.float64) == pytest.approx(1, abs=0.01)
    assert vv.mean(dtype=np.float64) ** 2 / vv.var(dtype=np.float64) == pytest.approx(4.4, rel=0.03)
    # Some 200 000 independent samples: a standard error of 0.002.
    assert abs(np.corrcoef(vv, vh)[0, 1]) < 0.012


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_large_scene_holds_every_class(seed):
    cover = scenes.scene(1024, 1024, seed=seed, polarisations=("VV",)).land_cover
    shares = np.bincount(cover.ravel(), minlength=6) / cover.size
    assert (shares > 0).all()
    named = dict(zip(ground.CLASSES, shares, strict=True))
    assert named["sea"] == pytest.approx(0.2, abs=0.02)
    assert named["field"] > 0.25
    assert named["forest"] > 0.15
    assert named["town"] > 0.02
    assert 0.002 < named["river"] < 0.08


def test_backscatter_of_classes_is_in_the_plausible_order_and_range(big):
    vv = {name: mean_db(big, 0, name) for name in ground.CLASSES}
    assert vv["river"] < vv["field"] - 3 < vv["forest"]
    assert vv["sea"] < vv["field"] - 3
    assert vv["field"] < vv["forest"] < vv["town"] < vv["ship"]
    assert -13 < vv["field"] < -8
    assert -9.5 < vv["forest"] < -6.5
    assert -5 < vv["town"] < 3
    for name in ("field", "forest", "town"):
        assert vv[name] - mean_db(big, 1, name) == pytest.approx(7, abs=1.5)
    # VH of the sea lies near the noise floor.
    assert ground.NESZ_DB < mean_db(big, 1, "sea") < ground.NESZ_DB + 3


def test_coarser_spacing_shows_more_land_per_pixel():
    fine, coarse = (scenes.scene(400, 400, seed=3, spacing_m=metres).noise_free[0] for metres in (10.0, 40.0))
    steps = [np.abs(np.diff(np.log(image), axis=1)).mean() for image in (fine, coarse)]
    assert steps[1] > 1.3 * steps[0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("height", {"height": 0}),
        ("height", {"height": 2.5}),
        ("width", {"width": -4}),
        ("seed", {"seed": -1}),
        ("looks", {"looks": 0}),
        ("looks", {"looks": float("nan")}),
        ("correlation", {"correlation": 1.0}),
        ("correlation", {"correlation": -0.1}),
        ("spacing_m", {"spacing_m": 0.0}),
        ("spacing_m", {"spacing_m": float("inf")}),
        ("polarisations", {"polarisations": ("VV", "XX")}),
        ("polarisations", {"polarisations": ("VV", "VV")}),
        ("polarisations", {"polarisations": ()}),
    ],
)
def test_bad_arguments_are_named_with_their_value(name, change):
    with pytest.raises(errors.InputError, match=rf"^{name} is {re.escape(repr(change[name]))}; give "):
        scenes.scene(**{"height": 8, "width": 8, **change})


def test_speckle_refuses_what_scene_refuses():
    with pytest.raises(errors.InputError, match=r"^looks is -1; give "):
        speckle.draw(8, 8, looks=-1)
