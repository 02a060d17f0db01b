"""Charts of a study: inline SVG one colour a family or peer.

A family of models (a model without its latent channels) has a colour, its latent channels a marker; peers are
dashed, bounds dotted. The legend is HTML above the charts, once for all of them.
"""

from __future__ import annotations

import collections
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sarcodec.evaluation import roundtrip
from sarcodec.metrics import summary
from sarcodec.pages import charts as page_charts
from sarcodec.pages.charts import INK, LINE, LINES, SOFT
from sarcodec.study import linear_bounds, names, peers, results, rows, tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((4.0, 2.0), (6.0, 1.5, 1.5, 1.5), (2.0, 1.5))
PEER_COLOURS = {
    name: 3 + place
    for place, name in enumerate(
        (peers.DEFAULT, "jpeg2000", "jpegxl", "hevc", "htj2k", "sz3", "sperr", "zfp", "lerc", *peers.OWN[1:])
    )
}
RATE_LIMITS = (0.03, 2.6)
FLOORS = {"psnr_db": 15.0, "ssim": 0.1, "enl_ratio": 0.3, "epi": 0.5}
"""Peers are cut below these, where nothing is of use, lest a hopeless one squeeze all others together."""
ENL_TOP = 8.0
WIDE, TALL = (5.6, 3.6), (5.6, 4.2)
_AT_RIGHT: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "ha": "right",
    "va": "bottom",
    "fontsize": 7,
}


@dataclass(frozen=True)
class Style:
    """How a line is drawn."""

    colour: int | None
    marker: str = ""
    dashes: tuple[float, ...] = ()

    def options(self) -> dict[str, Any]:
        """Return the keywords of matplotlib."""
        known: dict[str, Any] = {"color": INK if self.colour is None else LINE[self.colour]}
        if self.marker:
            known |= {"marker": self.marker, "markersize": 4.5}
        if self.dashes:
            known |= {"linestyle": (0, self.dashes), "linewidth": 1.2}
        return known


def styles(study: results.Study) -> dict[str, Style]:
    """Give every variant, peer and bound its style; the main families have the first colours."""
    families = [*study.main_families, *(name for name in study.families if name not in study.main_families)]
    channels = sorted({cell.channels for cell in study.cells}, reverse=True)
    known = {}
    for name, cells in study.variants.items():
        marker = MARKERS[channels.index(cells[0].channels) % len(MARKERS)]
        known[name] = Style(_family_colour(families.index(cells[0].family)), marker)
    for number, name in enumerate(study.peer_curves):
        known[name] = Style(PEER_COLOURS.get(name, 11), "", DASHES[number % len(DASHES)])
    bounds = {peers.GAUSSIAN: "", linear_bounds.KLT: "x", linear_bounds.OVERLAPPING: "+"}
    return known | {name: Style(None, marker, (1.0, 1.6)) for name, marker in bounds.items()}


def _family_colour(place: int) -> int:
    """Three colours for the first families, then from the last on those that peers have in other charts."""
    return place if place < 3 else LINES - 1 - (place - 3) % (LINES - 4)


def common_options(study: results.Study) -> tuple[str, ...]:
    """Return the options that the names of all main variants share, such as ``base_channels=16``."""
    options = [name.split("-")[2:] for name in study.main]
    return tuple(option for option in options[0] if all(option in other for other in options)) if options else ()


def short(study: results.Study, name: str) -> str:
    """Return the name of a variant or family without the options that the main ones share, or with what it lacks."""
    common, parts = common_options(study), name.split("-")
    kept = "-".join(part for part in parts if part not in common)
    lacking = [option for option in common if option not in parts]
    return f"{kept}, not {', '.join(lacking)}" if lacking else kept


def svg(draw: Callable[[Axes], None], label: str, size: tuple[float, float] = WIDE) -> str:
    """Draw one chart of a size in inches."""
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", page_charts.svg(draw, label, size))


def legend(study: results.Study, shown: Sequence[str]) -> str:
    """Return an HTML legend of variants, peers and bounds."""
    known = styles(study)
    shapes = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "x": "×", "+": "+", "": ""}
    items = []
    for name in shown:
        style = known[name]
        colour = "var(--ink)" if style.colour is None else f"var(--line-{style.colour})"
        dash = " ".join(f"{1.4 * length:g}" for length in style.dashes)
        items.append(
            f'<li><svg viewBox="0 0 34 12" aria-hidden="true"><path d="M1 6H33" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/><text x="17" y="10" text-anchor="middle" font-size="11" fill="{colour}">'
            f"{shapes[style.marker]}</text></svg>{html.escape(names.codec(name))}</li>"
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def rate_curves(study: results.Study, figure: str) -> str:
    """Draw a figure against true bits per pixel: variants over their steps, peers, and the Gaussian bound."""
    known = styles(study)
    curves = {**study.peer_curves, **{name: study.variant_curves[name] for name in study.main}}

    def draw(axes: Axes) -> None:
        for name, curve in curves.items():
            points = [(r.bits_per_pixel, rows.figure(r, figure)) for r in curve if np.isfinite(r.bits_per_pixel)]
            points = [(rate, value) for rate, value in points if np.isfinite(value)]
            if points:
                axes.plot(*zip(*points, strict=True), **known[name].options())
        ours = [row for name in study.main for row in study.variant_curves[name]]
        _limit(axes, figure, [rows.figure(row, figure) for row in ours])
        _targets(axes, figure)
        lowest = min([RATE_LIMITS[0], *(0.9 * row.bits_per_pixel for row in ours)])
        axes.set(xscale="log", xlabel="true rate (bits per pixel)", ylabel=names.figure(figure).axis)
        axes.set_xlim(lowest, RATE_LIMITS[1])
        _plain_ticks(axes, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2))

    return svg(draw, f"{names.figure(figure).axis} against bits per pixel", TALL)


def latent_curves(study: results.Study, figure: str) -> str:
    """Draw a figure with latents as floats against the latent ratio, with linear codes of as many numbers."""
    known = styles(study)

    def mean(found: Sequence[roundtrip.Row]) -> float:
        return float(np.mean(list(rows.by_image(found, figure).values())))

    def draw(axes: Axes) -> None:
        drawn = []
        for family in study.main_families:
            points = [
                (cells[0].latent_ratio, mean([row for cell in cells for row in cell.floats]), name)
                for name, cells in study.variants.items()
                if name in study.main and cells[0].family == family and all(cell.floats for cell in cells)
            ]
            points.sort()
            if points:
                colour = known[points[0][2]].options()["color"]
                axes.plot([p[0] for p in points], [p[1] for p in points], color=colour)
            for ratio, value, name in points:
                axes.plot([ratio], [value], **known[name].options())
                drawn.append(value)
        for bound in linear_bounds.NAMES:
            curve = [(256 / row.step, rows.figure(row, figure)) for row in study.peer_curves.get(bound, ())]
            if curve:
                axes.plot(*zip(*sorted(curve), strict=True), **known[bound].options())
        _limit(axes, figure, drawn)
        _targets(axes, figure)
        axes.set(xscale="log", xlabel="latent ratio (pixels per latent value)", ylabel=names.figure(figure).axis)
        _plain_ticks(axes, (4, 8, 16, 32, 64))

    return svg(draw, f"{names.figure(figure).axis} against latent ratio", TALL)


def paired(study: results.Study, variants: Sequence[str], figure: str) -> str:
    """Draw a figure of every image for variants of one ratio at the finest step, the same image joined by a line."""

    def draw(axes: Axes) -> None:
        columns = []
        for name in variants:
            cells = study.variants[name]
            finest = min(row.step for cell in cells for row in cell.rows)
            columns.append(rows.by_image([r for c in cells for r in c.rows if r.step == finest], figure))
        for key in columns[0]:
            axes.plot(range(len(columns)), [c.get(key, np.nan) for c in columns], color=SOFT, lw=0.8)
        known = styles(study)
        for place, (name, column) in enumerate(zip(variants, columns, strict=True)):
            colour = known[name].options()["color"]
            axes.scatter([place] * len(column), list(column.values()), s=18, color=colour, alpha=0.75, linewidths=0)
            axes.plot([place - 0.13, place + 0.13], [np.nanmean(list(column.values()))] * 2, color=colour, lw=2.6)
        axes.set_xticks(range(len(variants)), [short(study, name) for name in variants])
        axes.set(ylabel=names.figure(figure).axis, xlim=(-0.5, len(variants) - 0.5))

    return svg(draw, f"{names.figure(figure).axis} of every image: {', '.join(variants)}")


def forest(study: results.Study, found: Sequence[tables.Difference], unit: str) -> str:
    """Draw differences with their intervals; crosses are the mean differences of single seeds."""

    def draw(axes: Axes) -> None:
        for place, difference in enumerate(found):
            colour = LINE[0] if difference.clear else SOFT
            axes.plot([difference.low, difference.high], [place, place], color=colour, lw=2)
            axes.plot([difference.mean], [place], "o", color=colour, markersize=6)
            axes.plot(difference.seed_means, [place] * len(difference.seeds), "x", color=INK, markersize=4)
        axes.axvline(0, color=INK, lw=0.9)
        names = [f"{short(study, d.variant)} − {short(study, d.against)}" for d in found]
        axes.set_yticks(range(len(found)), names)
        axes.set(xlabel=unit, ylim=(len(found) - 0.5, -0.5))
        axes.grid(False, axis="y")

    return svg(draw, f"Differences between variants in {unit}", (8.4, 0.9 + 0.34 * len(found)))


def convergence(study: results.Study, cells: Sequence[results.Finished]) -> str:
    """Draw the validation PSNR of cells of one ratio against the training step; those of one colour differ in dashes.

    Dotted lines are the linear bounds of as many numbers, on the same patches.
    """
    labels = {cell.name: f"{short(study, cell.family)}, seed {cell.seed}" for cell in cells}
    known = styles(study)

    def draw(axes: Axes) -> None:
        best, drawn = [], collections.Counter[int | None]()
        for cell in cells:
            steps, psnr = ([entry[key] for entry in cell.history] for key in ("step", "psnr"))
            colour = known[cell.variant].colour
            dashes = DASHES[drawn[colour] % len(DASHES)] if drawn[colour] else ()
            drawn[colour] += 1
            options = Style(colour, "", dashes).options()
            axes.plot(steps, psnr, label=labels[cell.name], **options | ({"marker": "."} if len(steps) < 8 else {}))
            best += [max(psnr)] if psnr else []
        kept = {round(256 / cell.latent_ratio) for cell in cells}
        for bound, count in ((bound, count) for bound in linear_bounds.NAMES for count in kept):
            if (level := study.linear.get((bound, count))) is not None:
                axes.axhline(level, color=INK, lw=0.9, linestyle=":")
                axes.annotate(names.codec(bound), (0.01, level), **(_AT_RIGHT | {"ha": "left"}))
                best.append(level)
        axes.set(xlabel="training step", ylabel="validation PSNR on [0, 1] (dB)")
        if best:
            axes.set_ylim(max(axes.get_ylim()[0], min(best) - 1.5), max(best) + 0.25)
        if cells:
            columns = max(1, 72 // max(len(label) + 8 for label in labels.values()))
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(columns, 3), handlelength=1.6)

    return svg(draw, f"Validation PSNR against step: {', '.join(cell.name for cell in cells)}")


def _limit(axes: Axes, figure: str, ours: Sequence[float]) -> None:
    """Cut the axis of a figure to what is of use, and to what our own models need.

    ENL ratios are on a logarithmic one: 2 is as far off as 0.5.
    """
    known = [value for value in ours if np.isfinite(value)]
    low, high = axes.get_ylim()
    floor = min([FLOORS[figure], *(0.97 * value for value in known)])
    axes.set_ylim(max(low, floor) if high > floor else low, high)
    if figure == "enl_ratio":
        axes.set_yscale("log")
        axes.set_ylim(max(floor, 0.01), min(max(high, 1.5), max([ENL_TOP, *(1.1 * value for value in known)])))
        _plain_ticks(axes, (0.1, 0.3, 0.5, 0.8, 1, 1.2, 2, 4, 8, 30, 100, 300), "y")


def _targets(axes: Axes, figure: str) -> None:
    """Draw the limits of "good" as lines, where they are in sight."""
    low, high = axes.get_ylim()
    for limit in summary.TARGETS[figure]["good"]:
        if np.isfinite(limit) and low <= limit <= high:
            axes.axhline(limit, color=SOFT, lw=0.8, linestyle=":")
            axes.annotate("good", (1, limit), **_AT_RIGHT)


def _plain_ticks(axes: Axes, ticks: Sequence[float] | np.ndarray[Any, Any], which: str = "x") -> None:
    """Label a logarithmic axis with plain numbers at given places."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    page_charts.plain_numbers(axis)
