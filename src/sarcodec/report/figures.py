"""The table of figures of a band: names, digits, units, meanings and marks."""

from __future__ import annotations

import html
import math

from sarcodec import metrics
from sarcodec.report import markup

_FIGURES = {
    "psnr_db": ("PSNR", 2, " dB", "20·log10(30 / RMSE); the peak is 30 dB whatever the image"),
    "rmse_db": ("RMSE", 3, " dB", "root mean square error; the speckle of a GRD alone deviates by about 2.2 dB"),
    "ssim": ("SSIM", 4, "", "structural similarity of small windows, 1 is identical"),
    "ms_ssim": ("MS-SSIM", 4, "", "the same over five scales"),
    "enl_ratio": ("ENL ratio", 3, "", "looks of restored over original in homogeneous windows; above 1 is smoothed"),
    "epi": ("Edge preservation", 4, "", "agreement of gradients, not centred: flattered by the mean gradient"),
    "gradient_correlation": ("Gradient correlation", 4, "", "the centred agreement of gradients, the stricter one"),
    "bias_db": ("Radiometric bias", 3, " dB", "mean intensity of restored over original"),
    "bias_median_abs_db": ("Local bias, median", 3, " dB", "size of the bias in 32 × 32 windows"),
    "bias_p95_abs_db": ("Local bias, 95th percentile", 3, " dB", "the same in the worst windows"),
    "water_iou": ("Water mask agreement", 4, "", "intersection over union at one threshold, 1 is the same mask"),
    "bright_target_error_db": ("Bright target error", 3, " dB", "RMSE over the brightest 0.1 % of pixels"),
    "valid_pixels": ("Valid pixels", 0, "", "pixels compared"),
}
_MARKS = {"excellent": "✓✓ excellent", "good": "✓ good", "poor": "✗ poor"}


def format_figure(name: str, value: float) -> str:
    """Format a field of :class:`metrics.Metrics` as the page shows it, with its unit."""
    _, digits, unit, _ = _FIGURES[name]
    if math.isnan(value):
        return "not defined"
    number = "∞" if math.isinf(value) else f"{value:,.{digits}f}"
    return markup.minus(number) + unit


def rows(figures: metrics.Metrics, sampled: frozenset[str]) -> str:
    """Return the rows of the table; those named in ``sampled`` say that they are of the sample windows."""
    found = figures.to_dict()
    lines = []
    for name, (label, _, _, meaning) in _FIGURES.items():
        value = html.escape(format_figure(name, found[name]))
        where = "; of the sample windows" if name in sampled else ""
        lines.append(
            f'<tr><th scope="row">{label}<small>{meaning}{where}</small></th><td class="number">{value}</td>'
            f"<td>{mark(name, found[name])}</td></tr>"
        )
    return "".join(lines)


def mark(name: str, value: float) -> str:
    """Grade a figure in words, a symbol and a colour; "" for one without a target."""
    if name not in metrics.TARGETS:
        return ""
    limits = {
        k: f"≥ {low:g}" if math.isinf(high) else f"{low:g}–\u2060{high:g}"
        for k, (low, high) in metrics.TARGETS[name].items()
    }
    targets = f"<small>good {limits['good']}, excellent {limits['excellent']}</small>"
    if math.isnan(value):
        return targets
    grade = metrics.grade(name, value)
    return f'<span class="mark {grade}">{_MARKS[grade]}</span> {targets}'
