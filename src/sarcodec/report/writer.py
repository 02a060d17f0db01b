"""Writing a report: open both images, go over every band once, put the page together."""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np

from sarcodec import atomic, codec, container, errors, io, metrics, safe, scene
from sarcodec.report import charts, page, pair, section, sums, survey, tilebytes


def write_report(
    original: str | os.PathLike[str],
    compressed: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    restored: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    peer: str | None = None,
    overwrite: bool = False,
    advance: codec.Advance | None = None,
) -> dict[str, metrics.Metrics]:
    """Compare a compressed image with its original and write the comparison as one HTML file.

    Images may be of any size: both are read strip by strip, and of the compressed file a row of tiles is decoded at a
    time. Figures that need whole images are, of images with more than 2048 rows or columns, taken from nine windows
    spread evenly (three where only one side is longer); the page says so, and which share of the pixels it is.

    Parameters
    ----------
    original : path
        The raster that was compressed, or the Sentinel-1 product: a SAFE folder or its zip file.
    compressed : path
        Its ``.sarc`` file.
    target : path
        The HTML file to write; appears whole or not at all. It needs no other file and no network.
    restored : path, optional
        The raster or product restored from ``compressed``, where there is one already; else it is decoded.
    model : path or str, optional
        Needed only for a file made by a model that is not shipped.
    peer : str, optional
        Name of a peer of :data:`sarcodec.baselines.PEERS` to set beside it at equal bytes; needs the extra ``bench``.
    overwrite : bool
        Whether an existing ``target`` may be replaced.
    advance : callable, optional
        Called with the number of pixels of every strip once it is compared.

    Returns
    -------
    dict of str to Metrics
        The figures of every band by its name.

    Raises
    ------
    MissingExtra
        When matplotlib is not installed.
    InputError, FormatError, ModelMissing, OutputError
        For images that do not belong together, damaged files, an unknown model, or a target that cannot be written.
    """
    charts.require_matplotlib()
    for source in (original, compressed, restored):
        if source is not None and Path(source).resolve() == Path(target).resolve():
            raise errors.InputError(f"target: {target} is one of the files to compare; pass another name")
    with atomic.output(target, overwrite=overwrite) as temporary, ExitStack() as stack:
        reader = stack.enter_context(container.Reader(compressed))
        before = stack.enter_context(_open(original, reader.header))
        after = None if restored is None else stack.enter_context(_open(restored, reader.header))
        pair.check_match(reader.header, before)
        if after is None:
            rows = functools.partial(sums.decoded_rows, scene.codec_for(reader, model), reader)
        else:
            pair.check_match(reader.header, after)
            rows = functools.partial(sums.rows_of, after)
        count, height, width = reader.header.shape
        overview_side, side = section.sides((height, width), count)
        bpp = 8 * reader.sizes()["total"] / np.prod(reader.header.shape)
        measured, sections = {}, []
        for band, name in enumerate(pair.band_names(before.info)):
            strips = sums.read(before, rows(band), reader.header, band, advance)
            found = survey.Survey.take((height, width), reader.header.tile, strips, overview_side)
            mosaic = found.samples.mosaic(band + 1, reader.header)
            core = found.samples.core(mosaic)
            if peer is not None:
                core = pair.with_peer(core, peer, bpp)
            measured[name] = found.figures(mosaic)
            sections.append(section.section(name, found, mosaic, core, measured[name], side))
        bits = tilebytes.bits_per_pixel(compressed, reader.header)
        text = page.page(Path(original).name, reader, found.samples, measured, sections, bits)
        temporary.write_text(text, encoding="utf-8")
    return measured


def _open(place: str | os.PathLike[str], header: container.Header) -> AbstractContextManager[pair.Raster]:
    """Open a raster, or of a product the polarisation that the file holds if it is one."""
    if not safe.is_product(place):
        return io.open_raster(place)
    polarisation = io.RasterInfo.from_dict(header.raster).polarisation(0) if header.shape[0] == 1 else None
    return safe.open_product(place, polarisation or None)
