"""The pictures of a study as sections of its page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping

import numpy as np

from sarcodec.evaluation import chips
from sarcodec.pages import pictures
from sarcodec.study import crops, inside, results, sites
from sarcodec.text import numerals

ERROR_LIMIT_DB = 6.0
"""Errors of this size and beyond have the end colours, the same in all pictures."""


def sections(study: results.Study, places: Mapping[str, sites.Place] | None = None) -> dict[str, str]:
    """Return the sections by title: crops, latent channels, attention.

    Parameters
    ----------
    study : Study
        With finished cells; without images there are no pictures and one section says so.
    places : mapping of str to Place, optional
        Crops to show; by default those of :func:`sites.find`.
    """
    if not study.images:
        text = "<p>The folder does not say which images the study was measured on; name its plan to see pictures.</p>"
        return {"Pictures": text}
    points = crops.operating_points(study)
    if not points:
        return {"Pictures": "<p>The folder holds no checkpoints of its cells any more: there are tables alone.</p>"}
    images = list(chips.read(study.images))
    found = sites.find(images) if places is None else dict(places)
    shown = next((place for kind, place in found.items() if kind == "coast"), next(iter(found.values()), None))
    chip = next((c for c in images if shown and (c.image, c.band) == (shown.image, shown.band)), images[0])
    return {
        "Crops at equal bytes": _crops(images, found, points),
        "Latent channels": _latents(points, chip),
        "Attention": _attention(points, chip),
    }


def _crops(images: list[chips.Chip], places: Mapping[str, sites.Place], points: Mapping[str, crops.Operating]) -> str:
    if not places:
        return "<p>No test image is large enough for a crop without a gap.</p>"
    body = (
        f"<p>Each family at its measured cell and step nearest to {crops.TARGET_BPP:g} bits per pixel, and a peer "
        "with as many bytes as the best of them; the rate is that of the whole band. Places are chosen by statistics "
        "of the originals alone. Error maps: blue is too dark, red too bright, end colours at "
        f"±{ERROR_LIMIT_DB:g} dB. Featureless noise is lost speckle; what can be recognised is lost content.</p>"
    )
    palette = pictures.diverging()
    for kind, entries in crops.crops(images, places, points).items():
        place, original = places[kind], entries[0].db
        low, high = (float(v) for v in np.percentile(original[np.isfinite(original)], [1, 99]))
        top, bottom = "", _figure("", "Errors of the pictures above, restored minus original.")
        for entry in entries:
            grey = pictures.png(pictures.indexed(entry.db, low, high), pictures.grey())
            top += _figure(_image(grey, entry.label, original.shape), _caption(entry))
            if entry is not entries[0]:
                error = pictures.indexed(entry.db - original, -ERROR_LIMIT_DB, ERROR_LIMIT_DB)
                source = pictures.png(error, palette)
                bottom += _figure(_image(source, f"error of {entry.label}", original.shape), "")
        where = f"{place.image} {place.band}, rows {place.top}–{place.top + sites.SIDE}, columns "
        where += f"{place.left}–{place.left + sites.SIDE}"
        heading = f'{html.escape(kind.capitalize())} <small class="soft">{html.escape(where)}</small>'
        body += f'<h3>{heading}</h3><div class="crops" style="--n: {len(entries)}">{top}{bottom}</div>'
    return body


def _caption(entry: crops.Restored) -> str:
    if math.isnan(entry.bits_per_pixel):
        return "Original"
    return f"{html.escape(entry.label)}<br>{entry.bits_per_pixel:.3f} bpp · {entry.psnr:.2f} dB here"


def _figure(content: str, caption: str) -> str:
    text = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{content}{text}</figure>"


def _image(source: str, label: str, shape: tuple[int, ...]) -> str:
    size = f'width="{shape[1]}" height="{shape[0]}"'
    return f'<div class="frame"><img src="{source}" {size} alt="{html.escape(label)}"></div>'


def _latents(points: Mapping[str, crops.Operating], chip: chips.Chip) -> str:
    body = (
        f"<p>Each channel of the latent of {html.escape(chip.name)}, scaled from its 2nd to its 98th percentile, by "
        "falling deviation, row by row. The deviation is in quantisation steps: a channel well below one step "
        'carries almost no bits.</p><div class="sheets">'
    )
    for point in points.values():
        values, deviation = inside.latent(point.cell, chip)
        order = np.argsort(-deviation)
        sheet = inside.mosaic(values[order], columns=min(4, len(order)))
        png = pictures.png(pictures.indexed(sheet, 0.0, 1.0), pictures.grey())
        numbers = ", ".join(numerals.significant(value, 2) for value in deviation[order])
        caption = f"{html.escape(point.cell.name)}; deviations {numbers} steps."
        body += _figure(_image(png, f"latent channels of {point.cell.name}", sheet.shape), caption)
    return body + "</div>"


def _attention(points: Mapping[str, crops.Operating], chip: chips.Chip) -> str:
    body = ""
    for point in points.values():
        found = inside.attention(point.cell, chip)
        if not found:
            continue
        height, width = (min(256, side) for side in chip.db.shape)
        window = chip.db[:height, :width]
        low, high = (float(v) for v in np.percentile(window[np.isfinite(window)], [1, 99]))
        grey = pictures.png(pictures.indexed(window, low, high), pictures.grey())
        sheets = _figure(_image(grey, "what the model saw", window.shape), "What the model saw.")
        for block in found:
            sheets += _weights(block)
        body += f'<h3>{html.escape(point.cell.name)}</h3><div class="sheets">{sheets}</div>'
    if not body:
        return "<p>No finished cell has attention blocks.</p>"
    return (
        f"<p>Weights of every attention block for the top left of {html.escape(chip.name)}. A map is scaled from its "
        "least to its greatest weight, which the caption names: where they are close, the block hardly chooses.</p>"
        + body
    )


def _weights(block: inside.Attention) -> str:
    """Show a map over positions as a picture, a vector over channels as a strip of greys."""
    low, high = float(block.weights.min()), float(block.weights.max())
    shown = block.weights if block.weights.ndim == 2 else np.repeat(block.weights[None], 4, axis=0)
    png = pictures.png(pictures.indexed(shown, low, max(high, low + 1e-6)), pictures.grey())
    what = "positions" if block.kind == "positions" else f"{block.weights.size} channels, left to right"
    caption = f"{html.escape(block.place)}: {what}; weights {low:.3f} (black) to {high:.3f} (white)."
    return _figure(_image(png, f"attention of {block.place}", shown.shape), caption)
