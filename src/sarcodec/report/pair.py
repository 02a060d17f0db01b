"""What is compared: one band of two rasters, pixel by pixel in dB."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sarcodec import baselines, errors, tiling
from sarcodec.container import header as container_header
from sarcodec.metrics import summary
from sarcodec.raster import info as raster_info
from sarcodec.raster import source

FloatArray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class AtEqualBytes:
    """The same band by a peer with as many bytes: name, rate, (h, w) in dB with NaN where invalid, and figures."""

    name: str
    bits_per_pixel: float
    restored: FloatArray
    figures: summary.Metrics


@dataclass(frozen=True, eq=False)
class Pair:
    """One band of both images, or windows of it.

    Parameters
    ----------
    number : int
        Band number, from 1.
    original, restored : ndarray of float32
        (h, w) in dB, NaN where the original is invalid.
    valid : ndarray of bool
        (h, w), of the original.
    window : Window
        Where in the image the pixels lie; of windows set side by side, the image.
    record : Band
        What the ``.sarc`` header says of the band.
    clips : bool
        Whether the model clips to the bounds of the record.
    peer : AtEqualBytes, optional
        What a peer makes of the band.
    """

    number: int
    original: FloatArray
    restored: FloatArray
    valid: Mask
    window: tiling.Window
    record: container_header.Band
    clips: bool = True
    peer: AtEqualBytes | None = None


def with_peer(found: Pair, peer: str, bits_per_pixel: float) -> Pair:
    """Set a peer beside a pair that has a valid pixel, at a rate.

    Raises InputError for a peer that is not known or cannot get so small, MissingExtra for one not installed.
    """
    if peer not in baselines.PEERS:
        raise errors.InputError(f"peer: got {peer!r}; pass one of {', '.join(baselines.PEERS)}")
    if not found.valid.any():
        return found
    budget = int(bits_per_pixel * found.valid.size / 8)
    restored, used = baselines.restore(baselines.PEERS[peer], found.original, found.valid, budget)
    image = np.where(found.valid, restored, np.nan).astype(np.float32)
    figures = summary.evaluate(found.original, image, found.valid)
    theirs = AtEqualBytes(baselines.PEERS[peer].name, 8 * used / found.valid.size, image, figures)
    return replace(found, peer=theirs)


def check_match(header: container_header.Header, raster: source.Raster) -> None:
    """Raise InputError when a raster has not the bands and size of the compressed file."""
    shape = (raster.info.count, raster.info.height, raster.info.width)
    if shape != header.shape:
        raise errors.InputError(
            f"{raster.name}: has bands, rows and columns {shape}, the compressed file {header.shape}; "
            "pass the files of one image"
        )


def band_names(info: raster_info.RasterInfo) -> list[str]:
    """Name every band by its description, else its polarisation or number; no name comes twice."""
    named = [*info.descriptions, *[None] * info.count][: info.count]
    names = [name or info.polarisation(band) or f"Band {band + 1}" for band, name in enumerate(named)]
    return [f"{n} (band {i + 1})" if names.count(n) > 1 else n for i, n in enumerate(names)]
