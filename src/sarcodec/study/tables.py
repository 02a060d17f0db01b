"""What tables of a study hold: spread over images, paired differences between variants, BD-rates.

Differences are paired: both variants have the same latent channels and stages, step, seeds, images and bands. A
figure is first averaged over the seeds that both have, then the differences of the images (each band is one) give a
95 % interval by Student's t. It covers the choice of images; with few seeds the luck of a training is shown by the
mean difference of each seed instead, and a difference is called clear only where all seeds agree in sign. The two
bands of a place are not independent, so the interval is rather too narrow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from sarcodec import errors
from sarcodec.evaluation import bdrate, roundtrip
from sarcodec.metrics import summary
from sarcodec.study import peers, results, rows

REFERENCES = ("jpeg2000", peers.DEFAULT)
COMPARED = (*summary.TARGETS, "gradient_correlation", "bits_per_pixel")


@dataclass(frozen=True)
class Difference:
    """How much ``variant`` has more of a figure than ``against``, on average, with its 95 % interval.

    ``seed_means`` are the mean differences of the seeds that both were trained with, in the order of ``seeds``.
    """

    figure: str
    variant: str
    against: str
    latent_channels: int
    step: int
    mean: float
    low: float
    high: float
    images: int
    seeds: tuple[int, ...]
    seed_means: tuple[float, ...]

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero and the seeds agree in sign."""
        signs = {math.copysign(1.0, value) for value in self.seed_means}
        return len(signs) == 1 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Spread:
    """A figure of a variant over the images, averaged over its seeds first."""

    variant: str
    step: int
    figure: str
    mean: float
    deviation: float
    least: float
    median: float
    most: float
    images: int


@dataclass(frozen=True)
class BdRate:
    """Bytes that a variant needs against a codec at equal PSNR, in per cent; over images whose PSNR overlaps."""

    variant: str
    against: str
    mean: float
    least: float
    most: float
    images: int
    of: int


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95 % interval by Student's t; NaN ends for fewer than two values."""
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean()) if sample.size else math.nan
    if sample.size < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, sample.size - 1) * sample.std(ddof=1) / math.sqrt(sample.size))
    return mean, mean - half, mean + half


def differences(study: results.Study) -> list[Difference]:
    """Compare every two variants of the same latent channels and stages at every step that both have."""
    found = []
    for cells, others in itertools.combinations(study.variants.values(), 2):
        if _latent(cells[0]) != _latent(others[0]):
            continue
        seeds = tuple(sorted({cell.seed for cell in cells} & {cell.seed for cell in others}))
        steps = _steps(cells) & _steps(others)
        for figure, step in itertools.product(COMPARED, sorted(steps)):
            if seeds:
                found.append(difference_of(figure, step, others, cells, seeds))
    return found


def _latent(cell: results.Finished) -> tuple[int, float]:
    return cell.channels, cell.latent_ratio


def _steps(cells: Sequence[results.Finished]) -> set[int]:
    return {row.step for cell in cells for row in cell.rows}


def difference_of(
    figure: str,
    step: int,
    cells: Sequence[results.Finished],
    against: Sequence[results.Finished],
    seeds: tuple[int, ...],
    measured: Callable[[results.Finished], Sequence[roundtrip.Row]] = lambda cell: cell.rows,
) -> Difference:
    """Compare two variants in one figure at one step over their common seeds, in what was ``measured`` of a cell."""
    by_seed = []
    for seed in seeds:
        ours, theirs = (
            rows.by_image([r for cell in side if cell.seed == seed for r in measured(cell) if r.step == step], figure)
            for side in (cells, against)
        )
        by_seed.append({key: ours[key] - theirs[key] for key in ours if key in theirs})
    common = set.intersection(*(set(found) for found in by_seed))
    usable = sorted(key for key in common if all(math.isfinite(found[key]) for found in by_seed))
    per_image = [sum(found[key] for found in by_seed) / len(seeds) for key in usable]
    seed_means = tuple(float(np.mean([found[key] for key in usable])) if usable else math.nan for found in by_seed)
    ends = interval(per_image)
    return Difference(
        figure, cells[0].variant, against[0].variant, cells[0].channels, step, *ends, len(usable), seeds, seed_means
    )


def spreads(study: results.Study) -> list[Spread]:
    """Describe every figure of every variant and step over the images."""
    found = []
    for name, cells in study.variants.items():
        for step, figure in itertools.product(sorted(_steps(cells)), COMPARED):
            chosen = [row for cell in cells for row in cell.rows if row.step == step]
            values = np.array([v for v in rows.by_image(chosen, figure).values() if math.isfinite(v)])
            if values.size:
                found.append(_spread((name, step, figure), values))
    return found


def _spread(what: tuple[str, int, str], values: npt.NDArray[np.float64]) -> Spread:
    deviation = float(values.std(ddof=1)) if values.size > 1 else math.nan
    least, median, most = (float(v) for v in np.percentile(values, [0, 50, 100]))
    return Spread(*what, float(values.mean()), deviation, least, median, most, values.size)


def bd_rates(study: results.Study) -> tuple[list[BdRate], str]:
    """Compare the curve of every variant with JPEG 2000 and the default codec, image by image, where they overlap.

    The second value says why there are none, or is empty.
    """
    try:
        found = [rate for reference in REFERENCES for rate in _bd_rates(study, reference)]
    except errors.MissingExtra as missing:
        return [], str(missing)
    return found, "" if found else "JPEG 2000 was not measured on the images of this study"


def _bd_rates(study: results.Study, reference_codec: str) -> list[BdRate]:
    peer: dict[tuple[str, str], list[roundtrip.Row]] = {}
    for row in study.peers.rows:
        if row.codec == reference_codec:
            peer.setdefault((row.image, row.band), []).append(row)
    found = []
    for name, cells in study.variants.items() if peer else ():
        chosen = [row for cell in cells for row in cell.rows]
        values = []
        for key, reference in peer.items():
            steps = sorted({row.step for row in chosen})
            group = [[r for r in chosen if (r.image, r.band) == key and r.step == step] for step in steps]
            curve = [[float(np.mean([rows.figure(r, f) for r in g])) for g in group if g] for f in _CURVE]
            rates, psnr = ([rows.figure(r, f) for r in reference] for f in _CURVE)
            bd = bdrate.bd_rate(rates, psnr, curve[0], curve[1])
            values += [] if bd is None else [bd]
        figures = (float(np.mean(values)), min(values), max(values)) if values else (math.nan,) * 3
        found.append(BdRate(name, reference_codec, *figures, len(values), len(peer)))
    return found


_CURVE = ("bits_per_pixel", "psnr_db")
