"""Autoencoders as an engine of the codec."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sarcodec.autoencoder import checkpoint, normalization
from sarcodec.autoencoder.inference import Transform
from sarcodec.codec import engine
from sarcodec.container import header

FloatArray = npt.NDArray[np.float32]
Core = tuple[slice, slice]


class AutoencoderEngine:
    """An autoencoder with its calibrated entropy tables.

    Its windows are decoded whole: some of these models pool over them, and the convolutions of all round otherwise in
    a window of another size.
    """

    version, reach, whole = 1, 0, True

    def __init__(self, model: checkpoint.Checkpoint, device: str, precision: str) -> None:
        self.model = model
        self.coder = model.coder()
        self.transform = Transform(model.build(), device=device, precision=precision)
        self.identity, self.architecture = model.identity, model.config.arch
        self.stride, self.channels = self.transform.stride, self.coder.steps.size
        self.margin = self.transform.margin
        self.ramp, self.workers = self.stride, 1

    def check_step(self, step: int) -> None:
        """Raise InputError when the model is not calibrated for a step multiplier."""
        self.coder.check(step)

    def band(self, info: engine.BandInfo) -> header.Band:
        """Return the model's bounds for a band."""
        bounds = self.model.normalizer.select_for(info.sample, info.quantity, info.polarisation, info.nodata)
        return header.Band(bounds.vmin, bounds.vmax)

    def outside(self, db: FloatArray, band: header.Band) -> int:
        """Count pixels outside the bounds."""
        return int(np.count_nonzero((db < band.vmin) | (db > band.vmax)))

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: header.Band) -> FloatArray:
        """Give invalid pixels the mean of the window."""
        del band
        return engine.fill_invalid(db, valid)

    def encode(self, db: FloatArray, core: Core, band: header.Band, step: int, effort: int = 1) -> engine.Encoded:
        """Encode the core of a window: see :class:`Engine`."""
        del effort
        latent = self.transform.encode(normalization.Bounds(band.vmin, band.vmax).apply(db))
        symbols = self.coder.quantise(engine.cut(latent, core, self.stride), step)

        def preview() -> FloatArray:
            seen = latent.copy()
            engine.cut(seen, core, self.stride)[...] = self.coder.dequantise(symbols, step)
            return self.decode_window(seen, band, step)[core]

        return engine.Encoded(self.coder.encode(symbols, step), preview)

    def loses_speckle(self, step: int) -> bool:
        """No: what these models make up in its place is theirs."""
        del step
        return False

    def has_network(self, step: int) -> bool:
        """Yes."""
        del step
        return True

    def decode_tile(self, data: bytes, size: tuple[int, int], step: int) -> FloatArray:
        """Decode a tile's latent."""
        return self.coder.dequantise(self.coder.decode(data, size, step), step)

    def decode_window(self, latent: FloatArray, band: header.Band, step: int) -> FloatArray:
        """Turn a latent into dB."""
        del step
        return normalization.Bounds(band.vmin, band.vmax).invert(self.transform.decode(latent))
