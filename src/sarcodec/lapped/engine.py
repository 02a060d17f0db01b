"""The lapped transform as an engine of the codec, the default one."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import torch

from sarcodec import errors
from sarcodec.codec import engine
from sarcodec.container import header
from sarcodec.lapped import model as lapped_model
from sarcodec.lapped import scale, transform
from sarcodec.runtime.devices import open_device, uses_bfloat16

FloatArray = npt.NDArray[np.float32]
Core = tuple[slice, slice]
MAX_STEP = 256 * 13
"""Largest step index of the lapped codec: 128 dB."""
MOST_DB = 4096.0
"""The lapped codec clips what is further from a band's offset; no radar sees such."""
SPECKLE_STEP_DB = 3.4
"""Quality 40; from there on the ENL ratio is above some 1.35."""


class LappedEngine:
    """The variable-rate codec; ``step`` is an index of :func:`scale.step_db`, 1 to :data:`MAX_STEP`."""

    version, architecture = 2, "lapped"
    stride, channels = transform.BLOCK, transform.BLOCK**2
    margin, reach, ramp, whole = transform.BLOCK, transform.REACH, 0, False

    def __init__(self, model: lapped_model.LappedModel, device: str, precision: str) -> None:
        self.model, self.coder, self.identity = model, model.coder, model.identity
        self._device = open_device(device)
        self._bfloat16 = uses_bfloat16(precision, self._device)
        self.workers = torch.get_num_threads()
        self._one_at_a_time = threading.Lock()  # for the network takes all threads
        self._restorer = model.restorer.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def check_step(self, step: int) -> None:
        """Raise InputError for a step index out of range."""
        if not 1 <= step <= MAX_STEP:
            raise errors.InputError(f"step: got index {step}; pass 1 to {MAX_STEP}, or a quality of 1 to 100")

    def band(self, info: engine.BandInfo) -> header.Band:
        """Return the median that is taken away before coding."""
        offset = round(info.median_db(), 2)
        return header.Band.offset(offset)

    def outside(self, db: FloatArray, band: header.Band) -> int:
        """Count pixels that are out of this world."""
        if not db.size or (db.min() >= band.vmin - MOST_DB and db.max() <= band.vmin + MOST_DB):
            return 0
        return int(np.count_nonzero(np.abs(db - np.float32(band.vmin)) > MOST_DB))

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: header.Band) -> FloatArray:
        """Give invalid pixels the mean of their block, so that tiles which overlap agree on them."""
        offset = np.float32(band.vmin)
        return db if valid.all() else transform.fill(db - offset, valid) + offset

    def encode(self, db: FloatArray, core: Core, band: header.Band, step: int, effort: int = 1) -> engine.Encoded:
        """Encode the core of a window: see :class:`Engine`."""
        centred = db - np.float32(band.vmin)
        np.clip(centred, -MOST_DB, MOST_DB, out=centred)
        coefficients = transform.analyse(transform.extend(centred))
        inner = np.ascontiguousarray(engine.cut(coefficients, core, transform.BLOCK))
        symbols = self.coder.quantise(inner, step, self.model.rate_weight, effort)
        choice = self.coder.choose(symbols, step)

        def preview() -> FloatArray:
            multiples = self.coder.multiples(symbols, step, choice)
            engine.cut(coefficients, core, transform.BLOCK)[...] = multiples * np.float32(scale.step_db(step))
            latent = coefficients.reshape(self.channels, *coefficients.shape[2:])
            return self.decode_window(latent, band, step)[core]

        return engine.Encoded(self.coder.encode(symbols, step, choice), preview)

    def loses_speckle(self, step: int) -> bool:
        """Yes from :data:`SPECKLE_STEP_DB`, an error of some 1.2 dB."""
        return scale.step_db(step) >= SPECKLE_STEP_DB

    def has_network(self, step: int) -> bool:
        """Yes where the restorer is used."""
        return step < self.model.restored_below

    def decode_tile(self, data: bytes, size: tuple[int, int], step: int) -> FloatArray:
        """Decode a tile's coefficients in dB, (BLOCK², h, w)."""
        _, multiples = self.coder.decode(data, size, step)
        multiples *= np.float32(scale.step_db(step))
        return multiples.reshape(self.channels, *size)

    def decode_window(self, latent: FloatArray, band: header.Band, step: int) -> FloatArray:
        """Turn coefficients into dB."""
        shape = transform.BLOCK, transform.BLOCK, *latent.shape[1:]
        centred = transform.synthesise(latent.reshape(shape))
        if not self.has_network(step):
            return centred + np.float32(band.vmin)
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)
        with self._one_at_a_time, torch.inference_mode(), autocast:
            batch = torch.from_numpy(centred)[None, None].to(self._device)
            restored = self._restorer(batch, torch.tensor([scale.step_db(step)], device=self._device))
            db: FloatArray = restored[0, 0].float().cpu().numpy()
        return db + np.float32(band.vmin)
