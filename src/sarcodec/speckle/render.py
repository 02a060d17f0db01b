"""Lost speckle rendered over a decoded image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors
from sarcodec.speckle import field as speckle_field
from sarcodec.speckle import record

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Place = tuple[int, int]


def render(
    decoded_db: ArrayLike, lost: record.LostSpeckle, *, seed: int, top: int = 0, left: int = 0, start: Place = (0, 0)
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
    check_place(seed, top, left)
    if decoded.ndim != 2 or decoded.dtype.kind not in "fiu" or not decoded.size:
        raise errors.InputError(f"decoded_db: got {decoded.dtype} of shape {decoded.shape}; pass a 2-D image in dB")
    row, column = start
    if not (0 <= row <= lost.height - decoded.shape[0] and 0 <= column <= lost.width - decoded.shape[1]):
        size = (lost.height, lost.width)
        raise errors.InputError(f"start: {decoded.shape} at {start} leaves the tile of {size}; pass a place inside")
    texture = speckle_field.draw(lost.series, seed, (top + row, left + column), decoded.shape)
    texture *= deviations(lost, decoded.shape, start)
    texture += offset_db(lost, decoded.shape, start)
    texture += decoded.astype(np.float32)
    return texture


def check_place(seed: int, top: int, left: int) -> None:
    """Raise InputError for a seed or place that the field has not."""
    for name, number, end in (("seed", seed, 2**64), ("top", top, 2**32), ("left", left, 2**32)):
        if not isinstance(number, int | np.integer) or not 0 <= number < end:
            raise errors.InputError(f"{name} is {number!r}; give a whole number from 0 to {end - 1}")


def offset_db(lost: record.LostSpeckle, shape: tuple[int, ...], start: Place = (0, 0)) -> Floats:
    """Interpolate the mean of the field in dB, by which mean intensity changes as the record says."""
    grid = record.block_grid((lost.height, lost.width), record.OFFSET_BLOCK)
    centres = [record.OFFSET_BLOCK * np.arange(n) + (record.OFFSET_BLOCK - 1) / 2 for n in grid]
    offset_db = np.array(lost.offsets).reshape(grid) * record.OFFSET_STEP_DB + lost.trim * record.TRIM_STEP_DB
    offset_db -= speckle_field.growth_db(interpolated(_std_db(lost), record.STD_BLOCK, centres))
    return interpolated(offset_db.astype(np.float32), record.OFFSET_BLOCK, _places(shape, start))


def _std_db(lost: record.LostSpeckle) -> Reals:
    return np.array(lost.std).reshape(record.block_grid((lost.height, lost.width), record.STD_BLOCK)) * (
        lost.std_step * record.STD_UNIT_DB
    )


def deviations(lost: record.LostSpeckle, shape: tuple[int, ...], start: Place = (0, 0)) -> Floats:
    """Interpolate the standard deviation of the field in dB at the pixels of a window."""
    return interpolated(_std_db(lost).astype(np.float32), record.STD_BLOCK, _places(shape, start))


def _places(shape: tuple[int, ...], start: Place) -> list[NDArray[Any]]:
    return [np.arange(side) + first for side, first in zip(shape, start, strict=True)]


def interpolated(values: NDArray[Any], block: int, places: list[NDArray[Any]]) -> NDArray[Any]:
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
