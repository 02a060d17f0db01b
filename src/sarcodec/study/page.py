"""The report of a study: one self-contained HTML page, in the look of :mod:`sarcodec.report`."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from sarcodec import _version, atomic, metrics
from sarcodec.report import charts as report_charts
from sarcodec.study import charts, choose, gallery, peers, pictures, results, rows, tables, verdict

FILE = "report.html"
_NAMES = {"psnr_db": "PSNR", "ssim": "SSIM", "enl_ratio": "ENL ratio", "epi": "EPI"}
_DIGITS = {"psnr_db": 2, "ssim": 3, "enl_ratio": 2, "epi": 3, "gradient_correlation": 3, "bits_per_pixel": 4}


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
            "Verdict": _verdict(found),
            "Operating point": _operating_points(found),
            "Rate and distortion": _rate_distortion(found),
            "Spread over images": _spread(found),
            "Differences between variants": _differences(found),
            "Bytes against JPEG 2000": _bd_rates(found),
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
            "columns": len(found.families) + 2,
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
        names = "; ".join(f"{cell.name} ({cell.state})" for cell in study.unfinished)
        notes.append(f"<strong>Not finished:</strong> {html.escape(names)}.")
    falls = [fall for cell in study.cells if math.isfinite(fall := verdict.still_falling(cell))]
    if falls and max(falls) > 1:
        notes.append(
            f"<strong>Not converged:</strong> over the last fifth of its training the validation loss of some cell "
            f"still fell by {max(falls):.1f} %. Differences between variants may be differences in speed of learning."
        )
    for name, reason in study.peers.missing:
        notes.append(f"<strong>Missing:</strong> {html.escape(charts.NAMES.get(name, name))}: {html.escape(reason)}.")
    if not study.peers.rows:
        notes.append("<strong>Missing:</strong> peers and bounds were not measured for this page.")
    return "".join(f'<p class="notice">{note}</p>' for note in notes)


def _table(head: Sequence[str], body: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table of HTML cells; the columns in ``numbers`` are aligned to the right."""
    right = set(numbers)
    kinds = [' class="number"' if column in right else "" for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{title}</th>' for kind, title in zip(kinds, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>"
        for line in body
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _number(figure: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.{_DIGITS[figure]}f}".replace("-", "−") if math.isfinite(value) else "–"


def _verdict(study: results.Study) -> str:
    marks = {"met": "excellent", "missed": "poor", "open": ""}
    lines = [
        (
            html.escape(c.claim),
            html.escape(c.predicted),
            re.sub(r"(?<!\w)-(?=\d)", "−", html.escape(c.measured)).replace("; ", "<br>"),
            f'<span class="mark {marks[c.state]}">{verdict.MARKS[c.state]}</span>',
            html.escape(c.why),
        )
        for c in verdict.claims(study)
    ]
    return _table(("Claim", "Predicted", "Measured", "Verdict", "Why"), lines)


def _operating_points(study: results.Study) -> str:
    body = (
        "<p>The highest true ratio (16 bits over bits per pixel) at which the means over the images meet all four "
        "targets. Between measured points every figure is taken as linear in the logarithm of the rate, for models "
        "and peers alike; beyond them nothing is assumed. A model has only its measured steps: the coarsest that "
        "meets the targets is the one to use.</p>"
    )
    for grade in ("good", "excellent"):
        limits = {name: target[grade] for name, target in metrics.TARGETS.items()}
        found = choose.choose(
            study.folder, limits["psnr_db"][0], limits["ssim"][0], limits["enl_ratio"], limits["epi"][0], study=study
        )
        asked = ", ".join(f"{_NAMES[name]} {_limits(*limits[name])}" for name in rows.FIGURES)
        lines = [
            (charts.NAMES.get(line[0], html.escape(line[0])), *map(html.escape, line[1:]))
            for line in choose.describe(found)
        ]
        head = ("Codec", "Model", "True ratio", "Bits per pixel", "Step to use", "Checkpoint, or what fails")
        body += f"<h3>All four {grade}: {asked}</h3>" + _table(head, lines, (2, 3))
    return body


def _limits(low: float, high: float) -> str:
    return f"≥ {low:g}" if math.isinf(high) else f"{low:g}–{high:g}"


def _charts(figures: Iterable[tuple[str, str]], kind: str = "") -> str:
    drawn = "".join(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>" for svg, caption in figures)
    return f'<div class="charts {kind}">{drawn}</div>'


def _rate_distortion(study: results.Study) -> str:
    bounded = [name for name in study.peer_curves if name != peers.KLT]
    true = [
        (charts.rate_curves(study, figure), f"{_NAMES[figure]}, means over all images; markers are measured steps.")
        for figure in rows.FIGURES
    ]
    latent = [
        (charts.latent_curves(study, figure), f"{_NAMES[figure]} at the finest step against values, not bits.")
        for figure in rows.FIGURES
    ]
    linear = [peers.KLT] if peers.KLT in study.peer_curves else []
    return (
        "<h3>In true bits per pixel</h3><p>Bytes of whole files. The Gaussian curve is the rate–distortion function "
        "of a Gaussian source with each image's own block spectrum.</p>"
        + charts.legend(study, [*study.variants, *bounded])
        + _charts(true)
        + "<h3>In latent ratio</h3><p>Pixels per latent value. It counts values, not bits, and must not be set "
        "beside a true ratio. The KLT keeps as many coefficients of each 16 × 16 block, at unlimited precision.</p>"
        + charts.legend(study, [*study.variants, *linear])
        + _charts(latent)
    )


def _by_latent(study: results.Study) -> dict[float, list[str]]:
    """Names of the variants by latent ratio, rising."""
    groups: dict[float, list[str]] = {}
    for name, cells in study.variants.items():
        groups.setdefault(cells[0].latent_ratio, []).append(name)
    return dict(sorted(groups.items()))


def _spread(study: results.Study) -> str:
    drawn = [
        (
            charts.paired(study, names, figure),
            f"{_NAMES[figure]} at latent ratio {ratio:g}, finest step; the bar is the mean.",
        )
        for ratio, names in _by_latent(study).items()
        for figure in ("psnr_db", "enl_ratio")
    ]
    lines = [
        (
            html.escape(s.variant),
            str(s.step),
            _NAMES[s.figure],
            *(_number(s.figure, v) for v in (s.mean, s.deviation, s.least, s.median, s.most)),
        )
        for s in tables.spreads(study)
        if s.figure in _NAMES
    ]
    head = ("Variant", "Step", "Figure", "Mean", "Deviation", "Least", "Median", "Most")
    return (
        "<p>A point is one band of one image, averaged over seeds; a line joins the same image.</p>"
        + _charts(drawn)
        + f"<details><summary>All figures at all steps</summary>{_table(head, lines, range(3, 8))}</details>"
    )


def _differences(study: results.Study) -> str:
    found = tables.differences(study)
    if not found:
        return "<p>No two variants of the same latent channels and seed are finished.</p>"
    first = [d for d in found if d.figure == "psnr_db" and d.step == min(e.step for e in found if _same(d, e))]
    lines = [
        (
            html.escape(f"{d.variant} − {d.against}"),
            str(d.step),
            _NAMES.get(d.figure, d.figure.replace("_", " ")),
            _number(d.figure, d.mean, "+"),
            f"{_number(d.figure, d.low, '+')} to {_number(d.figure, d.high, '+')}",
            ", ".join(_number(d.figure, value, "+") for value in d.seed_means),
            "yes" if d.clear else "no",
        )
        for d in found
    ]
    head = ("Difference", "Step", "Figure", "Mean", "95 % interval", "Mean of each seed", "Clear")
    return (
        "<p>Paired over images, bands and seeds, at equal latent channels and step. A figure is averaged over the "
        "seeds both variants have; the differences of the images give a 95 % interval by Student’s t. Clear means "
        "that it excludes zero and that all seeds agree in sign. The bands of one place are not independent, so the "
        "interval is rather too narrow; equal steps are not equal bytes, so read the rates beside it.</p>"
        + _charts(
            [(charts.forest(study, first, "PSNR (dB)"), "Dots are means, crosses single seeds; coloured is clear.")],
            "single",
        )
        + f"<details><summary>All figures at all steps</summary>{_table(head, lines, (3, 4, 5))}</details>"
    )


def _same(one: tables.Difference, other: tables.Difference) -> bool:
    return (one.variant, one.against, one.figure) == (other.variant, other.against, other.figure)


def _bd_rates(study: results.Study) -> str:
    found, missing = tables.bd_rates(study)
    if missing:
        return f"<p>Not measured: {html.escape(missing)}.</p>"

    def percent(value: float) -> str:
        return f"{value:+.1f} %".replace("-", "−") if math.isfinite(value) else "–"

    lines = [
        (html.escape(b.variant), percent(b.mean), percent(b.least), percent(b.most), f"{b.images} of {b.of}")
        for b in found
    ]
    head = ("Variant", "Mean BD-rate", "Least", "Most", "Images with overlapping PSNR")
    return (
        "<p>Bytes needed at equal PSNR against JPEG 2000, on average over the PSNR both reach between 0.1 and 2 bits "
        "per pixel; negative is better. A dash says that there is no such PSNR: the model stays below what JPEG 2000 "
        "has at 0.1 bits per pixel.</p>" + _table(head, lines, (1, 2, 3, 4))
    )


def _convergence(study: results.Study) -> str:
    drawn = []
    for ratio, names in _by_latent(study).items():
        cells = [cell for name in names for cell in study.variants[name]]
        drawn.append((charts.convergence(study, cells), f"Validation loss at latent ratio {ratio:g}."))
    return (
        "<p>A curve that still falls at its end says that its model was not trained to its end. A learning rate that "
        "goes to zero flattens every curve: a flat end alone does not prove convergence.</p>" + _charts(drawn)
    )


def _cells(study: results.Study) -> str:
    lines = []
    for cell in study.cells:
        record, fall = cell.record, verdict.still_falling(cell)
        training = record["training"]
        lines.append(
            (
                html.escape(cell.name),
                f"{record['parameters']:,}",
                f"{record['multiply_adds_per_pixel']:,.0f}",
                f"{cell.latent_ratio:g}",
                f"{len(cell.history)} of {training['epochs']}, best {record['epoch']}",
                f"{cell.history[-1]['step']:,} of {training['batch_size']}" if cell.history else "–",
                f"{fall:.1f} %" if math.isfinite(fall) else "–",
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
        "Steps of patches",
        "Last fall",
        "Minutes",
        "Machine",
    )
    body = _table(head, lines, (1, 2, 3, 6, 7)) if lines else "<p>No cell is finished yet.</p>"
    if study.unfinished:
        waiting = [(html.escape(cell.name), html.escape(cell.state)) for cell in study.unfinished]
        body += "<h3>Not finished</h3>" + _table(("Cell", "State"), waiting)
    return (
        body
        + '<p class="soft">Last fall: by how much the best validation loss fell over the last fifth of the epochs. '
        "Minutes are those of the last uninterrupted stretch of training.</p>"
    )
