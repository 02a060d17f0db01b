"""Seams: is the error larger where tiles meet? As ``benchmarks/seams.py`` defines it, and border by border."""

from __future__ import annotations

import numpy as np

from sarcodec.report import sums

BAND = 8
"""Pixels on either side of a border between tiles that count as near it."""

REACH = 40
"""Pixels on either side up to which a single border's band is compared with what lies beside it."""

EXPECTED = 1.02
"""Ratio over a scene up to which there is no seam; content alone makes it scatter about 1."""

LEAST = 256
"""Valid pixels that both sides of a single border's ratio need."""


class Axis:
    """Parts of an axis between borders of tiles and of the bands near them.

    ``starts``: where the parts begin; ``near``: whether a part lies near a border; ``tile``: the tile it lies in;
    ``borders``: where tiles meet.
    """

    def __init__(self, length: int, tile: int) -> None:
        self.borders = np.arange(tile, length, tile)
        marks = [self.borders + offset for offset in (-REACH, -BAND, 0, BAND, REACH)]
        every = np.unique(np.concatenate([[0, BAND, length - BAND], *marks]))
        self.starts = every[(every >= 0) & (every < length)]
        inside = (self.starts >= BAND) & (self.starts < length - BAND)
        self.near = ((self.starts + BAND) % tile < 2 * BAND) & inside
        self.tile = self.starts // tile

    def bands(self) -> tuple[sums.Values, sums.Values]:
        """Return, (borders, parts), 1 for the parts near every border, and 1 for those beside its band."""
        offset = self.starts - self.borders[:, None]
        band = (offset >= -BAND) & (offset < BAND) & self.near
        beside = (offset >= -REACH) & (offset < REACH) & ~self.near
        return band.astype(np.float64), beside.astype(np.float64)

    def tiles(self) -> sums.Values:
        """Return, (tiles, parts), 1 for the parts of every tile that are not near a border."""
        rows = np.arange(len(self.borders) + 1)[:, None] == self.tile
        return np.asarray(rows & ~self.near, np.float64)


class Borders:
    """Errors by their place among tiles: :attr:`rows` and :attr:`columns` say which parts there are."""

    def __init__(self, shape: tuple[int, int], tile: int) -> None:
        self.tile = tile
        self.rows, self.columns = (Axis(length, tile) for length in shape)
        self._count, self._squared = (sums.Sums(self.rows.starts, self.columns.starts) for _ in range(2))

    def add(self, strip: sums.Strip) -> None:
        """Take in a strip."""
        self._count.add(strip.top, strip.left, strip.valid)
        self._squared.add(strip.top, strip.left, strip.squared)

    def ratio(self) -> float:
        """RMSE within :data:`BAND` pixels of a border over that of all others; NaN where either is empty or 0."""
        near = self.rows.near[:, None] | self.columns.near
        band, rest = (
            self._squared.total[where].sum() / max(self._count.total[where].sum(), 1.0) for where in (near, ~near)
        )
        return float(np.sqrt(band / rest)) if band > 0 and rest > 0 else float("nan")

    def ratios(self) -> tuple[sums.Values, sums.Values]:
        """Return the same border by border, against the pixels up to :data:`REACH` from it, crossings left out.

        For borders between tiles beside each other (R, C - 1), and above each other (R - 1, C); NaN with fewer than
        :data:`LEAST` valid pixels.
        """
        upright = _compare(self._squared.total, self._count.total, self.rows, self.columns)
        level = _compare(self._squared.total.T, self._count.total.T, self.columns, self.rows)
        return upright, level.T


def _compare(squared: sums.Values, count: sums.Values, along: Axis, across: Axis) -> sums.Values:
    """Return ratios (tiles along, borders across)."""
    lines = along.tiles()
    band, beside = across.bands()
    means, enough = [], []
    for parts in (band, beside):
        pixels = lines @ count @ parts.T
        means.append(lines @ squared @ parts.T / np.maximum(pixels, 1.0))
        enough.append(pixels >= LEAST)
    usable = enough[0] & enough[1] & (means[1] > 0)
    return np.asarray(np.sqrt(np.divide(means[0], means[1], out=np.full(usable.shape, np.nan), where=usable)))
