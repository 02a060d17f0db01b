"""The marks of all bands on top of a page, and the table of figures of a band."""

from __future__ import annotations

import html
from collections.abc import Mapping

from sarcodec.metrics import summary
from sarcodec.pages import figures

_JOINED = "–\u2060"
"""What parts the ends of an interval: no line breaks between them."""

_RANKS = {"poor": 0, "good": 1, "excellent": 2, "exact": 2, "": 3}
"""Grades, the worst first; "" of a figure that is not defined."""


def strip(measured: Mapping[str, summary.Metrics], sampled: frozenset[str]) -> str:
    """Return every graded figure of every band in one table, bands and figures with the worst marks first.

    ``measured`` is of bands in their order on the page; of figures in ``sampled`` it is said that windows have them.
    """
    found = {band: {name: getattr(own, name) for name in summary.TARGETS} for band, own in measured.items()}
    ranks = {band: [_RANKS[figures.grade(*item)] for item in own.items()] for band, own in found.items()}
    numbers = {band: number for number, band in enumerate(measured, start=1)}
    bands = sorted(found, key=lambda band: sorted(ranks[band]))
    names = sorted(summary.TARGETS, key=lambda n: sorted(_RANKS[figures.grade(n, own[n])] for own in found.values()))
    head = "".join(
        f'<th scope="col">{figures.FIGURES[name].label}<small>{figures.targets(name, _JOINED)}</small>'
        f"{'<small>of the sample windows</small>' if name in sampled else ''}</th>"
        for name in names
    )
    rows = ""
    for band in bands:
        cells = "".join(
            f'<td data-figure="{figures.FIGURES[name].label}">{_cell(name, found[band][name])}</td>' for name in names
        )
        rows += f'<tr><th scope="row"><a href="#band-{numbers[band]}">{html.escape(band)}</a></th>{cells}</tr>'
    return (
        f'<p class="tally">{_tally(found)}</p><div class="wide"><table class="marks"><thead><tr>'
        f'<th scope="col">Band</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(name: str, value: float) -> str:
    said = figures.grade(name, value)
    shown = f' <span class="mark {said}">{_marked(said)}</span>' if said else ""
    return f"<strong>{html.escape(figures.format_figure(name, value))}</strong>{shown}"


def _tally(found: Mapping[str, Mapping[str, float]]) -> str:
    """Count the marks in words, the worst first."""
    grades = [figures.grade(*item) for own in found.values() for item in own.items()]
    counts = [f"{grades.count(said)} {said or 'not defined'}" for said in _RANKS if said in grades]
    exact = [html.escape(band) for band, own in found.items() if figures.grade("psnr_db", own["psnr_db"]) == "exact"]
    also = f" Every valid pixel of {', '.join(exact)} is restored exactly." if exact else ""
    return f"{len(grades)} marks: {', '.join(counts)}.{also}"


def rows(measured: summary.Metrics, sampled: frozenset[str]) -> str:
    """Return the rows of the table; those named in ``sampled`` say that they are of the sample windows."""
    found = measured.to_dict()
    lines = []
    for name, figure in figures.FIGURES.items():
        value = html.escape(figures.format_figure(name, found[name]))
        where = "; of the sample windows" if name in sampled else ""
        lines.append(
            f'<tr><th scope="row">{figure.label}<small>{figure.meaning}{where}</small></th>'
            f'<td class="number">{value}</td><td>{mark(name, found[name])}</td></tr>'
        )
    return "".join(lines)


def mark(name: str, value: float) -> str:
    """Grade a figure in words, a symbol and a colour; "" for one without a target."""
    if name not in summary.TARGETS:
        return ""
    said = figures.grade(name, value)
    shown = f'<span class="mark {said}">{_marked(said)}</span> ' if said else ""
    return f"{shown}<small>{figures.targets(name, _JOINED)}</small>"


def _marked(said: str) -> str:
    return f"{figures.SYMBOLS[said]} {said}"
