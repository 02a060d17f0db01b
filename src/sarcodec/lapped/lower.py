"""Images at a lower resolution, from the low frequencies at the head of every tile's stream.

The lowest frequencies alone make a small image, low-passed sharply. Users expect the mean of the pixels that a pixel
covers, as multilooking makes it, in which some of what is above that band folds back. So an image is made at a finer
resolution, of all frequencies up to the diagonal that the coarse one needs anyway, and averaged from there.

Mean power lies above the power of the mean of decibels by what fluctuates within a pixel. What of that is in the
finer image is averaged as power. What is above it is not decoded: its variance v, in dB², is foretold from the
highest octave of diagonals that is, by the spectrum that training images have, tilted half as far as the tile's own
two highest octaves are, less what the quantiser takes away. Fluctuations normal in dB add v·ln(10)/20 dB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sarcodec.codec import engine
from sarcodec.lapped import model as lapped_model
from sarcodec.lapped import scale, transform
from sarcodec.speckle import render

LEAST_SIDE = 16
"""Frequencies along an axis that mean power is made of at least: there speckle begins to outweigh structure."""

DEAD_ZONE = 1.7
"""Steps below which the quantiser zeroes a coefficient, in units of its mean magnitude: found on decoded images."""

TILT = 0.5
"""Part of a tile's own slope by which the spectrum of training is tilted; slopes are at most of an octave each way."""

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

    def _decode(self, data: bytes, size: tuple[int, int]) -> FloatArray:
        _, multiples = self.model.coder.decode(data, size, self.step, self.side - 1)
        low = np.zeros((self.side, self.side, *size), np.float32)
        low[:-1, :-1] = multiples * np.float32(scale.step_db(self.step))
        latent = low.reshape(-1, *size)
        if self.power:
            above = power_above(low, self.model.coder.network.spread_db, scale.step_db(self.step))
            latent = np.concatenate([latent, above[None]])
        return latent

    def restore(self, latents: Sequence[FloatArray]) -> list[FloatArray]:
        """Turn coefficients into dB."""
        return [self._restore(latent, offset) for latent, offset in zip(latents, self.offsets, strict=False)]

    def _restore(self, latent: FloatArray, offset: np.float32) -> FloatArray:
        blocks = latent[: self.side**2].reshape(self.side, self.side, *latent.shape[-2:])
        fine, factor = transform.synthesise(blocks), self.side // self.stride
        if not self.power:
            return _means(fine, factor) + offset
        power = _means(np.power(np.float32(10), fine / 10), factor)
        db = 10 * np.log10(power) + offset
        return db + render.interpolated(latent[-1], self.stride, [np.arange(side) for side in db.shape])


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
    rows, columns = np.indices(spread_db.shape)
    diagonal, spread = rows + columns, np.square(spread_db)

    def octave(first: int, last: int) -> npt.NDArray[np.float64]:
        """Return for every block the energy of diagonals over what training has there."""
        inside = (diagonal >= first) & (diagonal < last)
        found = np.square(low[inside[: len(low), : len(low)]]).sum(axis=0, dtype=np.float64)
        return np.asarray(found / spread[inside].sum())

    highest, before = octave(end // 2, end), octave(end // 4, end // 2)
    slope = 0.0
    if highest.any() and before.any():
        slope = float(np.clip(np.log2(highest.mean() / before.mean()), -1, 1))
    above = np.minimum(np.arange(end, 2 * transform.BLOCK - 1) / (0.75 * end), 4) ** (TILT * slope)
    energy = np.bincount(diagonal.ravel(), spread.ravel())[end:]
    count = np.bincount(diagonal.ravel())[end:]
    variance = (above * energy / count)[:, None, None] * highest
    dead = DEAD_ZONE * step_db / np.sqrt(np.maximum(variance, 1e-9))
    kept = np.exp(-dead) * (1 + dead + dead**2 / 2)  # of the energy of a Laplacian, that beyond its dead zone
    total = np.tensordot(count, variance * kept, 1) / transform.BLOCK**2
    return np.asarray(total * np.log(10) / 20, np.float32)


def _means(image: FloatArray, factor: int) -> FloatArray:
    """Return the means of an image (H, W) over squares of factor × factor pixels."""
    rows, columns = (side // factor for side in image.shape)
    means: FloatArray = image.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype=np.float32)
    return means
