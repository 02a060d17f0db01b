"""Pieces of HTML: packaged templates with the one style sheet, and numbers as a page writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from string import Template

STYLE = "page.css"
"""The style sheet of every page; a template adds what it alone needs."""


def fill(template: str, values: Mapping[str, object]) -> str:
    """Fill a packaged template; the values are HTML already."""
    return Template(_read(template)).substitute(values)


def page(template: str, values: Mapping[str, object]) -> str:
    """Fill the template of a whole page, whose ``$style`` is :data:`STYLE`."""
    return fill(template, {**values, "style": _read(STYLE).rstrip("\n")})


def _read(name: str) -> str:
    return resources.files("sarcodec").joinpath("templates", name).read_text(encoding="utf-8")


def minus(number: str) -> str:
    """Write a number, or several, with minus signs."""
    return number.replace("-", "−")


def minus_in(text: str) -> str:
    """Put a minus sign where a hyphen stands before a number of its own, and leave those of names."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def span(low: float, high: float) -> str:
    """Write a range of dB."""
    return minus(f"{low:.1f} to {high:.1f} dB")


def signed(value: float, form: str = "+.2f") -> str:
    """Write a difference with its sign, a dash where it is not defined."""
    return minus(format(value, form)) if math.isfinite(value) else "–"


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return key figures for a list of them: title, value and note of each."""
    return "".join(
        f"<div><dt>{title}</dt><dd>{value}<small>{note}</small></dd></div>" for title, value, note in entries
    )


def charts_of(figures: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Set charts (SVG and caption) side by side."""
    drawn = "".join(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>" for svg, caption in figures)
    return f'<div class="charts {kind}">{drawn}</div>'
