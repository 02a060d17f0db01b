"""Pixels that a source calls valid and that its quantity cannot hold: counted, said, and refused when they are many.

A negative number is no intensity and no amplitude, and no radar sees −9999 dB. Zeros of intensity and amplitude count
as fill, as every archive has them, and are kept exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry
from sarcodec.text import numerals

DB_RANGE = (-150.0, 100.0)
"""Decibels that backscatter, or the square of a digital number, can have."""

LIMITS: Mapping[radiometry.Quantity, float] = {
    radiometry.Quantity.INTENSITY: 0.2,  # the subtraction of noise leaves negative ones
    radiometry.Quantity.DN: 0.01,
    radiometry.Quantity.DB: 0.01,
}
"""Share of the pixels that a source calls valid that may be lost without being asked."""


@dataclass(frozen=True)
class Tally:
    """How many pixels there are, how many are coded as valid, and how many of the source's valid ones are lost.

    In decibels what is out of range is coded, and counts as lost too. ``least`` and ``greatest`` are of the valid
    pixels, in the source's quantity.
    """

    pixels: int = 0
    valid: int = 0
    lost: int = 0
    out_of_range: int = 0
    least: float = math.inf
    greatest: float = -math.inf

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.pixels + other.pixels,
            self.valid + other.valid,
            self.lost + other.lost,
            self.out_of_range + other.out_of_range,
            min(self.least, other.least),
            max(self.greatest, other.greatest),
        )

    @property
    def constant(self) -> float | None:
        """The value that all valid pixels have, an int where they are integers; None where they differ."""
        return self.least if self.least == self.greatest else None

    @property
    def lost_share(self) -> float:
        """Share of the pixels that the source calls valid which are lost."""
        return (self.lost + self.out_of_range) / max(self.valid + self.lost, 1)

    @property
    def valid_share(self) -> float:
        """Share of all pixels that are coded as valid."""
        return self.valid / max(self.pixels, 1)


def count(pixels: npt.NDArray[Any], codes: npt.NDArray[np.uint8], quantity: radiometry.Quantity) -> Tally:
    """Count the pixels of a window (any shape, in ``quantity``) with their codes of :func:`radiometry.classify`."""
    valid = codes == radiometry.Fill.VALID
    inside = int(np.count_nonzero(valid))
    found = pixels if inside == pixels.size else pixels[valid]
    span = (found.min().item(), found.max().item()) if inside else (math.inf, -math.inf)
    if quantity is not radiometry.Quantity.DB:
        return Tally(pixels.size, inside, int(np.count_nonzero(codes == radiometry.Fill.NEGATIVE)), 0, *span)
    low, high = DB_RANGE
    outside = int(np.count_nonzero(valid & ((pixels < low) | (pixels > high))))
    return Tally(pixels.size, inside, 0, outside, *span)


def reason(tally: Tally, quantity: radiometry.Quantity) -> str:
    """Say what is lost and why, in one line; ``""`` where nothing is."""
    share = f"{numerals.significant(100 * tally.lost_share, 3)} % of the pixels that the source calls valid"
    if tally.out_of_range:
        low, high = DB_RANGE
        return f"{share} lie outside {low:g} … {high:+g} dB, where no backscatter is"
    what = "intensity" if quantity is radiometry.Quantity.INTENSITY else "amplitude"
    return f"{share} are negative, which {what} cannot be, and are dropped" if tally.lost else ""


def check(tally: Tally, quantity: radiometry.Quantity, *, accept: bool, pixels: int | None = None) -> None:
    """Raise InputError when more is lost than may be without being asked.

    ``pixels`` of the whole image are given while it is gone over: then only what is lost for certain counts.
    """
    gone = tally.lost + tally.out_of_range
    whole = tally.valid + tally.lost if pixels is None else pixels
    if accept or gone <= LIMITS[quantity] * whole:
        return
    if tally.out_of_range:
        advice = "pass --nodata VALUE if that is a fill value, --quantity if they are no decibels"
    else:
        advice = "pass --quantity db if they are decibels, --nodata VALUE if that is a fill value"
    raise errors.InputError(
        f"quantity: {reason(tally, quantity)}; {advice}, or --accept-loss (accept_loss) to compress all the same"
    )


def check_named(quantity: radiometry.Quantity, said: str) -> None:
    """Raise InputError when what a file says of its units names another quantity."""
    named = radiometry.quantity_from_text(said)
    if named is not None and named is not quantity:
        raise errors.InputError(
            f"quantity: got {quantity.value}, but the file says {said!r}, which is {named.value}; leave --quantity "
            "out, or pass --accept-loss (accept_loss) if the file is wrong"
        )
