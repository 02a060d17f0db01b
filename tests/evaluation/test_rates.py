"""The Bjøntegaard delta rate, against its definition computed by hand."""

import math
import sys

import numpy as np
import pytest
from scipy import interpolate

from sarcodec import errors
from sarcodec.evaluation import bdrate

RATES = np.array([0.12, 0.25, 0.5, 0.75, 1.0, 1.5, 1.95])


@pytest.fixture
def package() -> None:
    pytest.importorskip("bjontegaard", reason="the delta rate needs the extra 'bench' (bjontegaard)")


def psnr_of(rate: np.ndarray, gain: float = 0.0) -> np.ndarray:
    """A curve like those of real codecs: 6 dB a bit, and steeper at low rates."""
    return 26.0 + gain + 5.0 * rate + 1.5 * np.log2(rate)


def by_hand(rates_a: np.ndarray, psnr_a: np.ndarray, rates_b: np.ndarray, psnr_b: np.ndarray) -> float:
    """Mean difference of log-rates over the PSNR in common, by a fine Riemann sum of own PCHIPs."""
    low, high = max(psnr_a.min(), psnr_b.min()), min(psnr_a.max(), psnr_b.max())
    at = low + (high - low) * (np.arange(20000) + 0.5) / 20000
    log_a = interpolate.PchipInterpolator(psnr_a, np.log(rates_a))(at)
    log_b = interpolate.PchipInterpolator(psnr_b, np.log(rates_b))(at)
    return 100.0 * (math.exp(float(np.mean(log_b - log_a))) - 1.0)


@pytest.mark.usefixtures("package")
def test_equal_to_the_definition_by_hand() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        rates_a = np.sort(generator.uniform(0.11, 1.9, 6))
        rates_b = np.sort(generator.uniform(0.11, 1.9, 8))
        psnr_a, psnr_b = psnr_of(rates_a), psnr_of(rates_b, generator.uniform(-1, 1))
        expected = by_hand(rates_a, psnr_a, rates_b, psnr_b)
        assert bdrate.bd_rate(rates_a, psnr_a, rates_b, psnr_b) == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("package")
def test_a_constant_factor_comes_out() -> None:
    psnr = psnr_of(RATES)
    assert bdrate.bd_rate(RATES, psnr, RATES * 0.85, psnr) == pytest.approx(-15.0, abs=1e-9)
    assert bdrate.bd_rate(RATES * 0.85, psnr, RATES, psnr) == pytest.approx(100 * (1 / 0.85 - 1), abs=1e-9)
    assert bdrate.bd_rate(RATES, psnr, RATES, psnr) == 0.0


@pytest.mark.usefixtures("package")
def test_rates_beyond_the_limits_do_not_count() -> None:
    wide = np.geomspace(0.01, 16.0, 80)
    factors = np.where(wide < 0.08, 0.3, np.where(wide > 2.4, 2.0, 0.9))  # b is different where nobody looks
    value = bdrate.bd_rate(wide, psnr_of(wide), wide * factors, psnr_of(wide))
    assert value == pytest.approx(-10.0, abs=0.05)


@pytest.mark.usefixtures("package")
def test_curves_are_cut_at_the_limits() -> None:
    dense = np.geomspace(0.05, 3.0, 60)
    inside = np.geomspace(0.1, 2.0, 40)
    cut = bdrate.bd_rate(dense, psnr_of(dense), dense, psnr_of(dense, 0.5))
    assert cut == pytest.approx(by_hand(inside, psnr_of(inside), inside, psnr_of(inside, 0.5)), abs=0.02)


@pytest.mark.usefixtures("package")
def test_order_repeats_and_useless_points_do_not_matter() -> None:
    psnr, better = psnr_of(RATES), psnr_of(RATES, 0.4)
    expected = bdrate.bd_rate(RATES, psnr, RATES, better)
    shuffled = np.random.default_rng(1).permutation(len(RATES))
    assert bdrate.bd_rate(RATES[shuffled], psnr[shuffled], RATES, better) == expected
    more_rates, more_psnr = np.append(RATES, [1.0, 1.2, 1.9]), np.append(psnr, [psnr[4], psnr[4] - 1, math.inf])
    assert bdrate.bd_rate(more_rates, more_psnr, RATES, better) == expected
    assert expected < 0


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("rates_b", "psnr_b"),
    [
        (RATES, psnr_of(RATES, 40.0)),
        (RATES * 30, psnr_of(RATES)),
        (RATES / 30, psnr_of(RATES)),
        (RATES[:1], psnr_of(RATES)[:1]),
        ([], []),
    ],
)
def test_no_overlap_is_none(rates_b: np.ndarray, psnr_b: np.ndarray) -> None:
    assert bdrate.bd_rate(RATES, psnr_of(RATES), rates_b, psnr_b) is None
    assert bdrate.bd_rate(rates_b, psnr_b, RATES, psnr_of(RATES)) is None


@pytest.mark.parametrize(
    ("bpp", "psnr", "message"),
    [
        ([0.5, 1.0], [30.0], r"\(2,\), \(1,\)"),
        ([[0.5, 1.0]], [[30.0, 31.0]], r"\(1, 2\)"),
        ([0.0, 1.0], [30.0, 31.0], "not finite and positive"),
        ([0.5, math.nan], [30.0, 31.0], "not finite and positive"),
        ([0.5, 1.0], [30.0, math.nan], "PSNR is NaN"),
    ],
)
def test_refused_curves(bpp: list[float], psnr: list[float], message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        bdrate.bd_rate(bpp, psnr, RATES, psnr_of(RATES))


def test_missing_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(errors.MissingExtra, match=r'bjontegaard.*pip install "sarcodec\[bench\]"'):
        bdrate.bd_rate(RATES, psnr_of(RATES), RATES, psnr_of(RATES))
