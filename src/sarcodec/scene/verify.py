"""What a ``.sarc`` file promises, proved before its original is deleted.

Checksums and the digest of the header; on demand every symbol decoded; and beside the source itself: the same valid
pixels, grid, dtype and tags, the guaranteed error on every pixel, or what the error is, and a product's other files
byte for byte.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec
from sarcodec.container import archive, product
from sarcodec.container import header as container_header
from sarcodec.files import remote
from sarcodec.raster import info as raster_info
from sarcodec.raster import safe
from sarcodec.raster import source as raster_source
from sarcodec.scene import model_store, source

TOLERANCE_DB = 1e-4
"""What rounding may add to a guaranteed error."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, whether it holds, and what was seen."""

    name: str
    holds: bool
    said: str


@dataclass(frozen=True)
class Verdict:
    """What was found of one file."""

    path: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether everything that was looked at holds."""
        return all(check.holds for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        checks = {check.name: {"holds": check.holds, "said": check.said} for check in self.checks}
        return {"file": self.path, "holds": self.holds, "checks": checks}


def verify(
    path: remote.Source,
    *,
    decode: bool = False,
    against: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    advance: codec.Advance | None = None,
) -> Verdict:
    """Check a ``.sarc`` file.

    Parameters
    ----------
    path : path, URL or binary file
        The file; see :func:`sarcodec.open`.
    decode : bool
        Whether to decode every symbol; always done beside a source.
    against : path, optional
        What the file was made from: a raster, a product, or another ``.sarc`` file of a shipped model.
    model : path or str, optional
        Needed only for a file of a model that is not shipped.
    advance : callable, optional
        Is told of the pixels of every strip that is decoded.

    Returns
    -------
    Verdict
        Damage is a check that does not hold, not an error.

    Raises
    ------
    InputError, FormatError
        When ``against`` cannot be opened or is an image of another size.
    RemoteError
        When a remote file cannot be fetched, which tells nothing of what is in it.
    """
    place = remote.located(path)
    checks: list[Check] = []
    try:
        with archive.Reader(place) as reader:
            checks.append(Check("header", True, "header and list of entries are as written"))
            count = reader.check_entries()
            checks.append(Check("checksums", True, f"checksums of {count} entries"))
            if against is not None:
                with open_original(against, reader.header) as original:
                    _check_size(reader, original)
                    checks += _beside(reader, original, model, advance)
            elif decode:
                checks.append(_decoded(reader, model, advance))
    except _Damaged as found:
        checks.append(found.check)
    except (errors.FormatError, errors.ModelMissing) as problem:
        checks.append(Check("file", False, " ".join(str(problem).split())))
    return Verdict(remote.shown(place), tuple(checks))


class _Damaged(Exception):
    """A file that cannot be decoded, while its source is read beside it."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.said)
        self.check = check


@contextmanager
def open_original(against: str | os.PathLike[str], header: container_header.Header) -> Iterator[raster_source.Raster]:
    """Open the source of a file as it was compressed: one polarisation of a product, an undeclared nodata value."""
    info = raster_info.RasterInfo.from_dict(header.raster)
    one = (info.polarisation(0) or None) if info.count == 1 and safe.is_product(against) else None
    with source.open(against, one) as original:
        if info.nodata is None or original.info.nodata is not None:
            yield original
            return
    with source.open(against, one, nodata=info.nodata) as original:
        yield original


def _check_size(reader: archive.Reader, original: raster_source.Raster) -> None:
    shape = original.info.count, original.info.height, original.info.width
    if shape != reader.header.shape:
        raise errors.InputError(
            f"against: {original.name} has bands, rows and columns {shape}, {reader.name} {reader.header.shape}; "
            "pass the source of the file"
        )


def _strips(
    reader: archive.Reader, model: str | os.PathLike[str] | None, advance: codec.Advance | None
) -> Iterator[tuple[int, int, np.ndarray[Any, Any]]]:
    """Decode all bands; yields band, first row and pixels. What is damaged is one kind of error."""
    try:
        coder = model_store.codec_for(reader, model)
        for band in range(reader.header.shape[0]):
            for top, pixels in coder.restore_rows(reader, band):
                yield band, top, pixels
                if advance:
                    advance(pixels.size)
    except (errors.FormatError, errors.ModelMissing) as problem:
        raise _Damaged(Check("decoding", False, " ".join(str(problem).split()))) from problem


def _decoded(reader: archive.Reader, model: str | os.PathLike[str] | None, advance: codec.Advance | None) -> Check:
    pixels = sum(strip.size for _, _, strip in _strips(reader, model, advance))
    return Check("decoding", True, f"{reader.header.shape[0]} bands of {pixels:,} pixels in all decoded")


def _beside(
    reader: archive.Reader,
    original: raster_source.Raster,
    model: str | os.PathLike[str] | None,
    advance: codec.Advance | None,
) -> Iterator[Check]:
    """Decode a file beside its source and compare them."""
    yield _description(reader.header, original.info)
    header = reader.header
    quantity = radiometry.Quantity.parse(header.quantity)
    nodata = raster_info.RasterInfo.from_dict(header.raster).working_nodata
    differing, valid_pixels, squares, worst, total = 0, 0, 0.0, 0.0, 0
    for band, top, pixels in _strips(reader, model, advance):
        window = tiling.Window(top, top + len(pixels), 0, pixels.shape[1])
        known = original.read(band, window)
        before, after = (radiometry.classify(values, quantity, nodata) == 0 for values in (known, pixels))
        differing += int(np.count_nonzero(before != after))
        both = before & after
        error = radiometry.to_db(pixels[both], quantity).astype(np.float64) - radiometry.to_db(known[both], quantity)
        squares += float(np.sum(error**2))
        worst = max(worst, float(np.abs(error).max(initial=0.0)))
        valid_pixels, total = valid_pixels + error.size, total + pixels.size
    yield Check("decoding", True, f"{header.shape[0]} bands of {total:,} pixels in all decoded")
    said = "valid pixels are those of the source"
    yield Check("mask", not differing, f"{differing:,} pixels differ in validity" if differing else said)
    rmse = math.sqrt(squares / valid_pixels) if valid_pixels else 0.0
    seen = f"error {rmse:.3f} dB, largest {worst:.3f} dB"
    bound = header.promised_error_db
    kept = bound is None or worst <= bound + TOLERANCE_DB
    yield Check("error", kept, seen if bound is None else f"{seen}, {bound:g} dB guaranteed")
    if original.product is not None:
        yield _files(reader, original)


def _description(header: container_header.Header, info: raster_info.RasterInfo) -> Check:
    """Compare what describes the rasters besides their pixels, as JSON has it."""
    theirs, ours = (json.loads(json.dumps(dict(record))) for record in (info.to_dict(), header.raster))
    unlike = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    said = (
        f"differs from the source in {', '.join(unlike)}" if unlike else "size, dtype, nodata, grid, names and tags"
    )
    return Check("description", not unlike, said)


def _files(reader: archive.Reader, original: raster_source.Raster) -> Check:
    """Compare the other files of a product byte for byte."""
    kept = dict(reader.product_files())
    unlike = []
    for path, data in original.files():
        size = kept.pop(path, None)
        if size is None or reader.read(product.entry_name(path), product.MAX_FILE_BYTES) != data:
            unlike.append(path)
    unlike += list(kept)
    said = f"{len(unlike)} files of the product differ, {unlike[0]} is one" if unlike else "files of the product"
    return Check("files", not unlike, said)
