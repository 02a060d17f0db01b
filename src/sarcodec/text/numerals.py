"""Numbers as people read them: digits and separators of thousands, no powers of ten."""

from __future__ import annotations

import math
from decimal import Decimal

LEAST, MOST = 1e-9, 1e16
"""Sizes between which a number is written out; outside them, digits would be counted and not read."""


def fixed(value: float, digits: int) -> str:
    """Write a number with so many decimals: ``262,144.0``; ``∞``, and ``–`` for NaN.

    One that is not 0 but would look like it is said to be below what is shown: ``< 0.001``, ``> -0.001``.
    """
    if not math.isfinite(value):
        return _special(value)
    if abs(value) >= MOST:
        return f"{value:.{digits}e}"
    step = 10.0**-digits
    if value and abs(value) < step / 2:
        return f"< {step:.{digits}f}" if value > 0 else f"> -{step:.{digits}f}"
    return f"{value or 0.0:,.{digits}f}"


def significant(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, or all those before the decimal point: ``262,144``, ``0.0207``.

    Zeros at the end are left out; ``∞``, and ``–`` for NaN.
    """
    if not math.isfinite(value):
        return _special(value)
    if value == 0:
        return "0"
    if not LEAST <= abs(value) < MOST:
        return f"{value:.{digits}g}"
    after = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{after}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(value: float) -> str:
    """Write a number that may be copied, as a nodata value or a coefficient: all its digits, nothing between them."""
    value = float(value)
    if not math.isfinite(value):
        return {"nan": "NaN"}.get(str(value), str(value))
    if value and not LEAST <= abs(value) < MOST:
        return repr(value)
    text = f"{Decimal(repr(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _special(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if value > 0 else "-∞"
