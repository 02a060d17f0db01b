"""The table of figures of a band: names, digits, units, meanings and marks."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping

from sarcodec.metrics import summary
from sarcodec.report import markup
from sarcodec.text import numerals

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
_MARKS = {"exact": "✓✓ exact", "excellent": "✓✓ excellent", "good": "✓ good", "poor": "✗ poor"}
_RANKS = {"poor": 0, "good": 1, "excellent": 2, "exact": 2, "": 3}
"""Grades, the worst first; "" of a figure that is not defined."""


def text(name: str, value: float) -> str:
    """Format a field of :class:`summary.Metrics` with its unit, in characters that a terminal and a program know."""
    _, digits, unit, _ = _FIGURES[name]
    return "not defined" if math.isnan(value) else numerals.fixed(value, digits) + unit


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
    for name, (label, *_) in _FIGURES.items():
        cells = []
        for values in (found.to_dict() for found in measured.values()):
            said = grade(name, values[name])
            cells.append(text(name, values[name]) + (f" ({said})" if said else ""))
        yield label, cells


def strip(measured: Mapping[str, summary.Metrics], sampled: frozenset[str]) -> str:
    """Return every graded figure of every band in one table, bands and figures with the worst marks first.

    ``measured`` is of bands in their order on the page; of figures in ``sampled`` it is said that windows have them.
    """
    found = {band: {name: getattr(own, name) for name in summary.TARGETS} for band, own in measured.items()}
    ranks = {band: [_RANKS[grade(*item)] for item in own.items()] for band, own in found.items()}
    numbers = {band: number for number, band in enumerate(measured, start=1)}
    bands = sorted(found, key=lambda band: sorted(ranks[band]))
    names = sorted(summary.TARGETS, key=lambda n: sorted(_RANKS[grade(n, own[n])] for own in found.values()))
    head = "".join(
        f'<th scope="col">{_FIGURES[name][0]}<small>{_targets(name)}</small>'
        f"{'<small>of the sample windows</small>' if name in sampled else ''}</th>"
        for name in names
    )
    rows = ""
    for band in bands:
        cells = "".join(
            f'<td data-figure="{_FIGURES[name][0]}">{_cell(name, found[band][name])}</td>' for name in names
        )
        rows += f'<tr><th scope="row"><a href="#band-{numbers[band]}">{html.escape(band)}</a></th>{cells}</tr>'
    return (
        f'<p class="tally">{_tally(found)}</p><div class="wide"><table class="marks"><thead><tr>'
        f'<th scope="col">Band</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(name: str, value: float) -> str:
    said = grade(name, value)
    shown = f' <span class="mark {said}">{_MARKS[said]}</span>' if said else ""
    return f"<strong>{html.escape(format_figure(name, value))}</strong>{shown}"


def _tally(found: Mapping[str, Mapping[str, float]]) -> str:
    """Count the marks in words, the worst first."""
    grades = [grade(*item) for own in found.values() for item in own.items()]
    counts = [f"{grades.count(said)} {said or 'not defined'}" for said in _RANKS if said in grades]
    exact = [html.escape(band) for band, own in found.items() if grade("psnr_db", own["psnr_db"]) == "exact"]
    also = f" Every valid pixel of {', '.join(exact)} is restored exactly." if exact else ""
    return f"{len(grades)} marks: {', '.join(counts)}.{also}"


def rows(figures: summary.Metrics, sampled: frozenset[str]) -> str:
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
    if name not in summary.TARGETS:
        return ""
    said = grade(name, value)
    shown = f'<span class="mark {said}">{_MARKS[said]}</span> ' if said else ""
    return f"{shown}<small>{_targets(name)}</small>"


def _targets(name: str) -> str:
    limits = {
        k: f"≥ {low:g}" if math.isinf(high) else f"{low:g}–\u2060{high:g}"
        for k, (low, high) in summary.TARGETS[name].items()
    }
    return f"good {limits['good']}, excellent {limits['excellent']}"
