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
    return (sums(values, factor) / sums(np.ones(values.shape, bool), factor)).astype(np.float32)


def means_of_db(db: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Return the mean power over boxes of an image in dB (H, W), in dB, float32."""
    power = np.power(10.0, db / 10.0, dtype=np.float64)
    means = sums(power, factor) / sums(np.ones(db.shape, bool), factor)
    return (10.0 * np.log10(means)).astype(np.float32)


def largest(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Return the largest value (H, W) of boxes, in its dtype."""
    rows, columns = _starts(values, factor)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1))


def _starts(values: npt.NDArray[Any], factor: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.arange(0, values.shape[0], factor), np.arange(0, values.shape[1], factor)
