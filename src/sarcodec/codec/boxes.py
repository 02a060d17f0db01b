"""Square boxes of pixels, of which an image at a lower resolution makes one each; the last may be smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def sums(values: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float64]:
    """Sum values (H, W) over boxes of factor×factor pixels: (ceil(H/factor), ceil(W/factor)) float64."""
    rows, columns = _starts(values, factor)
    return np.asarray(np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1))


def means(values: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean of values (H, W) over boxes, float32."""
    if not (values.shape[0] % factor or values.shape[1] % factor):
        return np.asarray(_squares(values, factor).mean(axis=(1, 3), dtype=np.float64), np.float32)
    return (sums(values, factor) / sums(np.ones(values.shape, bool), factor)).astype(np.float32)


def valid_means(values: npt.NDArray[np.floating[Any]], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean of the finite values (H, W) of boxes, float32; NaN where they are less than half of a box."""
    valid = np.isfinite(values)
    counts, sizes = sums(valid, factor), sums(np.ones(values.shape, bool), factor)
    found = sums(np.where(valid, values, 0), factor) / np.maximum(counts, 1)
    return np.where(2 * counts >= sizes, found, np.nan).astype(np.float32)


def means_of_power(db: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean power over boxes of an image in dB (H, W), in dB, float32."""
    top = largest(db, factor)  # of which all are parts: no power overflows
    spread = np.repeat(np.repeat(top, factor, axis=0), factor, axis=1)[: db.shape[0], : db.shape[1]]
    parts = means(np.power(np.float32(10), (db - spread) / 10), factor)
    return np.asarray(top + 10 * np.log10(parts), np.float32)


def largest(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Return the largest value (H, W) of boxes, in its dtype."""
    if not (values.shape[0] % factor or values.shape[1] % factor):
        return np.asarray(_squares(values, factor).max(axis=(1, 3)))
    rows, columns = _starts(values, factor)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1))


def _starts(values: npt.NDArray[Any], factor: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.arange(0, values.shape[0], factor), np.arange(0, values.shape[1], factor)


def _squares(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Return whole boxes as axes of their own: (h, factor, w, factor)."""
    rows, columns = (side // factor for side in values.shape)
    return values.reshape(rows, factor, columns, factor)
