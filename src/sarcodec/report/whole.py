"""The HTML of what is measured over a whole band: figures by brightness, and seams."""

from __future__ import annotations

import html
import math

import numpy as np

from sarcodec.pages import markup, pictures
from sarcodec.report import charts, classes, maps, seams, survey
from sarcodec.text import numerals


def part(name: str, found: survey.Survey) -> str:
    """Return figures by brightness and what there is of seams; there must be a valid pixel."""
    rows = classes.table(found)
    steps = ", ".join(markup.minus(f"{step:+g}") for step in classes.STEPS_DB)
    return markup.fill(
        "whole.html",
        {
            "rows": "".join(_row(n, row) for n, row in enumerate(rows)),
            "chart": charts.class_errors(rows, name),
            "classes": maps.brightness(name, found),
            "errors": maps.errors(name, found),
            "steps": steps,
            "middle": markup.minus(f"{classes.boundaries(found.blocks)[0] - classes.STEPS_DB[0]:.1f} dB"),
            "least": classes.LEAST_WINDOWS,
            "seams": _seams(name, found),
        },
    )


def _row(number: int, row: classes.Row) -> str:
    """Return a line of the table; the last one is of all pixels."""
    if number < len(classes.NAMES):
        swatch = "".join(f"{channel:02x}" for channel in pictures.steps(len(classes.NAMES))[number + 1])
        title = f'<span class="swatch" style="background: #{swatch}"></span>{row.name}'
        title += f"<small>{classes.LIKE[number]}</small>"
    else:
        title = "all valid pixels"
    share = "none" if not row.share else "< 0.1 %" if row.share < 0.001 else f"{100 * row.share:.1f} %"
    cells = [
        _limits(row),
        share,
        numerals.fixed(row.rmse_db, 3),
        "∞" if math.isinf(row.psnr_db) else _number(row.psnr_db, ".1f"),
        _number(row.bias_db, "+.3f"),
        _number(row.enl_ratio, ".2f"),
    ]
    numbers = "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in cells)
    return f'<tr><th scope="row">{title}</th>{numbers}</tr>'


def _limits(row: classes.Row) -> str:
    if math.isinf(row.low) and math.isinf(row.high):
        return ""
    if math.isinf(row.low):
        return markup.minus(f"below {row.high:.1f}")
    if math.isinf(row.high):
        return markup.minus(f"above {row.low:.1f}")
    return markup.minus(f"{row.low:.1f} to {row.high:.1f}")


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else markup.minus(format(value, form))


def _seams(name: str, found: survey.Survey) -> str:
    borders, ratio = found.borders, found.borders.ratio()
    tile = f"{borders.tile:,} × {borders.tile:,} pixels"
    if not (borders.rows.borders.size or borders.columns.borders.size):
        return f"<p>The image lies in one tile of {tile}: there are no borders, and no seams.</p>"
    single = np.concatenate([values[~np.isnan(values)] for values in borders.ratios()])
    if math.isnan(ratio) or not single.size:
        return "<p>Too few valid pixels lie along borders of tiles, or there is no error: seams cannot be told.</p>"
    verdict = "no seam" if ratio <= seams.EXPECTED else "more than expected, see whether all lines of the map are red"
    low, middle, high = np.percentile(single, [5, 50, 95])
    spread = f"; nine of ten lie between {low:.2f} and {high:.2f}" if single.size >= 20 else ""
    text = (
        f"<p>The RMSE within {seams.BAND} pixels of a border between tiles ({tile}) is <strong>{ratio:.3f}</strong> "
        f"times that of all other pixels: {verdict}. Without seams it is about 1; at most {seams.EXPECTED} is "
        "expected. It scatters, for what lies along a border is not what lies elsewhere. "
        f"Of {single.size:,} border{'s' * (single.size > 1)} compared with the pixels beside, the median is "
        f"{middle:.3f}{spread}.</p>"
    )
    return text + f'<div class="pictures">{maps.borders(name, found)}</div>'
