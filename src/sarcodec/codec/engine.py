"""What the codec asks of an engine: the protocol, and the values that pass between them.

An *engine* is a model ready to code with. Of a group of bands, a step and an effort it makes a :class:`TileCoder`,
which turns windows of dB into bytes and back. A tile's bytes decode to a *latent* (C, h, w) of its own; windows of
latents, which may span tiles, become pixels. Bands come in groups, which an engine codes together; today each is a
group of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.container import header

FloatArray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
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


class TileCoder(Protocol):
    """Codes the tiles of a group of bands, and decodes them; every sequence has an item for each band of the group.

    Attributes
    ----------
    networked : bool
        Whether windows go through a network, which takes all threads itself.
    stride, channels : int
        Pixels of what it restores per latent position along an axis, and values at each.
    """

    networked: bool
    stride: int
    channels: int

    def fill(self, db: Sequence[FloatArray], valid: Sequence[Mask]) -> list[FloatArray]:
        """Return windows in dB with their invalid pixels, whatever they hold, made cheap to code."""
        ...

    def outside(self, db: Sequence[FloatArray]) -> list[int]:
        """Count pixels that the engine clips."""
        ...

    def encode(self, db: Sequence[FloatArray], core: Core, valid: Sequence[Mask]) -> list[Encoded]:
        """Encode the ``core`` of filled windows (h, w) in dB, of which the ``valid`` pixels count."""
        ...

    def decode(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray]:
        """Decode a tile's latents (C, h, w) of ``size`` (h, w); FormatError when they are damaged.

        Of a group its first bands may be had alone: there are as many latents as ``data``.
        """
        ...

    def restore(self, latents: Sequence[FloatArray], part: Core) -> list[FloatArray]:
        """Turn windows of latents (C, h, w) into dB (h·stride, w·stride), and return a part of these pixels."""
        ...


@runtime_checkable
class HeadCoder(TileCoder, Protocol):
    """Decodes tiles from the heads of their bytes, too."""

    def head(self, size: tuple[int, int]) -> int:
        """Return how many bytes of a tile of ``size`` (h, w) most likely suffice."""
        ...

    def decode_heads(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray] | None:
        """Do as :meth:`decode` does with the first bytes of each; None where they do not suffice."""
        ...


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
    steps : collection of int
        Steps it codes with, from fine to coarse; a range where size and error change steadily along it.
    default_step : int
        The one that is taken where none is asked for.
    max_error_db : float or None
        What the error of every pixel is kept within, where it is.
    speckle_step : int or None
        Step from which on so much speckle is lost that a file should record it, so that it can be rendered; None of
        an engine whose files hold no such record.
    holds_products : bool
        Whether its files may hold the other files of a product.
    reduces : int
        Its coders restore images at 1/2 to 1/2^reduces of the resolution from the symbols of low frequencies; 0 where
        they know but the full one.
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
    steps: Collection[int]
    default_step: int
    max_error_db: float | None
    speckle_step: int | None
    holds_products: bool
    reduces: int

    def check_step(self, step: int) -> None:
        """Raise InputError for a step that is none of :attr:`steps`, with what to do."""
        ...

    def band(self, info: BandInfo) -> header.Band:
        """Return what the file must know of a band."""
        ...

    def at(
        self, bands: Sequence[header.Band], step: int, effort: int = 1, reduce: int = 0, power: bool = False
    ) -> TileCoder:
        """Return what codes tiles of a group of bands; ``effort`` as in :class:`codec.encoding.Options`.

        With ``reduce``, up to :attr:`reduces`, it decodes alone, at 1/2^reduce of the resolution: means of dB, or
        with ``power`` of power.
        """
        ...


MOST_DB = 4096.0
"""What is further from a band's offset is clipped, by engines that take one away; no radar sees such."""


def outside(db: FloatArray, offset: np.float32) -> int:
    """Count the pixels that are further than :data:`MOST_DB` from an offset."""
    if not db.size or (db.min() >= offset - MOST_DB and db.max() <= offset + MOST_DB):
        return 0
    return int(np.count_nonzero(np.abs(db - offset) > MOST_DB))


def groups(count: int) -> tuple[tuple[int, ...], ...]:
    """Return which bands (0-based) of ``count`` are coded together: each by itself."""
    return tuple((band,) for band in range(count))


def cut(latent: FloatArray, core: Core, stride: int) -> FloatArray:
    """Cut the latent positions of a core out of those of its window; positions are the last two axes."""
    part: FloatArray = latent[(..., *positions(core, stride))]
    return part


def positions(core: Core, stride: int) -> Core:
    """Return the latent positions of a core of pixels."""
    rows, columns = (slice(part.start // stride, -(-part.stop // stride)) for part in core)
    return rows, columns
