"""The HTML: templates filled with what was measured. All text that comes from a file is escaped here."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from importlib import resources
from string import Template

import numpy as np

from sarcodec import _version, container, contexts, io, metrics, scene, tiling
from sarcodec.report import charts, pair, pictures

VIEW_SIDE = 768
"""Largest side of a picture in pixels; with more than two bands less, to keep the page at a few megabytes."""
MAX_CLIPPED = 0.01
"""Share of clipped pixels above which the page warns."""

_FIGURES = {
    "psnr_db": ("PSNR", 2, " dB", "20·log10(30 / RMSE); the peak is 30 dB whatever the image"),
    "rmse_db": ("RMSE", 3, " dB", "root mean square error; the speckle of a GRD alone deviates by about 2.2 dB"),
    "ssim": ("SSIM", 4, "", "structural similarity of small windows, 1 is identical"),
    "ms_ssim": ("MS-SSIM", 4, "", "the same over five scales"),
    "enl_ratio": ("ENL ratio", 3, "", "looks of restored over original in homogeneous windows; above 1 is smoothed"),
    "epi": ("Edge preservation", 4, "", "agreement of gradients, not centred: flattered by the mean gradient"),
    "gradient_correlation": ("Gradient correlation", 4, "", "the centred agreement of gradients, the stricter one"),
    "bias_db": ("Radiometric bias", 3, " dB", "mean intensity of restored over original"),
    "bias_median_abs_db": ("Local bias, median", 3, " dB", "size of the bias in 32 × 32 windows"),
    "bias_p95_abs_db": ("Local bias, 95th percentile", 3, " dB", "the same in the worst windows"),
    "water_iou": ("Water mask agreement", 4, "", "intersection over union at one threshold, 1 is the same mask"),
    "bright_target_error_db": ("Bright target error", 3, " dB", "RMSE over the brightest 0.1 % of pixels"),
    "valid_pixels": ("Valid pixels", 0, "", "pixels compared"),
}
_RAMP = np.linspace(1, 255, 11).round().astype(int)
_MARKS = {"excellent": "✓✓ excellent", "good": "✓ good", "poor": "✗ poor"}
_BYTES = {
    "symbols": "entropy-coded symbols: the image itself",
    "masks": "validity masks, lossless",
    "product": "the product's other files, byte for byte",
    "header": "header: georeferencing, tags, model",
    "structure": "ZIP structure: names, checksums, index",
}


def format_figure(name: str, value: float) -> str:
    """Format a field of :class:`metrics.Metrics` as the page shows it, with its unit."""
    _, digits, unit, _ = _FIGURES[name]
    if math.isnan(value):
        return "not defined"
    number = "∞" if math.isinf(value) else f"{value:,.{digits}f}"
    return _minus(number) + unit


def _minus(text: str) -> str:
    return text.replace("-", "−")


def view_side(bands: int) -> int:
    """Return the largest side of a picture on a page of so many bands."""
    return max(160, int(VIEW_SIDE * min(1.0, math.sqrt(2 / bands))))


def _fill(template: str, values: Mapping[str, object]) -> str:
    """Fill a packaged template; the values are HTML already."""
    path = resources.files("sarcodec").joinpath("templates", template)
    return Template(path.read_text(encoding="utf-8")).substitute(values)


def page(
    name: str,
    reader: container.Reader,
    window: tiling.Window,
    figures: Mapping[str, metrics.Metrics],
    sections: list[str],
) -> str:
    """Put the page together; ``figures`` are keyed by band name, ``sections`` come from :func:`section`."""
    header, sizes = reader.header, reader.sizes()
    count, height, width = header.shape
    notices = ""
    if window.shape != (height, width):
        notices = (
            f'<p class="notice">The image has {height:,} × {width:,} pixels. Quality is measured and shown for its '
            f"central {window.shape[0]:,} × {window.shape[1]:,} pixels only; bytes are those of the whole file.</p>"
        )
    links = [f'<a href="#band-{number}">{html.escape(band)}</a>' for number, band in enumerate(figures, start=1)]
    info = io.RasterInfo.from_dict(header.raster)
    tags = dict(info.tags)
    for band, own in zip(figures, info.band_tags, strict=False):
        tags |= {f"{band}: {key}": value for key, value in own.items()}
    return _fill(
        "report.html",
        {
            "title": html.escape(name),
            "subtitle": f"{count} band{'s' * (count > 1)} of {height:,} × {width:,} pixels, compressed by the "
            f"model “{html.escape(header.architecture)}” and restored",
            "notices": notices,
            "rates": _rates(scene.Size(sizes["total"], count, height, width), header),
            "quality": _cards(_qualities(figures)),
            "links": "".join(links),
            "bands": "".join(sections),
            "bytes": _byte_table(sizes),
            "facts": _definitions(_facts(header, list(figures))),
            "tags": _details(f"Tags ({len(tags)})", tags) if tags else "",
            "version": _version.__version__,
        },
    )


def _rates(size: scene.Size, header: container.Header) -> str:
    latent = header.stride**2 / header.channels
    last = (
        "Latent ratio",
        f"{latent:g}",
        "pixels per latent value: counts values, not bits; never compare the two",
    )
    if header.max_error_db is not None:
        last = ("Guaranteed error", f"{header.max_error_db:g} dB", "coding keeps every valid pixel within it")
    elif header.version > 1:
        last = (
            "Quantisation step",
            f"{contexts.step_db(header.step):.3g} dB",
            "of coefficients; one model, all rates",
        )
    return _cards(
        [
            ("Compressed file", f"{size.bytes:,} bytes", "the whole file on disk"),
            ("Rate", f"{size.bits_per_pixel:.4f} bits/pixel", "8 × bytes of the file over the pixels of all bands"),
            ("True ratio", f"{size.ratio:.2f} : 1", "16 bits, as Sentinel-1 GRD stores a pixel, over bits per pixel"),
            last,
        ]
    )


def _qualities(figures: Mapping[str, metrics.Metrics]) -> list[tuple[str, str, str]]:
    return [
        (f"PSNR {html.escape(name)}", format_figure("psnr_db", found.psnr_db), _mark("psnr_db", found.psnr_db))
        for name, found in figures.items()
    ]


def _cards(cards: list[tuple[str, str, str]]) -> str:
    return "".join(
        f"<div><dt>{title}</dt><dd>{value}<small>{note}</small></dd></div>" for title, value, note in cards
    )


def _byte_table(sizes: Mapping[str, int]) -> str:
    bar, rows = "", ""
    for kind, meaning in _BYTES.items():
        if kind not in sizes:
            continue
        share = 100 * sizes[kind] / sizes["total"]
        bar += f'<i class="{kind}" style="width: {share:.3f}%"></i>'
        rows += (
            f'<tr><th scope="row"><span class="swatch {kind}"></span>{meaning}</th>'
            f'<td class="number">{sizes[kind]:,}</td><td class="number">{share:.1f} %</td></tr>'
        )
    rows += (
        f'<tr><th scope="row">whole file</th><td class="number">{sizes["total"]:,}</td>'
        '<td class="number">100 %</td></tr>'
    )
    return (
        f'<div class="bar" aria-hidden="true">{bar}</div><div class="wide"><table><tbody>{rows}</tbody></table></div>'
    )


def _facts(header: container.Header, names: list[str]) -> dict[str, object]:
    info = io.RasterInfo.from_dict(header.raster)
    facts: dict[str, object] = {
        "Model": header.model,
        "Architecture": f"{header.architecture}, stride {header.stride}, {header.channels} latent channels",
        "Quantity": header.quantity,
        "Size": f"{header.shape[0]} × {header.shape[1]:,} × {header.shape[2]:,} (bands, rows, columns)",
        "Pixel type": info.dtype,
        "Nodata": "none declared" if info.nodata is None else f"{info.nodata:g}",
        "CRS": info.crs or info.gcp_crs or "none",
        "Affine transform": ", ".join(map(str, info.transform or ())) or "none",
        "Ground control points": len(info.gcps) or "none",
        "Step": header.step,
        "Tile": f"{header.tile} pixels",
        "Written by": f"sarcodec {header.created_by}",
    }
    for name, band in zip(names, header.bands, strict=True):
        if header.version > 1:
            facts[f"Offset of {name}"] = _minus(f"{band.vmin:.2f} dB")
            continue
        facts[f"Clipping of {name}"] = (
            f"{_span(band.vmin, band.vmax)}; {100 * band.clipped:.3f} % of the valid pixels clipped"
        )
    return facts


def _span(low: float, high: float) -> str:
    return _minus(f"{low:.1f} to {high:.1f} dB")


def _definitions(entries: Mapping[str, object]) -> str:
    escaped = ((html.escape(str(key)), html.escape(str(value))) for key, value in entries.items())
    return "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in escaped)


def _details(title: str, entries: Mapping[str, object]) -> str:
    return f'<details><summary>{title}</summary><dl class="facts">{_definitions(entries)}</dl></details>'


def section(name: str, found: pair.Pair, figures: metrics.Metrics, side: int) -> str:
    """Return the part of the page on one band, with pictures of at most ``side`` pixels."""
    shown_name = html.escape(name)
    if not found.valid.any():
        text = f"<h2>{shown_name}</h2><p>There is no valid pixel to compare.</p>"
        return f'<section id="band-{found.number}">{text}</section>'
    error = found.restored - found.original
    limit = math.ceil(10 * max(float(np.percentile(np.abs(error[found.valid]), 99)), 0.05)) / 10
    factor = pictures.factor(found.valid.shape, side)
    shown = error[::factor, ::factor]
    palette = pictures.diverging()
    looks, count = charts.looks(found, name)
    notice = (
        f'<p class="notice" role="note"><strong>Warning:</strong> {100 * found.record.clipped:.2f} % of the valid '
        f"pixels lie outside the model's range of {_span(found.record.vmin, found.record.vmax)} and were "
        "clipped to it. That error cannot be mended by a finer step.</p>"
    )
    return _fill(
        "band.html",
        {
            "number": found.number,
            "name": shown_name,
            "notice": notice if found.record.clipped > MAX_CLIPPED else "",
            "views": _views(name, found, side),
            "error": pictures.png(pictures.indexed(shown, -limit, limit), palette),
            **pictures.frame(shown.shape),
            "limit": f"{limit:.1f}",
            "gradient": ", ".join(f"rgb({r} {g} {b})" for r, g, b in palette[_RAMP].tolist()),
            "range": f"errors beyond ±{limit:.1f} dB, at most 1 % of the pixels, have the end colours",
            "thinned": f"One row and column in {factor} is shown, not a mean, which would hide errors."
            if factor > 1
            else "",
            "histogram": charts.histogram(found, name),
            "looks": looks,
            "looks_caption": _looks_caption(count, figures.enl_ratio),
            "spectrum": charts.spectrum(found, name),
            "figures": _figure_rows(figures),
            "peer": _peer_view(name, found, found.peer, figures, side) if found.peer else "",
        },
    )


def _peer_view(name: str, found: pair.Pair, peer: pair.AtEqualBytes, figures: metrics.Metrics, side: int) -> str:
    """Return a swipe between the restored image and a peer's of as many bytes, the centre pixel by pixel."""
    low, high = (float(v) for v in np.percentile(found.original[found.valid], [2, 98]))
    theirs = peer.figures
    caption = (
        f"Both at {peer.bits_per_pixel:.3f} bits per pixel: PSNR {format_figure('psnr_db', figures.psnr_db)} "
        f"against {format_figure('psnr_db', theirs.psnr_db)}, SSIM {figures.ssim:.3f} against {theirs.ssim:.3f}, "
        f"ENL ratio {figures.enl_ratio:.2f} against {theirs.enl_ratio:.2f}."
    )
    images = [pictures.centre(image, side * 2 // 3) for image in (found.restored, peer.restored)]
    heading = f"sarcodec against {html.escape(peer.name)} at equal bytes"
    labels = ("sarcodec", html.escape(peer.name))
    return _swipe(name, heading, images, (low, max(high, low + 0.1)), caption, labels)


def _looks_caption(shown: int, ratio: float) -> str:
    if not shown:
        return "The equivalent number of looks is compared in windows without a gap."
    return (
        f"Equivalent number of looks in 15 × 15 windows, {shown} shown. Points above the diagonal are smoother than "
        "the original; the coloured ones, the most homogeneous fifth, have the median ratio "
        f"{format_figure('enl_ratio', ratio)}. At 1 the speckle is kept."
    )


def _figure_rows(figures: metrics.Metrics) -> str:
    found = figures.to_dict()
    rows = []
    for name, (label, _, _, meaning) in _FIGURES.items():
        value = html.escape(format_figure(name, found[name]))
        rows.append(
            f'<tr><th scope="row">{label}<small>{meaning}</small></th><td class="number">{value}</td>'
            f"<td>{_mark(name, found[name])}</td></tr>"
        )
    return "".join(rows)


def _mark(name: str, value: float) -> str:
    """Grade a figure in words, a symbol and a colour; "" for one without a target."""
    if name not in metrics.TARGETS:
        return ""
    limits = {
        k: f"≥ {low:g}" if math.isinf(high) else f"{low:g}–{high:g}"
        for k, (low, high) in metrics.TARGETS[name].items()
    }
    targets = f"<small>good {limits['good']}, excellent {limits['excellent']}</small>"
    if math.isnan(value):
        return targets
    grade = metrics.grade(name, value)
    return f'<span class="mark {grade}">{_MARKS[grade]}</span> {targets}'


def _views(name: str, found: pair.Pair, side: int) -> str:
    """Return swipes of the whole window and, where that is thinned, of its centre pixel by pixel."""
    low, high = (float(v) for v in np.percentile(found.original[found.valid], [2, 98]))
    high = max(high, low + 0.1)
    stretch = f"{_span(low, high)}, the 2nd to 98th percentile of the original, for both sides"
    what = f"Drag over the picture or move the control. Grey scale from {stretch}; hatched is nodata. "
    factor = pictures.factor(found.valid.shape, side)
    images = [pictures.multilook(image, factor) for image in (found.original, found.restored)]
    hint = "Look for lost texture, softened edges and vanished bright points."
    if factor == 1:
        return _swipe(name, "Original against restored", images, (low, high), what + hint)
    whole = f"Each pixel is the mean intensity of {factor} × {factor}, which hides speckle: judge it in the centre."
    core = [pictures.centre(image, side * 2 // 3) for image in (found.original, found.restored)]
    return _swipe(name, "Original against restored, overview", images, (low, high), what + whole) + _swipe(
        name, "The centre at full resolution", core, (low, high), what + hint
    )


def _swipe(
    name: str,
    heading: str,
    images: list[pair.FloatArray],
    stretch: tuple[float, float],
    caption: str,
    labels: tuple[str, str] = ("original", "restored"),
) -> str:
    original, restored = (pictures.png(pictures.indexed(image, *stretch), pictures.grey()) for image in images)
    low, high = (_minus(f"{value:.1f}") for value in stretch)
    values = {"name": html.escape(name), "heading": heading, "caption": caption, "low": low, "high": high}
    values |= {"first": labels[0], "second": labels[1]}
    return _fill(
        "swipe.html", values | {"original": original, "restored": restored} | pictures.frame(images[0].shape)
    )
