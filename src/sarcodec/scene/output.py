"""What is wanted of a file: all of it, or a window of some bands, and in what form."""

from __future__ import annotations

from dataclasses import dataclass

from sarcodec import errors, tiling
from sarcodec.raster import info as raster_info


@dataclass(frozen=True)
class Output:
    """What to restore of a file, and how; by default all of it, pixels as coded.

    Parameters
    ----------
    window : Window, optional
        Rows and columns of the image.
    bands : tuple of int or str, optional
        Bands from 0, or their polarisations or descriptions, in the order wanted.
    speckle : bool
        Whether to draw lost speckle anew; see :mod:`sarcodec.speckle.record`.
    cog : bool
        Whether to write a Cloud Optimized GeoTIFF: tiled, deflated, with overviews.
    """

    window: tiling.Window | None = None
    bands: tuple[int | str, ...] | None = None
    speckle: bool = False
    cog: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole image in its own form, as the product that a file was made from needs it."""
        return self.window is None and self.bands is None and not self.cog

    def window_of(self, info: raster_info.RasterInfo) -> tiling.Window:
        """Return the window; InputError when it leaves the image."""
        window = self.window or tiling.Window(0, info.height, 0, info.width)
        window.check(info.height, info.width)
        return window

    def bands_of(self, info: raster_info.RasterInfo) -> tuple[int, ...]:
        """Return the bands, from 0; InputError for one that the file has not."""
        if self.bands is None:
            return tuple(range(info.count))
        found = tuple(info.find_band(band) if isinstance(band, str) else band for band in self.bands)
        if not found or not set(found) <= set(range(info.count)):
            raise errors.InputError(f"bands: got {self.bands}; pass one or more of 0 to {info.count - 1}, or names")
        return found
