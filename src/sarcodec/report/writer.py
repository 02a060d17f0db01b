"""Writing a report: open both rasters, compare band after band, put the page together."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from sarcodec import atomic, container, errors, io, metrics, scene
from sarcodec.report import charts, page, pair


def write_report(
    original: str | os.PathLike[str],
    compressed: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    restored: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    peer: str | None = None,
    overwrite: bool = False,
    max_side: int = 2048,
) -> dict[str, metrics.Metrics]:
    """Compare a compressed image with its original and write the comparison as one HTML file.

    Parameters
    ----------
    original : path
        The raster that was compressed.
    compressed : path
        Its ``.sarc`` file.
    target : path
        The HTML file to write; appears whole or not at all. It needs no other file and no network.
    restored : path, optional
        The raster restored from ``compressed``, where there is one already; else it is decoded to a temporary file.
    model : path or str, optional
        Needed only for a file made by a model that is not shipped.
    peer : str, optional
        Name of a peer of :data:`sarcodec.baselines.PEERS` to set beside it at equal bytes; needs the extra ``bench``.
    overwrite : bool
        Whether an existing ``target`` may be replaced.
    max_side : int
        Rows and columns to compare at most, at least 1. Of a larger image a central window is compared, which
        bounds memory; the page says so.

    Returns
    -------
    dict of str to Metrics
        The figures of every band by its name, over the valid pixels of the compared window.

    Raises
    ------
    MissingExtra
        When matplotlib is not installed.
    InputError, FormatError, ModelMissing, OutputError
        For rasters that do not belong together, damaged files, an unknown model, or a target that cannot be
        written.
    """
    charts.require_matplotlib()
    if max_side < 1:
        raise errors.InputError(f"max_side: got {max_side}; pass at least 1")
    for source in (original, compressed, restored):
        if source is not None and Path(source).resolve() == Path(target).resolve():
            raise errors.InputError(f"target: {target} is one of the files to compare; pass another name")
    with atomic.output(target, overwrite=overwrite) as temporary, tempfile.TemporaryDirectory() as folder:
        if restored is None:
            restored = Path(folder) / "restored.tif"
            scene.decompress_file(compressed, restored, model=model)
        with container.Reader(compressed) as reader, io.open_raster(original) as before:
            names = pair.band_names(before.info)
            window = pair.central(before.info, max_side)
            figures, sections = {}, []
            bpp = 8 * reader.sizes()["total"] / np.prod(reader.header.shape)
            with io.open_raster(restored) as after:
                pair.check_match(reader.header, before, after)
                for band, name in enumerate(names):
                    found = pair.read(before, after, reader.header, band, window)
                    if peer is not None:
                        found = pair.with_peer(found, peer, bpp)
                    figures[name] = metrics.evaluate(found.original, found.restored, found.valid)
                    sections.append(page.section(name, found, figures[name], page.view_side(len(names))))
            text = page.page(Path(original).name, reader, window, figures, sections)
        temporary.write_text(text, encoding="utf-8")
    return figures
