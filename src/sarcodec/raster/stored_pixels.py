"""How the pixels of an array of xarray are stored: dtype, nodata value, scale and offset, and from which to which.

xarray decodes what it opens: integers become floats in their unit, the fill value becomes NaN, and what they were
goes to the encoding of the array. Where the pixels still are what was decoded the file describes the raster that they
were decoded from, and restores that; once they have been computed with they are kept as floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.container import packing
from sarcodec.raster import arrays, labels


@dataclass(frozen=True)
class Stored:
    """How a band is stored; ``decoded`` when its pixels are given as what that stands for, NaN where it is nodata."""

    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    decoded: bool = False

    @property
    def packed(self) -> bool:
        """Whether the raster is a packed one: :mod:`sarcodec.container.packing`."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def packing(self) -> packing.Packing:
        """Return what turns stored pixels into decoded ones."""
        return packing.Packing(self.dtype, self.scale, self.offset, self.nodata)

    def fits(self, pixels: npt.NDArray[Any]) -> bool:
        """Tell whether given pixels can have been decoded from such stored ones."""
        return not self.decoded or np.dtype(self.dtype).kind == "f" or self.packing.holds(pixels)

    def working(self, pixels: npt.NDArray[Any], packed: bool) -> npt.NDArray[Any]:
        """Turn given pixels into those that the codec works on, of a raster that is ``packed``."""
        if not self.fits(pixels):
            raise errors.InputError(
                f"encoding: some pixels are not what {self.dtype} with scale_factor {self.scale:g}, add_offset "
                f"{self.offset:g} and _FillValue {self.nodata} stand for; drop it: .drop_encoding()"
            )
        if packed:
            return pixels.astype(np.float32) if self.decoded else self.packing.unpack(pixels)
        return self.packing.pack(pixels) if self.decoded else pixels.astype(self.dtype, copy=False)


def of_bands(bands: Sequence[Any], pixels: Sequence[Any], nodata: float | None) -> list[Stored]:
    """Tell how the bands of an array are stored, by their ``attrs`` and ``encoding``, and by ``pixels``.

    ``nodata`` is what the user says. InputError when it contradicts the array, or when bands declare several.
    """
    count, shape = len(bands), arrays.thinned(bands[0].shape)
    encoded = [_encoded(band, place, count) for place, band in enumerate(bands)]
    stored = [one for one in encoded if one is not None]
    whole = len(stored) == count and len({(one.dtype, str(one.nodata)) for one in stored}) == 1
    if not (whole and all(one.fits(np.asarray(image[shape])) for one, image in zip(stored, pixels, strict=True))):
        stored = [_plain(band, place, count) for place, band in enumerate(bands)]
    declared = {str(one.nodata): one.nodata for one in stored}
    if len(declared) > 1:
        raise errors.InputError(f"nodata: the bands declare {', '.join(declared)}; a file has one, make them agree")
    (known,) = declared.values()
    if nodata is None or nodata == known:
        return stored
    if known is not None and not np.isnan(known):
        raise errors.InputError(
            f"nodata: got {nodata:g}, but the array declares {known:g}; leave it out, or drop what it declares "
            "(.drop_encoding(), .drop_attrs())"
        )
    return [replace(_plain(band, place, count), nodata=float(nodata)) for place, band in enumerate(bands)]


def _encoded(band: Any, place: int, count: int) -> Stored | None:
    """Return what a band was decoded from; None for one that was not."""
    said, own = band.encoding, band.dtype.newbyteorder("=")
    scale, offset = _scaling(said, place, count)
    fill = _first(said)
    target = np.dtype(said.get("dtype") or own)
    if own.kind != "f" or target.kind not in "uif" or _scaling(band.attrs, place, count) != (1.0, 0.0):
        return None
    if target.kind == "f":
        return None if fill is None else Stored(str(own), fill, decoded=True)
    return Stored(str(target.newbyteorder("=")), fill, scale, offset, decoded=True)


def _plain(band: Any, place: int, count: int) -> Stored:
    """Return how a band is stored that is given as it is stored."""
    own = band.dtype.newbyteorder("=")
    fill, decoded = _first(band.attrs), _first(band.encoding)
    if fill is None and decoded is not None:
        fill = float("nan") if own.kind == "f" else decoded
    return Stored(str(own), fill, *_scaling(band.attrs, place, count))


def _first(said: Mapping[Any, Any]) -> float | None:
    """Return the fill value; InputError for one that is no number."""
    value = next((said[name] for name in labels.FILLS if said.get(name) is not None), None)
    try:
        numbers = {str(number): number for number in map(float, np.ravel(value))} if value is not None else {}
    except (TypeError, ValueError) as cause:
        raise errors.InputError(f"nodata: the array declares {errors.plain(repr(value))}, no number") from cause
    if len(numbers) > 1:
        raise errors.InputError(f"nodata: the array declares {', '.join(numbers)}; a file has one, make them agree")
    return next(iter(numbers.values()), None)


def _scaling(said: Mapping[Any, Any], place: int, count: int) -> tuple[float, float]:
    """Return scale and offset of a band; InputError for a scale by which nothing can be divided."""
    found = []
    for default, *names in ((1.0, "scale_factor", "scales"), (0.0, "add_offset", "offsets")):
        value = next((said[str(name)] for name in names if said.get(str(name)) is not None), default)
        each = np.ravel(value)
        found.append(float(each[place] if each.size == count else each[0]))
    if not np.isfinite(found).all() or found[0] == 0:
        raise errors.InputError(
            f"scale_factor: got {found[0]}, add_offset {found[1]}; they must be finite, and not 0"
        )
    return found[0], found[1]
