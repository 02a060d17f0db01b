"""Every quality figure against an independent implementation or a closed form."""

import dataclasses
import json
import math
import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import pytorch_msssim
import skimage.filters
import skimage.metrics
import torch
from scipy import ndimage

from sarcodec import errors
from sarcodec.metrics import edges as metric_edges
from sarcodec.metrics import error, radiometric, similarity, summary
from sarcodec.metrics import looks as metric_looks

PAIR_FUNCTIONS = (
    summary.evaluate,
    error.rmse_db,
    error.psnr,
    similarity.ssim,
    similarity.ms_ssim,
    metric_looks.enl_ratio,
    metric_edges.epi,
    metric_edges.gradient_correlation,
    radiometric.radiometric_bias,
    radiometric.water_iou,
    radiometric.bright_target_error,
)


def speckled(shape: tuple[int, int], looks: float = 4.4, seed: int = 0) -> np.ndarray:
    """Gamma speckle on two plateaus, -20 dB on the left half and -8 dB on the right, in dB."""
    speckle = np.random.default_rng(seed).gamma(looks, 1.0 / looks, shape)
    mean_db = np.where(np.arange(shape[1]) < shape[1] / 2, -20.0, -8.0)
    return 10.0 * np.log10(speckle) + mean_db


def restored_from(original_db: np.ndarray, seed: int = 1) -> np.ndarray:
    """A smoothed and slightly noisy version, as a codec would return it."""
    noise = np.random.default_rng(seed).normal(0.0, 0.5, original_db.shape)
    return ndimage.gaussian_filter(original_db, 0.6) + noise


def all_valid(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape, bool)


def same(first: summary.Metrics, second: summary.Metrics) -> bool:
    """Equal bit for bit, NaN equal to NaN."""
    return all(
        a == b or (math.isnan(a) and math.isnan(b))
        for a, b in zip(first.to_dict().values(), second.to_dict().values(), strict=True)
    )


# error and peak signal-to-noise ratio


@pytest.mark.parametrize("offset_db", [0.3, -3.0, 30.0])
def test_constant_offset_gives_its_psnr(offset_db: float) -> None:
    original = speckled((40, 50))
    valid = all_valid(original)
    assert error.rmse_db(original, original + offset_db, valid) == pytest.approx(abs(offset_db), rel=1e-12)
    expected = 20.0 * math.log10(30.0 / abs(offset_db))
    assert error.psnr(original, original + offset_db, valid) == pytest.approx(expected, abs=1e-9)


def test_known_noise_gives_its_psnr_whatever_the_range_of_the_image() -> None:
    noise = np.random.default_rng(3).normal(0.0, 1.5, (64, 64))
    expected = 20.0 * math.log10(30.0 / math.sqrt(np.mean(noise**2)))
    for scale in (0.1, 1.0, 10.0):
        original = scale * speckled((64, 64))
        got = error.psnr(original, original + noise, all_valid(original))
        assert got == pytest.approx(expected, abs=1e-9)


def test_psnr_of_identical_images_is_infinite() -> None:
    original = speckled((8, 8))
    assert error.psnr(original, original, all_valid(original)) == math.inf
    assert error.rmse_db(original, original, all_valid(original)) == 0.0


def test_normalised_psnr_clips_both_images() -> None:
    original = np.array([[-40.0, -20.0, -10.0, 10.0]])
    restored = np.array([[-60.0, -17.0, -10.0, 30.0]])
    valid = all_valid(original)
    expected = -20.0 * math.log10(math.sqrt((3.0 / 30.0) ** 2 / 4.0))
    assert error.psnr_normalised(original, restored, valid, -30.0, 0.0) == pytest.approx(expected, abs=1e-9)
    wide = error.psnr_normalised(original, restored, valid, -100.0, 100.0)
    error_db = error.rmse_db(original, restored, valid)
    assert wide == pytest.approx(20.0 * math.log10(200.0 / error_db), abs=1e-9)


@pytest.mark.parametrize("limits", [(0.0, 0.0), (1.0, -1.0), (math.nan, 1.0), (-math.inf, 0.0)])
def test_normalised_psnr_refuses_bad_limits(limits: tuple[float, float]) -> None:
    image = np.zeros((2, 2))
    with pytest.raises(errors.InputError, match=r"vmin_db < vmax_db"):
        error.psnr_normalised(image, image, all_valid(image), *limits)


# structural similarity


@pytest.mark.parametrize("shape", [(11, 11), (11, 40), (61, 47), (128, 128)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, int]) -> None:
    original = speckled(shape)
    restored = restored_from(original)
    expected = skimage.metrics.structural_similarity(
        original - original.min(),
        restored - original.min(),
        win_size=11,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=30.0,
    )
    assert similarity.ssim(original, restored, all_valid(original)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level_db", [0.0, 60.0])
def test_ssim_of_a_cut_out_is_that_of_the_cut_out_image(level_db: float) -> None:
    original = speckled((60, 60)) + level_db
    restored = restored_from(original)
    valid = np.zeros((60, 60), bool)
    valid[7:40, 10:55] = True
    original[0, 0] = -300.0  # outside the cut-out: must not become the shift
    inside = (slice(7, 40), slice(10, 55))
    expected = similarity.ssim(original[inside], restored[inside], valid[inside])
    assert similarity.ssim(original, restored, valid) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(176, 176), (192, 256)])
def test_ms_ssim_agrees_with_pytorch_msssim(shape: tuple[int, int]) -> None:
    original = speckled(shape)
    restored = restored_from(original)
    tensors = [torch.from_numpy(image - original.min())[None, None] for image in (original, restored)]
    expected = float(pytorch_msssim.ms_ssim(*tensors, data_range=30.0))
    assert 0.5 < expected < 0.999
    assert similarity.ms_ssim(original, restored, all_valid(original)) == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_needs_161_pixels_on_both_sides() -> None:
    original = speckled((161, 170))
    restored = restored_from(original)
    valid = all_valid(original)
    assert 0.5 < similarity.ms_ssim(original, restored, valid) < 1.0
    assert math.isnan(similarity.ms_ssim(original[:160], restored[:160], valid[:160]))
    assert math.isnan(similarity.ms_ssim(original[:, :160], restored[:, :160], valid[:, :160]))


def test_ms_ssim_survives_scattered_invalid_pixels() -> None:
    original = speckled((192, 192))
    restored = restored_from(original)
    valid = np.random.default_rng(5).random(original.shape) > 0.01
    whole = similarity.ms_ssim(original, restored, all_valid(original))
    assert similarity.ms_ssim(original, restored, valid) == pytest.approx(whole, abs=0.01)


def test_ms_ssim_leaves_out_coarse_pixels_that_are_mostly_invalid() -> None:
    original = speckled((192, 192))
    restored = restored_from(original)
    valid = all_valid(original)
    valid[79:82, 79:82] = False
    valid[80, 80] = True  # one of four in its block, and in no valid window at full size
    expected = similarity.ms_ssim(original, restored, valid)
    restored[80, 80] += 100.0
    assert similarity.ms_ssim(original, restored, valid) == expected
    valid[80, 81] = True
    expected = similarity.ms_ssim(original, restored, valid)
    restored[80, 80] += 100.0
    assert similarity.ms_ssim(original, restored, valid) < expected


def test_ms_ssim_of_an_inverted_image_is_zero_not_nan() -> None:
    original = speckled((176, 176))
    assert similarity.ms_ssim(original, -original, all_valid(original)) == 0.0


def test_data_range_never_comes_from_the_restored_image() -> None:
    original = speckled((128, 128))
    restored = np.full_like(original, original.mean())
    restored[0, 0] = original.mean() + 3000.0  # one wild pixel stretches the range of the prediction
    shifted = [image - original.min() for image in (original, restored)]
    options = {"win_size": 11, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    trapped = skimage.metrics.structural_similarity(*shifted, data_range=np.ptp(restored), **options)
    honest = skimage.metrics.structural_similarity(*shifted, data_range=30.0, **options)
    got = similarity.ssim(original, restored, all_valid(original))
    assert trapped > 0.95
    assert got == pytest.approx(honest, abs=1e-9)
    assert got < 0.5


# speckle


@pytest.mark.parametrize("looks", [1.0, 4.4, 20.0])
def test_enl_of_simulated_speckle_is_its_number_of_looks(looks: float) -> None:
    intensity = np.random.default_rng(7).gamma(looks, 0.02 / looks, (500, 500))
    assert metric_looks.enl(intensity) == pytest.approx(looks, rel=0.02)


def test_enl_of_degenerate_values() -> None:
    assert metric_looks.enl([0.1, 0.1, 0.1]) == math.inf
    assert metric_looks.enl([1.0, 3.0]) == 4.0
    assert math.isnan(metric_looks.enl([]))
    assert math.isnan(metric_looks.enl([0.0, 0.0]))
    with pytest.raises(errors.InputError, match="intensity"):
        metric_looks.enl([1.0, math.nan])


def test_enl_ratio_of_averaged_speckle_counts_the_averaged_looks() -> None:
    generator = np.random.default_rng(11)
    one, other = (generator.gamma(4.0, 0.25, (450, 450)) for _ in range(2))
    original, restored = 10.0 * np.log10(one), 10.0 * np.log10((one + other) / 2.0)
    # every window counts, so that selection on the original does not bias the ratio
    ratio = metric_looks.enl_ratio(original, restored, all_valid(original), max_cv=10.0)
    assert ratio == pytest.approx(2.0, rel=0.05)


def test_enl_windows_are_chosen_on_the_original() -> None:
    original = speckled((150, 150))
    rows, columns = np.indices(original.shape) // 15
    calm = (rows == 2) & (columns % 5 == 1)
    original[calm] = -15.0 + 0.1 * (original[calm] - original[calm].mean())
    restored = np.where(calm, original, -15.0)  # all texture lost elsewhere
    valid = all_valid(original)
    # 2 of 100 windows are kept; the top fifth is 20 windows, so its median is of flattened ones
    assert metric_looks.enl_ratio(original, restored, valid) == math.inf
    assert metric_looks.enl_ratio(original, restored, valid, max_cv=0.1) == pytest.approx(1.0)
    assert math.isnan(metric_looks.enl_ratio(original, restored, valid, max_cv=1e-6))


def test_enl_ratio_takes_the_top_fifth_and_no_more() -> None:
    intensity = 1.0 + np.tile([[-1.0, 0.0, 1.0]], (15 * 2, 5 * 5)) * 0.1
    contrast = np.repeat(np.repeat([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 9.5]], 15, 0), 15, 1)
    original = 1.0 + (intensity - 1.0) * contrast
    # ten windows, the top fifth are the two of contrast 1 and 2, changed here by factors 2 and 4 in ENL
    factor = np.select([contrast == 1.0, contrast == 2.0], [math.sqrt(0.5), math.sqrt(0.25)], 3.0)
    restored = 1.0 + (original - 1.0) * np.minimum(factor, 10.0 / contrast * 0.99)
    ratio = metric_looks.enl_ratio(10.0 * np.log10(original), 10.0 * np.log10(restored), all_valid(original))
    assert ratio == pytest.approx(3.0, rel=1e-9)


@pytest.mark.parametrize("max_cv", [0.0, -1.0, math.nan])
def test_enl_ratio_refuses_a_bad_threshold(max_cv: float) -> None:
    image = speckled((30, 30))
    with pytest.raises(errors.InputError, match="max_cv"):
        metric_looks.enl_ratio(image, image, all_valid(image), max_cv=max_cv)


# edges


def test_edge_preservation_of_identical_images_is_exactly_one() -> None:
    original = speckled((64, 48))
    valid = all_valid(original)
    assert metric_edges.epi(original, original, valid) == 1.0
    assert metric_edges.gradient_correlation(original, original, valid) == 1.0


def test_edge_preservation_ignores_sign_scale_and_level_of_the_gradient() -> None:
    original = speckled((64, 48))
    valid = all_valid(original)
    for restored in (-original, 0.5 * original - 7.0):
        assert metric_edges.epi(original, restored, valid) == pytest.approx(1.0, abs=1e-12)
        assert metric_edges.gradient_correlation(original, restored, valid) == pytest.approx(1.0, abs=1e-12)


def test_edge_preservation_by_its_formula() -> None:
    original = speckled((40, 40))
    restored = restored_from(original)

    def magnitude(image: np.ndarray) -> np.ndarray:
        x = np.zeros((38, 38))
        y = np.zeros((38, 38))
        for step, weight in zip((0, 1, 2), (1.0, 2.0, 1.0), strict=True):
            x += weight * (image[step : step + 38, 2:] - image[step : step + 38, :-2])
            y += weight * (image[2:, step : step + 38] - image[:-2, step : step + 38])
        return np.sqrt(x * x + y * y).ravel()

    first, second = magnitude(original), magnitude(restored)
    valid = all_valid(original)
    expected = first @ second / math.sqrt((first @ first) * (second @ second))
    assert metric_edges.epi(original, restored, valid) == pytest.approx(expected, abs=1e-12)
    correlation = np.corrcoef(first, second)[0, 1]
    assert metric_edges.gradient_correlation(original, restored, valid) == pytest.approx(correlation, abs=1e-12)
    assert metric_edges.epi(original, restored, valid) > metric_edges.gradient_correlation(original, restored, valid)


def test_lost_edges_score_zero_and_absent_edges_nan() -> None:
    edges, flat = speckled((20, 20)), np.full((20, 20), -12.0)
    ramp = np.tile(np.arange(20.0) * 0.1 - 17.0, (20, 1))
    valid = all_valid(edges)
    assert metric_edges.epi(edges, flat, valid) == 0.0
    assert math.isnan(metric_edges.epi(flat, edges, valid))
    assert metric_edges.gradient_correlation(edges, ramp, valid) == 0.0
    assert math.isnan(metric_edges.gradient_correlation(ramp, edges, valid))


# radiometry and use


@pytest.mark.parametrize("factor", [0.5, 0.99, 2.0])
def test_scaling_the_intensity_is_a_bias_of_its_decibels(factor: float) -> None:
    original = speckled((100, 70))
    expected = 10.0 * math.log10(factor)
    overall, median, p95 = radiometric.radiometric_bias(original, original + expected, all_valid(original))
    assert overall == pytest.approx(expected, abs=1e-9)
    assert median == pytest.approx(abs(expected), abs=1e-9)
    assert p95 == pytest.approx(abs(expected), abs=1e-9)


def test_bias_of_windows_does_not_cancel_as_the_overall_one_does() -> None:
    original = np.full((64, 64), -10.0)
    restored = original.copy()
    restored[:32] += 10.0 * math.log10(1.2)
    restored[32:] += 10.0 * math.log10(0.8)
    overall, median, p95 = radiometric.radiometric_bias(original, restored, all_valid(original))
    up, down = 10.0 * math.log10(1.2), -10.0 * math.log10(0.8)
    assert overall == pytest.approx(0.0, abs=1e-12)
    assert median == pytest.approx((up + down) / 2.0)
    assert p95 == pytest.approx(down)


def test_bias_percentiles_over_windows() -> None:
    original = np.full((32, 320), -10.0)
    offsets_db = np.repeat(np.arange(1, 11) / 10.0, 32)
    _, median, p95 = radiometric.radiometric_bias(original, original - offsets_db, all_valid(original))
    assert median == pytest.approx(0.55)
    assert p95 == pytest.approx(0.955)


def test_bias_uses_half_valid_windows_only() -> None:
    original = np.full((32, 64), -10.0)
    restored = original.copy()
    restored[:, 32:] += 1.0
    valid = all_valid(original)
    valid[17:, 32:] = False
    assert radiometric.radiometric_bias(original, restored, valid)[1] == pytest.approx(0.5)
    valid[15:, 32:] = False
    assert radiometric.radiometric_bias(original, restored, valid)[1] == pytest.approx(0.0)


def test_water_threshold_agrees_with_scikit_image() -> None:
    original = speckled((128, 128))
    restored = restored_from(original)
    threshold = skimage.filters.threshold_otsu(original)
    water, restored_water = original <= threshold, restored <= threshold
    expected = (water & restored_water).sum() / (water | restored_water).sum()
    assert 0.7 < expected < 1.0
    assert radiometric.water_iou(original, restored, all_valid(original)) == expected


def test_water_iou_counts_pixels() -> None:
    original = np.where(np.arange(100) < 40, -22.0, -8.0).reshape(10, 10)
    restored = np.where((np.arange(100) >= 10) & (np.arange(100) < 50), -22.0, -8.0).reshape(10, 10)
    assert radiometric.water_iou(original, restored, all_valid(original)) == 30 / 50
    assert radiometric.water_iou(original, np.full((10, 10), 0.0), all_valid(original)) == 0.0


def test_bright_targets_are_the_brightest_thousandth_of_the_original() -> None:
    original = np.arange(5000.0).reshape(50, 100) / 1000.0
    restored = original.copy()
    restored[-1, -5:] -= [3.0, 4.0, 0.0, 0.0, 0.0]
    restored[:40] += 50.0  # elsewhere: must not count
    valid = all_valid(original)
    assert radiometric.bright_target_error(original, restored, valid) == pytest.approx(math.sqrt(25.0 / 5.0))
    valid[-1, -5:] = False
    assert radiometric.bright_target_error(original, restored, valid) == 0.0


def test_equally_bright_targets_all_count() -> None:
    original = np.zeros((10, 10))
    restored = np.zeros((10, 10))
    restored[0, 0] = 5.0
    assert radiometric.bright_target_error(original, restored, all_valid(original)) == pytest.approx(0.5)


# invalid pixels, degenerate images, arguments


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    invalid=st.sampled_from(["one", "scattered", "half", "border", "all"]),
    poisons=st.tuples(*[st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -1e30, 0.0])] * 2),
    seed=st.integers(0, 99),
)
def test_invalid_pixels_never_change_a_metric(
    height: int, width: int, invalid: str, poisons: tuple[float, float], seed: int
) -> None:
    original = speckled((height, width), seed=seed)
    restored = restored_from(original, seed=seed)
    generator = np.random.default_rng(seed)
    lost = {
        "one": generator.permutation(height * width).reshape(height, width) == 0,
        "scattered": generator.random((height, width)) < 0.02,
        "half": np.indices((height, width))[0] < height / 2,
        "border": np.indices((height, width))[1] < 3,
        "all": np.ones((height, width), bool),
    }[invalid]
    expected = summary.evaluate(original, restored, ~lost)
    poisoned = [np.where(lost, poison, image) for poison, image in zip(poisons, (original, restored), strict=True)]
    assert same(summary.evaluate(*poisoned, ~lost), expected)
    assert expected.valid_pixels == height * width - lost.sum()


def test_invalid_pixels_never_change_a_metric_of_a_large_image() -> None:
    original = speckled((200, 190))
    restored = restored_from(original)
    valid = np.random.default_rng(2).random(original.shape) > 0.003
    valid[:20, :30] = False
    expected = summary.evaluate(original, restored, valid)
    assert all(math.isfinite(value) for value in expected.to_dict().values())
    original[~valid], restored[~valid] = math.nan, -math.inf
    assert same(summary.evaluate(original, restored, valid), expected)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 40), (2, 2), (3, 3), (10, 10), (33, 3)])
@pytest.mark.parametrize("kind", ["speckled", "constant", "all invalid"])
def test_degenerate_images_give_nan_and_no_warning(shape: tuple[int, int], kind: str) -> None:
    original = np.full(shape, -12.3) if kind == "constant" else speckled(shape)
    valid = np.full(shape, kind != "all invalid")
    result = summary.evaluate(original, original + 1.0, valid)
    assert math.isnan(result.ssim)
    assert math.isnan(result.ms_ssim)
    if valid.any():
        assert result.rmse_db == pytest.approx(1.0)
        assert result.bias_db == pytest.approx(1.0)
        assert result.bright_target_error_db == pytest.approx(1.0)
    else:
        values = dataclasses.asdict(result)
        assert values.pop("valid_pixels") == 0
        assert all(math.isnan(value) for value in values.values())


UNDEFINED_WITHOUT_CONTRAST = ("enl_ratio", "epi", "gradient_correlation", "water_iou")


@pytest.mark.parametrize("shape", [(200, 200), (7, 5), (1, 1)])
def test_an_exact_copy_of_a_constant_image_has_lost_nothing(shape: tuple[int, int]) -> None:
    original = np.full(shape, -12.3)
    result = summary.evaluate(original, original, all_valid(original))
    assert result.psnr_db == math.inf
    assert result.ssim == pytest.approx(1.0) and result.ms_ssim == pytest.approx(1.0)
    assert result.bias_db == result.bias_median_abs_db == result.bias_p95_abs_db == 0.0
    assert all(getattr(result, name) == 1.0 for name in UNDEFINED_WITHOUT_CONTRAST)
    assert {summary.grade(name, getattr(result, name)) for name in summary.TARGETS} == {"excellent"}
    assert math.isnan(metric_edges.epi(original, original, all_valid(original)))  # the figure itself is not defined


def test_a_constant_image_that_is_not_exact_has_figures_that_are_not_defined() -> None:
    original = np.full((200, 200), -12.3)
    result = summary.evaluate(original, original + 0.01, all_valid(original))
    assert result.psnr_db == pytest.approx(69.54, abs=0.01) and result.ssim > 0.99
    assert all(math.isnan(getattr(result, name)) for name in UNDEFINED_WITHOUT_CONTRAST)


def test_a_diverged_reconstruction_gets_bad_figures_without_a_warning() -> None:
    original = speckled((200, 200))
    restored = np.full(original.shape, 1e30, np.float32)
    result = summary.evaluate(original, restored, all_valid(original))
    assert result.psnr_db < 0.0
    assert result.ssim < 0.1
    assert result.bias_db > 100.0


def test_identical_images_are_perfect() -> None:
    original = speckled((200, 200))
    result = summary.evaluate(original.astype(np.float32), original.astype(np.float32), all_valid(original))
    assert result.ssim == pytest.approx(1.0, abs=1e-12)
    assert result.ms_ssim == pytest.approx(1.0, abs=1e-12)
    assert result.enl_ratio == result.epi == result.water_iou == 1.0
    assert result.rmse_db == result.bias_db == result.bright_target_error_db == 0.0


@pytest.mark.parametrize("function", PAIR_FUNCTIONS, ids=lambda function: function.__name__)
def test_bad_arguments_are_named(function: object) -> None:
    assert callable(function)
    image, valid = np.zeros((4, 5)), np.ones((4, 5), bool)
    with pytest.raises(errors.InputError, match=r"restored_db.*\(5, 4\)"):
        function(image, image.T, valid)
    with pytest.raises(errors.InputError, match=r"original_db.*\(4, 5\)"):
        function(image, image.T, valid.T)
    with pytest.raises(errors.InputError, match=r"valid.*uint8"):
        function(image, image, valid.astype(np.uint8))
    with pytest.raises(errors.InputError, match=r"valid.*2-D"):
        function(image[0], image[0], valid[0])
    with pytest.raises(errors.InputError, match=r"original_db.*complex"):
        function(image.astype(complex), image, valid)
    lost = image.copy()
    lost[1, 1] = math.nan
    with pytest.raises(errors.InputError, match=r"restored_db: 1 valid pixels"):
        function(image, lost, valid)


def test_inputs_are_left_alone() -> None:
    original = speckled((40, 40))
    valid = all_valid(original)
    valid[3, 3] = False
    copies = original.copy(), valid.copy()
    summary.evaluate(original, original, valid)
    assert np.array_equal(original, copies[0])
    assert np.array_equal(valid, copies[1])


def test_metrics_are_frozen_and_go_through_json() -> None:
    original = speckled((200, 200))
    result = summary.evaluate(original, restored_from(original), all_valid(original))
    assert summary.Metrics(**json.loads(json.dumps(result.to_dict()))) == result
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.ssim = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("psnr_db", 29.99, "poor"),
        ("psnr_db", 30.0, "good"),
        ("psnr_db", math.inf, "excellent"),
        ("psnr_db", math.nan, "poor"),
        ("ssim", 0.95, "excellent"),
        ("ssim", 0.9, "good"),
        ("enl_ratio", 0.79, "poor"),
        ("enl_ratio", 0.85, "good"),
        ("enl_ratio", 1.1, "excellent"),
        ("enl_ratio", 1.15, "good"),
        ("enl_ratio", 1.21, "poor"),
        ("epi", 0.85, "good"),
        ("epi", 1.0 + 2e-16, "excellent"),
    ],
)
def test_grades(name: str, value: float, expected: str) -> None:
    assert summary.grade(name, value) == expected


def test_targets_name_fields_and_unknown_names_are_refused() -> None:
    assert set(summary.TARGETS) <= {field.name for field in dataclasses.fields(summary.Metrics)}
    with pytest.raises(errors.InputError, match=r"'sharpness'.*enl_ratio, epi, psnr_db, ssim"):
        summary.grade("sharpness", 1.0)


def test_a_chip_takes_no_longer_than_a_few_seconds() -> None:
    original = speckled((512, 512))
    restored = restored_from(original)
    valid = all_valid(original)
    start = time.perf_counter()
    summary.evaluate(original, restored, valid)
    assert time.perf_counter() - start < 5.0  # about 0.2 s; loops over windows would take minutes
