"""Tile geometry: the only place where windows are computed; encode and decode both ask it.

An image of H×W pixels is covered by square cores of ``tile`` pixels, cut at the right and lower border. Around each
core lie two rings: within ``ramp`` pixels of a border between cores two windows are blended, the ``margin`` beyond
is network context that is thrown away. At image borders there is neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors


@dataclass(frozen=True)
class Window:
    """Rows ``[top, bottom)`` and columns ``[left, right)`` of an image, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def at(cls, top: int, left: int, height: int, width: int) -> Window:
        """Return the window of ``height`` × ``width`` pixels whose first is in row ``top``, column ``left``."""
        return cls(top, top + height, left, left + width)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this window in an array of the whole image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def inside(self, outer: Window) -> tuple[slice, slice]:
        """Index of this window in an array that covers ``outer``."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    def grow(self, pixels: int, height: int, width: int) -> Window:
        """Widen by ``pixels`` on every side, cut at the borders of an image of ``height`` × ``width``."""
        return Window(
            max(self.top - pixels, 0),
            min(self.bottom + pixels, height),
            max(self.left - pixels, 0),
            min(self.right + pixels, width),
        )

    def shared(self, other: Window) -> Window:
        """Return what lies in both windows; they must overlap."""
        return Window(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def aligned(self, stride: int) -> Window:
        """Widen to multiples of ``stride``."""
        place = self.divided(stride)
        return Window(place.top * stride, place.bottom * stride, place.left * stride, place.right * stride)

    def panels(self, width: int) -> Iterator[Window]:
        """Cut the window at columns that are multiples of ``width``."""
        lefts = [self.left, *range((self.left // width + 1) * width, self.right, width)]
        for left, right in itertools.pairwise([*lefts, self.right]):
            yield Window(self.top, self.bottom, left, right)

    def check(self, height: int, width: int) -> None:
        """Raise InputError unless the window holds a pixel and lies in an image of ``height`` × ``width``."""
        if not (0 <= self.top < self.bottom <= height and 0 <= self.left < self.right <= width):
            raise errors.InputError(
                f"window: got rows {self.top} to {self.bottom} and columns {self.left} to {self.right}, the ends not "
                f"included; pass at least one of each, inside the image of {height} rows and {width} columns"
            )

    def divided(self, stride: int) -> Window:
        """Return the window in units of ``stride`` pixels; its borders must be multiples, but for the last ones."""
        return Window(self.top // stride, -(-self.bottom // stride), self.left // stride, -(-self.right // stride))

    def reduced(self, factor: int) -> Window:
        """Return the window of an image at 1/factor of the resolution that covers this one."""
        return Window(self.top // factor, -(-self.bottom // factor), self.left // factor, -(-self.right // factor))

    def enlarged(self, factor: int, height: int, width: int) -> Window:
        """Return what a window of an image at 1/factor of the resolution is of the full one, (height, width)."""
        bottom, right = min(self.bottom * factor, height), min(self.right * factor, width)
        return Window(self.top * factor, bottom, self.left * factor, right)

    def overlaps(self, other: Window) -> bool:
        """Tell whether the two windows share a pixel."""
        return (
            self.top < other.bottom
            and other.top < self.bottom
            and self.left < other.right
            and other.left < self.right
        )


@dataclass(frozen=True)
class Tile:
    """One tile: its place in the grid, its core, and the windows to blend and to feed the network."""

    row: int
    column: int
    core: Window
    blend: Window
    outer: Window


@dataclass(frozen=True)
class TileGrid:
    """Tiles over an image.

    Parameters
    ----------
    height, width : int
        Image size in pixels, at least 1.
    tile : int
        Side of a core in pixels.
    ramp : int
        Half the width of the cosine ramp over a border between cores, in pixels; at most half a tile.
    margin : int
        Context beyond the ramp, in pixels.
    """

    height: int
    width: int
    tile: int
    ramp: int = 0
    margin: int = 0

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or self.tile < 1:
            raise errors.InputError(
                f"tile grid: got {self.height}×{self.width} pixels in tiles of {self.tile}; all must be at least 1"
            )
        if not 0 <= 2 * self.ramp <= self.tile or self.margin < 0:
            raise errors.InputError(
                f"tile grid: got ramp {self.ramp} and margin {self.margin}; "
                f"ramp must be 0 to half a tile ({self.tile // 2}), margin at least 0"
            )

    @property
    def rows(self) -> int:
        """Number of tile rows."""
        return -(-self.height // self.tile)

    @property
    def columns(self) -> int:
        """Number of tile columns."""
        return -(-self.width // self.tile)

    def at(self, row: int, column: int) -> Tile:
        """Return the tile in grid position ``row``, ``column``."""
        core = Window(
            row * self.tile,
            min((row + 1) * self.tile, self.height),
            column * self.tile,
            min((column + 1) * self.tile, self.width),
        )
        blend = core.grow(self.ramp, self.height, self.width)
        return Tile(row, column, core, blend, blend.grow(self.margin, self.height, self.width))

    def row_tiles(self, row: int) -> Iterator[Tile]:
        """Return the tiles of one grid row, left to right."""
        return (self.at(row, column) for column in range(self.columns))

    def rows_of(self, window: Window) -> range:
        """Rows of the tiles whose blend windows a window overlaps."""
        return self._touched(window.top, window.bottom, self.rows)

    def columns_of(self, window: Window) -> range:
        """Columns of the tiles whose blend windows a window overlaps."""
        return self._touched(window.left, window.right, self.columns)

    def _touched(self, start: int, stop: int, count: int) -> range:
        return range(max((start - self.ramp) // self.tile, 0), min(-(-(stop + self.ramp) // self.tile), count))

    def __iter__(self) -> Iterator[Tile]:
        """Iterate over all tiles, row by row."""
        return (self.at(row, column) for row in range(self.rows) for column in range(self.columns))

    def weights(self, tile: Tile) -> npt.NDArray[np.float32]:
        """Blending weights over ``tile.blend``; over all tiles they sum to 1 at every pixel.

        A raised cosine across every border between cores, 1 elsewhere; the product of a vertical and a
        horizontal profile.

        Returns
        -------
        ndarray of float32
            Shape of ``tile.blend``, in (0, 1].
        """
        vertical = self._profile(tile.row, self.rows, tile.core.top, tile.core.bottom, self.height)
        horizontal = self._profile(tile.column, self.columns, tile.core.left, tile.core.right, self.width)
        return (vertical[:, None] * horizontal[None, :]).astype(np.float32)

    def _profile(self, index: int, count: int, start: int, stop: int, length: int) -> npt.NDArray[np.float64]:
        position = np.arange(max(start - self.ramp, 0), min(stop + self.ramp, length)) + 0.5
        profile = np.ones(position.size)
        if self.ramp == 0:
            return profile
        if index > 0:
            profile *= _rise(position - start, self.ramp)
        if index < count - 1:
            profile *= 1.0 - _rise(position - stop, self.ramp)
        return profile


def _rise(offset: npt.NDArray[np.floating[Any]], ramp: int) -> npt.NDArray[np.floating[Any]]:
    """Return a raised cosine from 0 at ``-ramp`` to 1 at ``+ramp`` pixels from a border."""
    return 0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(offset / ramp, -1.0, 1.0))
