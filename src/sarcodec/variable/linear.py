"""The linear part of the variable-rate autoencoder: blocks of 16×16 pixels to latents and back, each overlapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # whose parts load when they are first used

from sarcodec import errors

BLOCK = 16
"""Side of a block in pixels; filters and basis functions reach one further block in every direction."""

REACH = 1
"""Blocks around each that its pixels depend on."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Overlapping:
    """An overlapping linear transform; latents are inner products, and the image a sum of basis functions of norm 1.

    Parameters
    ----------
    analysis : ndarray of float32
        (n, 256, 3, 3): weights of a convolution over blocks, whose pixels are in rows.
    synthesis : ndarray of float32
        (256, n, 3, 3): weights of a convolution over latents.
    parity : ndarray of int32
        (n, 2): whether a latent keeps (1) or changes (−1) its sign when the image is mirrored about a horizontal
        and about a vertical line.

    Raises FormatError for other shapes or values.
    """

    analysis: FloatArray
    synthesis: FloatArray
    parity: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        count = len(self.parity)
        shapes = (count, BLOCK**2, 3, 3), (BLOCK**2, count, 3, 3), (count, 2)
        found = self.analysis.shape, self.synthesis.shape, self.parity.shape
        if found != shapes or not np.isin(self.parity, (-1, 1)).all():
            raise errors.FormatError(f"linear transform: arrays of shapes {found}, which do not fit together")
        if not (np.isfinite(self.analysis).all() and np.isfinite(self.synthesis).all()):
            raise errors.FormatError("linear transform: a weight is not a finite number")

    @property
    def count(self) -> int:
        """Latents of a block."""
        return len(self.parity)

    def analyse(self, image: FloatArray) -> FloatArray:
        """Return the latents (n, h, w) of an image (16h, 16w), which is mirrored at its borders."""
        return _convolve(self.analysis, _blocks(image))

    def correlate(self, image: FloatArray) -> FloatArray:
        """Return the inner products (n, h, w) of an image (16h, 16w), mirrored at its borders, with the basis."""
        transposed = self.synthesis.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        return _convolve(transposed, _blocks(image))

    def synthesise(self, latents: FloatArray) -> FloatArray:
        """Return the image (16h, 16w) of latents (n, h, w)."""
        height, width = latents.shape[1:]
        blocks = _convolve(self.synthesis, self.mirrored(latents))
        image = blocks.reshape(BLOCK, BLOCK, height, width).transpose(2, 0, 3, 1)
        return np.ascontiguousarray(image).reshape(BLOCK * height, BLOCK * width)

    def mirrored(self, latents: FloatArray) -> FloatArray:
        """Return latents with a ring around, (n, h + 2, w + 2): those of the mirrored image."""
        padded = np.pad(latents, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
        for axis in (1, 2):
            place = np.arange(-1, latents.shape[axis] + 1)
            turned = place // latents.shape[axis] % 2 == 1
            signs = np.where(turned, self.parity[:, axis - 1, None], 1).astype(np.float32)
            padded *= np.expand_dims(signs, 3 - axis)
        return padded

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays for a model's file."""
        return {"analysis": self.analysis, "synthesis": self.synthesis, "parity": self.parity}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Overlapping:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            return cls(
                arrays["analysis"].astype(np.float32),
                arrays["synthesis"].astype(np.float32),
                arrays["parity"].astype(np.int32),
            )
        except (KeyError, ValueError) as cause:
            raise errors.FormatError(f"linear transform: not valid ({errors.plain(cause)})") from cause


def continued(image: FloatArray) -> FloatArray:
    """Continue an image (H, W) to whole blocks by its border."""
    return np.pad(image, [(0, -side % BLOCK) for side in image.shape], mode="edge")


def whole_blocks(image: FloatArray, top: int = 0, left: int = 0) -> FloatArray:
    """Cut an image (H, W) to whole blocks from a pixel on."""
    height, width = ((side - first) // BLOCK * BLOCK for side, first in zip(image.shape, (top, left), strict=True))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _blocks(image: FloatArray) -> FloatArray:
    """Return the blocks of an image (16h, 16w), mirrored at its borders: (256, h + 2, w + 2), pixels in rows."""
    height, width = (side // BLOCK for side in image.shape)
    padded = np.pad(image, BLOCK, mode="symmetric").reshape(height + 2, BLOCK, width + 2, BLOCK)
    return padded.transpose(1, 3, 0, 2).reshape(BLOCK**2, height + 2, width + 2)


def _convolve(weight: FloatArray, values: FloatArray) -> FloatArray:
    """Return the convolution 3×3 (out, h, w) of (in, h + 2, w + 2)."""
    height, width = values.shape[1] - 2, values.shape[2] - 2
    total = np.zeros((len(weight), height * width), np.float32)
    for row in range(3):
        for column in range(3):
            part = values[:, row : row + height, column : column + width].reshape(weight.shape[1], -1)
            place = np.ascontiguousarray(weight[:, :, row, column])
            scipy.linalg.blas.sgemm(
                1, part.T, place.T, beta=1, c=total.T, overwrite_c=True
            )  # transposed, BLAS adds in place
    return total.reshape(-1, height, width)
