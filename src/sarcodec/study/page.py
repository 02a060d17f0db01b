"""The report of a study: one self-contained HTML page, in the look of :mod:`sarcodec.report`."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

from sarcodec import _version
from sarcodec.files import atomic
from sarcodec.metrics import summary
from sarcodec.report import charts as report_charts
from sarcodec.study import (
    charts,
    choose,
    comparisons,
    findings,
    gallery,
    linear_bounds,
    names,
    pictures,
    pieces,
    results,
    rows,
    tables,
    verdict,
)

FILE = "report.html"
FLAT_DB = 0.02
"""A validation PSNR that rises by less over the last fifth of a training is flat."""


def write_page(
    folder: Path,
    target: Path | None = None,
    *,
    study: results.Study | None = None,
    places: Mapping[str, pictures.Place] | None = None,
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
        Crops to show by their headings; by default those of :func:`pictures.find_places`.

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
    report_charts.require_matplotlib()
    found = study or results.load(folder)
    parts: dict[str, str] = {}
    if found.cells:
        parts = {
            "Findings": "".join(f"<p>{pieces.minus(html.escape(text))}</p>" for text in findings.paragraphs(found)),
            "Verdict": _verdict(found),
            "What each part brings": comparisons.parts(found),
            "Beside linear codes": comparisons.linear(found),
            "Operating point": _operating_points(found),
            "Rate and distortion": _rate_distortion(found),
            "Spread over images": comparisons.spread(found),
            "Differences between variants": comparisons.differences(found),
            "Bytes against other codecs": _bd_rates(found),
            "Convergence": _convergence(found),
            **gallery.sections(found, places),
        }
    parts["Cells"] = _cells(found)
    text = _fill(
        "study.html",
        {
            "title": "Comparative study of autoencoders",
            "subtitle": f"{len(found.cells)} of {len(found.cells) + len(found.unfinished)} cells finished, "
            f"{_count_images(found)} images (each band is one)" + _shared(found),
            "notices": _notices(found),
            "style": _style(),
            "columns": len(found.main_families) + 2,
            "links": "".join(f'<a href="#{_anchor(title)}">{title}</a> ' for title in parts),
            "sections": "".join(f'<h2 id="{_anchor(title)}">{title}</h2>{body}' for title, body in parts.items()),
            "version": _version.__version__,
        },
    )
    path = target or folder / FILE
    atomic.write_bytes(path, text.encode(), overwrite=True)
    return path


def _fill(template: str, values: Mapping[str, object]) -> str:
    return Template(_template(template)).substitute(values)


def _template(name: str) -> str:
    return resources.files("sarcodec").joinpath("templates", name).read_text(encoding="utf-8")


def _style() -> str:
    """Return the style sheet of the report of a single image: both pages look alike."""
    found = re.search(r"<style>(.*?)</style>", _template("report.html"), re.DOTALL)
    return found.group(1) if found else ""


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower())


def _count_images(study: results.Study) -> int:
    return len({(row.image, row.band) for cell in study.cells for row in cell.rows})


def _shared(study: results.Study) -> str:
    options = charts.common_options(study)
    return f"; all models with {html.escape(', '.join(options))}, left out of the names in charts" if options else ""


def _notices(study: results.Study) -> str:
    notes = []
    if study.unfinished:
        waiting = "; ".join(f"{cell.name} ({cell.state})" for cell in study.unfinished)
        notes.append(f"<strong>Not finished:</strong> {html.escape(waiting)}.")
    rising = {cell.name: rise for cell in study.longest if (rise := cell.late_rise) >= FLAT_DB}
    if rising:
        most = max(rising, key=lambda name: rising[name])
        notes.append(
            f"<strong>Not converged:</strong> over the last fifth of its training the validation PSNR of "
            f"{html.escape(most)} still rose by {rising[most]:.2f} dB, of {len(rising)} of {len(study.longest)} "
            f"trainings by {FLAT_DB:g} dB or more. "
            "Differences between variants may be differences in speed of learning."
        )
    for name, reason in study.peers.missing:
        notes.append(f"<strong>Missing:</strong> {html.escape(names.CODECS.get(name, name))}: {html.escape(reason)}.")
    if not study.peers.rows:
        notes.append("<strong>Missing:</strong> peers and bounds were not measured for this page.")
    return "".join(f'<p class="notice">{note}</p>' for note in notes)


def _verdict(study: results.Study) -> str:
    marks = {"met": "excellent", "missed": "poor", "open": ""}
    lines = [
        (
            html.escape(c.claim),
            html.escape(c.predicted),
            pieces.minus(html.escape(c.measured)).replace("; ", "<br>"),
            f'<span class="mark {marks[c.state]}">{verdict.MARKS[c.state]}</span>',
            html.escape(c.why),
        )
        for c in verdict.claims(study)
    ]
    return pieces.table(("Claim", "Predicted", "Measured", "Verdict", "Why"), lines)


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
        asked = ", ".join(f"{names.FIGURES[name]} {_limits(*limits[name])}" for name in rows.FIGURES)
        lines = [
            (names.CODECS.get(line[0], html.escape(line[0])), *map(html.escape, line[1:]))
            for line in choose.describe(found)
        ]
        head = ("Codec", "Model", "True ratio", "Bits per pixel", "Step to use", "Checkpoint, or what fails")
        body += f"<h3>All four {grade}: {asked}</h3>" + pieces.table(head, lines, (2, 3))
    return body


def _limits(low: float, high: float) -> str:
    return f"≥ {low:g}" if math.isinf(high) else f"{low:g}–{high:g}"


def _rate_distortion(study: results.Study) -> str:
    bounded = [name for name in study.peer_curves if name not in linear_bounds.NAMES]
    true = [
        (
            charts.rate_curves(study, figure),
            f"{names.FIGURES[figure]}, means over all images; markers are measured steps.",
        )
        for figure in rows.FIGURES
    ]
    latent = [
        (
            charts.latent_curves(study, figure),
            f"{names.FIGURES[figure]} with latents as floats against values, not bits.",
        )
        for figure in rows.FIGURES
    ]
    linear = [name for name in linear_bounds.NAMES if name in study.peer_curves]
    return (
        "<h3>In true bits per pixel</h3><p>Bytes of whole files. The Gaussian curve is the rate–distortion function "
        "of a Gaussian source with each image's own block spectrum.</p>"
        + charts.legend(study, [*study.main, *bounded])
        + pieces.charts_of(true)
        + "<h3>In latent ratio</h3><p>Pixels per latent value. It counts values, not bits, and must not be set "
        "beside a true ratio. Linear codes keep as many coefficients, and all is at unlimited precision.</p>"
        + charts.legend(study, [*study.main, *linear])
        + pieces.charts_of(latent)
    )


def _bd_rates(study: results.Study) -> str:
    found, missing = tables.bd_rates(study)
    if missing:
        return f"<p>Not measured: {html.escape(missing)}.</p>"

    def percent(value: float) -> str:
        return f"{value:+.1f} %".replace("-", "−") if math.isfinite(value) else "–"

    lines = [
        (
            html.escape(b.variant),
            names.CODECS[b.against],
            percent(b.mean),
            percent(b.least),
            percent(b.most),
            f"{b.images} of {b.of}",
        )
        for b in found
    ]
    head = ("Variant", "Against", "Mean BD-rate", "Least", "Most", "Images with overlapping PSNR")
    return (
        "<p>Bytes needed at equal PSNR against another codec, on average over the PSNR both reach between 0.1 and 2 "
        "bits per pixel; negative is better. A dash says that there is no such PSNR: the model stays below what the "
        "other has at 0.1 bits per pixel.</p>" + pieces.table(head, lines, (2, 3, 4, 5))
    )


def _convergence(study: results.Study) -> str:
    drawn = []
    for ratio, variants in comparisons.by_latent(study).items():
        cells = [cell for name in variants for cell in study.variants[name]]
        drawn.append((charts.convergence(study, cells), f"Validation PSNR at latent ratio {ratio:g}."))
    others = [cell for cell in study.cells if cell.variant not in study.main]
    for ratio in sorted({cell.latent_ratio for cell in others}):
        cells = [cell for cell in others if cell.latent_ratio == ratio]
        drawn.append((charts.convergence(study, cells), f"What was tried besides, at latent ratio {ratio:g}."))
    return (
        "<p>A curve that still rises at its end says that its model was not trained to its end; less than "
        f"{FLAT_DB:g} dB over the last fifth counts as flat (table of cells). Of a model that was trained for "
        "several numbers of epochs the longest training counts. A learning rate that goes to zero flattens "
        "every curve: a flat end alone does not prove that more steps would bring nothing. Dotted: linear codes "
        "of as many values on the same patches.</p>" + pieces.charts_of(drawn)
    )


def _cells(study: results.Study) -> str:
    lines = []
    for cell in study.cells:
        record, rise = cell.record, cell.late_rise
        training = record["training"]
        lines.append(
            (
                html.escape(cell.name),
                f"{record['parameters']:,}",
                f"{record['multiply_adds_per_pixel']:,.0f}",
                f"{cell.latent_ratio:g}",
                f"{len(cell.history)} of {training['epochs']}, best {record['epoch']}",
                f"{cell.history[-1]['step']:,} of {training['batch_size']}" if cell.history else "–",
                f"{rise:.3f} dB" if math.isfinite(rise) else "–",
                f"{record['seconds_of_last_stretch'] / 60:.1f}",
                html.escape(record["machine"]),
            )
        )
    head = (
        "Cell",
        "Parameters",
        "Multiply-adds per pixel",
        "Latent ratio",
        "Epochs",
        "Steps of windows",
        "Rise in the last fifth",
        "Minutes",
        "Machine",
    )
    body = pieces.table(head, lines, (1, 2, 3, 6, 7)) if lines else "<p>No cell is finished yet.</p>"
    if study.unfinished:
        waiting = [(html.escape(cell.name), html.escape(cell.state)) for cell in study.unfinished]
        body += "<h3>Not finished</h3>" + pieces.table(("Cell", "State"), waiting)
    return (
        body
        + '<p class="soft">Rise: by how many dB the best validation PSNR rose over the last fifth of the epochs. '
        "Minutes are those of the last uninterrupted stretch of training.</p>"
    )
