"""Sections of curves: figures against rate and latent ratio, and how trainings converged."""

from __future__ import annotations

from sarcodec.metrics import summary
from sarcodec.pages import markup
from sarcodec.study import charts, comparisons, linear_bounds, names, results

FLAT_DB = 0.02
"""A validation PSNR that rises by less over the last fifth of a training is flat."""


def rate_distortion(study: results.Study) -> str:
    """Show figures against true rates, and against the number of latent values."""
    bounded = [name for name in study.peer_curves if name not in linear_bounds.NAMES]
    true = [
        (
            charts.rate_curves(study, figure),
            f"{names.figure(figure).brief}, means over all images; markers are measured steps.",
        )
        for figure in summary.TARGETS
    ]
    latent = [
        (
            charts.latent_curves(study, figure),
            f"{names.figure(figure).brief} with latents as floats against values, not bits.",
        )
        for figure in summary.TARGETS
    ]
    linear = [name for name in linear_bounds.NAMES if name in study.peer_curves]
    return (
        "<h3>In true bits per pixel</h3><p>Bytes of whole files. The Gaussian curve is the rate–distortion function "
        "of a Gaussian source with each image's own block spectrum.</p>"
        + charts.legend(study, [*study.main, *bounded])
        + markup.charts_of(true)
        + "<h3>In latent ratio</h3><p>Pixels per latent value. It counts values, not bits, and must not be set "
        "beside a true ratio. Linear codes keep as many coefficients, and all is at unlimited precision.</p>"
        + charts.legend(study, [*study.main, *linear])
        + markup.charts_of(latent)
    )


def convergence(study: results.Study) -> str:
    """Show the validation PSNR of every training."""
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
        f"{FLAT_DB:g} dB over the last fifth counts as flat (table of cells). Of a model that was trained in "
        "several ways the one that came furthest counts. A learning rate that goes to zero flattens "
        "every curve: a flat end alone does not prove that more steps would bring nothing. Dotted: linear codes "
        "of as many values on the same patches.</p>" + markup.charts_of(drawn)
    )
