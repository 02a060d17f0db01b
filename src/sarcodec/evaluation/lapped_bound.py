"""What an overlapping linear code could reach: the lapped transform keeping the best fixed set of its coefficients.

A yardstick beside the Karhunen-Loève transform of :mod:`sarcodec.evaluation.bounds`: that one is the best of linear
codes which treat blocks on their own, this one has long basis functions that reach into their neighbours. Which
coefficients are kept is the same everywhere: those with the largest mean square on training images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.lapped import transform

SHARE = transform.BLOCK**2 // 256
"""Coefficients of a block to one of 256, in which the number kept is given."""


@dataclass(frozen=True, eq=False)
class LappedBound:
    """The lapped transform and an order of its coefficients.

    ``order`` (4096,) are the places of a block's coefficients, row by row, by falling mean square.
    """

    order: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, images_db: Iterable[npt.NDArray[np.floating]]) -> Self:
        """Fit on training images (H, W) in dB, NaN where invalid, each cut to whole blocks of 64.

        Raises
        ------
        InputError
            When no image holds a block with a valid pixel.
        """
        power, count = np.zeros(transform.BLOCK**2), 0
        for image_db in images_db:
            height, width = (side // transform.BLOCK * transform.BLOCK for side in image_db.shape)
            part = image_db[:height, :width]
            if not part.size or not np.isfinite(part).any():
                continue
            coefficients = transform.analyse(_centred(part, np.isfinite(part))[0])
            power += np.square(coefficients, dtype=np.float64).sum(axis=(2, 3)).ravel()
            count += coefficients.shape[2] * coefficients.shape[3]
        if not count:
            raise errors.InputError("images_db: no block of 64x64 with a valid pixel; pass larger images")
        return cls(np.argsort(-power, kind="stable"))

    def approximate(
        self, image_db: npt.NDArray[np.floating], kept: int, valid: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """Restore an image from ``kept`` of every 256 coefficients, at unlimited precision.

        Parameters
        ----------
        image_db : ndarray
            (H, W) in dB, of any size: it is mirrored up to whole blocks.
        kept : int
            0 to 256.
        valid : ndarray of bool
            (H, W); others are filled with the mean of their block.

        Returns
        -------
        ndarray of float64
            (H, W) in dB, NaN where not valid.
        """
        if not 0 <= kept <= 256:
            raise errors.InputError(f"kept: got {kept}; pass 0 to 256")
        centred, mean = _centred(image_db, valid)
        pads = [(0, -side % transform.BLOCK) for side in image_db.shape]
        coefficients = transform.analyse(np.pad(centred, pads, mode="symmetric"))
        flat = coefficients.reshape(transform.BLOCK**2, -1)
        flat[self.order[kept * SHARE :]] = 0.0
        restored = transform.synthesise(coefficients)[: image_db.shape[0], : image_db.shape[1]]
        return np.where(valid, restored.astype(np.float64) + mean, np.nan)


def _centred(
    image_db: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], float]:
    """Take the mean of the valid pixels away and fill the others; returns the mean too."""
    mean = float(image_db[valid].mean(dtype=np.float64))
    return transform.fill((image_db - mean).astype(np.float32), valid), mean
