"""Pieces of HTML that the sections of a study share: tables, signed numbers, rows of charts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

_DIGITS = {"psnr_db": 2, "ssim": 3, "enl_ratio": 2, "epi": 3, "gradient_correlation": 3, "bits_per_pixel": 4}


def table(head: Sequence[str], body: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table of HTML cells; the columns in ``numbers`` are aligned to the right."""
    right = set(numbers)
    kinds = [' class="number"' if column in right else "" for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{title}</th>' for kind, title in zip(kinds, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>"
        for line in body
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def number(figure: str, value: float, sign: str = "") -> str:
    """Write a figure with its digits; a dash where it is not defined."""
    return f"{value:{sign},.{_DIGITS[figure]}f}".replace("-", "−") if math.isfinite(value) else "–"


def minus(text: str) -> str:
    """Put a minus sign where a hyphen stands before a number of its own."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def signed(value: float) -> str:
    """Write a difference in dB."""
    return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else "–"


def charts_of(figures: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Set charts (SVG and caption) side by side."""
    drawn = "".join(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>" for svg, caption in figures)
    return f'<div class="charts {kind}">{drawn}</div>'
