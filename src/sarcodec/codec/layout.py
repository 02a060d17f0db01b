"""Where pixels come from and go to, and what is known of them besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.container import header, product


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


def check(layout: Layout, tile: int, stride: int) -> None:
    """Raise InputError for a tile size that does not fit a stride, or a raster that no file holds."""
    if tile % stride or not stride <= tile <= header.MAX_TILE:
        raise errors.InputError(f"tile: got {tile}; pass a multiple of {stride} up to {header.MAX_TILE}")
    if max(layout.height, layout.width) > header.MAX_SIDE or layout.count > header.MAX_BANDS:
        raise errors.InputError(
            f"raster: {layout.count} bands of {layout.height}×{layout.width} pixels are more than a file holds "
            f"({header.MAX_BANDS} bands, {header.MAX_SIDE} pixels a side); cut it into parts"
        )
