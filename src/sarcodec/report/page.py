"""The page as a whole: key figures, the bands' sections, bytes and what the file says of itself."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np

from sarcodec import _version
from sarcodec.container import archive
from sarcodec.container import header as container_header
from sarcodec.entropy import scale
from sarcodec.metrics import summary
from sarcodec.pages import markup
from sarcodec.raster import info as raster_info
from sarcodec.report import maps, marks, samples, sums
from sarcodec.scene import decision
from sarcodec.text import numerals

_BYTES = {
    "symbols": "entropy-coded symbols: the image itself",
    "masks": "validity masks, lossless",
    "product": "the product's other files, byte for byte",
    "header": "header: georeferencing, tags, model",
    "structure": "ZIP structure: names, checksums, index",
}


def page(
    name: str,
    reader: archive.Reader,
    measured: Mapping[str, summary.Metrics],
    sections: list[str],
    bits: sums.Values,
    warnings: Sequence[str] = (),
) -> str:
    """Put the page together.

    Parameters
    ----------
    name : str
        Of the original.
    reader : Reader
        The compressed file.
    measured : mapping of str to Metrics
        By band name.
    sections : list of str
        From :func:`section.section`, one a band.
    bits : ndarray of float64
        (bands, R, C), bits per pixel of every tile.
    warnings : sequence of str
        To be shown on top, not escaped.
    """
    header, sizes = reader.header, reader.sizes()
    count, height, width = header.shape
    info = raster_info.RasterInfo.from_dict(header.raster)
    tags = dict(info.tags)
    for band, own in zip(measured, info.band_tags, strict=False):
        tags |= {f"{band}: {key}": value for key, value in own.items()}
    return markup.page(
        "report.html",
        {
            "title": html.escape(name),
            "subtitle": f"{count} band{'s' * (count > 1)} of {height:,} × {width:,} pixels, compressed by the "
            f"model “{html.escape(header.architecture)}” and restored",
            "notices": "".join(map(_warning, warnings)) + _sampling((height, width)),
            "rates": _rates(decision.Size(sizes["total"], count, height, width), header),
            "quality": marks.strip(measured, samples.sampled_figures((height, width))),
            "bands": "".join(sections),
            "bytes": _byte_table(sizes) + _byte_maps(list(measured), bits, header, sizes),
            "facts": _definitions(_facts(header, list(measured))),
            "tags": _details(f"Tags ({len(tags)})", tags) if tags else "",
            "version": _version.__version__,
        },
    )


def _warning(text: str) -> str:
    return f'<p class="notice alarm" role="alert"><strong>Warning:</strong> {html.escape(text)}</p>'


def _sampling(shape: tuple[int, int]) -> str:
    """Say which figures are of the whole image and which of sample windows, where these are not the same."""
    windows = samples.windows(shape)
    if len(windows) == 1:
        return ""
    height, width = shape
    rows, columns = windows[0].shape
    return (
        f'<p class="notice">The image has {height:,} × {width:,} pixels. RMSE, PSNR, ENL ratio, bias, figures by '
        "brightness, seams, maps and bytes are of all of it. SSIM, edges, water mask, bright targets and the charts "
        f"need whole images: they are measured in {len(windows)} windows of {rows:,} × {columns:,} pixels spread "
        f"evenly over it, {numerals.significant(100 * samples.share(shape), 2)} % of its pixels, and say so.</p>"
    )


def _rates(size: decision.Size, header: container_header.Header) -> str:
    latent = header.stride**2 / header.channels
    last = (
        "Latent ratio",
        numerals.significant(latent),
        "pixels per latent value: counts values, not bits; never compare the two",
    )
    if header.promised_error_db is not None:
        last = (
            "Guaranteed error",
            f"{numerals.significant(header.promised_error_db)} dB",
            "coding keeps every valid pixel within it",
        )
    elif not header.clips:
        last = (
            "Quantisation step",
            f"{numerals.significant(scale.step_db(header.step), 3)} dB",
            "of coefficients; one model, all rates",
        )
    return markup.cards(
        [
            ("Compressed file", f"{size.bytes:,} bytes", "the whole file on disk"),
            (
                "Rate",
                f"{html.escape(numerals.fixed(size.bits_per_pixel, 4))} bits/pixel",
                "8 × bytes of the file over the pixels of all bands",
            ),
            (
                "True ratio",
                f"{size.ratio:,.2f} : 1",
                "16 bits, as Sentinel-1 GRD stores a pixel, over bits per pixel",
            ),
            last,
        ]
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
            f'<td class="number">{sizes[kind]:,}</td><td class="number">{_percent(share)}</td></tr>'
        )
    rows += (
        f'<tr><th scope="row">whole file</th><td class="number">{sizes["total"]:,}</td>'
        '<td class="number">100 %</td></tr>'
    )
    return (
        f'<div class="bar" aria-hidden="true">{bar}</div><div class="wide"><table><tbody>{rows}</tbody></table></div>'
    )


def _percent(share: float) -> str:
    return "&lt; 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def _byte_maps(names: list[str], bits: sums.Values, header: container_header.Header, sizes: Mapping[str, int]) -> str:
    """Return maps of bits per pixel by tile, of all bands on one scale; none for a single tile or without symbols."""
    if bits[0].size == 1 or sizes["symbols"] == 0:
        return ""
    low, high = (float(end) for end in np.percentile(bits, [1, 99]))
    shape, ends = header.shape[1:], (low, max(high, low + 0.01))
    drawn = "".join(
        maps.bits(name, values, header.tile, shape, ends) for name, values in zip(names, bits, strict=True)
    )
    return f'<div class="pictures">{drawn}</div>'


def _facts(header: container_header.Header, names: list[str]) -> dict[str, object]:
    info = raster_info.RasterInfo.from_dict(header.raster)
    facts: dict[str, object] = {
        "Model": header.model,
        "Architecture": f"{header.architecture}, stride {header.stride}, {header.channels:,} latent channels",
        "Quantity": header.quantity,
        "Size": f"{header.shape[0]} × {header.shape[1]:,} × {header.shape[2]:,} (bands, rows, columns)",
        "Pixel type": info.dtype,
        "Nodata": "none declared" if info.nodata is None else markup.minus(numerals.exact(info.nodata)),
        "CRS": info.crs or info.gcp_crs or "none",
        "Affine transform": markup.minus(", ".join(map(numerals.exact, info.transform or ()))) or "none",
        "Ground control points": f"{len(info.gcps):,}" if info.gcps else "none",
        "Step": header.step,
        "Tile": f"{header.tile:,} pixels",
        "Written by": f"sarcodec {header.created_by}",
    }
    for name, band in zip(names, header.bands, strict=True):
        if not header.clips:
            facts[f"Offset of {name}"] = markup.minus(f"{band.vmin:.2f} dB")
            continue
        facts[f"Clipping of {name}"] = (
            f"{markup.span(band.vmin, band.vmax)}; {100 * band.clipped:.3f} % of the valid pixels clipped"
        )
    return facts


def _definitions(entries: Mapping[str, object]) -> str:
    escaped = ((html.escape(str(key)), html.escape(str(value))) for key, value in entries.items())
    return "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in escaped)


def _details(title: str, entries: Mapping[str, object]) -> str:
    return f'<details><summary>{title}</summary><dl class="facts">{_definitions(entries)}</dl></details>'
