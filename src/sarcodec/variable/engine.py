"""The variable-rate autoencoder as an engine of the codec: one model for all rates, on the scale of quality."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.codec import engine
from sarcodec.container import header
from sarcodec.entropy import scale
from sarcodec.restoring import network
from sarcodec.runtime import threads
from sarcodec.variable import linear
from sarcodec.variable import model as variable_model
from sarcodec.variable.linear import BLOCK

FloatArray = npt.NDArray[np.float32]

FILLED = 64
"""Side in pixels of the blocks whose mean fills what is invalid of them."""


class VariableEngine:
    """The autoencoder of overlapping linear transform, trellis, learned entropy coding and restoring network.

    Parameters
    ----------
    model : VariableModel
        All that is trained of it.
    device, precision : str
        Of the restoring network: see :func:`sarcodec.restoring.network.start`.
    restores : bool
        Whether to run the network at all: without it images come sooner, and a little less like the original.
    """

    version, architecture = 2, "variable"
    stride = BLOCK
    reach = linear.REACH * BLOCK
    ramp, whole = 0, False
    steps: Collection[int] = scale.STEPS
    default_step = scale.DEFAULT_STEP
    max_error_db: float | None = None
    speckle_step: int | None = scale.SPECKLE_STEP
    holds_products = True
    reduces = 0

    def __init__(
        self, model: variable_model.VariableModel, device: str = "cpu", precision: str = "auto", restores: bool = True
    ) -> None:
        self.model, self.identity = model, model.identity
        self.channels = model.transform.count
        self.margin = self.reach + -(-model.restorer.config.reach // BLOCK) * BLOCK
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
    ) -> VariableTileCoder:
        """Return what codes tiles of a group of bands, at the full resolution."""
        offsets = tuple(np.float32(band.offset_db) for band in bands)
        return VariableTileCoder(self.model, self.network, offsets, step, effort)


class VariableTileCoder:
    """Codes and decodes tiles: see :class:`sarcodec.codec.engine.TileCoder`; bands one by one."""

    stride, networked = BLOCK, False

    def __init__(
        self,
        model: variable_model.VariableModel,
        restore: network.Restore | None,
        offsets: tuple[np.float32, ...],
        step: int,
        effort: int,
    ) -> None:
        self.model, self.network, self.offsets = model, restore, offsets
        self.step, self.effort = step, effort
        self.channels = model.transform.count

    def fill(self, db: Sequence[FloatArray], valid: Sequence[npt.NDArray[np.bool_]]) -> list[FloatArray]:
        """Give invalid pixels the mean of their block, so that tiles which overlap agree on them."""
        return [_filled(*one) for one in zip(db, valid, self.offsets, strict=True)]

    def outside(self, db: Sequence[FloatArray]) -> list[int]:
        """Count pixels that are clipped at :data:`engine.MOST_DB`."""
        return [engine.outside(image, offset) for image, offset in zip(db, self.offsets, strict=True)]

    def encode(
        self, db: Sequence[FloatArray], core: engine.Core, valid: Sequence[engine.Mask]
    ) -> list[engine.Encoded]:
        """Encode the core of windows, each by itself, whichever pixels count."""
        return [self._encode(image, offset, core) for image, offset in zip(db, self.offsets, strict=True)]

    def _encode(self, db: FloatArray, offset: np.float32, core: engine.Core) -> engine.Encoded:
        coder, weight = self.model.coder, self.model.rate_weight
        centred = linear.continued(np.clip(db - offset, -engine.MOST_DB, engine.MOST_DB))
        latents = self.model.transform.analyse(centred)
        inner = np.ascontiguousarray(engine.cut(latents, core, BLOCK))
        symbols = coder.quantise(inner, self.step, weight, passes=1)
        for _ in range(self.effort - 1):
            decoded = self._with(latents, core, coder.multiples(symbols, self.step))
            wanted = engine.cut(decoded + self._lacking(centred, decoded), core, BLOCK)
            symbols = coder.quantise(wanted, self.step, weight, passes=1, known=symbols)
        choice = coder.choose(symbols, self.step)

        def preview() -> FloatArray:
            decoded = self._with(latents, core, coder.multiples(symbols, self.step, choice))
            return self._restore(decoded, offset, core)

        return engine.Encoded(coder.encode(symbols, self.step, choice), preview)

    def _with(self, latents: FloatArray, core: engine.Core, multiples: FloatArray) -> FloatArray:
        """Return a window's latents with those that are decoded from symbols at its core."""
        found = latents.copy()
        engine.cut(found, core, BLOCK)[...] = multiples * np.float32(scale.step_db(self.step))
        return found

    def _lacking(self, centred: FloatArray, latents: FloatArray) -> FloatArray:
        """Return the latents of what an image has and the one restored from other latents has not.

        Symbols are searched for by their distance from the latents, as if the decoder were linear and its basis
        orthonormal. Where they are moved by what was lacking, the search goes by the decoder's own error near the
        symbols known so far.
        """
        restored = self._restore(latents, np.float32(0), (slice(0, centred.shape[0]), slice(0, centred.shape[1])))
        return self.model.transform.correlate(centred - restored)

    def decode(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray]:
        """Decode a tile's latents in dB, (n, h, w)."""
        return [self._decode(part, size) for part in data]

    def _decode(self, data: bytes, size: tuple[int, int]) -> FloatArray:
        _, latents = self.model.coder.decode(data, size, self.step)
        latents *= np.float32(scale.step_db(self.step))
        return latents

    def restore(self, latents: Sequence[FloatArray], part: engine.Core) -> list[FloatArray]:
        """Turn latents into dB."""
        return [self._restore(latent, offset, part) for latent, offset in zip(latents, self.offsets, strict=False)]

    def _restore(self, latent: FloatArray, offset: np.float32, part: engine.Core) -> FloatArray:
        centred = self.model.transform.synthesise(latent)
        reach, step_db = self.model.restorer.config.reach, scale.step_db(self.step)
        return network.restored_part(self.network, reach, centred, step_db, part) + offset


def _filled(image: FloatArray, valid: engine.Mask, offset: np.float32) -> FloatArray:
    if valid.all():
        return image
    means = radiometry.block_means(image - offset, valid, FILLED) + offset
    return np.where(valid, image, means).astype(np.float32)
