"""Images at a lower resolution, from the low frequencies at the head of every tile's stream.

The lowest frequencies alone make a small image, low-passed sharply. Users expect the mean of the pixels that a pixel
covers, as multilooking makes it, in which some of what is above that band folds back. So an image is made at a finer
resolution, of all frequencies up to the diagonal that the coarse one needs anyway, and averaged from there.

Mean power lies above the power of the mean of decibels by what fluctuates within a pixel. What of that is in the
finer image is averaged as power. What is above it is not decoded: its variance v, in dB², is foretold from the
highest octave of diagonals that is, by the spectrum that training images have. What a block has there more or less
than training fades above it, for structure does and speckle is much the same everywhere; and what the quantiser takes
away is left out. Fluctuations that are normal in dB add v·ln(10)/20 dB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sarcodec.codec import boxes, engine
from sarcodec.entropy import scale
from sarcodec.lapped import model as lapped_model
from sarcodec.lapped import transform
from sarcodec.speckle import render

LEAST_SIDE = 16
"""Frequencies along an axis that mean power is made of at least: there speckle begins to outweigh structure."""

DEAD_ZONE = 1.7
"""Steps below which the quantiser zeroes a coefficient, in units of its mean magnitude: found on decoded images."""

FADING = 0.5
"""A ratio to training in the highest octave, around the diagonal f, counts at g to the power of (f/g)^FADING."""

MARGIN = 32
"""Deviations in training are taken to be so many times larger when the length of the head of a stream is foretold."""

RECORD = 512
"""Bytes that a tile may have before its symbols: the record of lost speckle."""

MOST_DB = 10.0
"""More is not foretold: such a block is not of speckle, and what is known of it says little."""

FloatArray = npt.NDArray[np.float32]


class LowerTileCoder:
    """Decodes tiles at 1/2^reduce of the resolution: see :class:`sarcodec.codec.engine.TileCoder`; it cannot encode.

    Parameters
    ----------
    model : LappedModel
        Whose coefficients they are.
    offsets : tuple of float32
        dB that were taken away, of every band.
    step : int
        Step index.
    reduce : int
        1 to 6.
    power : bool
        Whether a pixel is the mean power of those that it covers, as far as that is known, or the mean of their dB.
    """

    networked = False

    def __init__(
        self, model: lapped_model.LappedModel, offsets: tuple[np.float32, ...], step: int, reduce: int, power: bool
    ) -> None:
        self.model, self.offsets, self.step, self.power = model, offsets, step, power
        self.stride = transform.BLOCK >> reduce
        self.side = max(2 * self.stride, LEAST_SIDE if power else 2)
        self.channels = self.side**2 + power

    def fill(self, db: Sequence[FloatArray], valid: Sequence[engine.Mask]) -> list[FloatArray]:
        """Return the windows as they are: none are encoded."""
        return list(db)

    def outside(self, db: Sequence[FloatArray]) -> list[int]:
        """Nothing is clipped."""
        return [0] * len(db)

    def encode(
        self, db: Sequence[FloatArray], core: engine.Core, valid: Sequence[engine.Mask]
    ) -> list[engine.Encoded]:
        """Raise NotImplementedError: files hold the full resolution."""
        raise NotImplementedError("tiles are encoded at the full resolution")

    def decode(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray]:
        """Decode the coefficients of a tile's lowest frequencies in dB, and what power lies above them: (C, h, w)."""
        return [self._decode(part, size) for part in data]

    def head(self, size: tuple[int, int]) -> int:
        """Return how many bytes of a tile of ``size`` (h, w) most likely suffice."""
        spread = self.model.coder.network.spread_db
        lowest = np.indices(spread.shape).sum(axis=0) < self.side - 1
        bits = float(np.log2(1 + MARGIN * spread[lowest] / scale.step_db(self.step)).sum())
        return math.ceil(size[0] * size[1] * bits / 8) + RECORD

    def decode_heads(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray] | None:
        """Do as :meth:`decode` with the first bytes of each tile; None where they do not suffice."""
        found = [self.model.coder.decode_head(part, size, self.step, self.side - 1) for part in data]
        return [self._latent(one[1], size) for one in found if one] if all(found) else None

    def _decode(self, data: bytes, size: tuple[int, int]) -> FloatArray:
        return self._latent(self.model.coder.decode(data, size, self.step, self.side - 1)[1], size)

    def _latent(self, multiples: FloatArray, size: tuple[int, int]) -> FloatArray:
        low = np.zeros((self.side, self.side, *size), np.float32)
        low[:-1, :-1] = multiples * np.float32(scale.step_db(self.step))
        latent = low.reshape(-1, *size)
        if self.power:
            above = power_above(low, self.model.coder.network.spread_db, scale.step_db(self.step))
            latent = np.concatenate([latent, above[None]])
        return latent

    def restore(self, latents: Sequence[FloatArray], part: engine.Core) -> list[FloatArray]:
        """Turn coefficients into dB."""
        return [self._restore(latent, offset)[part] for latent, offset in zip(latents, self.offsets, strict=False)]

    def _restore(self, latent: FloatArray, offset: np.float32) -> FloatArray:
        blocks = latent[: self.side**2].reshape(self.side, self.side, *latent.shape[-2:])
        fine, factor = transform.synthesise(blocks), self.side // self.stride
        if not self.power:
            return boxes.means(fine, factor) + offset
        db = boxes.means_of_power(fine, factor)
        above = render.interpolated(latent[-1], self.stride, [np.arange(side) for side in db.shape])
        return np.asarray(db + above + offset, np.float32)


def power_above(low: FloatArray, spread_db: FloatArray, step_db: float) -> FloatArray:
    """Foretell by how many dB mean power lies above that of an image without the frequencies that are not decoded.

    Parameters
    ----------
    low : ndarray of float32
        (side, side, h, w) in dB: coefficients of the lowest side − 1 diagonals of a tile, others 0.
    spread_db : ndarray of float32
        (BLOCK, BLOCK): standard deviation in dB that every coefficient has in training.
    step_db : float
        Quantisation step.

    Returns
    -------
    ndarray of float32
        (h, w), of every block.
    """
    end = len(low) - 1
    diagonal, spread = np.indices(spread_db.shape).sum(axis=0), np.square(spread_db)

    inside = (diagonal >= end // 2) & (diagonal < end)
    found = np.square(low[inside[: len(low), : len(low)]]).sum(axis=0, dtype=np.float64)
    ratio = np.maximum(found / spread[inside].sum(), 1e-9)
    above = np.arange(end, 2 * transform.BLOCK - 1)
    count = np.bincount(diagonal.ravel())[end:]
    mean = np.bincount(diagonal.ravel(), spread.ravel())[end:] / count
    faded = (0.75 * end / above) ** FADING
    variance = mean[:, None, None] * ratio ** faded[:, None, None]
    dead = DEAD_ZONE * step_db / np.sqrt(variance)
    kept = np.exp(-dead) * (1 + dead + dead**2 / 2)  # of the energy of a Laplacian, that beyond its dead zone
    total = np.tensordot(count, variance * kept, 1) / transform.BLOCK**2
    return np.asarray(np.minimum(total * np.log(10) / 20, MOST_DB), np.float32)
