"""A guaranteed error as an engine of the codec: every pixel within so many dB of what it was; it needs no model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry
from sarcodec.codec import engine
from sarcodec.container import header
from sarcodec.nearlossless import residual
from sarcodec.runtime import threads

FloatArray = npt.NDArray[np.float32]

TOLERANCE_DB = 1e-4
"""What the bound of coding is drawn in by: room for the rounding of float32."""


class BoundedEngine:
    """Every pixel within ``max_error_db`` (0.001 to 100 dB) of what it was."""

    version, architecture, identity = 2, "bounded", "0" * 16
    stride, channels, margin, reach, ramp, whole = 1, 1, 0, 0, 0, False
    steps: Collection[int] = (1,)
    default_step = 1
    speckle_step: int | None = None
    holds_products = True
    reduces = 0

    def __init__(self, max_error_db: float) -> None:
        if not 0.001 <= max_error_db <= 100:
            raise errors.InputError(f"max_error: got {max_error_db} dB; pass 0.001 to 100 dB")
        self.max_error_db: float | None = max_error_db
        self._bound = max_error_db
        self.workers = threads.count()

    def check_step(self, step: int) -> None:
        """Raise InputError for any step but 1."""
        if step not in self.steps:
            raise errors.InputError(f"step: got {step}; a guaranteed error has none, leave it at 1")

    def band(self, info: engine.BandInfo) -> header.Band:
        """Return nothing of use: values are coded as they are."""
        return header.Band.of_offset(0.0)

    def at(
        self, bands: Sequence[header.Band], step: int, effort: int = 1, reduce: int = 0, power: bool = False
    ) -> BoundedTileCoder:
        """Return what codes tiles: the same for all bands, steps and efforts."""
        return BoundedTileCoder(self._bound)


@dataclass(frozen=True)
class BoundedTileCoder:
    """Codes and decodes tiles: see :class:`sarcodec.codec.engine.TileCoder`; bands one by one."""

    max_error_db: float
    networked = False
    stride, channels = 1, 1

    def fill(self, db: Sequence[FloatArray], valid: Sequence[npt.NDArray[np.bool_]]) -> list[FloatArray]:
        """Give invalid pixels the mean of the window."""
        return [radiometry.fill_with_mean(image, known) for image, known in zip(db, valid, strict=True)]

    def outside(self, db: Sequence[FloatArray]) -> list[int]:
        """Nothing is clipped."""
        return [0] * len(db)

    def encode(
        self, db: Sequence[FloatArray], core: engine.Core, valid: Sequence[engine.Mask]
    ) -> list[engine.Encoded]:
        """Encode the core of windows, each by itself, whichever pixels count."""
        return [self._encode(image[core]) for image in db]

    def _encode(self, inner: FloatArray) -> engine.Encoded:
        everywhere = np.ones(inner.shape, bool)
        units = residual.quantise(inner, 0.0, everywhere, self.max_error_db, TOLERANCE_DB, residual.FINE)
        data = residual.encode(units, everywhere, residual.FINE)
        return engine.Encoded(data, lambda: self._decode(data, inner.shape)[0])

    def decode(self, data: Sequence[bytes], size: tuple[int, int]) -> list[FloatArray]:
        """Decode a tile in dB, (1, h, w)."""
        return [self._decode(part, size) for part in data]

    def _decode(self, data: bytes, size: tuple[int, int]) -> FloatArray:
        units = residual.decode(data, np.ones(size, bool))
        return residual.apply(0.0, units, self.max_error_db, TOLERANCE_DB, residual.FINE)[None]

    def restore(self, latents: Sequence[FloatArray], part: engine.Core) -> list[FloatArray]:
        """Return the pixels."""
        return [latent[0][part] for latent in latents]
