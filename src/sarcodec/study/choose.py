"""The operating point: the highest true ratio at which a codec still meets targets of quality.

Figures are means over the test images, the ratio is 16 over the mean bits per pixel. Between two measured points
every figure is taken to be linear in the logarithm of the rate, for peers and for variants alike; beyond the measured
points nothing is assumed. A model has only the quantisation steps it was calibrated for, so the coarsest measured
step that meets the targets is named too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sarcodec.evaluation import roundtrip
from sarcodec.study import names, peers, results, rows
from sarcodec.text import numerals

Targets = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Choice:
    """The operating point of one codec.

    Parameters
    ----------
    codec : str
        Family of models (all its latent channels and steps), or the name of a peer.
    ratio, bits_per_pixel : float or None
        Highest true ratio that meets all targets, and its rate; None when none does.
    fails : tuple of str
        Without a ratio: the targets that no measured point meets, or that fail where the fewest do.
    variant, checkpoint : str or None
        The model to use, its cell with the best PSNR, as a path in the study.
    step, step_ratio : int, float or None
        Of a model: the coarsest measured step multiplier that meets all targets, and its ratio.
    """

    codec: str
    ratio: float | None
    bits_per_pixel: float | None
    fails: tuple[str, ...] = ()
    variant: str | None = None
    checkpoint: str | None = None
    step: int | None = None
    step_ratio: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def choose(
    folder: Path,
    psnr: float,
    ssim: float,
    enl: tuple[float, float],
    epi: float,
    *,
    study: results.Study | None = None,
) -> list[Choice]:
    """Find the operating point of every family of models and every peer, highest ratio first.

    Parameters
    ----------
    folder : path
        A study.
    psnr, ssim, epi : float
        Least mean PSNR in dB, SSIM and EPI.
    enl : tuple of float
        Least and largest mean ENL ratio.
    study : Study, optional
        The study of the folder where it is loaded already.

    Raises
    ------
    InputError, FormatError
        As :func:`results.load`.
    """
    found = study or results.load(folder)
    targets = {"psnr_db": (psnr, math.inf), "ssim": (ssim, math.inf), "enl_ratio": enl, "epi": (epi, math.inf)}
    choices = [_of_family(found, family, targets) for family in found.families]
    choices += [
        _of_curve(name, curve, targets) for name, curve in found.peer_curves.items() if name not in peers.BOUNDS
    ]
    return sorted(choices, key=lambda choice: -(choice.ratio or 0.0))


def _of_family(study: results.Study, family: str, targets: Targets) -> Choice:
    """Choose among all variants of a family; where none meets the targets, tell of the one that fails fewest."""
    options = []
    for variant, cells in study.variants.items():
        if cells[0].family == family:
            curve = study.variant_curves[variant]
            choice = _of_curve(family, curve, targets)
            step, step_ratio = _measured_step(curve, targets)
            best = _best_cell(cells)
            path = str(best.best.relative_to(study.folder))
            options.append(
                Choice(family, choice.ratio, choice.bits_per_pixel, choice.fails, variant, path, step, step_ratio)
            )
    return max(options, key=lambda choice: (choice.ratio or 0.0, -len(choice.fails)))


def _of_curve(name: str, curve: Sequence[roundtrip.Row], targets: Targets) -> Choice:
    bpp = lowest_rate(curve, targets)
    if bpp is None:
        return Choice(name, None, None, _failures(curve, targets))
    return Choice(name, 16 / bpp, bpp)


def lowest_rate(curve: Sequence[roundtrip.Row], targets: Targets) -> float | None:
    """Return the least bits per pixel on a curve at which every figure lies within its target, or None."""
    feasible: list[float] = []
    for row in curve:
        if not _failing(row, targets):
            feasible.append(row.bits_per_pixel)
    ordered = sorted(curve, key=lambda row: row.bits_per_pixel)
    for low, high in itertools.pairwise(ordered):
        shares = _feasible_share(low, high, targets)
        if shares is not None:
            a, b = math.log(low.bits_per_pixel), math.log(high.bits_per_pixel)
            feasible.append(math.exp(a + shares[0] * (b - a)))
    return min(feasible, default=None)


def psnr_at(curve: Sequence[roundtrip.Row], bits_per_pixel: float) -> float | None:
    """Return the PSNR of a curve at a rate, linear in its logarithm between measured points.

    None outside them, but for 3 % by which files miss the rates they aim at.
    """
    points = sorted((row.bits_per_pixel, row.metrics.psnr_db) for row in curve if math.isfinite(row.bits_per_pixel))
    if points and bits_per_pixel < points[0][0] <= 1.03 * bits_per_pixel:
        return points[0][1]
    for (low, begin), (high, end) in itertools.pairwise(points):
        if low <= bits_per_pixel <= high:
            return begin + (end - begin) * math.log(bits_per_pixel / low) / math.log(high / low)
    return None


def _feasible_share(low: roundtrip.Row, high: roundtrip.Row, targets: Targets) -> tuple[float, float] | None:
    """Return where between two points, as a share of the way from ``low``, all targets are met at once."""
    begin, end = 0.0, 1.0
    for name, (least, most) in targets.items():
        a, b = rows.figure(low, name), rows.figure(high, name)
        if math.isnan(a) or math.isnan(b):
            return None
        if a == b or not math.isfinite(b - a):
            if not (least <= a <= most and least <= b <= most):
                return None
            continue
        ends = sorted((limit - a) / (b - a) for limit in (least, most))
        begin, end = max(begin, ends[0]), min(end, ends[1])
    return (begin, end) if begin <= end else None


def _failing(row: roundtrip.Row, targets: Targets) -> tuple[str, ...]:
    return tuple(name for name, (low, high) in targets.items() if not low <= rows.figure(row, name) <= high)


def _failures(curve: Sequence[roundtrip.Row], targets: Targets) -> tuple[str, ...]:
    failing = [set(_failing(row, targets)) for row in curve]
    if not failing:
        return tuple(targets)
    never = set.intersection(*failing) or min(failing, key=len)
    return tuple(name for name in targets if name in never)


def _measured_step(curve: Sequence[roundtrip.Row], targets: Targets) -> tuple[int | None, float | None]:
    meeting = [row for row in curve if not _failing(row, targets)]
    if not meeting:
        return None, None
    best = max(meeting, key=lambda row: row.ratio)
    return best.step, best.ratio


def _best_cell(cells: Sequence[results.Finished]) -> results.Finished:
    def mean_psnr(cell: results.Finished) -> float:
        values = [row.metrics.psnr_db for row in cell.rows]
        return sum(values) / len(values) if values else -math.inf

    return max(cells, key=mean_psnr)


def describe(choices: Sequence[Choice]) -> Iterator[tuple[str, ...]]:
    """Put choices into words: codec, model, ratio, bits per pixel, step to use, checkpoint or what fails."""
    for choice in choices:
        if choice.ratio is None or choice.bits_per_pixel is None:
            text = "fails: " + ", ".join(names.figure(name).brief for name in choice.fails)
            yield choice.codec, choice.variant or "–", "none", "–", "–", text
            continue
        step = "–" if choice.step is None else f"{choice.step} (ratio {choice.step_ratio:,.1f})"
        point = f"{choice.ratio:,.1f}", numerals.fixed(choice.bits_per_pixel, 3)
        yield choice.codec, choice.variant or "–", *point, step, choice.checkpoint or "–"
