"""Square boxes of pixels, of which an image at a lower resolution makes one each; the last may be smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def sums(values: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float64]:
    """Sum values (H, W) over boxes of factor×factor pixels: (ceil(H/factor), ceil(W/factor)) float64."""
    return _folded(np.add, values, factor, np.float64)


def sizes(shape: tuple[int, int], factor: int) -> npt.NDArray[np.int64]:
    """Return how many pixels the boxes of an image (H, W) have, of the shape of :func:`sums`."""
    rows, columns = (np.minimum(side - np.arange(0, side, factor), factor) for side in shape)
    return np.asarray(np.outer(rows, columns))


def means(values: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean of values (H, W) over boxes, float32."""
    return np.asarray(sums(values, factor) / sizes(values.shape, factor), np.float32)


def valid_means(values: npt.NDArray[np.floating[Any]], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean of the finite values (H, W) of boxes, float32; NaN where they are less than half of a box."""
    valid = np.isfinite(values)
    if valid.all():
        return means(values, factor)
    counts = sums(valid, factor)
    found = sums(np.where(valid, values, 0), factor) / np.maximum(counts, 1)
    return np.where(2 * counts >= sizes(values.shape, factor), found, np.nan).astype(np.float32)


def means_of_power(db: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean power over boxes of an image in dB (H, W), in dB, float32."""
    top = largest(db, factor)  # of which all are parts: no power overflows
    spread = np.repeat(np.repeat(top, factor, axis=0), factor, axis=1)[: db.shape[0], : db.shape[1]]
    parts = means(np.power(np.float32(10), (db - spread) / 10), factor)
    return np.asarray(top + 10 * np.log10(parts), np.float32)


def largest(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Return the largest value (H, W) of boxes, in its dtype."""
    return _folded(np.maximum, values, factor, values.dtype)


def _folded(combine: np.ufunc, values: npt.NDArray[Any], factor: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Combine the rows of boxes, then what is left of their columns; much sooner done than with ``reduceat``."""
    for _ in range(2):
        found = values[::factor].astype(dtype)
        for row in range(1, factor):
            part = values[row::factor]
            combine(found[: len(part)], part, out=found[: len(part)])
        values = found.T
    return values
