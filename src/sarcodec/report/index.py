"""The index of many reports: a page with a line for every file, in the look of the reports that it links."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from sarcodec import _version
from sarcodec.metrics import summary
from sarcodec.pages import figures, markup
from sarcodec.scene import decision


@dataclass(frozen=True)
class Line:
    """A file, its original and its page by their names; its size and the figures of its bands, or an error."""

    file: str
    original: str
    page: str
    size: decision.Size | None
    figures: Mapping[str, summary.Metrics]
    error: str | None = None


def page(lines: Sequence[Line]) -> str:
    """Return the page. A file of several bands has a row a band; those that failed say why."""
    sizes = [line.size for line in lines if line.size is not None]
    title = f"{len(lines)} compressed file{'s' * (len(lines) != 1)}"
    labels = {name: figures.FIGURES[name].label for name in figures.KEY}
    failed = [line for line in lines if line.size is None]
    notice = f'<p class="notice">{len(failed)} of {len(lines)} could not be compared.</p>' if failed else ""
    return markup.page(
        "index.html",
        {
            "title": title,
            "notices": notice,
            "totals": _totals(sizes) if sizes else "",
            "heads": "".join(f'<th scope="col" class="number">{label}</th>' for label in labels.values()),
            "rows": "".join(_rows(line) for line in lines),
            "targets": "; ".join(f"{labels[name]} {figures.targets(name)}" for name in summary.TARGETS),
            "version": _version.__version__,
        },
    )


def _totals(sizes: Sequence[decision.Size]) -> str:
    pixels, total = sum(s.bands * s.height * s.width for s in sizes), sum(s.bytes for s in sizes)
    bits = 8 * total / pixels
    return markup.cards(
        (
            ("All files", f"{total:,} bytes", f"{pixels:,} pixels of all bands"),
            ("Rate", f"{bits:.4f} bits/pixel", "8 × bytes of all files over their pixels"),
            ("True ratio", f"{16 / bits:.2f} : 1", "16 bits, as Sentinel-1 GRD stores a pixel, over bits per pixel"),
        )
    )


def _rows(line: Line) -> str:
    file, origin = html.escape(line.file), f"<small>of {html.escape(line.original)}</small>"
    if line.size is None:
        error = html.escape(line.error or "")
        columns = 4 + len(figures.KEY)
        return f'<tbody><tr><th scope="row">{file}{origin}</th><td colspan="{columns}">{error}</td></tr></tbody>'
    size, spans = line.size, f' rowspan="{len(line.figures)}"' if len(line.figures) > 1 else ""
    link = f'<a href="{html.escape(quote(line.page))}">{file}</a>'
    first = f'<th scope="rowgroup"{spans}>{link}{origin}</th>'
    for text in (f"{size.bytes:,}", f"{size.bits_per_pixel:.4f}", f"{size.ratio:.2f}"):
        first += f'<td class="number"{spans}>{text}</td>'
    rows = []
    for band, found in line.figures.items():
        rows.append(f"<tr>{first}<td>{html.escape(band)}</td>{_cells(found)}</tr>")
        first = ""
    return f"<tbody>{''.join(rows)}</tbody>"


def _cells(found: summary.Metrics) -> str:
    cells = ""
    for name in figures.KEY:
        value = getattr(found, name)
        cells += f'<td class="number">{html.escape(figures.format_figure(name, value))}'
        if name in summary.TARGETS and value == value:
            grade = summary.grade(name, value)
            cells += f' <span class="mark {grade}" title="{grade}">{figures.SYMBOLS[grade]}</span>'
        cells += "</td>"
    return cells
