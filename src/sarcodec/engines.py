"""What turns a tile of dB into bytes and back: three engines behind one protocol.

* :class:`AutoencoderEngine`: a convolutional autoencoder at one of its calibrated step multipliers.
* :class:`LappedEngine`: the variable-rate codec of lapped transform, trellis quantisation, learned entropy coding and
  a restoring network. The default.
* :class:`BoundedEngine`: no model; every pixel within a stated error.

A tile's bytes decode to a *latent* (C, h, w) of its own; windows of latents, which may span tiles, become pixels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sarcodec import (
    checkpoint,
    container,
    contexts,
    errors,
    lapped,
    lapped_model,
    normalization,
    radiometry,
    residual,
)
from sarcodec.inference import Transform, open_device, uses_bfloat16

FloatArray = npt.NDArray[np.float32]
Core = tuple[slice, slice]

MAX_STEP = 256 * 13
"""Largest step index of the lapped codec: 128 dB."""

MOST_DB = 4096.0
"""The lapped codec clips what is further from a band's offset; no radar sees such."""

TOLERANCE_DB = 1e-4
SPECKLE_STEP_DB = 3.4
"""Quality 40; from there on the ENL ratio is above some 1.35."""


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

    def band(self, info: BandInfo) -> container.Band:
        """Return what the file must know of a band."""
        ...

    def outside(self, db: FloatArray, band: container.Band) -> int:
        """Count pixels that the engine clips."""
        ...

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: container.Band) -> FloatArray:
        """Return a window in dB with its invalid pixels, whatever they hold, made cheap to code."""
        ...

    def encode(self, db: FloatArray, core: Core, band: container.Band, step: int, effort: int = 1) -> Encoded:
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

    def decode_window(self, latent: FloatArray, band: container.Band, step: int) -> FloatArray:
        """Turn a latent (C, h, w) into dB (h·stride, w·stride)."""
        ...


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

    def band(self, info: BandInfo) -> container.Band:
        """Return the model's bounds for a band."""
        bounds = self.model.normalizer.select_for(info.sample, info.quantity, info.polarisation, info.nodata)
        return container.Band(bounds.vmin, bounds.vmax)

    def outside(self, db: FloatArray, band: container.Band) -> int:
        """Count pixels outside the bounds."""
        return int(np.count_nonzero((db < band.vmin) | (db > band.vmax)))

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: container.Band) -> FloatArray:
        """Give invalid pixels the mean of the window."""
        del band
        return fill_invalid(db, valid)

    def encode(self, db: FloatArray, core: Core, band: container.Band, step: int, effort: int = 1) -> Encoded:
        """Encode the core of a window: see :class:`Engine`."""
        del effort
        latent = self.transform.encode(normalization.Bounds(band.vmin, band.vmax).apply(db))
        symbols = self.coder.quantise(cut(latent, core, self.stride), step)

        def preview() -> FloatArray:
            seen = latent.copy()
            cut(seen, core, self.stride)[...] = self.coder.dequantise(symbols, step)
            return self.decode_window(seen, band, step)[core]

        return Encoded(self.coder.encode(symbols, step), preview)

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

    def decode_window(self, latent: FloatArray, band: container.Band, step: int) -> FloatArray:
        """Turn a latent into dB."""
        del step
        return normalization.Bounds(band.vmin, band.vmax).invert(self.transform.decode(latent))


class LappedEngine:
    """The variable-rate codec; ``step`` is an index of :func:`contexts.step_db`, 1 to :data:`MAX_STEP`."""

    version, architecture = 2, "lapped"
    stride, channels = lapped.BLOCK, lapped.BLOCK**2
    margin, reach, ramp, whole = lapped.BLOCK, lapped.REACH, 0, False

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

    def band(self, info: BandInfo) -> container.Band:
        """Return the median that is taken away before coding."""
        offset = round(info.median_db(), 2)
        return container.Band.offset(offset)

    def outside(self, db: FloatArray, band: container.Band) -> int:
        """Count pixels that are out of this world."""
        if not db.size or (db.min() >= band.vmin - MOST_DB and db.max() <= band.vmin + MOST_DB):
            return 0
        return int(np.count_nonzero(np.abs(db - np.float32(band.vmin)) > MOST_DB))

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: container.Band) -> FloatArray:
        """Give invalid pixels the mean of their block, so that tiles which overlap agree on them."""
        offset = np.float32(band.vmin)
        return db if valid.all() else lapped.fill(db - offset, valid) + offset

    def encode(self, db: FloatArray, core: Core, band: container.Band, step: int, effort: int = 1) -> Encoded:
        """Encode the core of a window: see :class:`Engine`."""
        centred = db - np.float32(band.vmin)
        np.clip(centred, -MOST_DB, MOST_DB, out=centred)
        coefficients = lapped.analyse(lapped.extend(centred))
        inner = np.ascontiguousarray(cut(coefficients, core, lapped.BLOCK))
        symbols = self.coder.quantise(inner, step, self.model.rate_weight, effort)
        choice = self.coder.choose(symbols, step)

        def preview() -> FloatArray:
            multiples = self.coder.multiples(symbols, step, choice)
            cut(coefficients, core, lapped.BLOCK)[...] = multiples * np.float32(contexts.step_db(step))
            latent = coefficients.reshape(self.channels, *coefficients.shape[2:])
            return self.decode_window(latent, band, step)[core]

        return Encoded(self.coder.encode(symbols, step, choice), preview)

    def loses_speckle(self, step: int) -> bool:
        """Yes from :data:`SPECKLE_STEP_DB`, an error of some 1.2 dB."""
        return contexts.step_db(step) >= SPECKLE_STEP_DB

    def has_network(self, step: int) -> bool:
        """Yes where the restorer is used."""
        return step < self.model.restored_below

    def decode_tile(self, data: bytes, size: tuple[int, int], step: int) -> FloatArray:
        """Decode a tile's coefficients in dB, (BLOCK², h, w)."""
        _, multiples = self.coder.decode(data, size, step)
        multiples *= np.float32(contexts.step_db(step))
        return multiples.reshape(self.channels, *size)

    def decode_window(self, latent: FloatArray, band: container.Band, step: int) -> FloatArray:
        """Turn coefficients into dB."""
        shape = lapped.BLOCK, lapped.BLOCK, *latent.shape[1:]
        centred = lapped.synthesise(latent.reshape(shape))
        if not self.has_network(step):
            return centred + np.float32(band.vmin)
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)
        with self._one_at_a_time, torch.inference_mode(), autocast:
            batch = torch.from_numpy(centred)[None, None].to(self._device)
            restored = self._restorer(batch, torch.tensor([contexts.step_db(step)], device=self._device))
            db: FloatArray = restored[0, 0].float().cpu().numpy()
        return db + np.float32(band.vmin)


class BoundedEngine:
    """Every pixel within ``max_error_db`` of what it was; needs no model."""

    version, architecture, identity = 2, "bounded", "0" * 16
    stride, channels, margin, reach, ramp, whole = 1, 1, 0, 0, 0, False

    def __init__(self, max_error_db: float) -> None:
        if not 0.001 <= max_error_db <= 100:
            raise errors.InputError(f"max_error: got {max_error_db} dB; pass 0.001 to 100 dB")
        self.max_error_db = max_error_db
        self.workers = torch.get_num_threads()

    def check_step(self, step: int) -> None:
        """Raise InputError for any step but 1."""
        if step != 1:
            raise errors.InputError(f"step: got {step}; a guaranteed error has none, leave it at 1")

    def band(self, info: BandInfo) -> container.Band:
        """Return nothing of use: values are coded as they are."""
        del info
        return container.Band.offset(0.0)

    def outside(self, db: FloatArray, band: container.Band) -> int:
        """Nothing is clipped."""
        del db, band
        return 0

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: container.Band) -> FloatArray:
        """Give invalid pixels the mean of the window."""
        del band
        return fill_invalid(db, valid)

    def encode(self, db: FloatArray, core: Core, band: container.Band, step: int, effort: int = 1) -> Encoded:
        """Encode the core of a window: see :class:`Engine`."""
        del band, effort
        inner = db[core]
        everywhere = np.ones(inner.shape, bool)
        units = residual.quantise(inner, 0.0, everywhere, self.max_error_db, TOLERANCE_DB, residual.FINE)
        data = residual.encode(units, everywhere, residual.FINE)
        return Encoded(data, lambda: self.decode_tile(data, inner.shape, step)[0])

    def loses_speckle(self, step: int) -> bool:
        """No."""
        del step
        return False

    def has_network(self, step: int) -> bool:
        """No."""
        del step
        return False

    def decode_tile(self, data: bytes, size: tuple[int, int], step: int) -> FloatArray:
        """Decode a tile in dB, (1, h, w)."""
        del step
        units = residual.decode(data, np.ones(size, bool))
        return residual.apply(0.0, units, self.max_error_db, TOLERANCE_DB, residual.FINE)[None]

    def decode_window(self, latent: FloatArray, band: container.Band, step: int) -> FloatArray:
        """Return the pixels."""
        del band, step
        db: FloatArray = latent[0]
        return db


def open_engine(
    model: checkpoint.Checkpoint | lapped_model.LappedModel, *, device: str = "cpu", precision: str = "auto"
) -> AutoencoderEngine | LappedEngine:
    """Return the engine of a model."""
    if isinstance(model, lapped_model.LappedModel):
        return LappedEngine(model, device, precision)
    return AutoencoderEngine(model, device, precision)


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
