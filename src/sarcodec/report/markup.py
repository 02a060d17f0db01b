"""Pieces of HTML: packaged templates, and numbers as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from string import Template


def fill(template: str, values: Mapping[str, object]) -> str:
    """Fill a packaged template; the values are HTML already."""
    path = resources.files("sarcodec").joinpath("templates", template)
    return Template(path.read_text(encoding="utf-8")).substitute(values)


def minus(text: str) -> str:
    """Write negative numbers with a minus sign."""
    return text.replace("-", "−")


def span(low: float, high: float) -> str:
    """Write a range of dB."""
    return minus(f"{low:.1f} to {high:.1f} dB")
