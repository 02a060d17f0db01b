"""The header of a ``.sarc`` file as a value, and its JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sarcodec import errors
from sarcodec.container import product

FORMAT, VERSIONS = "sarcodec", (1, 2)
MAX_SIDE = 1 << 20
MAX_BANDS = 1024
MAX_TILE = 4096
MAX_CHANNELS = 4096
PROMISE = "promised_error_db"
"""Key of ``extra``: the error that was asked for, where coding keeps a smaller one."""
CONSTANT = "constant"
"""Key of ``extra``: for each band the value that all its valid pixels have, or None."""


@dataclass(frozen=True)
class Band:
    """What one band needs besides its symbols.

    In version 1 the clipping bounds in dB and the share of pixels they clipped; in version 2 ``vmin`` alone, the dB
    that were taken away before coding, and ``vmax`` is one more.
    """

    vmin: float
    vmax: float
    clipped: float = 0.0

    @classmethod
    def of_offset(cls, db: float) -> Band:
        """Return the record of a band of version 2: ``db`` is taken away before coding and nothing is clipped."""
        return cls(db, db + 1.0)

    @property
    def offset_db(self) -> float:
        """What is taken away before coding, of a band of version 2."""
        return self.vmin


@dataclass(frozen=True)
class Header:
    """What a ``.sarc`` file says of itself.

    Parameters
    ----------
    raster : dict
        The source's description; see :class:`sarcodec.raster.geotiff.RasterInfo`.
    quantity : str
        ``intensity``, ``dn`` or ``db``.
    model : str
        Identity of the checkpoint that made the file.
    architecture : str
        Name of the model, for a reader without it.
    stride, channels : int
        Pixels per latent position along an axis, and latent channels.
    step : int
        Multiplier of the model's quantisation steps.
    tile : int
        Side of a tile in pixels, a multiple of ``stride``.
    bands : tuple of Band
        One per band.
    created_by : str
        Version of the package that wrote the file.
    version : int
        Of the format: 1 for autoencoders, 2 for what came after them.
    max_error_db : float, optional
        The error that no valid pixel exceeds, where one is guaranteed.
    seed : int, optional
        Of the speckle that may be rendered, where a file says what was lost.
    product : Product, optional
        What it was made from, where the product's other files are in the file; version 2.
    """

    raster: Mapping[str, Any]
    quantity: str
    model: str
    architecture: str
    stride: int
    channels: int
    step: int
    tile: int
    bands: tuple[Band, ...]
    created_by: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    max_error_db: float | None = None
    seed: int | None = None
    product: product.Product | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, height and width."""
        return int(self.raster["count"]), int(self.raster["height"]), int(self.raster["width"])

    @property
    def clips(self) -> bool:
        """Whether its bands have bounds that pixels were clipped to; else they have an offset."""
        return self.version == 1

    @property
    def promised_error_db(self) -> float | None:
        """The error in dB that no valid pixel exceeds, in the dtype of the source; None of files without such.

        Coding keeps ``max_error_db``, which is less where rounding to integers adds to it.
        """
        if self.max_error_db is None:
            return None
        said = self.extra.get(PROMISE)
        return float(said) if isinstance(said, int | float) and said > self.max_error_db else self.max_error_db

    def with_constants(self, values: Sequence[float | None]) -> Header:
        """Return a header that tells the value of all valid pixels of each band, None where there is no one value."""
        if all(value is None for value in values):
            return self
        return replace(self, extra={**self.extra, CONSTANT: list(values)})

    def constant(self, band: int) -> float | None:
        """Return the value that all valid pixels of a band (0-based) have, None where the file tells of none.

        It is a finite number, else FormatError; whether the raster's pixels can have it is for the caller to see.
        """
        values = self.extra.get(CONSTANT)
        if values is None:
            return None
        if not isinstance(values, list) or len(values) != len(self.bands):
            raise errors.FormatError(f"header: {CONSTANT} is no list of a value for each band")
        value = values[band]
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise errors.FormatError(f"header: {CONSTANT} of band {band + 1} is no finite number")
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "version": self.version,
            "created_by": self.created_by,
            "raster": dict(self.raster),
            "quantity": self.quantity,
            "model": [self.model, self.architecture, self.stride, self.channels],
            "step": self.step,
            "tile": self.tile,
            "bands": [[b.vmin, b.vmax, b.clipped] if self.clips else [b.offset_db] for b in self.bands],
        }
        for name in ("max_error_db", "seed"):
            if getattr(self, name) is not None:
                record[name] = getattr(self, name)
        if self.product is not None:
            record["product"] = self.product.to_dict()
        return record | ({"extra": dict(self.extra)} if self.extra else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Header:
        """Inverse of :meth:`to_dict`, with every size checked against its limit; FormatError otherwise."""
        version = record.get("version")
        if record.get("format") != FORMAT:
            raise errors.FormatError(f"header: format is {errors.plain(repr(record.get('format')))}, not {FORMAT!r}")
        if isinstance(version, bool) or version not in VERSIONS:
            advice = "; install a newer sarcodec" if isinstance(version, int) and version > max(VERSIONS) else ""
            raise errors.FormatError(
                f"header: the file is of format version {errors.plain(repr(version))}, this package reads versions "
                f"{' and '.join(map(str, VERSIONS))}{advice}"
            )
        try:
            model, architecture, stride, channels = record["model"]
            header = cls(
                raster=dict(record["raster"]),
                quantity=str(record["quantity"]),
                model=str(model),
                architecture=str(architecture),
                stride=int(stride),
                channels=int(channels),
                step=int(record["step"]),
                tile=int(record["tile"]),
                bands=tuple(_band(band, version) for band in record["bands"][: MAX_BANDS + 1]),
                created_by=str(record["created_by"]),
                extra=dict(record.get("extra", {})),
                version=version,
                max_error_db=None if record.get("max_error_db") is None else float(record["max_error_db"]),
                seed=None if record.get("seed") is None else int(record["seed"]),
                product=product.Product.from_dict(record["product"]) if "product" in record else None,
            )
            bands, height, width = header.shape
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            if isinstance(cause, errors.SarcodecError):
                raise
            raise errors.FormatError(f"header: incomplete or malformed ({errors.plain(cause)})") from cause
        limits = [
            ("bands", bands, MAX_BANDS),
            ("height", height, MAX_SIDE),
            ("width", width, MAX_SIDE),
            ("stride", header.stride, 64),
            ("channels", header.channels, MAX_CHANNELS),
            ("tile", header.tile, MAX_TILE),
            ("step", header.step, 1 << 16),
        ]
        for name, value, most in limits:
            if not 1 <= value <= most:
                raise errors.FormatError(f"header: {name} is {value}; allowed are 1 to {most}")
        if not all(np.isfinite(b.vmin) and np.isfinite(b.vmax) and b.vmin < b.vmax for b in header.bands):
            raise errors.FormatError("header: bounds of a band are not finite numbers with vmin < vmax")
        if header.product is not None and version == 1:
            raise errors.FormatError("header: names a product, which files of version 1 cannot hold")
        if header.tile % header.stride or len(header.bands) != bands:
            raise errors.FormatError(
                f"header: tile {header.tile} for stride {header.stride}, "
                f"{len(header.bands)} band records for {bands} bands do not fit together"
            )
        return header


def _band(record: Sequence[Any], version: int) -> Band:
    """Return the record of a band of a header; TypeError or ValueError when it is malformed."""
    if version == 1:
        return Band(*map(float, record))
    (offset,) = record
    return Band.of_offset(float(offset))
