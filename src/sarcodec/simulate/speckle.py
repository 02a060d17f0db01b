"""Simulated speckle: unit-mean Gamma intensity factors, correlated from pixel to pixel as in GRD products."""

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, special

from sarcodec import errors

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Rng = np.random.Generator


def draw(height: int, width: int, *, looks: float = 4.4, correlation: float = 0.65, seed: int = 0) -> Floats:
    """Simulate correlated multi-look speckle by a Gaussian copula.

    White Gaussian noise is smoothed so that its autocorrelation at lag k is r^(k²), and mapped through the
    Gamma quantile function; r is chosen so that the Gamma variates correlate as asked.

    Parameters
    ----------
    height, width
        Size in pixels, at least 1.
    looks
        Equivalent number of looks, > 0: mean²/variance, the shape parameter of the Gamma distribution.
    correlation
        Lag-1 autocorrelation of intensity along both axes, in [0, 1); in dB it is about the same. The filter
        grows without limit as this nears 1.
    seed
        Seed, >= 0.

    Returns
    -------
    numpy.ndarray
        float32 (H, W), intensity factors > 0 of mean 1 and variance 1 / looks.

    Raises
    ------
    InputError
        If an argument is outside its range.
    """
    check(height, width, looks, correlation, seed)
    return field(height, width, looks, correlation, np.random.default_rng(seed))


def check(height: int, width: int, looks: float, correlation: float, seed: int) -> None:
    """Raise InputError when an argument of `draw` is outside its range."""
    for name, number, least in (("height", height, 1), ("width", width, 1), ("seed", seed, 0)):
        if not isinstance(number, int | np.integer) or number < least:
            raise errors.InputError(f"{name} is {number!r}; give a whole number >= {least}")
    if not (math.isfinite(looks) and looks > 0):
        raise errors.InputError(f"looks is {looks!r}; give a finite number > 0")
    if not 0 <= correlation < 1:
        raise errors.InputError(f"correlation is {correlation!r}; give a number in [0, 1)")


def field(height: int, width: int, looks: float, correlation: float, rng: Rng) -> Floats:
    """Draw speckle as `draw` does, from a generator and without checks."""
    taps = _taps(_normal_correlation(looks, correlation))
    reach = len(taps) // 2
    noise = rng.standard_normal((height + 2 * reach, width + 2 * reach), np.float32)
    noise = ndimage.convolve1d(noise, taps, axis=0)[reach : reach + height]
    noise = np.ascontiguousarray(ndimage.convolve1d(noise, taps, axis=1)[:, reach : reach + width])
    # 2^16 quantiles between -6 and +6 standard deviations: steps of 0.0002 deviations.
    quantiles = _gamma_quantile(np.linspace(-6, 6, 2**16), looks).astype(np.float32)
    noise *= (2**16 - 1) / 12
    noise += 2**15
    return quantiles.take(np.clip(noise, 0, 2**16 - 1, out=noise).astype(np.uint16))


def _gamma_quantile(normal: Reals, looks: float) -> Reals:
    """Map standard normal to unit-mean Gamma variates of the same quantile, at least 1e-30."""
    quantile: Reals = special.gammaincinv(looks, special.ndtr(normal)) / looks
    return np.maximum(quantile, 1e-30)


def _normal_correlation(looks: float, correlation: float) -> float:
    """Find the correlation of normal variates whose Gamma images correlate as asked.

    With c_k the Hermite coefficients of the mapping, Mehler's formula gives the covariance of the images of
    two normals of correlation r as the sum of c_k² r^k / k! over k >= 1.
    """
    normal = np.linspace(-8, 8, 4001)
    weighted = _gamma_quantile(normal, looks) * np.exp(-(normal**2) / 2)
    orders = np.arange(1, 31)
    hermite = np.array([special.eval_hermitenorm(order, normal) @ weighted for order in orders])
    power = hermite**2 / special.factorial(orders)
    power /= power.sum()
    return float(optimize.brentq(lambda r: power @ r**orders - correlation, 0, 1))


def _taps(correlation: float) -> Reals:
    """Make the symmetric filter that gives white noise the autocorrelation correlation^(k²) at lag k.

    Its transfer function is the root of the power spectrum (Wiener-Khinchin), which is a theta function, > 0.
    """
    if correlation < 1e-6:
        return np.ones(1)
    reach = 2 + math.ceil(math.sqrt(math.log(1e-7) / math.log(correlation)))
    spectrum = np.fft.rfft(correlation ** (np.fft.fftfreq(2 * reach + 1, 1 / (2 * reach + 1)) ** 2))
    taps = np.fft.fftshift(np.fft.irfft(np.sqrt(np.maximum(spectrum.real, 0)), 2 * reach + 1))
    needed: Reals = taps[np.abs(taps) > 1e-5 * taps.max()]
    return needed
