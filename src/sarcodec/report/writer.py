"""Writing a report: open both images, go over every band once, put the page together."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from sarcodec import errors
from sarcodec.codec import codec
from sarcodec.container import archive
from sarcodec.files import atomic
from sarcodec.metrics import summary
from sarcodec.pages import charts
from sarcodec.report import likeness, page, pair, section, sums, survey, tilebytes
from sarcodec.scene import model_store, output, verify


class Measured(dict[str, summary.Metrics]):
    """The figures of every band by its name, and :attr:`warnings`: lines on what makes them doubtful."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []


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
) -> Measured:
    """Compare a compressed image with its original and write the comparison as one HTML file.

    Images may be of any size: both are read by windows, and of the compressed file a row of at most 8192 columns is
    decoded at a time. Of images with more than 2048 rows or columns, figures that need whole images are taken from
    nine windows spread evenly (three where one side is short); the page says so, and which share of the pixels it is.

    Parameters
    ----------
    original : path
        The raster that was compressed, or the Sentinel-1 product: a SAFE folder or its zip file. Or the ``.sarc``
        file of a shipped model that was coded again.
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
    Measured
        A dict of the figures of every band by its name; its ``warnings`` are lines that the page has on top, of an
        original that is evidently not the image that was compressed, or lies on another grid.

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
        reader = stack.enter_context(archive.Reader(compressed))
        before = stack.enter_context(verify.open_original(original, reader.header))
        after = None if restored is None else stack.enter_context(verify.open_original(restored, reader.header))
        pair.check_match(reader.header, before)
        if after is None:
            pieces = functools.partial(sums.decoded_pieces, model_store.codec_for(reader, model), reader)
        else:
            pair.check_match(reader.header, after)
            pieces = functools.partial(sums.pieces_of, after)
        rendered = after is not None and output.SPECKLE_TAG in after.info.tags
        measured, sections, doubts = Measured(), [], {}
        for band, name in enumerate(pair.band_names(before.info)):
            strips = sums.read(before, pieces(band), reader.header, band, advance)
            measured[name], text, alike = _band(name, band, strips, reader, peer)
            doubts[name] = likeness.doubt(alike, reader.header, errors=not rendered)
            sections.append(text)
        names = Path(original).name, Path(compressed).name
        measured.warnings += likeness.warnings(names, doubts, likeness.other_grid(reader.header, before.info))
        if rendered:
            measured.warnings.append("restored: its speckle is rendered; figures are of that, not of what was coded")
        bits = tilebytes.bits_per_pixel(compressed, reader.header)
        temporary.write_text(
            page.page(names[0], reader, measured, sections, bits, measured.warnings), encoding="utf-8"
        )
    return measured


def _band(
    name: str, band: int, strips: Iterable[sums.Strip], reader: archive.Reader, peer: str | None
) -> tuple[summary.Metrics, str, likeness.Likeness]:
    """Return the figures of a band (0-based), its section and moments; what was kept of its pixels is dropped."""
    count, height, width = reader.header.shape
    overview_side, side = section.sides((height, width), count)
    found = survey.Survey.take((height, width), reader.header.tile, strips, overview_side)
    mosaic = found.samples.mosaic(band + 1, reader.header)
    core = found.samples.core(mosaic)
    if peer is not None:
        core = pair.with_peer(core, peer, 8 * reader.sizes()["total"] / (count * height * width))
    measured = found.figures(mosaic)
    return measured, section.section(name, found, mosaic, core, measured, side), found.likeness
