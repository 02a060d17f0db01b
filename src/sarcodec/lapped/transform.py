"""A lapped orthogonal transform of images: blocks of 64×64 pixels whose basis functions reach into their neighbours.

Speckle in dB is stationary, so long basis functions code it best; overlapping ones leave no block borders. Before the
discrete cosine transform of every block, an orthonormal prefilter turns the 32 pixels on either side of every border
between blocks into each other, along rows and then along columns; after the inverse transform its transpose undoes
it. The whole is orthonormal: an error in coefficients is the same error, in mean square, in pixels.

Source: Tran, Liang, Tu, "Lapped transform via time-domain pre- and post-filtering", IEEE TSP 51 (6), 2003.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry

BLOCK = 64
"""Side of a block in pixels; there are BLOCK² coefficients to each."""

REACH = BLOCK // 2
"""Pixels on either side of a border that the prefilter mixes."""

FloatArray = npt.NDArray[np.float32]


def analyse(pixels: FloatArray) -> FloatArray:
    """Transform an image.

    Parameters
    ----------
    pixels : ndarray of float32
        (H, W), finite, both sides multiples of :data:`BLOCK`. No prefilter acts on the borders of the image.

    Returns
    -------
    ndarray of float32
        (BLOCK, BLOCK, H/BLOCK, W/BLOCK): vertical and horizontal frequency, then the place of the block. Indexed
        ``[0, 0]`` it is BLOCK times the mean of each block.
    """
    filtered = _mix(pixels, _prefilter(REACH))
    rows, columns = filtered.shape[0] // BLOCK, filtered.shape[1] // BLOCK
    cosine = _cosines(BLOCK)
    vertical = cosine @ filtered.reshape(rows, BLOCK, columns * BLOCK)
    both = vertical.reshape(rows, BLOCK, columns, BLOCK) @ cosine.T
    return np.ascontiguousarray(both.transpose(1, 3, 0, 2))


def synthesise(coefficients: FloatArray) -> FloatArray:
    """Undo :func:`analyse`: coefficients (BLOCK, BLOCK, h, w) to float32 pixels (h·BLOCK, w·BLOCK).

    From the coefficients of the lowest frequencies alone, (s, s, h, w) for a power of two s below BLOCK, a transform
    of as many points makes a smaller image (h·s, w·s): the same scene, low-passed.

    A pixel is the same to the last bit whatever else is synthesised with it, as long as the blocks on all sides of
    its own are: every matrix product is of BLOCK×BLOCK matrices, for the order of sums in a product depends on its
    size.
    """
    side = coefficients.shape[0]
    rows, columns = coefficients.shape[2:]
    cosine, matrix = _cosines(side), _prefilter(side // 2).T
    blocks = np.ascontiguousarray(coefficients.transpose(2, 3, 0, 1))
    if side < BLOCK:
        blocks = blocks * np.float32(side / BLOCK)  # [0, 0] is side times the mean
    filtered = cosine.T @ (blocks @ cosine)
    filtered = filtered.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    return _mix(filtered, matrix)


def fill(pixels: FloatArray, valid: npt.NDArray[np.bool_]) -> FloatArray:
    """Give invalid pixels (H, W) the mean of the valid ones of their block, 0 where it has none: cheap to code.

    What a pixel gets depends on its block alone, so that windows which share blocks agree on them.
    """
    if valid.all():
        return pixels
    return np.where(valid, pixels, radiometry.block_means(pixels, valid, BLOCK)).astype(np.float32)


def extend(pixels: FloatArray) -> FloatArray:
    """Continue an image (H, W) to multiples of :data:`BLOCK`, fading from its border to a mean: cheap to code.

    The mean is that of the last block and what follows it, so that windows which share these agree.
    """
    extended = pixels
    for axis in (0, 1):
        missing = -extended.shape[axis] % BLOCK
        if missing:
            last = np.take(extended, np.arange(extended.shape[axis])[missing - 2 * BLOCK :], axis=axis)
            border = np.take(extended, [-1], axis=axis)
            fade = np.exp(-np.arange(1, missing + 1) / 8.0).astype(np.float32)
            fade = fade[:, None] if axis == 0 else fade[None, :]
            mean = last.mean(axis=axis, keepdims=True)
            extended = np.concatenate([extended, mean + (border - mean) * fade], axis=axis)
    return np.ascontiguousarray(extended, dtype=np.float32)


def noise(blocks: int, part: slice) -> FloatArray:
    """Return the variance in the pixels of a row of blocks, (blocks·BLOCK,), of white noise of 1 in some of them."""
    variance = np.zeros((blocks * BLOCK, BLOCK), np.float32)
    variance[part.start * BLOCK : part.stop * BLOCK] = 1
    _mix_rows(variance, np.square(_prefilter(REACH).T))
    return variance[:, 0]


def _mix(pixels: FloatArray, matrix: FloatArray) -> FloatArray:
    """Apply a matrix (side, side) to the pixels around every border between blocks of so many, both ways."""
    mixed = np.array(pixels, dtype=np.float32, order="C")
    _mix_rows(mixed, matrix)
    squares = _squares(mixed.T, len(matrix)).swapaxes(-1, -2)
    squares[...] = squares @ matrix.T
    return mixed


def _mix_rows(mixed: FloatArray, matrix: FloatArray) -> None:
    """Apply a matrix (side, side) to the rows around every border between blocks of so many rows, in place."""
    squares = _squares(mixed, len(matrix))
    squares[...] = matrix @ squares


def _squares(pixels: FloatArray, side: int) -> FloatArray:
    """Return the rows around borders between blocks of ``side`` rows, cut to squares: (borders, n, side, side)."""
    borders = max(pixels.shape[0] // side - 1, 0) if side > 1 else 0  # blocks of one pixel have none to mix with
    around = pixels[side // 2 :][: borders * side]
    return around.reshape(borders, side, pixels.shape[1] // side, side).transpose(0, 2, 1, 3)


@functools.cache
def _cosines(side: int) -> FloatArray:
    """Orthonormal DCT-II of ``side`` points as a matrix: row k is the k-th cosine."""
    return _dct2(side).astype(np.float32)


def _dct2(side: int) -> npt.NDArray[np.float64]:
    k, n = np.indices((side, side))
    matrix = math.sqrt(2 / side) * np.cos(np.pi * k * (2 * n + 1) / (2 * side))
    matrix[0] = math.sqrt(1 / side)
    return matrix


@functools.cache
def _prefilter(reach: int) -> FloatArray:
    """Return the prefilter ½·W·diag(I, V)·W with W = [[I, J], [J, −I]] and V = J·C_IIᵀ·C_IV·J, (2·reach, 2·reach)."""
    identity = np.eye(reach)
    if reach == 0:
        return np.zeros((1, 1), np.float32)  # blocks of one pixel have no neighbours to mix with
    flip = identity[::-1]
    butterfly = np.block([[identity, flip], [flip, -identity]])
    k, n = np.indices(identity.shape)
    fourth = math.sqrt(2 / reach) * np.cos(np.pi * (2 * k + 1) * (2 * n + 1) / (4 * reach))
    rotated = flip @ _dct2(reach).T @ fourth @ flip
    middle = np.block([[identity, np.zeros_like(identity)], [np.zeros_like(identity), rotated]])
    return np.asarray(0.5 * butterfly @ middle @ butterfly, dtype=np.float32)
