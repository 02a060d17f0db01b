"""Sections that set variants beside each other, beside linear codes and beside other codecs."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from sarcodec.metrics import summary
from sarcodec.pages import markup
from sarcodec.pages import tables as page_tables
from sarcodec.study import charts, columns, gains, linear_bounds, names, results, tables


def parts(study: results.Study) -> str:
    """Say what each part of a model brings."""
    found = gains.find(study)
    if not found:
        return "<p>No two finished variants differ in one part alone.</p>"
    lines = [
        (
            html.escape(gain.part),
            f"{gain.latent_ratio:g}",
            html.escape(f"{gain.difference.variant} − {gain.difference.against}"),
            markup.signed(gain.difference.mean),
            f"{markup.signed(gain.difference.low)} to {markup.signed(gain.difference.high)}",
            ", ".join(map(markup.signed, gain.difference.seed_means)),
            "yes" if gain.difference.clear else "no",
            markup.signed(gain.validation),
        )
        for gain in found
    ]
    head = ("Part", "Latent ratio", "Difference", "Test images", "95 % interval", "Each seed", "Clear", "Validation")
    return (
        "<p>PSNR in dB that variants differ in which are alike in all but one part, with latents as floats: on the "
        "test images against the fixed peak of 30 dB, and on the validation patches on [0, 1]. A residual network "
        "begins as a linear autoencoder and a plain one at random unless said otherwise, so B − A holds both.</p>"
        + page_tables.html(head, lines, (1, 3, 4, 5, 7))
    )


def linear(study: results.Study) -> str:
    """Set variants beside linear codes of as many values."""
    above = gains.above_bounds(study)
    if not above:
        return "<p>The linear bounds were not measured; name training images with --train.</p>"
    lines = []
    for ratio in sorted({entry.latent_ratio for entry in above}):
        kept = round(256 / ratio)
        for bound in linear_bounds.NAMES:
            measured = [r.metrics.psnr_db for r in study.peers.rows if (r.codec, r.step) == (bound, kept)]
            level = study.linear.get((bound, kept), math.nan)
            psnr = f"{sum(measured) / len(measured):.2f}" if measured else "–"
            shown = f"{level:.2f}" if math.isfinite(level) else "–"
            lines.append((f"{ratio:g}", f"<em>{html.escape(names.codec(bound))}</em>", shown, psnr, *["–"] * 4))
        for name in (entry.variant for entry in above if entry.bound == linear_bounds.KLT):
            cells = study.variants[name]
            if cells[0].latent_ratio == ratio:
                lines.append(_beside_linear(study, name, [entry for entry in above if entry.variant == name]))
    head = (
        "Latent ratio",
        "Code",
        "Validation PSNR",
        "Test PSNR",
        "above KLT, mean",
        "least image",
        "images below KLT",
        "above lapped",
    )
    return (
        "<p>The best that linear codes do with as many values, all at unlimited precision. The KLT of 16 × 16 blocks "
        "is the best linear code that treats blocks on their own; the lapped transform keeps the best fixed "
        "coefficients of 64-point blocks that overlap. Validation PSNR is on [0, 1] over the validation patches.</p>"
        + page_tables.html(head, lines, (0, 2, 3, 4, 5, 6, 7))
    )


def _beside_linear(study: results.Study, name: str, above: Sequence[gains.Above]) -> tuple[str, ...]:
    cells, found = study.variants[name], {entry.bound: entry for entry in above}
    psnr = list(gains.float_psnr(cells).values())
    klt, lapped = (found.get(bound) for bound in linear_bounds.NAMES)
    return (
        f"{cells[0].latent_ratio:g}",
        html.escape(name),
        f"{sum(cell.best_psnr for cell in cells) / len(cells):.2f}",
        f"{sum(psnr) / len(psnr):.2f}",
        markup.signed(klt.mean) if klt else "–",
        markup.signed(klt.least) if klt else "–",
        f"{klt.below} of {klt.images}" if klt else "–",
        markup.signed(lapped.mean) if lapped else "–",
    )


def by_latent(study: results.Study) -> dict[float, list[str]]:
    """Names of the main variants by latent ratio, rising."""
    groups: dict[float, list[str]] = {}
    for name in study.main:
        cells = study.variants[name]
        groups.setdefault(cells[0].latent_ratio, []).append(name)
    return dict(sorted(groups.items()))


def spread(study: results.Study) -> str:
    """Show every image."""
    drawn = [
        (
            charts.paired(study, variants, figure),
            f"{names.figure(figure).brief} at latent ratio {ratio:g}, finest step; the bar is the mean.",
        )
        for ratio, variants in by_latent(study).items()
        for figure in ("psnr_db", "enl_ratio")
    ]
    found = [spread for spread in tables.spreads(study) if spread.figure in summary.TARGETS]
    table = page_tables.of(columns.SPREADS, found)
    return (
        "<p>A point is one band of one image, averaged over seeds; a line joins the same image.</p>"
        + markup.charts_of(drawn)
        + f"<details><summary>All figures at all steps</summary>{table}</details>"
    )


def differences(study: results.Study) -> str:
    """Show paired differences of the main variants in all figures."""
    found = [d for d in tables.differences(study) if {d.variant, d.against} <= set(study.main)]
    if not found:
        return "<p>No two variants of the same latent channels and seed are finished.</p>"
    first = [d for d in found if d.figure == "psnr_db" and d.step == min(e.step for e in found if _same(d, e))]
    table = page_tables.of(columns.DIFFERENCES, found)
    return (
        "<p>Paired over images, bands and seeds, at equal latent channels and step. A figure is averaged over the "
        "seeds both variants have; the differences of the images give a 95 % interval by Student’s t. Clear means "
        "that it excludes zero and that all seeds agree in sign. The bands of one place are not independent, so the "
        "interval is rather too narrow; equal steps are not equal bytes, so read the rates beside it.</p>"
        + markup.charts_of(
            [(charts.forest(study, first, "PSNR (dB)"), "Dots are means, crosses single seeds; coloured is clear.")],
            "single",
        )
        + f"<details><summary>All figures at all steps</summary>{table}</details>"
    )


def _same(one: tables.Difference, other: tables.Difference) -> bool:
    return (one.variant, one.against, one.figure) == (other.variant, other.against, other.figure)


def bd_rates(study: results.Study) -> str:
    """Compare bytes at equal PSNR with other codecs."""
    found, missing = tables.bd_rates(study)
    if missing:
        return f"<p>Not measured: {html.escape(missing)}.</p>"
    return (
        "<p>Bytes needed at equal PSNR against another codec, on average over the PSNR both reach between 0.1 and 2 "
        "bits per pixel; negative is better. A dash says that there is no such PSNR: the model stays below what the "
        "other has at 0.1 bits per pixel.</p>" + page_tables.of(columns.BD_RATES, found)
    )
