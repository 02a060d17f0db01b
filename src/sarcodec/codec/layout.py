"""Where pixels come from and go to, and what is known of them besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from sarcodec import radiometry, tiling
from sarcodec.container import product


class Source(Protocol):
    """Where pixels come from."""

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window of a band (0-based)."""
        ...

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Read a thinned copy of a band, any shape."""
        ...


class Sink(Protocol):
    """Where pixels go."""

    def write(self, band: int, window: tiling.Window, pixels: npt.NDArray[Any]) -> None:
        """Write a window of a band (0-based)."""
        ...


@dataclass(frozen=True)
class Layout:
    """What is known of a source besides its pixels; ``record`` is the full description for the header.

    Where the source is a product, ``files`` yields path and bytes of those of its files that are kept as they are.
    ``reason`` says in a few words how the quantity is known, ``extra`` goes into the header.
    """

    count: int
    height: int
    width: int
    dtype: str
    nodata: float | None
    quantity: radiometry.Quantity
    polarisations: tuple[str, ...]
    record: dict[str, Any]
    product: product.Product | None = None
    files: Callable[[], Iterable[tuple[str, bytes]]] = tuple
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
