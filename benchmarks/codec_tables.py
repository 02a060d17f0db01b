"""What the rows of codec.py say: rate savings, operating points, tables and the figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sarcodec.evaluation import bdrate, roundtrip
from sarcodec.metrics import summary as metric_summary
from sarcodec.study import choose, peers, rows

OURS, ONE_STEP = "sarcodec", "sarcodec, one step for all images"
NAMES = {OURS: OURS, "jpeg2000": "JPEG 2000", "jpegxl": "JPEG XL", "hevc": "HEVC intra"}
PEERS = tuple(NAMES)[1:]
COLOURS = dict(zip(NAMES, ("#c1440e", "#1b6ca8", "#2e7d32", "#7b4fa3"), strict=True))
LABELS = {"psnr_db": "PSNR, peak 30 dB (dB)", "ssim": "SSIM on dB", "enl_ratio": "ENL ratio", "epi": "EPI"}
ENL_LIMITS = 0.7, 7.0

BD_RATES = {"jpeg2000": (-20.0, -35.0), "jpegxl": (-15.0, -30.0), "hevc": (0.0, -20.0)}
"""BD-rates in per cent that must be had, and those to aim at."""
RATIO_GOALS = {"good": 40.0, "excellent": 18.0}
"""True ratios to aim at; above every peer's is a must."""

GRID = 0.1 * 2 ** np.arange(0, 4.4, 1 / 16)
SHOWN = (0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5)
COLUMNS = {
    "psnr_db": ("PSNR dB", 2),
    "ssim": ("SSIM", 3),
    "ms_ssim": ("MS-SSIM", 3),
    "enl_ratio": ("ENL ratio", 2),
    "epi": ("EPI", 3),
    "gradient_correlation": ("centred EPI", 3),
    "bias_db": ("bias dB", 2),
    "bias_median_abs_db": ("median of windows", 2),
    "water_iou": ("water IoU", 2),
    "bright_target_error_db": ("bright dB", 1),
}
Curves = Mapping[str, Sequence[roundtrip.Row]]


def write_rows(path: Path, measured: Sequence[roundtrip.Row]) -> None:
    """Write rows as CSV; a figure that is not defined is empty."""
    records = [row.to_dict() for row in measured]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, records[0].keys(), lineterminator="\n")
        writer.writeheader()
        for record in records:
            shown = {k: f"{v:.7g}" if isinstance(v, float) else v for k, v in record.items()}
            writer.writerow({k: "" if v == "nan" else v for k, v in shown.items()})


def read_rows(path: Path) -> list[roundtrip.Row]:
    """Inverse of :func:`write_rows`, to seven digits."""
    whole, texts = ("step", "bytes", "valid_pixels"), ("image", "band", "codec")
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            rows.from_dict(
                {k: v if k in texts else int(v) if k in whole else float(v or "nan") for k, v in record.items()}
            )
            for record in csv.DictReader(stream)
        ]


def curve(measured: Sequence[roundtrip.Row], codec: str, image: tuple[str, str]) -> list[roundtrip.Row]:
    """Return what a codec did to one image, by rising rate."""
    found = [row for row in measured if row.codec == codec and (row.image, row.band) == image]
    return sorted(found, key=lambda row: row.bits_per_pixel)


def images_of(measured: Sequence[roundtrip.Row]) -> list[tuple[str, str]]:
    """Return image and band of everything that was measured."""
    return list(dict.fromkeys((row.image, row.band) for row in measured))


def at_rates(points: Sequence[roundtrip.Row], bpps: Sequence[float]) -> Iterator[roundtrip.Row]:
    """Read the curve of one image at given rates, figures linear in the logarithm of the rate between its points."""
    if not points:
        return
    known = [row.bits_per_pixel for row in points]
    pixels = 8 * points[0].bytes / points[0].bits_per_pixel
    values = {f.name: [getattr(row.metrics, f.name) for row in points] for f in fields(metric_summary.Metrics)}
    for bpp in bpps:
        if known[0] <= bpp <= known[-1]:
            figures: dict[str, Any] = {
                k: float(np.interp(math.log(bpp), np.log(known), v)) for k, v in values.items()
            }
            quality = metric_summary.Metrics(**figures | {"valid_pixels": points[0].metrics.valid_pixels})
            place = points[0].image, points[0].band, points[0].codec
            yield roundtrip.Row(*place, round(1e6 * bpp), round(bpp * pixels / 8), bpp, quality)


def equal_rate_means(measured: Sequence[roundtrip.Row], bpps: Sequence[float]) -> Curves:
    """Average figures over images at the same rate for every image, as far as the curves of all of them reach."""
    found: list[roundtrip.Row] = []
    for codec in dict.fromkeys(row.codec for row in measured):
        for image in images_of(measured):
            found += at_rates(curve(measured, codec, image), bpps)
    return rows.complete_means(found)


def bd_rates(measured: Sequence[roundtrip.Row]) -> dict[str, Any]:
    """Compare ours with every peer, image by image."""
    found: dict[str, Any] = {}
    for peer, (must, goal) in BD_RATES.items():
        by_image = {}
        for image in images_of(measured):
            figures = []
            for points in (curve(measured, peer, image), curve(measured, OURS, image)):
                figures += [[rows.figure(row, name) for row in points] for name in ("bits_per_pixel", "psnr_db")]
            by_image[" ".join(image)] = bdrate.bd_rate(*figures)
        known = [value for value in by_image.values() if value is not None]
        found[peer] = {
            "mean": float(np.mean(known)) if known else None,
            "least": min(known, default=None),
            "most": max(known, default=None),
            "images worse": sum(value > 0 for value in known),
            "images compared": len(known),
            "images": by_image,
            "must be below": must,
            "goal": goal,
        }
    return found


def operating_points(measured: Sequence[roundtrip.Row]) -> dict[str, Any]:
    """Find the highest true ratios at which the means of all four figures, and of each alone, meet their targets."""
    codecs = [row for row in measured if row.codec in NAMES]
    curves = dict(equal_rate_means(codecs, tuple(GRID)))
    curves[ONE_STEP] = rows.complete_means([row for row in measured if row.codec == OURS]).get(OURS, [])
    found: dict[str, Any] = {}
    for level, goal in RATIO_GOALS.items():
        targets = {name: bounds[level] for name, bounds in metric_summary.TARGETS.items()}
        by_codec = {
            codec: {"all": _ratio(points, targets)}
            | {name: _ratio(points, {name: bounds}) for name, bounds in targets.items()}
            for codec, points in curves.items()
        }
        best_peer = max((by_codec[peer]["all"] or 0.0 for peer in PEERS if peer in by_codec), default=0.0)
        found[level] = {"ratios": by_codec, "must be above": best_peer, "goal": goal}
    return found


def _ratio(points: Sequence[roundtrip.Row], targets: choose.Targets) -> float | None:
    bpp = choose.lowest_rate(points, targets)
    return None if bpp is None else 16 / bpp


def summary(measured: Sequence[roundtrip.Row]) -> dict[str, Any]:
    """Return what the rows say, as JSON values."""
    means = equal_rate_means([row for row in measured if row.codec in NAMES], SHOWN)
    return {
        "images": [" ".join(image) for image in images_of(measured)],
        "bd_rate_percent": bd_rates(measured),
        "true_ratio": operating_points(measured),
        "means_at_equal_rate": {codec: [row.to_dict() for row in found] for codec, found in means.items()},
    }


def markdown(record: Mapping[str, Any]) -> str:
    """Put everything that was measured into tables."""
    parts: list[str] = []
    if "bd_rate_percent" in record:
        parts += [*_bd_table(record["bd_rate_percent"]), *_ratio_table(record["true_ratio"])]
        parts += _means_table(record["means_at_equal_rate"])
    if "speckle" in record:
        parts += _speckle_table(record["speckle"]["means"])
    if "max_error" in record:
        parts += _max_error_table(record["max_error"]["means"])
    return "\n".join(parts).strip() + "\n"


def _table(title: str, text: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return ["", f"## {title}", "", text, "", *(f"| {' | '.join(cells)} |" for cells in (head, ruler, *lines))]


def _number(value: float | None, digits: int = 1, sign: str = "") -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def _verdict(value: float | None, must: float, goal: float, sign: int) -> str:
    """Judge a value that is to rise (sign 1) or fall (-1)."""
    if value is None or sign * (value - must) <= 0:
        return "missed"
    return "goal met" if sign * (value - goal) >= 0 else "met"


def _bd_table(found: Mapping[str, Any]) -> list[str]:
    head = ["BD-rate, 0.1–2 bpp", *(f"against {NAMES[peer]}" for peer in found)]
    images = list(next(iter(found.values()))["images"])
    lines = [[image, *(f"{_number(r['images'][image], 1, '+')} %" for r in found.values())] for image in images]
    lines.append(["**mean**", *(f"**{_number(r['mean'], 1, '+')} %**" for r in found.values())])
    lines.append(["images worse", *(f"{r['images worse']} of {r['images compared']}" for r in found.values())])
    bars = ((_number(r["must be below"]), _number(r["goal"])) for r in found.values())
    lines.append(["must be below / goal", *(f"{must} / {goal} %" for must, goal in bars)])
    lines.append(["", *(_verdict(r["mean"], r["must be below"], r["goal"], -1) for r in found.values())])
    return _table("Bytes against peers", "Bytes of whole files; negative where ours needs fewer.", head, lines)


def _ratio_table(found: Mapping[str, Any]) -> list[str]:
    figures = [label.split(",")[0].removesuffix(" on dB") for label in LABELS.values()]
    head = ["highest true ratio", *figures, "all four", "must / goal", ""]
    lines = []
    for level, record in found.items():
        for codec, ratios in record["ratios"].items():
            cells = [_number(ratios[name]) for name in LABELS] + [f"**{_number(ratios['all'])}**"]
            must, goal = record["must be above"], record["goal"]
            bars = [f"> {must:.1f} / {goal:g}", _verdict(ratios["all"], must, goal, 1)] if codec == OURS else ["", ""]
            lines.append([f"{level}: {NAMES.get(codec, codec)}", *cells, *bars])
    text = (
        "Of means over images at equal rates (or with one step for all of them): each figure alone, then all at once."
    )
    return _table("Operating points", text, head, lines)


def _means_table(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for bpp in SHOWN:
        for codec, points in found.items():
            for point in (p for p in points if math.isclose(p["bits_per_pixel"], bpp)):
                figures = [_number(point[name], digits) for name, (_, digits) in COLUMNS.items()]
                lines.append([f"{bpp:g}", f"{16 / bpp:.0f}", NAMES[codec], *figures])
    head = ["bpp", "ratio", "codec", *(label for label, _ in COLUMNS.values())]
    text = "Figures are linear in log rate between measured points. Bias: overall, then of windows of 32×32 pixels."
    return _table("Means over images at equal rate", text, head, lines)


def _speckle_table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["bpp, record included", "record, bytes", "", "PSNR dB", "ENL ratio", "median of window biases dB"]
    head += ["overall bias dB", "spectrum difference dB"]
    lines = []
    for point in found:
        for state in ("as decoded", "speckle rendered"):
            start = [f"{point['bits_per_pixel']:.3f}", f"{point['record_bytes']:.0f}", state]
            keys = ("psnr_db", "enl_ratio", "bias_median_abs_db", "bias_db", "spectrum_difference_db")
            lines.append([*start, *(_number(point[state][key], 2) for key in keys)])
    text = (
        "Means over images; the last is the largest difference of an image's radial power spectrum to the original's."
    )
    return _table("Rendered speckle", text, head, lines)


def _max_error_table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["guaranteed error", "ours bpp", "LERC bpp", "SZ3 bpp", "bytes against LERC", "against SZ3"]
    head += ["largest error, ours", "LERC", "SZ3", "kept by ours"]
    lines = []
    for r in found:
        cells = [_number(r["bits_per_pixel"][name], 3) for name in ("sarcodec", "lerc", "sz3")]
        cells += [f"{_number(r['bytes_percent'][name], 1, '+')} %" for name in ("lerc", "sz3")]
        cells += [f"{r['largest_error_db'][name]:.4f}" for name in ("sarcodec", "lerc", "sz3")]
        lines.append([f"{r['bound_db']:g} dB", *cells, f"{r['kept']} of {r['images']}"])
    text = "Rates are means over images, errors the largest of all. Ours is of the restored raster, in its own dtype."
    return _table("Guaranteed error", text, head, lines)


def draw(path: Path, measured: Sequence[roundtrip.Row]) -> None:
    """Draw mean quality against rate, a faint line for every image, and the Gaussian bound beside PSNR."""
    means = equal_rate_means(measured, tuple(GRID))
    figure = Figure(figsize=(10, 8), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        for codec in (*PEERS, OURS):
            colour, width = COLOURS[codec], 2.4 if codec == OURS else 1.7
            for image in images_of(measured):
                axes.plot(*_points(curve(measured, codec, image), name), color=colour, lw=0.7, alpha=0.35, zorder=2)
            mean = _points(means.get(codec, ()), name)
            axes.plot(*mean, color=colour, lw=width, zorder=width, label=NAMES[codec])
        if name == "psnr_db":
            bound = _points(means.get(peers.GAUSSIAN, ()), name)
            axes.plot(*bound, color="0.15", lw=1.3, ls="--", zorder=2.1, label="Gaussian bound, 16×16 blocks")
        _finish(axes, name, label)
    order = figure.axes[0].get_legend_handles_labels()
    figure.axes[0].legend(*([*part[3:4], *part[:3], *part[4:]] for part in order), frameon=False, loc="upper left")
    figure.savefig(path, dpi=100)


def _points(line: Sequence[roundtrip.Row], name: str) -> tuple[list[float], list[float]]:
    shown = sorted((row.bits_per_pixel, rows.figure(row, name)) for row in line)
    return [rate for rate, _ in shown], [value for _, value in shown]


def _finish(axes: Axes, name: str, label: str) -> None:
    ticks: dict[str, tuple[float, ...]] = {"x": (0.1, 0.2, 0.5, 1, 2)}
    axes.set(xscale="log", xlim=(0.075, 2.6), xlabel="bits per pixel of the whole file", ylabel=label)
    if name == "enl_ratio":
        axes.set(yscale="log", ylim=ENL_LIMITS)
        ticks["y"] = (0.8, 1, 1.2, 1.5, 2, 3, 5)
    low, high = axes.get_ylim()
    for level, bounds in metric_summary.TARGETS[name].items():
        for bound in bounds:
            if low <= bound <= high:
                axes.axhline(bound, color="0.5", lw=0.8, ls=":", zorder=1)
                above = name != "enl_ratio" or bound > 1
                style: dict[str, Any] = {"va": "bottom" if above else "top", "fontsize": 8, "color": "0.4"}
                axes.annotate(level, (0.01, bound), xycoords=("axes fraction", "data"), **style)
    for which, places in ticks.items():
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)
