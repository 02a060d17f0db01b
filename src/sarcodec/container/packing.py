"""Packed rasters: integers that stand for numbers by a scale and an offset, and pixels that a mask takes out.

Such a raster is worked on as what it stands for: float32 in its physical unit, NaN where it has no pixel. Only what
reads and writes the raster itself knows the rest; a ``.sarc`` file's header has it among what describes the raster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

KEYS = ("scales", "offsets", "mask")
"""Entries of a raster's description that make it a packed one."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Packing:
    """How a band is packed: ``physical = raw · scale + offset``, in ``dtype``, ``nodata`` in raw numbers."""

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any], band: int) -> Self | None:
        """Return the packing of a band (0-based) of a raster's description; None for a raster that is not packed."""
        if not any(record.get(key) for key in KEYS):
            return None
        scales, offsets = record.get("scales") or (), record.get("offsets") or ()
        nodata = record.get("nodata")
        return cls(
            str(record["dtype"]),
            float(scales[band]) if band < len(scales) else 1.0,
            float(offsets[band]) if band < len(offsets) else 0.0,
            None if nodata is None else float(nodata),
        )

    def unpack(self, raw: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> FloatArray:
        """Return the physical values (float32, any shape); NaN at nodata, and where ``valid`` is False."""
        physical = (raw.astype(np.float64) * self.scale + self.offset).astype(np.float32)
        if self.nodata is not None and not np.isnan(self.nodata):
            physical[raw == self.nodata] = np.nan
        if valid is not None:
            physical[~valid] = np.nan
        return physical

    def pack(self, physical: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        """Inverse of :meth:`unpack`: the nearest raw numbers; NaN becomes nodata, else NaN, else 0.

        A value that would be nodata takes the next number up (down at the top of the range).
        """
        raw = (physical.astype(np.float64) - self.offset) / self.scale
        missing = np.isnan(raw)
        target = np.dtype(self.dtype)
        if target.kind == "f":
            packed: npt.NDArray[Any] = raw.astype(target)
            packed[missing] = np.nan if self.nodata is None else self.nodata
            return packed
        limits = np.iinfo(target)
        whole = np.clip(np.rint(np.where(missing, 0.0, raw)), limits.min, limits.max)
        if self.nodata is not None:
            whole[whole == self.nodata] += -1.0 if self.nodata == limits.max else 1.0
        fill = self.nodata if self.nodata is not None and limits.min <= self.nodata <= limits.max else 0.0
        return np.where(missing, fill, whole).astype(target)

    def holds(self, physical: npt.NDArray[np.floating[Any]]) -> bool:
        """Tell whether all values are what these integers stand for, as far as float32 can say it."""
        missing = np.isnan(physical)
        if missing.any() and self.nodata is None:
            return False
        values = physical[~missing].astype(np.float64)
        raw, limits = (values - self.offset) / self.scale, np.iinfo(self.dtype)
        whole = np.rint(raw)
        rounding = 4 * np.finfo(np.float32).eps * (np.abs(values) + abs(self.offset)) / abs(self.scale)
        right = (np.abs(raw - whole) <= 1e-3 + rounding) & (whole >= limits.min) & (whole <= limits.max)
        return bool(np.all(right & (whole != self.nodata)))

    def snap(self, physical: FloatArray) -> FloatArray:
        """Return the values that come back once these are packed: for integers, multiples of the scale."""
        if np.dtype(self.dtype).kind == "f":
            return physical
        missing = np.isnan(physical)
        snapped = self.unpack(self.pack(physical))
        snapped[missing] = np.nan
        return snapped


def working(record: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return dtype and nodata value in which a raster of this description is worked on."""
    if any(record.get(key) for key in KEYS):
        return "float32", float("nan")
    nodata = record.get("nodata")
    return str(record["dtype"]), None if nodata is None else float(nodata)
