"""A random field of mean 0 and variance 1 that has a wanted spectrum and is skewed as speckle in dB is.

* Spectrum: a short two-dimensional cosine series of its logarithm (a cepstrum): positive, and different down, across
  and aslant, as resampled speckle is.
* Marginal: filtered Gaussian noise (17×17 taps) is mapped to the logarithm of a Gamma variate; the filter is designed
  for the spectrum after that mapping (Mehler's formula).
* Position: noise depends on seed and pixel position alone (Philox, a counter per cell) and is filtered in cells of
  fixed position, so a window of a field equals the same window of the whole, bit for bit.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import scipy  # whose parts load when they are first used
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Place = tuple[int, int]

_LOOKS = 1.5  # of the marginal: more skewed than the speckle, since what was kept of it is less so
_SERIES_STEP, _SERIES_REACH = 1 / 32, 7
_CELL, _REACH, _DESIGN, _TABLE = 128, 8, 64, 2**16


@functools.cache
def harmonics() -> tuple[Place, ...]:
    """Cycles (down, across) of the cosines of the series by rising length: one half of a disc of radius 7."""
    reach = range(-_SERIES_REACH, _SERIES_REACH + 1)
    half = ((m, n) for m in reach for n in reach if m * m + n * n <= _SERIES_REACH**2 + 1 and (m, n) > (0, 0))
    return tuple(sorted(half, key=lambda mn: (mn[0] ** 2 + mn[1] ** 2, mn)))


@functools.cache
def cosines(size: int) -> Reals:
    """Return what one step of each of `harmonics` adds to the natural logarithm of a spectrum.

    A step is 1/32, 1/16 for harmonics of one cycle. Returns float64 (size·(size // 2 + 1), harmonics): rows are the
    frequencies of a real FFT of size×size. It is cached: do not write into it.
    """
    down, across = np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij")
    cycles = np.array(harmonics())
    phase = np.outer(down, cycles[:, 0]) + np.outer(across, cycles[:, 1])
    return np.asarray(_steps() * np.cos(2 * np.pi * phase))


def _steps() -> Reals:
    return np.where((np.array(harmonics()) ** 2).sum(axis=1) == 1, 2 * _SERIES_STEP, _SERIES_STEP)


def growth_db(std_db: Reals) -> Reals:
    """Return by how many dB a field of a standard deviation raises mean intensity: E[X^p] of a Gamma variate.

    Parameters
    ----------
    std_db : numpy.ndarray
        Standard deviation of the field in dB, any shape.
    """
    p = std_db * (math.log(10) / 10 / math.sqrt(scipy.special.polygamma(1, _LOOKS)))
    growth = scipy.special.gammaln(_LOOKS + p) - scipy.special.gammaln(_LOOKS) - p * scipy.special.digamma(_LOOKS)
    return np.asarray(growth * (10 / math.log(10)))


def draw(series: tuple[int, ...], seed: int, corner: Place, shape: tuple[int, ...]) -> Floats:
    """Draw a field of mean 0 and variance 1.

    Parameters
    ----------
    series : tuple of int
        Natural logarithm of the spectrum by `harmonics`, in steps as of `cosines`.
    seed : int
        Below 2^64.
    corner : tuple of int
        Row and column in the scene of the first pixel of the window.
    shape : tuple of int
        Rows and columns of the window.

    Returns
    -------
    numpy.ndarray
        float32 (H, W). Any window equals that part of a larger one exactly.
    """
    down, across = (range(at // _CELL, (at + side - 1) // _CELL + 1) for at, side in zip(corner, shape, strict=True))
    bits, side = _white(seed, down, across), _CELL + 2 * _REACH
    taps = np.pad(_taps(series).astype(np.float32), (0, side - 2 * _REACH - 1))
    centred = np.roll(taps, (-_REACH, -_REACH), (0, 1))
    response = scipy.fft.rfft2(centred).real.repeat(2, axis=1)  # real: taps are even
    texture = np.empty((len(down) * _CELL, len(across) * _CELL), np.float32)
    # Always whole cells: the same input to the same transform has the same last bit, whatever the window.
    for row in range(0, texture.shape[0], _CELL):
        strip, white = texture[row : row + _CELL], _quantiles().take(bits[row : row + side])
        for column in range(0, texture.shape[1], _CELL):
            spectrum = scipy.fft.rfft2(white[:, column : column + side])
            parts = spectrum.view(np.float32)
            parts *= response
            filtered = scipy.fft.irfft2(spectrum, (side, side))
            strip[:, column : column + _CELL] = filtered[_REACH:-_REACH, _REACH:-_REACH]
        strip += 6.0
        strip *= (_TABLE - 1) / 12
        np.clip(strip, 0, _TABLE - 1, out=strip)
        strip[...] = _marginal().take(strip.astype(np.uint16))
    inside = texture[corner[0] % _CELL :, corner[1] % _CELL :][: shape[0], : shape[1]]
    return np.ascontiguousarray(inside)


def _white(seed: int, down: range, across: range) -> NDArray[np.uint16]:
    """Draw uniform white noise for cells and 8 pixels around them."""
    bits = np.empty((len(down) * _CELL + 2 * _REACH, len(across) * _CELL + 2 * _REACH), np.uint16)
    columns, end = range(across.start - 1, across.stop + 1), 0
    for row in range(down.start - 1, down.stop + 1):
        first = _CELL - _REACH if row < down.start else 0
        last = _REACH if row == down.stop else _CELL
        cells = [_noise(seed, row, column, first, last) for column in columns]
        begin, end = end, end + last - first
        np.concatenate([cells[0][:, -_REACH:], *cells[1:-1], cells[-1][:, :_REACH]], axis=1, out=bits[begin:end])
    return bits


def _noise(seed: int, row: int, column: int, first: int, last: int) -> NDArray[np.uint16]:
    """Draw white noise of rows of one cell from raw bits: only those stay the same in every NumPy.

    Philox makes four words of 64 bits, 16 pixels, at a time and counts in the first word of its counter.
    """
    counter = np.array([first * _CELL // 16, 0, column % 2**64, row % 2**64], np.uint64)
    words = np.random.Philox(key=int(seed), counter=counter).random_raw((last - first) * _CELL // 4)
    return np.asarray(words.astype("<u8", copy=False).view("<u2")).reshape(-1, _CELL)


@functools.cache
def _quantiles() -> Floats:
    """Give the normal quantiles at the middles of 2^16 equal parts of probability."""
    return np.asarray(scipy.special.ndtri((np.arange(2**16) + 0.5) / 2**16), dtype=np.float32)


@functools.cache
def _marginal() -> Floats:
    """Log-Gamma quantiles of mean 0 and variance 1 at 2^16 normal values from -6 to 6."""
    gamma = scipy.special.gammaincinv(_LOOKS, scipy.special.ndtr(np.linspace(-6, 6, _TABLE)))
    scaled = (np.log(gamma) - scipy.special.digamma(_LOOKS)) / math.sqrt(scipy.special.polygamma(1, _LOOKS))
    return np.asarray(scaled, dtype=np.float32)


@functools.cache
def _correlations() -> tuple[Reals, Reals]:
    """Correlation of two normal variates, and that of their images by the marginal (Mehler), both rising."""
    normal, weight = np.polynomial.hermite_e.hermegauss(80)
    image = np.interp(normal, np.linspace(-6, 6, _TABLE), _marginal()) * weight
    orders = np.arange(1, 13)
    parts = np.array([scipy.special.eval_hermitenorm(k, normal) @ image for k in orders])
    power = parts**2 / scipy.special.factorial(orders)
    before = np.linspace(-1, 1, 2001)
    return before, (before[:, None] ** orders) @ (power / power.sum())


def _taps(series: tuple[int, ...]) -> Reals:
    """Filter (17, 17) of unit energy by which white noise has the lost spectrum once the marginal is applied."""
    cepstrum = np.zeros((_DESIGN, _DESIGN))
    cepstrum[tuple(np.array(harmonics()).T)] = series * _steps()
    spectrum = np.exp(np.fft.fft2(cepstrum).real)
    correlation = np.fft.ifft2(spectrum / spectrum.mean()).real
    before, after = _correlations()
    power = np.fft.fft2(np.interp(correlation, after, before)).real
    near = np.arange(-_REACH, _REACH + 1)
    taps = np.fft.ifft2(np.sqrt(np.maximum(power, 0.0))).real[np.ix_(near, near)]
    return np.asarray(taps / math.sqrt(float((taps**2).sum())))
