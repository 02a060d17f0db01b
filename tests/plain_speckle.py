"""Lost speckle by docs/format.md alone: the record, and the field that is rendered from it, in plain NumPy."""

from __future__ import annotations

import binascii
import functools
import itertools
import math
import statistics
import struct
import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Record:
    """A record of lost speckle."""

    deviations: np.ndarray
    offsets: np.ndarray
    series: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def parse(cls, data: bytes) -> Record:
        assert struct.unpack("<H", data[-2:])[0] == binascii.crc_hqx(data[:-2], 0)
        version, height, width, std_step, trim = struct.unpack("<BHHBb", data[:7])
        assert version == 1
        values = np.frombuffer(zlib.decompress(data[7:-2], -15), np.int8).astype(int)
        coarse, fine = ((-(-height // side), -(-width // side)) for side in (64, 32))
        std = values[: math.prod(coarse)].reshape(coarse)
        std[:, 0] = np.cumsum(std[:, 0])
        offsets = values[std.size :][: math.prod(fine)].reshape(fine)
        series = values[std.size + offsets.size :]
        assert series.size == 80
        return cls(np.cumsum(std, axis=1) * std_step / 1024, 0.3 * offsets + 0.01 * trim, series, (height, width))


def field_of(record: Record, seed: int, top: int, left: int) -> np.ndarray:
    """What rendering adds to a tile in dB."""
    rows, columns = (np.arange(side) for side in record.shape)
    centres = [32 * np.arange(n) + 15.5 for n in record.offsets.shape]
    means = record.offsets - growth(interpolated(record.deviations, 64, *centres))
    texture = noise_field(record.series, seed, top, left, record.shape)
    return texture * interpolated(record.deviations, 64, rows, columns) + interpolated(means, 32, rows, columns)


def interpolated(values: np.ndarray, block: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    for axis, at in enumerate((rows, columns)):
        last = values.shape[axis] - 1
        place = np.clip((at + 0.5) / block - 0.5, 0, last)
        low = np.floor(place).astype(int)
        share = np.expand_dims(place - low, 1 - axis)
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, last), axis) * share
    return values


PSI = 2 - 0.57721566490153286 - 2 * math.log(2)
SIGMA = math.sqrt(math.pi**2 / 2 - 4)


def growth(std: np.ndarray) -> np.ndarray:
    p = std * math.log(10) / 10 / SIGMA
    return 10 / math.log(10) * (np.vectorize(math.lgamma)(1.5 + p) - math.lgamma(1.5) - p * PSI)


def noise_field(series: np.ndarray, seed: int, top: int, left: int, shape: tuple[int, int]) -> np.ndarray:
    """Field of mean 0 and variance 1."""
    h, (height, width) = taps(series), shape
    rows, columns = np.arange(top - 8, top + height + 8), np.arange(left - 8, left + width + 8)
    white = quantiles()[uniform(seed, rows, columns)]
    y = sum(
        h[i + 8, j + 8] * white[8 - i : 8 - i + height, 8 - j : 8 - j + width]
        for i, j in itertools.product(range(-8, 9), repeat=2)
    )
    return marginal()[np.floor(np.clip((y + 6) / 12 * 65535, 0, 65535)).astype(int)]


def uniform(seed: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """16 random bits for every pixel of the scene at rows × columns."""
    r, c = rows[:, None] % 128, columns % 128
    down, across = rows[:, None] // 128, columns // 128
    word = philox(seed, (8 * r + c // 16 + 1, across, down), c // 4 % 4)
    return (word >> (16 * (c % 4)).astype(np.uint64) & np.uint64(0xFFFF)).astype(int)


FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
INCREMENTS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox(seed: int, counter: tuple[np.ndarray, np.ndarray, np.ndarray], which: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(*(part.shape for part in counter))
    first, third, fourth = (np.broadcast_to(part, shape).astype(np.int64).astype(np.uint64) for part in counter)
    x = [first, np.zeros(shape, np.uint64), third, fourth]
    key = [seed % 2**64, 0]
    for _ in range(10):
        (high_0, low_0), (high_2, low_2) = product(FACTORS[0], x[0]), product(FACTORS[1], x[2])
        x = [high_2 ^ x[1] ^ np.uint64(key[0]), low_2, high_0 ^ x[3] ^ np.uint64(key[1]), low_0]
        key = [(k + increment) % 2**64 for k, increment in zip(key, INCREMENTS, strict=True)]
    return np.choose(np.broadcast_to(which, shape), x)


def product(a: int, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """High and low 64 bits of a product of 64-bit numbers."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a0, a1, b0, b1 = np.uint64(a % 2**32), np.uint64(a >> 32), b & low, b >> half
    middle = a1 * b0 + (a0 * b0 >> half)
    other = a0 * b1 + (middle & low)
    return a1 * b1 + (middle >> half) + (other >> half), np.uint64(a) * b


@functools.cache
def quantiles() -> np.ndarray:
    return np.array([statistics.NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(65536)])


@functools.cache
def marginal() -> np.ndarray:
    """m at 65536 values from −6 to 6."""
    t = np.linspace(math.log(5e-7), math.log(30), 40001)
    x = np.exp(t)
    root, rest = np.sqrt(x), 2 * np.sqrt(x / math.pi) * np.exp(-x)
    below, above = np.vectorize(math.erf)(root) - rest, np.vectorize(math.erfc)(root) + rest
    inverse = statistics.NormalDist().inv_cdf
    z = [inverse(b) if b < 0.5 else -inverse(a) for b, a in zip(below.tolist(), above.tolist(), strict=True)]
    return (np.interp(np.linspace(-6, 6, 65536), z, t) - PSI) / SIGMA


def harmonics() -> np.ndarray:
    half = [(m, n) for m in range(-7, 8) for n in range(-7, 8) if m * m + n * n <= 50 and (m, n) > (0, 0)]
    return np.array(sorted(half, key=lambda mn: (mn[0] ** 2 + mn[1] ** 2, mn)))


A = (0.9592423, 0.0390279, 0.0017019, 0.0000262, 0.0000011, 0.0000006)


def taps(series: np.ndarray) -> np.ndarray:
    """Filter h, (17, 17)."""
    cycles = harmonics()
    steps = np.where((cycles**2).sum(axis=1) == 1, 1 / 16, 1 / 32)
    frequency = 2 * np.pi * np.arange(64) / 64
    phase = cycles[:, 0, None, None] * frequency[:, None] + cycles[:, 1, None, None] * frequency
    spectrum = np.exp(np.tensordot(series * steps, np.cos(phase), 1))
    correlation = np.fft.ifft2(spectrum / spectrum.mean()).real
    before = np.arange(-1000, 1001) / 1000
    after = sum(a * before**k for k, a in enumerate(A, 1))
    power = np.fft.fft2(np.interp(correlation, after, before)).real
    h = np.fft.ifft2(np.sqrt(np.maximum(power, 0))).real
    h = np.roll(h, (8, 8), (0, 1))[:17, :17]
    return h / np.sqrt((h**2).sum())
