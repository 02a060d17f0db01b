"""The report of a study: one self-contained HTML page, in the look of :mod:`sarcodec.report`."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

from sarcodec import _version
from sarcodec.files import atomic
from sarcodec.metrics import summary
from sarcodec.pages import charts as page_charts
from sarcodec.pages import figures, markup, tables
from sarcodec.study import (
    charts,
    choose,
    columns,
    comparisons,
    curves,
    findings,
    gallery,
    names,
    results,
    sites,
    verdict,
)

FILE = "report.html"


def write_page(
    folder: Path,
    target: Path | None = None,
    *,
    study: results.Study | None = None,
    places: Mapping[str, sites.Place] | None = None,
) -> Path:
    """Write the report of a study from what its folder holds; nothing is trained or measured but the pictures.

    Parameters
    ----------
    folder : path
        The study; it may be under way, what is not finished is named.
    target : path, optional
        The HTML file, ``report.html`` in the folder by default; replaced whole.
    study : Study, optional
        The study of the folder where it is loaded already, for example with other images.
    places : mapping of str to Place, optional
        Crops to show by their headings; by default those of :func:`sites.find`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError, FormatError
        For a folder that is no study, or damaged files.
    MissingExtra
        Without matplotlib.
    """
    page_charts.require_matplotlib()
    found = study or results.load(folder)
    parts: dict[str, str] = {}
    if found.cells:
        parts = {
            "Findings": "".join(
                f"<p>{markup.minus_in(html.escape(text))}</p>" for text in findings.paragraphs(found)
            ),
            "Verdict": _verdict(found),
            "What each part brings": comparisons.parts(found),
            "Beside linear codes": comparisons.linear(found),
            "Operating point": _operating_points(found),
            "Rate and distortion": curves.rate_distortion(found),
            "Spread over images": comparisons.spread(found),
            "Differences between variants": comparisons.differences(found),
            "Bytes against other codecs": comparisons.bd_rates(found),
            "Convergence": curves.convergence(found),
            **gallery.sections(found, places),
        }
    parts["Cells"] = _cells(found)
    text = markup.page(
        "study.html",
        {
            "title": "Comparative study of autoencoders",
            "subtitle": f"{len(found.cells)} of {len(found.cells) + len(found.unfinished)} cells finished, "
            f"{_count_images(found)} images (each band is one)" + _shared(found),
            "notices": _notices(found),
            "columns": len(found.main_families) + 2,
            "links": "".join(f'<a href="#{_anchor(title)}">{title}</a> ' for title in parts),
            "sections": "".join(f'<h2 id="{_anchor(title)}">{title}</h2>{body}' for title, body in parts.items()),
            "version": _version.__version__,
        },
    )
    path = target or folder / FILE
    atomic.write_bytes(path, text.encode(), overwrite=True)
    return path


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower())


def _count_images(study: results.Study) -> int:
    return len({(row.image, row.band) for cell in study.cells for row in cell.rows})


def _shared(study: results.Study) -> str:
    options = charts.common_options(study)
    return (
        f"; models have {html.escape(', '.join(options))} unless said, left out of names in charts" if options else ""
    )


def _notices(study: results.Study) -> str:
    notes = []
    if study.unfinished:
        waiting = "; ".join(f"{cell.name} ({cell.state})" for cell in study.unfinished)
        notes.append(f"<strong>Not finished:</strong> {html.escape(waiting)}.")
    rising = {cell.name: rise for cell in study.furthest if (rise := cell.late_rise) >= curves.FLAT_DB}
    if rising:
        most = max(rising, key=lambda name: rising[name])
        notes.append(
            f"<strong>Not converged:</strong> over the last fifth of its training the validation PSNR of "
            f"{html.escape(most)} still rose by {rising[most]:.2f} dB, of {len(rising)} of {len(study.furthest)} "
            f"trainings by {curves.FLAT_DB:g} dB or more. "
            "Differences between variants may be differences in speed of learning."
        )
    for name, reason in study.peers.missing:
        notes.append(f"<strong>Missing:</strong> {html.escape(names.codec(name))}: {html.escape(reason)}.")
    if not study.peers.rows:
        notes.append("<strong>Missing:</strong> peers and bounds were not measured for this page.")
    return "".join(f'<p class="notice">{note}</p>' for note in notes)


def _verdict(study: results.Study) -> str:
    marks = {"met": "excellent", "missed": "poor", "open": ""}
    lines = [
        (
            html.escape(c.claim),
            html.escape(c.predicted),
            markup.minus_in(html.escape(c.measured)).replace("; ", "<br>"),
            f'<span class="mark {marks[c.state]}">{verdict.MARKS[c.state]}</span>',
            markup.minus_in(html.escape(c.why)),
        )
        for c in verdict.claims(study)
    ]
    return tables.html(("Claim", "Predicted", "Measured", "Verdict", "Why"), lines)


def _operating_points(study: results.Study) -> str:
    body = (
        "<p>The highest true ratio (16 bits over bits per pixel) at which the means over the images meet all four "
        "targets. Between measured points every figure is taken as linear in the logarithm of the rate, for models "
        "and peers alike; beyond them nothing is assumed. A model has only its measured steps: the coarsest that "
        "meets the targets is the one to use.</p>"
    )
    for grade in ("good", "excellent"):
        limits = {name: target[grade] for name, target in summary.TARGETS.items()}
        found = choose.choose(
            study.folder, limits["psnr_db"][0], limits["ssim"][0], limits["enl_ratio"], limits["epi"][0], study=study
        )
        asked = ", ".join(f"{names.figure(name).brief} {figures.limits(*limits[name])}" for name in summary.TARGETS)
        lines = [(html.escape(names.codec(line[0])), *map(html.escape, line[1:])) for line in choose.describe(found)]
        head = ("Codec", "Model", "True ratio", "Bits per pixel", "Step to use", "Checkpoint, or what fails")
        body += f"<h3>All four {grade}: {asked}</h3>" + tables.html(head, lines, (2, 3))
    return body


def _cells(study: results.Study) -> str:
    body = tables.of(columns.CELLS, study.cells) if study.cells else "<p>No cell is finished yet.</p>"
    if study.unfinished:
        waiting = [(html.escape(cell.name), html.escape(cell.state)) for cell in study.unfinished]
        body += "<h3>Not finished</h3>" + tables.html(("Cell", "State"), waiting)
    return (
        body
        + '<p class="soft">Rise: by how many dB the best validation PSNR rose over the last fifth of the epochs. '
        "Minutes are those of the last uninterrupted stretch of training.</p>"
    )
