"""A guaranteed error as an engine of the codec."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sarcodec import errors
from sarcodec.codec import engine
from sarcodec.container import header
from sarcodec.nearlossless import residual

FloatArray = npt.NDArray[np.float32]
Core = tuple[slice, slice]
TOLERANCE_DB = 1e-4


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

    def band(self, info: engine.BandInfo) -> header.Band:
        """Return nothing of use: values are coded as they are."""
        del info
        return header.Band.offset(0.0)

    def outside(self, db: FloatArray, band: header.Band) -> int:
        """Nothing is clipped."""
        del db, band
        return 0

    def fill(self, db: FloatArray, valid: npt.NDArray[np.bool_], band: header.Band) -> FloatArray:
        """Give invalid pixels the mean of the window."""
        del band
        return engine.fill_invalid(db, valid)

    def encode(self, db: FloatArray, core: Core, band: header.Band, step: int, effort: int = 1) -> engine.Encoded:
        """Encode the core of a window: see :class:`Engine`."""
        del band, effort
        inner = db[core]
        everywhere = np.ones(inner.shape, bool)
        units = residual.quantise(inner, 0.0, everywhere, self.max_error_db, TOLERANCE_DB, residual.FINE)
        data = residual.encode(units, everywhere, residual.FINE)
        return engine.Encoded(data, lambda: self.decode_tile(data, inner.shape, step)[0])

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

    def decode_window(self, latent: FloatArray, band: header.Band, step: int) -> FloatArray:
        """Return the pixels."""
        del band, step
        db: FloatArray = latent[0]
        return db
