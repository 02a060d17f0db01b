"""Blocks of which only a part counts: symbols whose pixels are as good there as those of a full block.

What an invalid pixel decodes to does not matter. A block that is mostly fill has little energy in its coefficients, a
quantiser with a dead zone drops it, and an island of valid pixels loses its speckle. So the symbols of such blocks
are chosen again: the error that is left on valid pixels is transformed and added to what was coded, in other words
invalid pixels are filled with what they decode to, until the error is what a full block of the same texture would
have. Blocks far from invalid pixels, and the decoder, know nothing of it.

The iteration is a projected gradient descent with a quantiser in the loop, stopped at a known error, and where few
pixels count it remembers what the dead zone swallowed: Daubechies, Defrise, De Mol, "An iterative thresholding
algorithm for linear inverse problems", CPAM 57 (11), 2004; Osher et al., "An iterative regularization method", MMS 4
(2), 2005.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry
from sarcodec.entropy import scale
from sarcodec.lapped import coefficients, transform
from sarcodec.lapped.transform import BLOCK, REACH

ROUNDS = 8
FALL = 0.85
"""Of the price of a bit, from round to round."""

MOST = 0.75
"""Blocks with a larger share of their energy in valid pixels stay as they are: they err by a few per cent more."""

LEAST = 1 / 8
"""So do those with less than this part of a neighbour's share, which holds the same pixels at a lower price."""

SLACK = 0.07
"""By how much more a block may err, times its share: near large valid areas bits are worth more elsewhere."""

FINEST = 1 / 16
"""An error of so many steps is never too large, however smooth the texture."""

FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Symbols = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an image and the blocks in it that are to be coded.

    Parameters
    ----------
    pixels : ndarray of float32
        (H, W) in dB, both sides multiples of :data:`transform.BLOCK`, invalid pixels filled.
    valid : ndarray of bool
        (h, w), h ≤ H and w ≤ W: which pixels count. Those beyond do not, and are not invalid either.
    coefficients : ndarray of float32
        Of the pixels: see :func:`transform.analyse`.
    inside : tuple of slice
        Rows and columns of the blocks to code.
    """

    pixels: FloatArray
    valid: Flags
    coefficients: FloatArray
    inside: tuple[slice, slice]

    def cut(self, blocks: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Cut what belongs to the blocks to code out of what belongs to all, on the last two axes."""
        return blocks[(..., *self.inside)]

    def reached(self, values: npt.NDArray[Any]) -> Doubles:
        """Sum values (h, w), such as those of :attr:`valid`, over the pixels that each block to code reaches."""
        return self.cut(_reached(self.padded(values)))

    def padded(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Continue values (h, w) to (H, W) with zeros."""
        missing = [(0, whole - part) for whole, part in zip(self.pixels.shape, values.shape, strict=True)]
        return np.pad(values, missing)

    def noise(self) -> FloatArray:
        """Return the part of a valid pixel's squared error that is due to the blocks to code; (H, W), else 0."""
        vertical, horizontal = (
            transform.noise(blocks, part)
            for blocks, part in zip(self.coefficients.shape[2:], self.inside, strict=True)
        )
        return np.where(self.padded(self.valid), vertical[:, None] * horizontal, np.float32(0))

    def around(self, blocks: Flags) -> tuple[Window, tuple[slice, slice]]:
        """Return the window of some of the blocks to code, with one more on every side, and which of them are in it.

        What these blocks reach looks the same there, so that the others need not be transformed.
        """
        crop, inside, kept = [], [], []
        for axis, (first, most) in enumerate(zip(self.inside, self.coefficients.shape[2:], strict=True)):
            found = np.flatnonzero(blocks.any(axis=1 - axis)) + first.start
            start, stop = max(found[0] - 1, 0), min(found[-1] + 2, most)
            coded = slice(max(start, first.start), min(stop, first.stop))
            crop.append(slice(start, stop))
            inside.append(slice(coded.start - start, coded.stop - start))
            kept.append(slice(coded.start - first.start, coded.stop - first.start))
        area = tuple(slice(part.start * BLOCK, part.stop * BLOCK) for part in crop)
        seen = self.coefficients[..., crop[0], crop[1]]
        return Window(self.pixels[area], self.valid[area], seen, (inside[0], inside[1])), (kept[0], kept[1])


def refine(
    coder: coefficients.CoefficientCoder, window: Window, symbols: Symbols, step_index: int, weight: float
) -> Symbols:
    """Choose the symbols of blocks of which only a part counts anew.

    Parameters
    ----------
    coder : CoefficientCoder
        Quantises and knows what symbols stand for.
    window : Window
        The image, and the blocks that ``symbols`` are of. Those around it are taken as coded without error.
    symbols : ndarray of int32
        (BLOCK, BLOCK, h, w), as chosen for the filled pixels.
    step_index, weight
        As of :meth:`CoefficientCoder.quantise`.

    Returns
    -------
    ndarray of int32
        The same where all pixels that a block reaches count.
    """
    touched = (window.reached(window.valid) > 0) & (window.reached(~window.valid) > 0)
    if not touched.any():
        return symbols
    window, part = window.around(touched)
    counted = window.reached(window.valid)
    spectra, share = _texture(window, counted)
    partial = touched[part] & (share < MOST) & (share >= LEAST * _largest_around(share))
    if not partial.any():
        return symbols
    step = np.float32(scale.step_db(step_index))
    allowed = np.zeros(share.shape)
    allowed[partial] = _error_of_full(coder, spectra[:, :, partial], share[partial], step_index, weight)
    allowed = np.maximum(allowed, (FINEST * step) ** 2) * (1 + SLACK * share) ** 2 * window.reached(window.noise())

    gain = (1.8 - 0.8 * share).astype(np.float32)  # at 2 it would not settle
    memory = np.maximum(1 - 1.5 * np.sqrt(share), 0).astype(np.float32)
    wanted = window.cut(window.coefficients)
    late = np.zeros(touched.shape, bool)
    for _ in range(ROUNDS):
        choice = coder.choose(symbols, step_index)
        coded = coder.multiples(symbols, step_index, choice)[(..., *part)] * step
        error = _error(window, coded)
        late[part] = partial & (window.reached(error * error) > allowed)
        if not late.any():
            break
        wanted = coded + memory * (wanted - coded) + gain * window.cut(transform.analyse(error))
        symbols = coder.requantise(wanted[:, :, late[part]], symbols, late, choice, step_index, weight)
        weight *= FALL
    return symbols


def _error(window: Window, coded: FloatArray) -> FloatArray:
    """Return the error of valid pixels (H, W), 0 at others, were the blocks to code decoded from ``coded``."""
    seen = window.coefficients.copy()
    window.cut(seen)[...] = coded
    return np.where(window.padded(window.valid), window.pixels - transform.synthesise(seen), np.float32(0))


def _texture(window: Window, counted: Doubles) -> tuple[FloatArray, Doubles]:
    """Return coefficients of valid pixels less their block's mean, and each block's share of a full one's energy."""
    valid = window.padded(window.valid)
    means = radiometry.block_means(window.pixels, valid, BLOCK)
    texture = np.where(valid, window.pixels - means, 0).astype(np.float32)
    spectra: FloatArray = window.cut(transform.analyse(texture))
    power = window.reached(texture * texture) / np.maximum(counted, 1)
    share = np.square(spectra).mean(axis=(0, 1), dtype=np.float64) / np.maximum(power, 1e-9)
    return spectra, np.where(counted > 0, np.clip(share, 1e-4, 1), 0)


def _error_of_full(
    coder: coefficients.CoefficientCoder, spectra: FloatArray, share: Doubles, step_index: int, weight: float
) -> Doubles:
    """Return the mean square error in dB² with which blocks (BLOCK, BLOCK, n) would be coded if they were full."""
    full = (spectra / np.sqrt(share)).astype(np.float32)[:, :, None]
    multiples = coder.multiples(coder.quantise(full, step_index, weight, 1), step_index)
    error = multiples * np.float32(scale.step_db(step_index)) - full
    return np.asarray(np.square(error).mean(axis=(0, 1, 2), dtype=np.float64))


def _reached(values: npt.NDArray[np.generic]) -> Doubles:
    """Sum values (H, W) over the pixels that each block's basis functions reach."""
    rows, columns = (side // REACH for side in values.shape)
    cells = values.reshape(rows, REACH, columns, REACH).sum(axis=(1, 3), dtype=np.float64)
    side = BLOCK // REACH + 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(cells, 1), (side, side))
    return np.asarray(around[:: BLOCK // REACH, :: BLOCK // REACH].sum(axis=(2, 3)))


def _largest_around(share: Doubles) -> Doubles:
    around = np.lib.stride_tricks.sliding_window_view(np.pad(share, 1), (3, 3))
    return np.asarray(around.max(axis=(2, 3)))
