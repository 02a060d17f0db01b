"""Autoencoders as an engine of the codec: each at one of the step multipliers that it is calibrated for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.autoencoder import checkpoint, inference, latents, normalization
from sarcodec.codec import engine
from sarcodec.container import header

FloatArray = npt.NDArray[np.float32]


class AutoencoderEngine:
    """An autoencoder with its calibrated entropy tables.

    Its windows are decoded whole: some of these models pool over them, and the convolutions of all round otherwise in
    a window of another size.

    Parameters
    ----------
    model : Checkpoint
        Calibrated.
    device, precision : str
        Of its networks: see :mod:`sarcodec.runtime.devices`.
    """

    version, reach, whole = 1, 0, True
    default_step = 1
    max_error_db: float | None = None
    speckle_step: int | None = None  # what these models make up in its place is theirs
    holds_products = False
    reduces = 0

    def __init__(self, model: checkpoint.Checkpoint, device: str = "cpu", precision: str = "auto") -> None:
        self.model = model
        self.coder = model.coder()
        self.transform = inference.Transform(model.build(), device=device, precision=precision)
        self.identity, self.architecture = model.identity, model.config.arch
        self.stride, self.channels = self.transform.stride, self.coder.steps.size
        self.margin = self.transform.margin
        self.ramp, self.workers = self.stride, 1
        self.steps: Collection[int] = tuple(sorted(self.coder.tables))

    def check_step(self, step: int) -> None:
        """Raise InputError when the model is not calibrated for a step multiplier."""
        self.coder.check(step)

    def band(self, info: engine.BandInfo) -> header.Band:
        """Return the model's bounds for a band."""
        bounds = self.model.normalizer.select_for(info.sample, info.quantity, info.polarisation, info.nodata)
        return header.Band(bounds.vmin, bounds.vmax)

    def at(
        self, bands: Sequence[header.Band], step: int, effort: int = 1, reduce: int = 0, power: bool = False
    ) -> AutoencoderTileCoder:
        """Return what codes tiles of a group of bands; there is but one effort, and the full resolution."""
        bounds = tuple(normalization.Bounds(band.vmin, band.vmax) for band in bands)
        return AutoencoderTileCoder(self.transform, self.coder, bounds, step)


class AutoencoderTileCoder:
    """Codes and decodes tiles: see :class:`sarcodec.codec.engine.TileCoder`; bands one by one."""

    networked = True

    def __init__(
        self,
        transform: inference.Transform,
        coder: latents.LatentCoder,
        bounds: tuple[normalization.Bounds, ...],
        step: int,
    ) -> None:
        self.transform, self.coder, self.bounds, self.step = transform, coder, bounds, step
        self.stride, self.channels = transform.stride, coder.steps.size

    def fill(self, db: Sequence[FloatArray], valid: Sequence[npt.NDArray[np.bool_]]) -> list[FloatArray]:
        """Give invalid pixels the mean of the window."""
        return [radiometry.fill_with_mean(image, known) for image, known in zip(db, valid, strict=True)]

    def outside(self, db: Sequence[FloatArray]) -> list[int]:
        """Count pixels outside the bounds."""
        pairs = zip(db, self.bounds, strict=True)
        return [int(np.count_nonzero((image < bounds.vmin) | (image > bounds.vmax))) for image, bounds in pairs]

    def encode(
        self, db: Sequence[FloatArray], core: engine.Core, valid: Sequence[engine.Mask]
    ) -> list[engine.Encoded]:
        """Encode the core of windows, each by itself, whichever pixels count."""
        return [self._encode(image, bounds, core) for image, bounds in zip(db, self.bounds, strict=True)]

    def _encode(self, db: FloatArray, bounds: normalization.Bounds, core: engine.Core) -> engine.Encoded:
        latent = self.transform.encode(bounds.apply(db))
        symbols = self.coder.quantise(engine.cut(latent, core, self.transform.stride), self.step)

        def preview() -> FloatArray:
            seen = latent.copy()
            engine.cut(seen, core, self.transform.stride)[...] = self.coder.dequantise(symbols, self.step)
            return self._restore(seen, bounds)[core]

        return engine.Encoded(self.coder.encode(symbols, self.step), preview)

    def decode(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray]:
        """Decode a tile's latents."""
        return [self.coder.dequantise(self.coder.decode(part, size, self.step), self.step) for part in data]

    def restore(self, latents: Sequence[FloatArray], part: engine.Core) -> list[FloatArray]:
        """Turn latents into dB."""
        return [self._restore(latent, bounds)[part] for latent, bounds in zip(latents, self.bounds, strict=False)]

    def _restore(self, latent: FloatArray, bounds: normalization.Bounds) -> FloatArray:
        return bounds.invert(self.transform.decode(latent))
