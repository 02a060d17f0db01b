"""The lapped transform as an engine of the codec, the default one: one model for all rates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from sarcodec.codec import engine
from sarcodec.container import header
from sarcodec.entropy import scale
from sarcodec.lapped import islands, lower, transform
from sarcodec.lapped import model as lapped_model
from sarcodec.restoring import network
from sarcodec.runtime import threads

FloatArray = npt.NDArray[np.float32]


class LappedEngine:
    """The variable-rate codec of lapped transform, trellis, learned entropy coding and restoring network.

    Parameters
    ----------
    model : LappedModel
        All that is trained of it.
    device, precision : str
        Of the restoring network: see :func:`sarcodec.restoring.network.start`.
    restores : bool
        Whether to run the network at all: without it images come sooner, and a little less like the original.
    """

    version, architecture = 2, "lapped"
    stride, channels = transform.BLOCK, transform.BLOCK**2
    margin, reach, ramp, whole = transform.BLOCK, transform.REACH, 0, False
    steps: Collection[int] = scale.STEPS
    default_step = scale.DEFAULT_STEP
    max_error_db: float | None = None
    speckle_step: int | None = scale.SPECKLE_STEP
    holds_products = True
    reduces = 6

    def __init__(
        self, model: lapped_model.LappedModel, device: str = "cpu", precision: str = "auto", restores: bool = True
    ) -> None:
        self.model, self.identity = model, model.identity
        self.workers = threads.count()
        started = network.start(model.restorer, device, precision)
        self.network = started if restores else None

    def check_step(self, step: int) -> None:
        """Raise InputError for a step index out of range."""
        scale.check(step)

    def band(self, info: engine.BandInfo) -> header.Band:
        """Return the median that is taken away before coding."""
        return header.Band.of_offset(round(info.median_db(), 2))

    def at(
        self, bands: Sequence[header.Band], step: int, effort: int = 1, reduce: int = 0, power: bool = False
    ) -> LappedTileCoder | lower.LowerTileCoder:
        """Return what codes tiles of a group of bands; reduced images are restored without the network."""
        offsets = tuple(np.float32(band.offset_db) for band in bands)
        if reduce:
            return lower.LowerTileCoder(self.model, offsets, step, reduce, power)
        return LappedTileCoder(self.model, self.network, offsets, (step, effort))


class LappedTileCoder:
    """Codes and decodes tiles: see :class:`sarcodec.codec.engine.TileCoder`; bands one by one."""

    stride, channels, networked = LappedEngine.stride, LappedEngine.channels, False

    def __init__(
        self,
        model: lapped_model.LappedModel,
        restore: network.Restore | None,
        offsets: tuple[np.float32, ...],
        step_and_effort: tuple[int, int],
    ) -> None:
        self.model, self.offsets = model, offsets
        self.step, self.effort = step_and_effort
        self.network = restore if self.step < model.restored_below else None

    def fill(self, db: Sequence[FloatArray], valid: Sequence[npt.NDArray[np.bool_]]) -> list[FloatArray]:
        """Give invalid pixels the mean of their block, so that tiles which overlap agree on them."""
        return [
            image if known.all() else transform.fill(image - offset, known) + offset
            for image, known, offset in zip(db, valid, self.offsets, strict=True)
        ]

    def outside(self, db: Sequence[FloatArray]) -> list[int]:
        """Count pixels that are clipped at :data:`engine.MOST_DB`."""
        return [engine.outside(image, offset) for image, offset in zip(db, self.offsets, strict=True)]

    def encode(
        self, db: Sequence[FloatArray], core: engine.Core, valid: Sequence[engine.Mask]
    ) -> list[engine.Encoded]:
        """Encode the core of windows, each by itself."""
        return [self._encode(*one, core) for one in zip(db, valid, self.offsets, strict=True)]

    def _encode(self, db: FloatArray, valid: engine.Mask, offset: np.float32, core: engine.Core) -> engine.Encoded:
        coder, block = self.model.coder, transform.BLOCK
        centred = transform.extend(np.clip(db - offset, -engine.MOST_DB, engine.MOST_DB))
        coefficients = transform.analyse(centred)
        inner = np.ascontiguousarray(engine.cut(coefficients, core, block))
        symbols = coder.quantise(inner, self.step, self.model.rate_weight, self.effort)
        if not valid.all():
            window = islands.Window(centred, valid, coefficients, engine.positions(core, block))
            symbols = islands.refine(coder, window, symbols, self.step, self.model.rate_weight)
        choice = coder.choose(symbols, self.step)

        def preview() -> FloatArray:
            multiples = coder.multiples(symbols, self.step, choice)
            engine.cut(coefficients, core, block)[...] = multiples * np.float32(scale.step_db(self.step))
            return self._restore(coefficients, offset, core)

        return engine.Encoded(coder.encode(symbols, self.step, choice), preview)

    def decode(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray]:
        """Decode a tile's coefficients in dB, (stride², h, w)."""
        return [self._decode(part, size) for part in data]

    def _decode(self, data: bytes, size: tuple[int, int]) -> FloatArray:
        _, multiples = self.model.coder.decode(data, size, self.step)
        multiples *= np.float32(scale.step_db(self.step))
        return multiples.reshape(-1, *size)

    def restore(self, latents: Sequence[FloatArray], part: engine.Core) -> list[FloatArray]:
        """Turn coefficients into dB."""
        return [self._restore(latent, offset, part) for latent, offset in zip(latents, self.offsets, strict=False)]

    def _restore(self, latent: FloatArray, offset: np.float32, part: engine.Core) -> FloatArray:
        blocks = latent.reshape(self.stride, self.stride, *latent.shape[-2:])
        centred = transform.synthesise(blocks)
        reach, step_db = self.model.restorer.config.reach, scale.step_db(self.step)
        return network.restored_part(self.network, reach, centred, step_db, part) + offset
