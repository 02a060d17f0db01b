"""Speckle that a lossy codec took away, drawn anew: a rendering that looks and measures like the image, never data.

`measure` compares a tile with its decoded form and keeps a few bytes, a `LostSpeckle`; `render` draws a random field
from them and adds it to the decoded tile, so that number of looks, mean intensity and power spectrum come near those
of the original. Its pixels have nothing to do with the lost ones, so the error per pixel grows.

The spectrum drawn is that of the original minus that of the decoded image, as a short cosine series of its logarithm;
the field is a window of what `speckle_field.draw` draws, scaled and shifted. A window of a rendering equals the same
window of the whole, bit for bit.

All dB are 10·log10 of intensity. Tiles of a scene share seed and noise; each has a record of its own.
"""

from __future__ import annotations

import binascii
import dataclasses
import math
import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from sarcodec import errors, metrics, speckle_field

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Place = tuple[int, int]

STD_BLOCK: Final = 64
OFFSET_BLOCK: Final = 32
MAX_SIDE: Final = 2**16 - 1

_VERSION, _HEAD = 1, struct.Struct("<BHHBb")  # version, height, width, std_step, trim
_OFFSET_STEP_DB, _TRIM_STEP_DB = 0.3, 0.01
_MAX_LEVEL, _MAX_OFFSET, _STD_UNIT_DB, _STD_STEP = 127, 8, 1 / 1024, 160
_GAINS = (0.82, 1.05)  # limits of the fine scale of the field: 1.7 dB of its spectrum
_PATCH, _DENSE = 32, 600 * 600  # side of a patch; pixels of the largest tile whose patches overlap
_FINE, _ROUNDS, _ROUND_UP = 8, 2, 0.4  # how offsets are found; what is added before a fraction is cut off
_MAX_DB = 150.0  # squares of intensity stay within float32


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
        Natural logarithm of the spectrum by `speckle_field.harmonics`, within ±127 steps of 1/32 (1/16 for those of
        one cycle).

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
            ("series", self.series, len(speckle_field.harmonics()), -_MAX_LEVEL, _MAX_LEVEL),
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
        ends = np.cumsum(
            [math.prod(grid), math.prod(_grid((height, width), OFFSET_BLOCK)), len(speckle_field.harmonics())]
        )
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

    The field is drawn on the way: its strength is set, by 0.82 to 1.05, so that `metrics.enl_ratio` comes near 1, and
    mean intensity is corrected for the very field that `render` draws; another seed leaves a bias of some 0.1 dB.

    Parameters
    ----------
    original_db, decoded_db : array_like, shape (H, W), real
        Tile before and after coding in dB, finite wherever `valid` is True, clipped to ±150; sides of 1 to 65535.
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
    original, decoded, counts = _checked(original_db, decoded_db, valid)
    _check_place(seed, top, left)
    series, power = _fitted(*_powers((original, decoded), counts))
    error, number = _block_sums((original - decoded) ** 2, STD_BLOCK), _block_sums(counts, STD_BLOCK)
    share = power / max(float(error.sum()) / max(float(number.sum()), 1.0), 1e-12)
    std_db = np.sqrt(error / np.maximum(number, 1.0) * share)
    levels = np.clip(np.rint(std_db.ravel() / (_STD_STEP * _STD_UNIT_DB)), 0, _MAX_LEVEL).astype(int)
    no_offsets = (0,) * math.prod(_grid(counts.shape, OFFSET_BLOCK))
    lost = LostSpeckle(counts.shape[0], counts.shape[1], _STD_STEP, tuple(levels.tolist()), no_offsets, 0, series)
    field = speckle_field.draw(series, seed, (top, left), counts.shape)
    field *= _deviations(lost, counts.shape)
    intensity = _intensity(original, counts)
    lost = dataclasses.replace(lost, std_step=round(_gain(intensity, decoded, field, counts) * _STD_STEP))
    field *= lost.std_step / _STD_STEP
    field += _offset_db(lost, counts.shape)
    field += decoded
    return _balanced(lost, intensity, _intensity(field, counts))


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
    texture = speckle_field.draw(lost.series, seed, (top + row, left + column), decoded.shape)
    texture *= _deviations(lost, decoded.shape, start)
    texture += _offset_db(lost, decoded.shape, start)
    texture += decoded.astype(np.float32)
    return texture


def _checked(original_db: ArrayLike, decoded_db: ArrayLike, valid: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Validate a tile; images come back as float32, within ±150 dB, 0 where invalid, and as such the mask, 1 or 0."""
    mask = np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2 or not 0 < min(mask.shape) <= max(mask.shape) <= MAX_SIDE:
        raise errors.InputError(f"valid: got {mask.dtype} {mask.shape}; pass 2-D bool, sides of 1 to {MAX_SIDE}")
    images = []
    for name, image in (("original_db", np.asarray(original_db)), ("decoded_db", np.asarray(decoded_db))):
        if image.dtype.kind not in "fiu" or image.shape != mask.shape:
            raise errors.InputError(f"{name}: got {image.dtype} of shape {image.shape}; pass real dB of {mask.shape}")
        image = image if mask.all() else np.where(mask, image, image.dtype.type(0))
        if not (image.min() >= -_MAX_DB and image.max() <= _MAX_DB):
            if bad := int(np.count_nonzero(~np.isfinite(image))):
                raise errors.InputError(f"{name}: {bad} valid pixels are not finite; repair or invalidate them")
            image = np.clip(image, -_MAX_DB, _MAX_DB)
        images.append(image.astype(np.float32, copy=False))
    return images[0], images[1], mask.astype(np.float32)


def _check_place(seed: int, top: int, left: int) -> None:
    for name, number, end in (("seed", seed, 2**64), ("top", top, 2**32), ("left", left, 2**32)):
        if not isinstance(number, int | np.integer) or not 0 <= number < end:
            raise errors.InputError(f"{name} is {number!r}; give a whole number from 0 to {end - 1}")


def _powers(images: tuple[Floats, ...], counts: Floats) -> list[Reals]:
    """Mean power spectra in dB² of Hann-windowed patches, (32, 17) each as of a real FFT; a mean is the variance.

    Patches overlap by half (Welch, IEEE Trans. Audio Electroacoustics 15 (2), 1967); in a large tile they lie as the
    black squares of a chessboard. Those at least half valid count, or the fullest; an invalid pixel gets its patch's
    mean.
    """
    dense, shape = counts.size <= _DENSE, (_PATCH, _PATCH)
    step = _PATCH // 2 if dense else _PATCH
    sides = [(0, max(_PATCH - side, -side % step)) for side in counts.shape]
    padded = [np.pad(a, sides) if np.any(sides) else a for a in (counts, *images)]
    cuts = [np.lib.stride_tricks.sliding_window_view(a, shape)[::step, ::step] for a in padded]
    numbers = cuts[0].sum(axis=(2, 3))
    black = np.indices(numbers.shape).sum(axis=0) % 2 == 0
    if not dense and numbers[black].any():
        numbers[~black] = 0
    enough = min(_PATCH * _PATCH / 2, max(float(numbers.max()), 1.0))
    taper = np.outer(*[np.hanning(_PATCH + 2)[1:-1]] * 2).astype(np.float32)
    totals, weight = [np.zeros((_PATCH, _PATCH + 2)) for _ in images], 1e-12  # no valid pixel: no power
    for row in range(len(numbers)):
        used = numbers[row] >= enough
        tapers = taper * cuts[0][row, used]
        weight += float(np.vdot(tapers, tapers))
        for total, cut in zip(totals, cuts[1:], strict=True):
            patches = cut[row, used]
            patches -= patches.sum(axis=(1, 2), keepdims=True) / numbers[row, used, None, None]
            patches *= tapers
            total += np.square(fft.rfft2(patches).view(np.float32)).sum(axis=0)
    return [total.reshape(_PATCH, -1, 2).sum(axis=2) / weight for total in totals]


def _fitted(original: Reals, decoded: Reals) -> tuple[tuple[int, ...], float]:
    """Fit the series to the spectrum lost; returns it in steps, and the lost power in dB².

    Damped Gauss-Newton steps on log((decoded + lost) / original), so that a frequency counts as far as it was lost;
    one where a codec added power cannot be mended and pulls little. High harmonics are held back a little.
    """
    twice = np.full(original.shape, 2.0)  # a real FFT has half of the frequencies, but for two columns
    twice[:, [0, -1]] = 1.0
    number, mean = twice.sum(), float((twice * original).sum() / twice.sum())
    total, kept = original.ravel() + 1e-12 + 1e-6 * mean, decoded.ravel()
    counts = twice.ravel() * (np.arange(total.size) > 0)  # patches have no mean
    design = np.hstack([np.ones((total.size, 1)), speckle_field.cosines(_PATCH)])
    ridge = number * np.diag([0.0] + [4e-7 * (m * m + n * n) for m, n in speckle_field.harmonics()])
    lost = np.maximum(total - kept, 0.02 * total)
    weight = counts * np.clip(lost / total, 0.05, 1.0)
    series = np.linalg.solve(design.T @ (design * weight[:, None]) + ridge, design.T @ (weight * np.log(lost)))
    for _ in range(12):
        lost = np.exp(np.clip(design @ series, -60.0, 60.0))
        residual = np.clip(np.log(total) - np.log(kept + lost), -0.5, 0.5)
        slopes = design * np.maximum(lost / (kept + lost), 0.01)[:, None]
        counted = (slopes * counts[:, None]).T
        step = counted @ residual - ridge @ series
        change = 0.7 * np.linalg.solve(counted @ slopes + ridge + 1e-5 * np.eye(len(series)), step)
        series = series + change
        if np.abs(change).max() < 0.03:
            break
    levels = np.clip(np.rint(series[1:]), -_MAX_LEVEL, _MAX_LEVEL)
    power = np.exp(np.clip(series[0] + design[:, 1:] @ levels, -60.0, 60.0))
    return tuple(levels.astype(int).tolist()), float(power @ twice.ravel() / number)


def _gain(intensity: Floats, decoded: Floats, field: Floats, counts: Floats) -> float:
    """Scale of the field for a ratio near 1 by `metrics.enl_ratio`, taken as linear in it between two limits."""
    size = metrics.ENL_WINDOW
    if min(counts.shape) < size:
        return 1.0
    cuts = [np.lib.stride_tricks.sliding_window_view(a, (size, size))[::size, ::size] for a in (decoded, field)]
    inside = tuple(np.s_[: number * size] for number in cuts[0].shape[:2])
    number, first, second = (_block_sums(a[inside], size) for a in (counts, intensity, np.square(intensity)))
    mean = first / size**2
    variance = second / size**2 - mean**2
    speckled = (number == size**2) & (variance > 1e-5 * mean**2)
    if not speckled.any():
        return 1.0
    looks = np.divide(mean**2, variance, out=np.zeros_like(mean), where=speckled)
    chosen = looks >= np.sort(looks[speckled])[-math.ceil(np.count_nonzero(speckled) / 5)]
    below, noise = (cut[chosen].reshape(-1, size**2).astype(np.float64) for cut in cuts)
    ratios = []
    for gain in _GAINS:
        drawn = np.exp((below + noise * gain) * (math.log(10) / 10))
        found = drawn.mean(axis=1) ** 2 / np.maximum(drawn.var(axis=1), 1e-300)
        ratios.append(float(np.median(found / looks[chosen])))
    return float(np.interp(-1.0, -np.array(ratios), _GAINS)) if ratios[0] > ratios[1] else 1.0  # 1: no field


def _balanced(lost: LostSpeckle, original: Floats, rendered: Floats) -> LostSpeckle:
    """Make the mean intensity that of the original: of blocks by offsets, then of the tile by the trim.

    Offsets are interpolated, so those of its neighbours change a block too; a second round makes up for most of that,
    told from sums over 8×8 pixels. They are rounded a little towards 0, which saves bytes.
    """
    fine = _block_sums(rendered, _FINE)
    centres = [_FINE * np.arange(side) + (_FINE - 1) / 2 for side in fine.shape]
    wanted = _block_sums(original, OFFSET_BLOCK)

    def corrected(offset_db: Reals) -> Reals:
        return np.asarray(fine * 10 ** (_interpolated(offset_db, OFFSET_BLOCK, centres) / 10))

    def trim_of(got: float, limit: int) -> int:
        trim = round(10 * math.log10(float(wanted.sum()) / got) / _TRIM_STEP_DB) if got > 0 else 0
        return min(max(trim, -limit), limit)

    found = (wanted > 0) & (_block_sums(fine, OFFSET_BLOCK // _FINE) > 0)
    offset_db = np.zeros_like(wanted)
    trim_db = trim_of(float(fine.sum()), 100) * _TRIM_STEP_DB  # leaves some for what rounding offsets does
    for _ in range(_ROUNDS):
        got = _block_sums(corrected(offset_db + trim_db), OFFSET_BLOCK // _FINE)
        offset_db += 10 * np.log10(np.divide(wanted, got, out=np.ones_like(got), where=found))
    steps = offset_db / _OFFSET_STEP_DB
    steps = np.trunc(np.clip(steps + np.copysign(_ROUND_UP, steps), -_MAX_OFFSET, _MAX_OFFSET))
    trim = trim_of(float(corrected(steps * _OFFSET_STEP_DB).sum()), 127)
    return dataclasses.replace(lost, offsets=tuple(steps.astype(int).ravel().tolist()), trim=trim)


def _offset_db(lost: LostSpeckle, shape: tuple[int, ...], start: Place = (0, 0)) -> Floats:
    """Interpolate the mean of the field in dB, by which mean intensity changes as the record says."""
    grid = _grid((lost.height, lost.width), OFFSET_BLOCK)
    centres = [OFFSET_BLOCK * np.arange(n) + (OFFSET_BLOCK - 1) / 2 for n in grid]
    offset_db = np.array(lost.offsets).reshape(grid) * _OFFSET_STEP_DB + lost.trim * _TRIM_STEP_DB
    offset_db -= speckle_field.growth_db(_interpolated(_std_db(lost), STD_BLOCK, centres))
    return _interpolated(offset_db.astype(np.float32), OFFSET_BLOCK, _places(shape, start))


def _std_db(lost: LostSpeckle) -> Reals:
    return np.array(lost.std).reshape(_grid((lost.height, lost.width), STD_BLOCK)) * (lost.std_step * _STD_UNIT_DB)


def _deviations(lost: LostSpeckle, shape: tuple[int, ...], start: Place = (0, 0)) -> Floats:
    """Interpolate the standard deviation of the field in dB at the pixels of a window."""
    return _interpolated(_std_db(lost).astype(np.float32), STD_BLOCK, _places(shape, start))


def _places(shape: tuple[int, ...], start: Place) -> list[NDArray[Any]]:
    return [np.arange(side) + first for side, first in zip(shape, start, strict=True)]


def _grid(shape: tuple[int, ...], block: int) -> Place:
    return -(-shape[0] // block), -(-shape[1] // block)


def _intensity(image_db: Floats, counts: Floats) -> Floats:
    """Linear intensity, 0 where invalid."""
    intensity = image_db * np.float32(math.log(10) / 10)
    np.exp(intensity, out=intensity)
    intensity *= counts
    return intensity


def _block_sums(image: NDArray[Any], block: int) -> Reals:
    """Sum each block from the top left corner."""
    rows = np.array([image[row : row + block].sum(axis=0) for row in range(0, image.shape[0], block)], np.float64)
    return np.add.reduceat(rows, np.arange(0, image.shape[1], block), axis=1)


def _interpolated(values: NDArray[Any], block: int, places: list[NDArray[Any]]) -> NDArray[Any]:
    """Interpolate values at block centres bilinearly at rows × columns, constant beyond the outermost centres."""
    for axis in (1, 0):
        last = values.shape[axis] - 1
        at = np.clip((places[axis] + 0.5) / block - 0.5, 0, last)
        low = at.astype(np.intp)
        share = np.expand_dims(at - low, 1 - axis).astype(values.dtype)
        rise = np.diff(values, axis=axis, append=values.take([last], axis)).take(low, axis)
        rise *= share
        rise += values.take(low, axis)
        values = rise
    return values
