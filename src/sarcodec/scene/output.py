"""What is wanted of a file: all of it, or a window of some bands, and in what form."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sarcodec import errors, tiling
from sarcodec.codec import stored_tiles
from sarcodec.raster import info as raster_info

SPECKLE_TAG = "SARCODEC_SPECKLE"
"""Tag of a raster whose lost speckle was drawn anew."""

REDUCED_TAG = "SARCODEC_REDUCED"
"""Tag of a raster at a lower resolution: which, and means of what its pixels are."""


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
    reduce : int
        0 to 6: the image at 1/2^reduce of the resolution. The window counts pixels of the full image, and is widened
        to whole pixels of the reduced one; georeferencing follows.
    power : bool
        Whether pixels of a reduced image are means of power, or means of decibels: see
        :func:`sarcodec.codec.decoding.strips`.
    """

    window: tiling.Window | None = None
    bands: tuple[int | str, ...] | None = None
    speckle: bool = False
    cog: bool = False
    reduce: int = 0
    power: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole image in its own form, as the product that a file was made from needs it."""
        return self.window is None and self.bands is None and not self.cog and not self.reduce

    def window_of(self, info: raster_info.RasterInfo) -> tiling.Window:
        """Return the window of the reduced image; InputError when it leaves the image, or for no such resolution."""
        window = self.window or tiling.Window(0, info.height, 0, info.width)
        window.check(info.height, info.width)
        stored_tiles.reduced_shape((info.height, info.width), self.reduce)
        return window.reduced(1 << self.reduce)

    def describe(self, info: raster_info.RasterInfo) -> raster_info.RasterInfo:
        """Describe what is wanted of a raster as a raster of its own; tags say what was done to its pixels."""
        window, factor = self.window_of(info), 1 << self.reduce
        part = info.cropped(window.enlarged(factor, info.height, info.width), self.bands_of(info))
        return replace(part.reduced(factor) if self.reduce else part, tags={**part.tags, **self.tags})

    @property
    def tags(self) -> dict[str, str]:
        """What tags say was done to pixels."""
        said = {SPECKLE_TAG: "rendered, not measured"} if self.speckle else {}
        if self.reduce:
            said[REDUCED_TAG] = f"1/{1 << self.reduce}, means of {'power' if self.power else 'decibels'}"
        return said

    def bands_of(self, info: raster_info.RasterInfo) -> tuple[int, ...]:
        """Return the bands, from 0; InputError for one that the file has not."""
        if self.bands is None:
            return tuple(range(info.count))
        found = tuple(info.find_band(band) if isinstance(band, str) else band for band in self.bands)
        if not found or not set(found) <= set(range(info.count)):
            raise errors.InputError(f"bands: got {self.bands}; pass one or more of 0 to {info.count - 1}, or names")
        return found
