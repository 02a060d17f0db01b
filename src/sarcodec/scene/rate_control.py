"""Meeting a goal: a number of bytes, an error of the whole image, or an error that no pixel exceeds.

Where an engine's steps are a range, size and error change steadily along it, so the step that meets a goal is found
by regula falsi on what a whole file turns out to be: every trial compresses the source, and, for a goal in dB,
restores the file as its reader will, in the source's dtype.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec, encoding, validity
from sarcodec.codec import layout as codec_layout
from sarcodec.container import archive, header
from sarcodec.metrics import error
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.text import numerals

RATE_TOLERANCE = 0.02
PSNR_TOLERANCE_DB = 0.05
TRIALS, INTERPOLATED = 18, 6
"""Trials in all, and those found by interpolation, which may stall; bisection of the rest finds any step."""

_SHRINK = (1.0, 0.9, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1)


class Kind(enum.Enum):
    """What a goal is of."""

    BITS_PER_PIXEL = "bpp"
    PSNR = "psnr"
    MAX_ERROR = "max_error"


@dataclass(frozen=True)
class Goal:
    """A goal; make one by :meth:`bpp`, :meth:`ratio`, :meth:`psnr`, :meth:`rmse` or :meth:`max_error`."""

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise errors.InputError(f"{self.kind.value}: got {self.value}; pass a finite number above 0")

    @classmethod
    def bpp(cls, value: float) -> Goal:
        """Bits per pixel of the whole file, met within 2 %, or less where an image does not need as much."""
        return cls(Kind.BITS_PER_PIXEL, value)

    @classmethod
    def ratio(cls, value: float) -> Goal:
        """Ratio of 16 bits per pixel to those of the whole file, met within 2 %."""
        if not value > 0:
            raise errors.InputError(f"ratio: got {value}; pass a number above 0")
        return cls.bpp(16 / value)

    @classmethod
    def psnr(cls, value: float) -> Goal:
        """PSNR in dB over all valid pixels, peak 30 dB, met within 0.05 dB."""
        return cls(Kind.PSNR, value)

    @classmethod
    def rmse(cls, value: float) -> Goal:
        """Root mean square error in dB over all valid pixels, met within 0.6 % (0.05 dB of PSNR)."""
        if not 0 < value < error.PEAK_DB:
            raise errors.InputError(f"rmse: got {value}; pass a number above 0 and below {error.PEAK_DB:g} dB")
        return cls.psnr(error.psnr_of(value))

    @classmethod
    def max_error(cls, value: float) -> Goal:
        """Largest error in dB of any valid pixel, checked on the restored file."""
        return cls(Kind.MAX_ERROR, value)


def compress(
    model: codec.Codec,
    source: codec_layout.Source,
    layout: codec_layout.Layout,
    target: Path,
    options: encoding.Options,
    goal: Goal,
    advance: codec.Advance | None = None,
) -> validity.Tally:
    """Compress a source to ``target`` so that it meets a goal; ``target`` may be rewritten several times.

    ``advance`` is told of the pixels of every pass over the image: one for a file, one for measuring its error.
    Returns the count of all pixels.

    Raises
    ------
    InputError
        When no step meets the goal, with the nearest that there is, or the model has but a few steps. A PSNR that
        even the coarsest step exceeds is met by that.
    """
    trial = _Trial(source, layout, target, advance)
    if goal.kind is Kind.MAX_ERROR:
        _bounded(model, trial, options, goal.value)
        return trial.tally
    steps = model.engine.steps
    if not isinstance(steps, range):
        raise errors.InputError(
            f"{goal.kind.value}: {model.engine.architecture} has a few fixed steps and cannot aim; leave --model "
            "out, or choose a --step"
        )

    def measure(step: int) -> float:
        trial.write(model, replace(options, step=step))
        if goal.kind is Kind.BITS_PER_PIXEL:
            return math.log(8 * target.stat().st_size / (layout.count * layout.height * layout.width))
        return min(error.psnr_of(trial.errors(model)[0]), PEAK_PSNR)

    by_rate = goal.kind is Kind.BITS_PER_PIXEL
    wanted = math.log(goal.value) if by_rate else goal.value
    tolerance = math.log1p(RATE_TOLERANCE) if by_rate else PSNR_TOLERANCE_DB
    step, reached = find_step(measure, steps, model.engine.default_step, wanted, tolerance)
    if not by_rate and reached > wanted + tolerance and measure(steps[-1]) > wanted:
        return trial.tally  # even the coarsest step is better than asked, as on an image without detail
    if by_rate and reached < wanted:
        return trial.tally  # an image that does not need as much: the rate is a limit
    if abs(reached - wanted) > tolerance:
        shown = numerals.significant(math.exp(reached)) if by_rate else f"{reached:.2f} dB"
        raise errors.InputError(
            f"{goal.kind.value}: {numerals.significant(goal.value)} is out of reach for this image; the nearest "
            f"is {shown} (step index {step})"
        )
    return trial.tally


PEAK_PSNR = 200.0
"""Of an image without error."""


def find_step(
    measure: Callable[[int], float], steps: range, first: int, wanted: float, tolerance: float
) -> tuple[int, float]:
    """Find the step at which a function that falls along ``steps`` comes within ``tolerance`` of a value.

    ``first`` is the one that is tried first.

    Returns
    -------
    int, float
        The last step that was measured, and its value: within the tolerance where any step is.
    """
    low, high = steps[0], steps[-1]
    points: dict[int, float] = {}
    step = first
    for _ in range(TRIALS):
        points[step] = measure(step)
        if abs(points[step] - wanted) <= tolerance:
            return step, points[step]
        if points[step] > wanted:
            low = max(low, step + 1)
        else:
            high = min(high, step - 1)
        if low > high:
            break
        step = min(max(_next(points, wanted), low), high)
    best = min(points, key=lambda known: abs(points[known] - wanted))
    return best, points[best] if best == step else measure(best)


def _next(points: dict[int, float], wanted: float) -> int:
    """Interpolate between the nearest points above and below, or go on from the outermost by a typical slope."""
    above = {step: value for step, value in points.items() if value > wanted}
    below = {step: value for step, value in points.items() if value <= wanted}
    if above and below:
        left, right = max(above), min(below)
        if len(points) > INTERPOLATED:
            return (left + right) // 2
        share = (above[left] - wanted) / (above[left] - below[right])
        return round(left + min(max(share, 0.02), 0.98) * (right - left))
    nearest = max(above) if above else min(below)
    distance = points[nearest] - wanted
    if len(points) > 1:
        others = sorted(points, key=lambda step: abs(step - nearest))[1]
        slope = (points[others] - points[nearest]) / (nearest - others)
        if slope > 0:
            return round(nearest + 1.2 * distance / slope)
    return nearest + (384 if distance > 0 else -384)


def _bounded(model: codec.Codec, trial: _Trial, options: encoding.Options, max_error_db: float) -> None:
    """Guarantee an error; the bound of coding is drawn in where rounding to the dtype would break it."""
    worst = math.inf
    for share in _SHRINK:
        bounded = model.with_engine(nearlossless_engine.BoundedEngine(max_error_db * share))
        if share < 1:
            trial.layout = replace(trial.layout, extra={**trial.layout.extra, header.PROMISE: max_error_db})
        trial.write(bounded, replace(options, step=None, speckle=False))
        worst = trial.errors(bounded)[1]
        if worst <= max_error_db:
            return
    raise errors.InputError(
        f"max_error: {max_error_db} dB cannot be kept in {trial.layout.dtype}: rounding to it alone brings an error "
        f"of {numerals.significant(worst, 3)} dB; allow a larger error"
    )


class _Trial:
    """A file that is written again and again; every pass over the image is told to ``advance`` from its beginning."""

    def __init__(
        self, source: codec_layout.Source, layout: codec_layout.Layout, target: Path, advance: codec.Advance | None
    ) -> None:
        self.source, self.layout, self.target = source, layout, target
        self._advance, self._told = advance, 0
        self.tally = validity.Tally()

    def write(self, model: codec.Codec, options: encoding.Options) -> None:
        """Compress the source."""
        self._tell(-self._told)
        with archive.Writer(self.target) as writer:
            self.tally = model.compress(self.source, self.layout, writer, options, self._tell)

    def errors(self, model: codec.Codec) -> tuple[float, float]:
        """Root mean square and largest error in dB of the file over all valid pixels of all bands."""
        self._tell(-self._told)
        layout = self.layout
        squares, count, worst = 0.0, 0, 0.0
        with archive.Reader(self.target) as reader:
            for band in range(layout.count):
                for top, restored in model.restore_rows(reader, band):
                    window = tiling.Window(top, top + len(restored), 0, layout.width)
                    original = self.source.read(band, window)
                    valid = radiometry.classify(original, layout.quantity, layout.nodata) == radiometry.Fill.VALID
                    if valid.any():
                        off = _db(restored[valid], layout) - _db(original[valid], layout)
                        squares += float(np.sum(off**2))
                        count += off.size
                        worst = max(worst, float(np.abs(off).max()))
                    self._tell(restored.size)
        return math.sqrt(squares / count) if count else 0.0, worst

    def _tell(self, pixels: int) -> None:
        self._told += pixels
        if self._advance and pixels:
            self._advance(pixels)


def _db(pixels: npt.NDArray[Any], layout: codec_layout.Layout) -> npt.NDArray[np.float64]:
    return radiometry.to_db(pixels, layout.quantity).astype(np.float64)
