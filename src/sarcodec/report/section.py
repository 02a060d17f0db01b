"""The HTML of one band: views, what is measured over all of it, statistics and figures."""

from __future__ import annotations

import dataclasses
import html
import math

import numpy as np

from sarcodec import tiling
from sarcodec.metrics import summary
from sarcodec.pages import figures, markup, pictures
from sarcodec.report import charts, marks, pair, samples, survey, whole

VIEW_SIDE = 768
"""Largest side of a picture in pixels; with more than two bands less, to keep the page at a few megabytes."""

SCENE_SIDE = 1200
"""The same for the overview of a scene that is too large to be kept whole."""

BROAD_HEIGHT = 900
"""Height in pixels at which that overview is shown at most, so that it can be seen at once."""

MAX_CLIPPED = 0.01
"""Share of clipped pixels above which the page warns."""


def sides(shape: tuple[int, int], bands: int) -> tuple[int, int]:
    """Return the largest sides of the overview and of other pictures on a page of so many bands."""
    scale = min(1.0, math.sqrt(2 / bands))
    view = max(160, int(VIEW_SIDE * scale))
    return (max(160, int(SCENE_SIDE * scale)) if max(shape) > samples.WHOLE_SIDE else view), view


def section(
    name: str, found: survey.Survey, mosaic: pair.Pair, core: pair.Pair, measured: summary.Metrics, side: int
) -> str:
    """Return the part of the page on one band.

    Parameters
    ----------
    name : str
        Of the band, not escaped.
    found : Survey
        Of the whole band.
    mosaic, core : Pair
        All sample windows, and the one that is shown pixel by pixel.
    measured : Metrics
        Figures of the band.
    side : int
        Largest side of pictures but the overview.
    """
    shown_name = html.escape(name)
    if not found.blocks.count.any():
        text = f"<h2>{shown_name}</h2><p>There is no valid pixel to compare.</p>"
        return f'<section id="band-{mosaic.number}">{text}</section>'
    views = _overview(name, found, mosaic)
    shown = core if found.share == 1 else _cropped(core, side * 2 // 3)
    if shown.valid.any():
        views += _centre(name, found, mosaic, shown, side) + _error_map(name, found, shown, side)
    if core.peer is not None:
        views += _peer_view(name, core, core.peer, side)
    return markup.fill(
        "band.html",
        {
            "number": mosaic.number,
            "name": shown_name,
            "notice": _clipping(mosaic) if mosaic.record.clipped > MAX_CLIPPED else "",
            "views": views,
            "whole": whole.part(name, found),
            "statistics": _statistics(name, found, mosaic, core, measured),
            "figures": marks.rows(measured, samples.sampled_figures(found.shape)),
        },
    )


def _clipping(mosaic: pair.Pair) -> str:
    return (
        f'<p class="notice" role="note"><strong>Warning:</strong> {100 * mosaic.record.clipped:.2f} % of the valid '
        f"pixels lie outside the model's range of {markup.span(mosaic.record.vmin, mosaic.record.vmax)} and were "
        "clipped to it. That error cannot be mended by a finer step.</p>"
    )


def _stretch(found: survey.Survey, mosaic: pair.Pair) -> tuple[float, float]:
    """Return the dB of black and white: percentiles of the windows, or of the overview if they are all invalid."""
    values = mosaic.original[mosaic.valid]
    if not values.size:
        values = found.overview.images()[0]
    return pictures.stretch(values, (0.0, 1.0))


def _overview(name: str, found: survey.Survey, mosaic: pair.Pair) -> str:
    """Return the swipe of the whole image."""
    stretch, factor = _stretch(found, mosaic), found.overview.factor
    source = "the original" if found.share == 1 else "the original in the sample windows"
    caption = (
        f"Drag over the picture or move the control. Grey scale from {markup.span(*stretch)}, the 2nd to 98th "
        f"percentile of {source}, for both sides; hatched is nodata. "
    )
    images = list(found.overview.images())
    if factor == 1:
        caption += "Look for lost texture, softened edges and vanished bright points."
        return _swipe(name, "Original against restored", images, stretch, caption)
    caption += (
        f"Each pixel is the mean intensity of {factor} × {factor}, which hides speckle: judge it at full resolution."
    )
    broad = "broad" if found.share < 1 else ""
    return _swipe(name, "Original against restored, overview", images, stretch, caption, kind=broad)


def _centre(name: str, found: survey.Survey, mosaic: pair.Pair, core: pair.Pair, side: int) -> str:
    """Return the swipe of the centre pixel by pixel, where the overview is thinned."""
    if found.overview.factor == 1:
        return ""
    images = [pictures.centre(image, side * 2 // 3) for image in (core.original, core.restored)]
    heading = "The centre at full resolution" if found.share == 1 else "One window at full resolution"
    caption = "" if found.share == 1 else f"{_where(core)}. "
    caption += "Look for lost texture, softened edges and vanished bright points."
    return _swipe(name, heading, images, _stretch(found, mosaic), caption)


def _cropped(core: pair.Pair, side: int) -> pair.Pair:
    """Return the centre of a window, at most ``side`` × ``side`` pixels."""
    original, restored = (pictures.centre(image, side) for image in (core.original, core.restored))
    top, left = (max(length - side, 0) // 2 for length in core.valid.shape)
    window = tiling.Window.at(core.window.top + top, core.window.left + left, *original.shape)
    return dataclasses.replace(
        core, original=original, restored=restored, valid=np.isfinite(original), window=window, peer=None
    )


def _where(core: pair.Pair) -> str:
    window = core.window
    return f"Rows {window.top:,} to {window.bottom:,}, columns {window.left:,} to {window.right:,}"


def _error_map(name: str, found: survey.Survey, core: pair.Pair, side: int) -> str:
    error = core.restored - core.original
    limit = math.ceil(10 * max(float(np.percentile(np.abs(error[core.valid]), 99)), 0.05)) / 10
    factor = pictures.factor(core.valid.shape, side)
    shown = error[::factor, ::factor]
    palette = pictures.diverging()
    thinned = f"One row and column in {factor} is shown, not a mean, which would hide errors." if factor > 1 else ""
    return markup.fill(
        "error.html",
        {
            "name": html.escape(name),
            "heading": "Error, restored minus original" + ("" if found.share == 1 else ", same window"),
            "error": pictures.png(pictures.indexed(shown, -limit, limit), palette),
            **pictures.frame(shown.shape),
            "limit": f"{limit:.1f}",
            "gradient": pictures.gradient(palette),
            "range": f"errors beyond ±{limit:.1f} dB, at most 1 % of the pixels, have the end colours",
            "thinned": thinned,
        },
    )


def _statistics(
    name: str, found: survey.Survey, mosaic: pair.Pair, core: pair.Pair, measured: summary.Metrics
) -> str:
    """Return the charts, of the windows together; the spectrum is that of one."""
    if not core.valid.any():
        return "<p>No valid pixel lies in the sample windows; there are no statistics.</p>"
    looks, count = charts.looks(mosaic, name)
    sampled = found.share < 1
    return markup.fill(
        "statistics.html",
        {
            "histogram": charts.histogram(mosaic, name),
            "histogram_of": "all valid pixels of the sample windows" if sampled else "all valid pixels",
            "looks": looks,
            "looks_caption": _looks_caption(count, measured.enl_ratio, sampled),
            "spectrum": charts.spectrum(core, name),
            "spectrum_of": f", of {_where(core).lower()}" if sampled else "",
        },
    )


def _looks_caption(shown: int, ratio: float, sampled: bool) -> str:
    if not shown:
        return "The equivalent number of looks is compared in windows without a gap."
    where = "; over the whole image" if sampled else ""
    return (
        f"Equivalent number of looks in 15 × 15 windows, {shown} shown. Points above the diagonal are smoother than "
        f"the original; the coloured ones are the most homogeneous fifth{where}, that fifth has the median ratio "
        f"{figures.format_figure('enl_ratio', ratio)}. At 1 the speckle is kept."
    )


def _peer_view(name: str, core: pair.Pair, peer: pair.AtEqualBytes, side: int) -> str:
    """Return a swipe between the restored image and a peer's of as many bytes, the centre pixel by pixel."""
    low, high = (float(v) for v in np.percentile(core.original[core.valid], [2, 98]))
    ours, theirs = summary.evaluate(core.original, core.restored, core.valid), peer.figures
    caption = (
        f"The peer takes {peer.bits_per_pixel:.3f} bits per pixel here, the rate of the whole file. PSNR "
        f"{figures.format_figure('psnr_db', ours.psnr_db)} "
        f"against {figures.format_figure('psnr_db', theirs.psnr_db)}, SSIM {ours.ssim:.3f} against "
        f"{theirs.ssim:.3f}, ENL ratio {ours.enl_ratio:.2f} against {theirs.enl_ratio:.2f}."
    )
    images = [pictures.centre(image, side * 2 // 3) for image in (core.restored, peer.restored)]
    heading = f"sarcodec against {html.escape(peer.name)} at equal bytes"
    labels = ("sarcodec", html.escape(peer.name))
    return _swipe(name, heading, images, (low, max(high, low + 0.1)), caption, labels)


def _swipe(
    name: str,
    heading: str,
    images: list[pair.FloatArray],
    stretch: tuple[float, float],
    caption: str,
    labels: tuple[str, str] = ("original", "restored"),
    kind: str = "",
) -> str:
    original, restored = (pictures.png(pictures.indexed(image, *stretch), pictures.grey()) for image in images)
    low, high = (markup.minus(f"{value:.1f}") for value in stretch)
    values = {"name": html.escape(name), "heading": heading, "caption": caption, "low": low, "high": high}
    values |= {"first": labels[0], "second": labels[1], "place": kind}
    framed = pictures.frame(images[0].shape)
    if kind == "broad":
        rows, columns = images[0].shape
        framed["width"] = min(columns, BROAD_HEIGHT * columns // rows)
    return markup.fill("swipe.html", values | {"original": original, "restored": restored} | framed)
