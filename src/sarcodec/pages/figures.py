"""The figures of quality as people read them: one table of labels, digits, units and meanings; grades and marks.

Every field of :class:`summary.Metrics` has its row here, and whatever shows figures goes by this table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sarcodec.metrics import summary
from sarcodec.pages import markup
from sarcodec.text import numerals


@dataclass(frozen=True)
class Figure:
    """How a figure is written.

    Parameters
    ----------
    label : str
        Its name.
    digits : int
        Decimals of one image.
    unit : str
        What stands behind the number, with the space before it.
    meaning : str
        What the table says of it.
    short : str
        A shorter name where many stand side by side; by default the name.
    mean_digits : int, optional
        Decimals of means and differences over images; by default those of one image.
    """

    label: str
    digits: int
    unit: str
    meaning: str
    short: str = ""
    mean_digits: int | None = None

    @property
    def brief(self) -> str:
        """The shorter name."""
        return self.short or self.label

    @property
    def axis(self) -> str:
        """The shorter name with the unit, as along an axis."""
        return f"{self.brief} ({self.unit.strip()})" if self.unit else self.brief

    def mean(self, value: float, sign: str = "") -> str:
        """Write a mean over images, or with ``sign`` "+" a difference; a dash where it is not defined."""
        digits = self.digits if self.mean_digits is None else self.mean_digits
        return markup.signed(value, f"{sign},.{digits}f")


FIGURES: Final[Mapping[str, Figure]] = {
    "psnr_db": Figure("PSNR", 2, " dB", "20·log10(30 / RMSE); the peak is 30 dB whatever the image"),
    "rmse_db": Figure(
        "RMSE", 3, " dB", "root mean square error; the speckle of a GRD alone deviates by about 2.2 dB"
    ),
    "ssim": Figure("SSIM", 4, "", "structural similarity of small windows, 1 is identical", mean_digits=3),
    "ms_ssim": Figure("MS-SSIM", 4, "", "the same over five scales"),
    "enl_ratio": Figure(
        "ENL ratio",
        3,
        "",
        "looks of restored over original in homogeneous windows; above 1 is smoothed",
        mean_digits=2,
    ),
    "epi": Figure(
        "Edge preservation",
        4,
        "",
        "agreement of gradients, not centred: flattered by the mean gradient",
        short="EPI",
        mean_digits=3,
    ),
    "gradient_correlation": Figure(
        "Gradient correlation",
        4,
        "",
        "the centred agreement of gradients, the stricter one",
        short="gradient correlation",
        mean_digits=3,
    ),
    "bias_db": Figure("Radiometric bias", 3, " dB", "mean intensity of restored over original"),
    "bias_median_abs_db": Figure("Local bias, median", 3, " dB", "size of the bias in 32 × 32 windows"),
    "bias_p95_abs_db": Figure("Local bias, 95th percentile", 3, " dB", "the same in the worst windows"),
    "water_iou": Figure(
        "Water mask agreement", 4, "", "intersection over union at one threshold, 1 is the same mask"
    ),
    "bright_target_error_db": Figure("Bright target error", 3, " dB", "RMSE over the brightest 0.1 % of pixels"),
    "valid_pixels": Figure("Valid pixels", 0, "", "pixels compared"),
}
"""Every field of :class:`summary.Metrics` by its name, in the order in which a page shows them."""

RATE: Final = Figure("bits per pixel", 4, "", "8 × bytes of the file over its pixels")
"""The rate, which stands beside figures of quality in comparisons."""

KEY: Final = ("rmse_db", *summary.TARGETS)
"""The figures of a list of many files."""

SYMBOLS: Final[Mapping[str, str]] = {"exact": "✓✓", "excellent": "✓✓", "good": "✓", "poor": "✗"}
"""A mark for every grade."""


def text(name: str, value: float) -> str:
    """Format a field of :class:`summary.Metrics` with its unit, in characters that a terminal and a program know."""
    figure = FIGURES[name]
    return "not defined" if math.isnan(value) else numerals.fixed(value, figure.digits) + figure.unit


def format_figure(name: str, value: float) -> str:
    """Format a field of :class:`summary.Metrics` as the page shows it, with its unit and a minus sign."""
    return markup.minus(text(name, value))


def grade(name: str, value: float) -> str:
    """Grade a figure: ``exact`` for an infinite PSNR, else as :func:`summary.grade`; "" where there is no grade."""
    if name not in summary.TARGETS or math.isnan(value):
        return ""
    return "exact" if math.isinf(value) and name == "psnr_db" else summary.grade(name, value)


def lines(measured: Mapping[str, summary.Metrics]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a plain table: the label of a figure and, of every band, the figure with its grade."""
    for name, figure in FIGURES.items():
        cells = []
        for values in (found.to_dict() for found in measured.values()):
            said = grade(name, values[name])
            cells.append(text(name, values[name]) + (f" ({said})" if said else ""))
        yield figure.label, cells


def limits(low: float, high: float, to: str = "–") -> str:
    """Write an interval of :data:`summary.TARGETS`."""
    return f"≥ {low:g}" if math.isinf(high) else f"{low:g}{to}{high:g}"


def targets(name: str, to: str = "–") -> str:
    """Write what is good and what is excellent of a figure that has targets."""
    found = {said: limits(*interval, to) for said, interval in summary.TARGETS[name].items()}
    return f"good {found['good']}, excellent {found['excellent']}"
