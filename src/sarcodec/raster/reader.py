"""What a source of pixels gives besides its pixels, whatever it is read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy.typing as npt

from sarcodec import radiometry, tiling
from sarcodec.container import product
from sarcodec.raster.info import RasterInfo


class Known(NamedTuple):
    """What pixels are where their source says so, and in a word where it does."""

    quantity: radiometry.Quantity
    reason: str


@runtime_checkable
class Raster(Protocol):
    """A source that is open; a reader derives from it, and says only what is not as here.

    ``isinstance`` tells an open source from what is yet to be opened; it tells no reader from another.

    Attributes
    ----------
    name : str
        Fit to be shown, in errors too: see :func:`sarcodec.files.vsi.public`.
    info : RasterInfo
        What describes the raster besides its pixels.
    places : tuple of str
        The local files that it is made of, none of which may be written over.
    picture : str, optional
        What kind of picture it is, where it plainly is one and no backscatter.
    product : Product, optional
        The product that it is, whose other files :meth:`files` gives.
    """

    name: str
    info: RasterInfo
    places: tuple[str, ...] = ()
    picture: str | None = None
    product: product.Product | None = None

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window of a band (0-based) in the working dtype; FormatError when the source is damaged."""
        ...

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Read a thinned copy or a part of a band (0-based), at most 1024×1024."""
        ...

    def known_quantity(self) -> Known | None:
        """Return what the pixels are and where that is said; None where they themselves must tell."""
        return None

    def files(self) -> Iterable[tuple[str, bytes]]:
        """Yield path and bytes of the files of a product that are kept as they are."""
        return ()

    def extra(self) -> dict[str, Any]:
        """Return what else the header of a file made from this is to say."""
        return {}

    def check(self) -> None:
        """Look for damage that reading pixels does not show; FormatError where there is some."""
        return None
