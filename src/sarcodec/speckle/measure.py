"""What a tile lost of its speckle, measured where original and decoded image are both at hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import scipy  # whose parts load when they are first used
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors
from sarcodec.metrics import looks as metric_looks
from sarcodec.speckle import field as speckle_field
from sarcodec.speckle import record
from sarcodec.speckle import render as speckle_render

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
_GAINS = (0.82, 1.05)
_PATCH, _DENSE = 32, 600 * 600
_FINE, _ROUNDS, _ROUND_UP = 8, 2, 0.4
_MAX_DB = 150.0


def measure(
    original_db: ArrayLike, decoded_db: ArrayLike, valid: ArrayLike, *, seed: int, top: int = 0, left: int = 0
) -> record.LostSpeckle:
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
    speckle_render.check_place(seed, top, left)
    series, power = _fitted(*_powers((original, decoded), counts))
    error, number = _block_sums((original - decoded) ** 2, record.STD_BLOCK), _block_sums(counts, record.STD_BLOCK)
    share = power / max(float(error.sum()) / max(float(number.sum()), 1.0), 1e-12)
    std_db = np.sqrt(error / np.maximum(number, 1.0) * share)
    levels = np.clip(np.rint(std_db.ravel() / (record.STD_STEP * record.STD_UNIT_DB)), 0, record.MAX_LEVEL).astype(
        int
    )
    no_offsets = (0,) * math.prod(record.block_grid(counts.shape, record.OFFSET_BLOCK))
    lost = record.LostSpeckle(
        counts.shape[0], counts.shape[1], record.STD_STEP, tuple(levels.tolist()), no_offsets, 0, series
    )
    field = speckle_field.draw(series, seed, (top, left), counts.shape)
    field *= speckle_render.deviations(lost, counts.shape)
    intensity = _intensity(original, counts)
    lost = dataclasses.replace(lost, std_step=round(_gain(intensity, decoded, field, counts) * record.STD_STEP))
    field *= lost.std_step / record.STD_STEP
    field += speckle_render.offset_db(lost, counts.shape)
    field += decoded
    return _balanced(lost, intensity, _intensity(field, counts))


def _checked(original_db: ArrayLike, decoded_db: ArrayLike, valid: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Validate a tile; images come back as float32, within ±150 dB, 0 where invalid, and as such the mask, 1 or 0."""
    mask = np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2 or not 0 < min(mask.shape) <= max(mask.shape) <= record.MAX_SIDE:
        raise errors.InputError(
            f"valid: got {mask.dtype} {mask.shape}; pass 2-D bool, sides of 1 to {record.MAX_SIDE}"
        )
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
            total += np.square(scipy.fft.rfft2(patches).view(np.float32)).sum(axis=0)
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
    levels = np.clip(np.rint(series[1:]), -record.MAX_LEVEL, record.MAX_LEVEL)
    power = np.exp(np.clip(series[0] + design[:, 1:] @ levels, -60.0, 60.0))
    return tuple(levels.astype(int).tolist()), float(power @ twice.ravel() / number)


def _gain(intensity: Floats, decoded: Floats, field: Floats, counts: Floats) -> float:
    """Scale of the field for a ratio near 1 by `metrics.enl_ratio`, taken as linear in it between two limits."""
    size = metric_looks.ENL_WINDOW
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
    return float(np.interp(-1.0, -np.array(ratios), _GAINS)) if ratios[0] > ratios[1] else 1.0


def _balanced(lost: record.LostSpeckle, original: Floats, rendered: Floats) -> record.LostSpeckle:
    """Make the mean intensity that of the original: of blocks by offsets, then of the tile by the trim.

    Offsets are interpolated, so those of its neighbours change a block too; a second round makes up for most of that,
    told from sums over 8×8 pixels. They are rounded a little towards 0, which saves bytes.
    """
    fine = _block_sums(rendered, _FINE)
    centres = [_FINE * np.arange(side) + (_FINE - 1) / 2 for side in fine.shape]
    wanted = _block_sums(original, record.OFFSET_BLOCK)

    def corrected(offset_db: Reals) -> Reals:
        return np.asarray(fine * 10 ** (speckle_render.interpolated(offset_db, record.OFFSET_BLOCK, centres) / 10))

    def trim_of(got: float, limit: int) -> int:
        trim = round(10 * math.log10(float(wanted.sum()) / got) / record.TRIM_STEP_DB) if got > 0 else 0
        return min(max(trim, -limit), limit)

    found = (wanted > 0) & (_block_sums(fine, record.OFFSET_BLOCK // _FINE) > 0)
    offset_db = np.zeros_like(wanted)
    trim_db = trim_of(float(fine.sum()), 100) * record.TRIM_STEP_DB  # leaves some for what rounding offsets does
    for _ in range(_ROUNDS):
        got = _block_sums(corrected(offset_db + trim_db), record.OFFSET_BLOCK // _FINE)
        offset_db += 10 * np.log10(np.divide(wanted, got, out=np.ones_like(got), where=found))
    steps = offset_db / record.OFFSET_STEP_DB
    steps = np.trunc(np.clip(steps + np.copysign(_ROUND_UP, steps), -record.MAX_OFFSET, record.MAX_OFFSET))
    trim = trim_of(float(corrected(steps * record.OFFSET_STEP_DB).sum()), 127)
    return dataclasses.replace(lost, offsets=tuple(steps.astype(int).ravel().tolist()), trim=trim)


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
