"""What the codec asks of an engine: the protocol, and the values that pass between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.container import header

FloatArray = npt.NDArray[np.float32]
Core = tuple[slice, slice]


@dataclass(frozen=True)
class BandInfo:
    """What an engine may ask about a band; ``sample`` reads a thinned copy of its pixels."""

    sample: Callable[[], npt.NDArray[Any]]
    quantity: radiometry.Quantity
    polarisation: str
    nodata: float | None

    def median_db(self) -> float:
        """Median of the sample's valid pixels in dB; 0 without one."""
        pixels = self.sample()
        valid = radiometry.classify(pixels, self.quantity, self.nodata) == radiometry.Fill.VALID
        return float(np.median(radiometry.to_db(pixels[valid], self.quantity))) if valid.any() else 0.0


@dataclass(frozen=True, eq=False)
class Encoded:
    """A tile's bytes, and how to see its pixels (h, w) in dB as they will be decoded."""

    data: bytes
    preview: Callable[[], FloatArray]


class Engine(Protocol):
    """How the codec codes tiles.

    Attributes
    ----------
    version : int
        Least version of the file format that says all there is to say.
    identity, architecture : str
        Of the model, for the header.
    stride, channels : int
        Pixels per latent position along an axis, and values at each.
    margin : int
        Pixels of context that a window needs on every side, a multiple of the stride.
    reach : int
        Pixels beyond a tile that its latent is needed to restore; at most the margin.
    ramp : int
        Half width in pixels of the cosine ramp between decoded windows; 0 where they meet exactly.
    workers : int
        Tiles to code at once: 1 where a single one keeps all threads busy.
    whole : bool
        Whether a part of a tile is to be had only by decoding its whole window; else the part with its margin gives
        the same pixels.
    """

    version: int
    identity: str
    architecture: str
    stride: int
    channels: int
    margin: int
    reach: int
    ramp: int
    workers: int
    whole: bool

    def check_step(self, step: int) -> None:
        """Raise InputError for a step that the engine cannot code with."""
        ...

    def band(self, info: BandInfo) -> header.Band:
        """Return what the file must know of a band."""
        ...

    def outside(self, db: FloatArray, band: header.Band) -> int:
        """Count pixels that the engine clips."""
        ...

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: header.Band) -> FloatArray:
        """Return a window in dB with its invalid pixels, whatever they hold, made cheap to code."""
        ...

    def encode(self, db: FloatArray, core: Core, band: header.Band, step: int, effort: int = 1) -> Encoded:
        """Encode the ``core`` of a window (h, w) in dB without invalid pixels; ``effort`` as in ``codec.Options``."""
        ...

    def loses_speckle(self, step: int) -> bool:
        """Tell whether so much of the speckle is lost that a file should say how much, so that it can be rendered."""
        ...

    def has_network(self, step: int) -> bool:
        """Tell whether windows go through a network, which takes all threads itself."""
        ...

    def decode_tile(self, data: bytes, size: tuple[int, int], step: int) -> FloatArray:
        """Decode a tile's latent (C, h, w) of ``size`` (h, w); FormatError when it is damaged."""
        ...

    def decode_window(self, latent: FloatArray, band: header.Band, step: int) -> FloatArray:
        """Turn a latent (C, h, w) into dB (h·stride, w·stride)."""
        ...


def cut(latent: FloatArray, core: Core, stride: int) -> FloatArray:
    """Cut the latent positions of a core out of those of its window; positions are the last two axes."""
    rows, columns = (slice(part.start // stride, -(-part.stop // stride)) for part in core)
    part: FloatArray = latent[..., rows, columns]
    return part


def fill_invalid(db: FloatArray, valid: npt.NDArray[np.bool_]) -> FloatArray:
    """Give invalid pixels the mean of the valid ones of the window: cheap to code, thrown away after decoding."""
    if valid.all():
        return db
    return np.where(valid, db, np.float32(db[valid].mean() if valid.any() else 0.0)).astype(np.float32)
