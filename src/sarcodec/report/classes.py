"""Figures by brightness: blocks of the original in five classes of local mean backscatter, as land cover has it.

The boundaries are fixed steps of :data:`STEPS_DB` around the median of the blocks' means. A step is the same ratio
of power in sigma0, in uncalibrated DN, in dB and in every polarisation, which no fixed level of sigma0 is; and unlike
quantiles, steps leave a class empty that the scene has not, so that shares say something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sarcodec.metrics import looks
from sarcodec.report import sums, survey

NAMES = ("very dark", "dark", "medium", "bright", "very bright")
LIKE = ("as calm water", "as rough water, bare soil", "as fields", "as forest, slopes", "as towns")
STEPS_DB = (-6.0, -2.0, 2.0, 6.0)
LEAST_WINDOWS = 10
"""Homogeneous windows from which on the ENL ratio of a class is given."""


@dataclass(frozen=True)
class Row:
    """Figures of a class.

    ``low`` and ``high``: boundaries of the local mean in dB, infinite at the ends. ``share``: of the valid pixels.
    ``rmse_db``, ``psnr_db``, ``bias_db``, ``enl_ratio``: as in :class:`summary.Metrics`, NaN where there is nothing
    to measure. ``windows``: homogeneous windows, of which there must be ten for an ENL ratio.
    """

    name: str
    low: float
    high: float
    share: float
    rmse_db: float
    psnr_db: float
    bias_db: float
    enl_ratio: float
    windows: int


def boundaries(blocks: survey.Blocks) -> tuple[float, ...]:
    """Return the four boundaries in dB; there must be a valid pixel."""
    seen = blocks.count > 0
    middle = float(np.median(10.0 * np.log10(blocks.before[seen] / blocks.count[seen])))
    return tuple(middle + step for step in STEPS_DB)


def of_blocks(blocks: survey.Blocks) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Return the class of every block, (R, C): 0 for the darkest to 4, and -1 without a valid pixel."""
    seen = blocks.count > 0
    mean = np.divide(blocks.before, blocks.count, out=np.ones_like(blocks.before), where=seen)
    found = np.searchsorted(boundaries(blocks), 10.0 * np.log10(mean), side="right")
    return np.where(seen, found, -1)


def table(found: survey.Survey) -> list[Row]:
    """Return the figures of every class, darkest first, then of all pixels; there must be a valid one."""
    blocks = found.blocks
    index = of_blocks(blocks)
    limits = (-math.inf, *boundaries(blocks), math.inf)
    ratios = found.looks.ratios()
    centres = (
        (np.arange(length) * looks.ENL_WINDOW + looks.ENL_WINDOW // 2) // survey.BLOCK for length in ratios.shape
    )
    homogeneous = ~np.isnan(ratios)
    of_window = index[np.ix_(*centres)]
    rows = [
        _row(name, limits[n : n + 2], blocks, index == n, ratios[homogeneous & (of_window == n)])
        for n, name in enumerate(NAMES)
    ]
    return [*rows, _row("all", (-math.inf, math.inf), blocks, index >= 0, ratios[homogeneous])]


def _row(
    name: str,
    limits: tuple[float, ...],
    blocks: survey.Blocks,
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ratios: sums.Values,
) -> Row:
    count, squared, before, after = (
        float(part[inside].sum()) for part in (blocks.count, blocks.squared, blocks.before, blocks.after)
    )
    rmse = math.sqrt(squared / count) if count else math.nan
    return Row(
        name=name,
        low=limits[0],
        high=limits[1],
        share=count / float(blocks.count.sum()),
        rmse_db=rmse,
        psnr_db=survey.psnr(rmse),
        bias_db=10.0 * math.log10(after / before) if count else math.nan,
        enl_ratio=float(np.median(ratios)) if ratios.size >= LEAST_WINDOWS else math.nan,
        windows=int(ratios.size),
    )
