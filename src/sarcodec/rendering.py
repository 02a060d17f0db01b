"""Speckle that a lossy codec took away, drawn anew: a rendering that looks and measures like the image, never data.

`measure` compares a tile with its decoded form and keeps a few bytes, a `LostSpeckle`; `render` draws a random field
from them and adds it to the decoded tile, so that number of looks, mean intensity and power spectrum come near those
of the original. Its pixels have nothing to do with the lost ones, so the error per pixel grows.

* Spectrum: original's minus decoded image's, as a short two-dimensional cosine series of its logarithm (a cepstrum):
  positive, and different down, across and aslant, as resampled speckle is.
* Marginal: filtered Gaussian noise (17×17 taps) is mapped to the logarithm of a Gamma variate, skewed as speckle in
  dB is; the filter is designed for the spectrum after that mapping (Mehler's formula).
* Position: noise depends on seed and pixel position alone (Philox, a counter per cell) and is filtered in cells of
  fixed position, so a window of a rendering equals the same window of the whole, bit for bit.

All dB are 10·log10 of intensity. Tiles of a scene share seed and noise; each has a record of its own.
"""

from __future__ import annotations

import binascii
import dataclasses
import functools
import math
import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, special

from sarcodec import errors, metrics

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Mask = NDArray[np.bool_]
Place = tuple[int, int]

STD_BLOCK: Final = 64
OFFSET_BLOCK: Final = 32
MAX_SIDE: Final = 2**16 - 1

_VERSION, _HEAD = 1, struct.Struct("<BHHBb")  # version, height, width, std_step, trim
_OFFSET_STEP_DB, _TRIM_STEP_DB = 0.3, 0.01
_MAX_LEVEL, _MAX_OFFSET, _STD_UNIT_DB, _STD_STEP = 127, 8, 1 / 1024, 160
_GAINS = (0.90, 1.05)  # limits of the fine scale of the field: 0.9 dB of its spectrum
_LOOKS = 1.5  # of the marginal: more skewed than the speckle, since what was kept of it is less so
_SERIES_STEP, _SERIES_REACH = 1 / 32, 7
_PATCH, _CELL, _REACH, _DESIGN, _TABLE = 32, 128, 8, 64, 2**16


@dataclasses.dataclass(frozen=True)
class LostSpeckle:
    """What one tile lost, in whole numbers; made by `measure` or `from_bytes`.

    Parameters
    ----------
    height, width : int
        Size of the tile in pixels, 1 to 65535.
    std_step : int
        Size of a level of `std` in 1/1024 dB, 0 to 255.
    std : tuple of int
        Standard deviation of the field per block of 64×64 pixels, row by row, in levels of 0 to 127.
    offsets : tuple of int
        Correction of intensity per block of 32×32 pixels, row by row, in steps of 0.3 dB, within ±8.
    trim : int
        Correction of intensity of the whole tile in steps of 0.01 dB, within ±127.
    series : tuple of int
        Natural logarithm of the spectrum by `harmonics`, within ±127 steps of 1/32 (1/16 for those of one cycle).

    Raises InputError if a value is out of range or there are not as many as the size of the tile asks for.
    """

    height: int
    width: int
    std_step: int
    std: tuple[int, ...]
    offsets: tuple[int, ...]
    trim: int
    series: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = (self.height, self.width)
        for name, values, count, low, high in (
            ("height, width", shape, 2, 1, MAX_SIDE),
            ("std_step", (self.std_step,), 1, 0, 255),
            ("std", self.std, math.prod(_grid(shape, STD_BLOCK)), 0, _MAX_LEVEL),
            ("offsets", self.offsets, math.prod(_grid(shape, OFFSET_BLOCK)), -_MAX_OFFSET, _MAX_OFFSET),
            ("trim", (self.trim,), 1, -127, 127),
            ("series", self.series, len(harmonics()), -_MAX_LEVEL, _MAX_LEVEL),
        ):
            if len(values) != count or min(values) < low or max(values) > high:
                got = f"{len(values)} values from {min(values, default=0)} to {max(values, default=0)}"
                raise errors.InputError(f"{name}: got {got}; pass {count} from {low} to {high}")

    def to_bytes(self) -> bytes:
        """Return the record: head, deflated values of a byte each, CRC-16 of all that; some 0.003 bit per pixel."""
        std = np.array(self.std).reshape(_grid((self.height, self.width), STD_BLOCK))
        std[:, 1:] -= std[:, :-1].copy()  # from the left neighbour, and from above down the first column
        std[1:, 0] -= std[:-1, 0].copy()
        values = np.array([*std.flat, *self.offsets, *self.series], np.int8).tobytes()
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        body = _HEAD.pack(_VERSION, self.height, self.width, self.std_step, self.trim)
        body += deflate.compress(values) + deflate.flush()
        return body + struct.pack("<H", binascii.crc_hqx(body, 0))

    @classmethod
    def from_bytes(cls, data: bytes) -> LostSpeckle:
        """Inverse of `to_bytes`; raises FormatError for bytes that it did not make."""
        body, damage = data[:-2], f"speckle record: {len(data)} bytes that are damaged"
        if len(body) < _HEAD.size or struct.unpack("<H", data[-2:])[0] != binascii.crc_hqx(body, 0):
            raise errors.FormatError(f"{damage}: the checksum differs")
        version, height, width, std_step, trim = _HEAD.unpack_from(body)
        if version != _VERSION:
            raise errors.FormatError(f"speckle record: version {version}, not {_VERSION}; install a newer sarcodec")
        grid = _grid((height, width), STD_BLOCK)
        ends = np.cumsum([math.prod(grid), math.prod(_grid((height, width), OFFSET_BLOCK)), len(harmonics())])
        inflate = zlib.decompressobj(-15)
        try:
            values = np.frombuffer(inflate.decompress(body[_HEAD.size :], int(ends[2]) + 1), np.int8).astype(int)
            if values.size != ends[2] or not inflate.eof or inflate.unused_data:
                raise errors.InputError(f"not {ends[2]} values")
            std = values[: ends[0]].reshape(grid)
            std[:, 0] = np.cumsum(std[:, 0])
            values[: ends[0]] = np.cumsum(std, axis=1).ravel()
            levels, offsets, series, _ = (tuple(part.tolist()) for part in np.split(values, ends))
            return cls(height, width, std_step, levels, offsets, trim, series)
        except (zlib.error, errors.InputError) as error:
            raise errors.FormatError(f"{damage}: {error}") from error


def measure(
    original_db: ArrayLike, decoded_db: ArrayLike, valid: ArrayLike, *, seed: int, top: int = 0, left: int = 0
) -> LostSpeckle:
    """Measure what a decoded tile lacks.

    The field is drawn on the way: its strength is set within ±5 % so that `metrics.enl_ratio` comes near 1, and mean
    intensity is corrected for the very field that `render` draws; another seed leaves a bias of some 0.1 dB.

    Parameters
    ----------
    original_db, decoded_db : array_like, shape (H, W), real
        Tile before and after coding in dB, finite wherever `valid` is True, clipped to ±300; sides of 1 to 65535.
    valid : array_like, shape (H, W), bool
        True where a pixel counts; what others hold never matters.
    seed, top, left : int
        Seed of the field, below 2^64; row and column of the tile's first pixel in the scene, below 2^32.

    Returns
    -------
    LostSpeckle
        The record; its field is zero where no pixel is valid or nothing was lost.

    Raises InputError if shapes, dtypes or values are not as said.
    """
    original, decoded, mask = _checked(original_db, decoded_db, valid)
    _check_place(seed, top, left)
    series, power = _fitted(_power(original, mask), _power(decoded, mask))
    error_power = (original - decoded) ** 2
    share = power / max(float(error_power[mask].mean()), 1e-12) if mask.any() else 0.0
    std_db = np.sqrt(_block_means(error_power, mask, STD_BLOCK) * share)
    levels = np.clip(np.rint(std_db.ravel() / (_STD_STEP * _STD_UNIT_DB)), 0, _MAX_LEVEL).astype(int)
    no_offsets = (0,) * math.prod(_grid(mask.shape, OFFSET_BLOCK))
    lost = LostSpeckle(mask.shape[0], mask.shape[1], _STD_STEP, tuple(levels.tolist()), no_offsets, 0, series)
    normal = _normal(series, seed, (top, left), mask.shape)
    lost = _with_gain(lost, normal, original, decoded, mask)
    return _balanced(lost, normal, original, decoded, mask)


def render(
    decoded_db: ArrayLike, lost: LostSpeckle, *, seed: int, top: int = 0, left: int = 0, start: Place = (0, 0)
) -> Floats:
    """Add a random field to a decoded tile, or to a window of it, in place of the speckle that it lost.

    Parameters
    ----------
    decoded_db : array_like, shape (h, w), real
        Decoded tile in dB, or a window of it. The field does not depend on it; NaN stays NaN.
    lost : LostSpeckle
        What `measure` found for the whole tile.
    seed, top, left : int
        As given to `measure`; `top` and `left` are those of the tile, whatever the window.
    start : tuple of int
        Row and column of the window's first pixel in the tile.

    Returns
    -------
    numpy.ndarray
        float32 (h, w) in dB: a rendering. Any window equals that part of the rendered tile exactly.

    Raises InputError if the array is not 2-D and real, the window leaves the tile, or a number is out of range.
    """
    decoded = np.asarray(decoded_db)
    _check_place(seed, top, left)
    if decoded.ndim != 2 or decoded.dtype.kind not in "fiu" or not decoded.size:
        raise errors.InputError(f"decoded_db: got {decoded.dtype} of shape {decoded.shape}; pass a 2-D image in dB")
    row, column = start
    if not (0 <= row <= lost.height - decoded.shape[0] and 0 <= column <= lost.width - decoded.shape[1]):
        size = (lost.height, lost.width)
        raise errors.InputError(f"start: {decoded.shape} at {start} leaves the tile of {size}; pass a place inside")
    normal = _normal(lost.series, seed, (top + row, left + column), decoded.shape)
    return np.asarray(decoded.astype(np.float32) + _field(lost, normal, start), dtype=np.float32)


@functools.cache
def harmonics() -> tuple[Place, ...]:
    """Cycles (down, across) of the cosines of the series by rising length: one half of a disc of radius 7."""
    reach = range(-_SERIES_REACH, _SERIES_REACH + 1)
    half = ((m, n) for m in reach for n in reach if m * m + n * n <= _SERIES_REACH**2 + 1 and (m, n) > (0, 0))
    return tuple(sorted(half, key=lambda mn: (mn[0] ** 2 + mn[1] ** 2, mn)))


def _cosines(size: int) -> Reals:
    """Give what one step of each of `harmonics` adds at the frequencies of a size×size FFT, (size², harmonics)."""
    down, across = np.meshgrid(*[np.fft.fftfreq(size)] * 2, indexing="ij")
    cycles = np.array(harmonics())
    steps = np.where((cycles**2).sum(axis=1) == 1, 2 * _SERIES_STEP, _SERIES_STEP)
    return np.asarray(steps * np.cos(2 * np.pi * (np.outer(down, cycles[:, 0]) + np.outer(across, cycles[:, 1]))))


def _checked(original_db: ArrayLike, decoded_db: ArrayLike, valid: ArrayLike) -> tuple[Reals, Reals, Mask]:
    """Validate a tile; images come back as float64, within ±300 dB, 0 at every invalid pixel."""
    mask = np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2 or not 0 < min(mask.shape) <= max(mask.shape) <= MAX_SIDE:
        raise errors.InputError(f"valid: got {mask.dtype} {mask.shape}; pass 2-D bool, sides of 1 to {MAX_SIDE}")
    images = []
    for name, image in (("original_db", np.asarray(original_db)), ("decoded_db", np.asarray(decoded_db))):
        if image.dtype.kind not in "fiu" or image.shape != mask.shape:
            raise errors.InputError(f"{name}: got {image.dtype} of shape {image.shape}; pass real dB of {mask.shape}")
        if bad := int(np.count_nonzero(~np.isfinite(image) & mask)):
            raise errors.InputError(f"{name}: {bad} valid pixels are not finite; repair or invalidate them")
        images.append(np.clip(np.where(mask, image, 0).astype(np.float64), -300.0, 300.0))
    return images[0], images[1], mask


def _check_place(seed: int, top: int, left: int) -> None:
    for name, number, end in (("seed", seed, 2**64), ("top", top, 2**32), ("left", left, 2**32)):
        if not isinstance(number, int | np.integer) or not 0 <= number < end:
            raise errors.InputError(f"{name} is {number!r}; give a whole number from 0 to {end - 1}")


def _power(image: Reals, mask: Mask) -> Reals:
    """Mean power spectrum in dB² of Hann-windowed patches, (32, 32) as of an FFT; its mean is the variance.

    Patches overlap by half (Welch, IEEE Trans. Audio Electroacoustics 15 (2), 1967). Those at least half valid count,
    or the fullest; an invalid pixel gets its patch's mean.
    """
    half, shape, cut = _PATCH // 2, (_PATCH, _PATCH), np.lib.stride_tricks.sliding_window_view
    sides = [(0, max(_PATCH - side, -side % half)) for side in image.shape]
    images, masks = (cut(np.pad(a, sides), shape)[::half, ::half] for a in (image, mask))
    numbers = masks.sum(axis=(2, 3), keepdims=True)
    enough = min(_PATCH * _PATCH // 2, max(int(numbers.max()), 1))
    taper = np.outer(*[np.hanning(_PATCH + 2)[1:-1]] * 2)
    total, weight = np.zeros(shape), 1e-12  # no valid pixel: no power
    for patches, inside, number in zip(images, masks, numbers, strict=True):
        used = number[:, 0, 0] >= enough
        means = patches[used].sum(axis=(1, 2), keepdims=True) / number[used]
        tapers = taper * inside[used]
        total += (np.abs(fft.fft2((patches[used] - means) * tapers)) ** 2).sum(axis=0)
        weight += float((tapers**2).sum())
    return total / weight


def _fitted(original: Reals, decoded: Reals) -> tuple[tuple[int, ...], float]:
    """Fit the series to the spectrum lost; returns it in steps, and the lost power in dB².

    Damped Gauss-Newton steps on log((decoded + lost) / original), so that a frequency counts as far as it was lost;
    one where a codec added power cannot be mended and pulls little. High harmonics are held back a little.
    """
    total, kept = original.ravel() + 1e-12 + 1e-6 * float(original.mean()), decoded.ravel()
    design = np.hstack([np.ones((total.size, 1)), _cosines(_PATCH)])
    ridge = total.size * np.diag([0.0] + [4e-7 * (m * m + n * n) for m, n in harmonics()])
    lost = np.maximum(total - kept, 0.02 * total)
    weight = np.clip(lost / total, 0.05, 1.0) * (np.arange(total.size) > 0)  # patches have no mean
    series = np.linalg.solve(design.T @ (design * weight[:, None]) + ridge, design.T @ (weight * np.log(lost)))
    for _ in range(12):
        lost = np.exp(np.clip(design @ series, -60.0, 60.0))
        residual = np.clip(np.log(total) - np.log(kept + lost), -0.5, 0.5)
        slopes = design[1:] * np.maximum(lost / (kept + lost), 0.01)[1:, None]
        step = slopes.T @ residual[1:] - ridge @ series
        series = series + 0.7 * np.linalg.solve(slopes.T @ slopes + ridge + 1e-5 * np.eye(len(series)), step)
    levels = np.clip(np.rint(series[1:]), -_MAX_LEVEL, _MAX_LEVEL)
    power = np.exp(np.clip(series[0] + design[:, 1:] @ levels, -60.0, 60.0)).mean()
    return tuple(levels.astype(int).tolist()), float(power)


def _with_gain(lost: LostSpeckle, normal: Reals, original: Reals, decoded: Reals, mask: Mask) -> LostSpeckle:
    """Scale the field for an ENL ratio near 1, taken as linear in the gain between the two limits."""
    steps = [round(gain * lost.std_step) for gain in _GAINS]
    trials = [dataclasses.replace(lost, std_step=step) for step in steps]
    weak, strong = (metrics.enl_ratio(original, decoded + _field(trial, normal), mask) for trial in trials)
    if not math.inf > weak > strong:  # no homogeneous window, or no field
        return lost
    return dataclasses.replace(lost, std_step=round(np.interp(-1.0, [-weak, -strong], steps)))


def _balanced(lost: LostSpeckle, normal: Reals, original: Reals, decoded: Reals, mask: Mask) -> LostSpeckle:
    """Make the mean intensity that of the original: of the tile by the trim, of blocks by offsets, of the tile."""
    for block in ((whole := max(mask.shape)), OFFSET_BLOCK, whole):
        pair = (original, decoded + _field(lost, normal))
        wanted, got = (_block_means(10 ** (image / 10), mask, block) for image in pair)
        change_db = 10 * np.log10(np.divide(wanted, got, out=np.ones_like(got), where=got > 0))
        if block == whole:
            trim = lost.trim + round(float(change_db[0, 0]) / _TRIM_STEP_DB)
            lost = dataclasses.replace(lost, trim=min(max(trim, -127), 127))
        else:
            steps = np.clip(np.rint(change_db.ravel() / _OFFSET_STEP_DB), -_MAX_OFFSET, _MAX_OFFSET)
            lost = dataclasses.replace(lost, offsets=tuple(steps.astype(int).tolist()))
    return lost


def _field(lost: LostSpeckle, normal: Reals, start: Place = (0, 0)) -> Floats:
    """Turn normal noise of a window into the field in dB, by which mean intensity changes as the record says."""
    std_db = np.array(lost.std).reshape(_grid((lost.height, lost.width), STD_BLOCK)) * (lost.std_step * _STD_UNIT_DB)
    grid = _grid((lost.height, lost.width), OFFSET_BLOCK)
    centres = [OFFSET_BLOCK * np.arange(n) + (OFFSET_BLOCK - 1) / 2 for n in grid]
    # E[X^p] of a unit-variance log-Gamma field, which is taken off in dB.
    p = _interpolated(std_db, STD_BLOCK, centres) * (np.log(10) / 10 / math.sqrt(special.polygamma(1, _LOOKS)))
    growth = special.gammaln(_LOOKS + p) - special.gammaln(_LOOKS) - p * special.digamma(_LOOKS)
    offset_db = np.array(lost.offsets).reshape(grid) * _OFFSET_STEP_DB + lost.trim * _TRIM_STEP_DB
    offset_db -= growth * (10 / np.log(10))
    pixels = [np.arange(side) + first for side, first in zip(normal.shape, start, strict=True)]
    index = np.clip((normal + 6.0) * ((_TABLE - 1) / 12), 0, _TABLE - 1).astype(np.uint16)
    field = _interpolated(std_db, STD_BLOCK, pixels) * _marginal().take(index)
    return np.asarray(field + _interpolated(offset_db, OFFSET_BLOCK, pixels), dtype=np.float32)


def _normal(series: tuple[int, ...], seed: int, corner: Place, shape: tuple[int, ...]) -> Reals:
    """Draw standard normal noise for a window of `shape` whose first pixel in the scene is `corner`."""
    down, across = (range(at // _CELL, (at + side - 1) // _CELL + 1) for at, side in zip(corner, shape, strict=True))
    rows, columns = (range(cells.start - 1, cells.stop + 1) for cells in (down, across))
    white = np.block([[_noise(seed, row, column) for column in columns] for row in rows])
    side, start = _CELL + 2 * _REACH, _CELL - _REACH
    response = fft.rfft2(_taps(series), (side, side))
    shaped = np.empty((len(down) * _CELL, len(across) * _CELL))
    # Always whole cells: the same input to the same transform has the same last bit, whatever the window.
    for row in range(0, shaped.shape[0], _CELL):
        for column in range(0, shaped.shape[1], _CELL):
            cut = white[row + start : row + start + side, column + start : column + start + side]
            filtered = fft.irfft2(fft.rfft2(cut) * response, (side, side))
            shaped[row : row + _CELL, column : column + _CELL] = filtered[2 * _REACH :, 2 * _REACH :]
    return shaped[corner[0] % _CELL :, corner[1] % _CELL :][: shape[0], : shape[1]]


def _noise(seed: int, row: int, column: int) -> Reals:
    """White standard normal noise of one cell, from raw bits: only those stay the same in every NumPy."""
    counter = np.array([0, 0, column % 2**64, row % 2**64], np.uint64)
    bits = np.random.Philox(key=int(seed), counter=counter).random_raw(_CELL * _CELL // 4)
    return np.asarray(special.ndtri((bits.astype("<u8").view("<u2") + 0.5) / 2**16)).reshape(_CELL, _CELL)


@functools.cache
def _marginal() -> Reals:
    """Log-Gamma quantiles of mean 0 and variance 1 at 2^16 normal values from -6 to 6."""
    gamma = special.gammaincinv(_LOOKS, special.ndtr(np.linspace(-6, 6, _TABLE)))
    return np.asarray((np.log(gamma) - special.digamma(_LOOKS)) / math.sqrt(special.polygamma(1, _LOOKS)))


@functools.cache
def _correlations() -> tuple[Reals, Reals]:
    """Correlation of two normal variates, and that of their images by the marginal (Mehler), both rising."""
    normal, weight = np.polynomial.hermite_e.hermegauss(80)
    image = np.interp(normal, np.linspace(-6, 6, _TABLE), _marginal()) * weight
    orders = np.arange(1, 13)
    power = np.array([special.eval_hermitenorm(k, normal) @ image for k in orders]) ** 2 / special.factorial(orders)
    before = np.linspace(-1, 1, 2001)
    return before, (before[:, None] ** orders) @ (power / power.sum())


def _taps(series: tuple[int, ...]) -> Reals:
    """Filter (17, 17) of unit energy by which white noise has the lost spectrum once the marginal is applied."""
    spectrum = np.exp(_cosines(_DESIGN) @ np.array(series)).reshape(_DESIGN, _DESIGN)
    correlation = np.fft.ifft2(spectrum / spectrum.mean()).real
    before, after = _correlations()
    power = np.fft.fft2(np.interp(correlation, after, before)).real
    near = np.arange(-_REACH, _REACH + 1)
    taps = np.fft.ifft2(np.sqrt(np.maximum(power, 0.0))).real[np.ix_(near, near)]
    return np.asarray(taps / math.sqrt(float((taps**2).sum())))


def _grid(shape: tuple[int, ...], block: int) -> Place:
    return -(-shape[0] // block), -(-shape[1] // block)


def _block_means(image: Reals, mask: Mask, block: int) -> Reals:
    """Mean over the valid pixels of each block from the top left corner, 0 where there is none."""
    down, across = (np.arange(0, side, block) for side in mask.shape)
    arrays = (np.where(mask, image, 0.0), mask.astype(np.float64))
    total, count = (np.add.reduceat(np.add.reduceat(a, down, axis=0), across, axis=1) for a in arrays)
    return np.asarray(total / np.maximum(count, 1.0))


def _interpolated(values: Reals, block: int, places: list[NDArray[Any]]) -> Reals:
    """Interpolate values at block centres bilinearly at rows × columns, constant beyond the outermost centres."""
    for axis in (0, 1):
        last = values.shape[axis] - 1
        at = np.clip((places[axis] + 0.5) / block - 0.5, 0, last)
        low = at.astype(np.intp)
        share = np.expand_dims(at - low, 1 - axis)
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, last), axis) * share
    return values
