"""Codecs of scientific data that bound the absolute error: SZ3, SPERR, ZFP and LERC.

They code float32 dB as it is; the level of each is the largest absolute error in dB, so higher is coarser.
Errors are those of `Peer`.
"""

import dataclasses
import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sarcodec.baselines import peer, wheels

_SIDES = struct.Struct("<II")


@dataclasses.dataclass(frozen=True)
class Sz3:
    """SZ3: interpolation and Lorenzo prediction, Huffman and ZSTD, absolute error bound.

    Height and width (2 x uint32) stand before the stream, because its decoder asks for them.
    """

    name: str = "SZ3"
    levels: tuple[float, float] = (100.0, 1e-3)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("SZ3")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return sides and stream of a finite (H, W) image in dB with a largest error of `level` dB."""
        image = peer.check(self, db, level)
        return _SIDES.pack(*image.shape) + bytes(wheels.imagecodecs("SZ3").sz3_encode(image, "abs", abs=level))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        codec = wheels.imagecodecs("SZ3")
        return np.asarray(codec.sz3_decode(data[_SIDES.size :], _SIDES.unpack_from(data), np.float32))


@dataclasses.dataclass(frozen=True)
class Sperr:
    """SPERR: 9/7 wavelet, SPECK set partitioning, and a correction of what exceeds the error bound.

    With ``mode="psnr"`` nothing is corrected and no error is guaranteed, which is the better use of bytes for
    mean square error. The level is then the RMSE in dB that the encoder aims at and roughly meets.
    """

    name: str = "SPERR"
    levels: tuple[float, float] = (100.0, 1e-3)
    mode: Literal["pwe", "psnr"] = "pwe"

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("SPERR")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return the stream of a finite (H, W) image in dB with a largest error of `level` dB."""
        image = peer.check(self, db, level)
        quality = level
        if self.mode == "psnr":  # SPERR's peak is the range of the image
            quality = 20.0 * np.log10(max(float(np.ptp(image)), 1e-3) / level)
        codec = wheels.imagecodecs("SPERR")
        return bytes(codec.sperr_encode(image, quality, self.mode, numthreads=1))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        return np.asarray(wheels.imagecodecs("SPERR").sperr_decode(data, numthreads=1), dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Zfp:
    """ZFP: a 4x4 block transform coded by bit planes, fixed-accuracy mode, by imagecodecs (zfpy breaks numcodecs).

    ZFP rounds the bound down to a power of two and stays well within it, so its sizes are far apart.
    """

    name: str = "ZFP"
    levels: tuple[float, float] = (1e6, 1e-3)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("ZFP")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return the stream of a finite (H, W) image in dB with a largest error of `level` dB."""
        image = peer.check(self, db, level)
        return bytes(wheels.imagecodecs("ZFP").zfp_encode(image, level, mode="a", numthreads=1))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        return np.asarray(wheels.imagecodecs("ZFP").zfp_decode(data))


@dataclasses.dataclass(frozen=True)
class Lerc:
    """LERC2 with ZSTD behind it: block-wise uniform quantisation to the error bound."""

    name: str = "LERC+ZSTD"
    levels: tuple[float, float] = (100.0, 1e-3)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("LERC")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return the stream of a finite (H, W) image in dB with a largest error of `level` dB."""
        image = peer.check(self, db, level)
        return bytes(wheels.imagecodecs("LERC").lerc_encode(image, level, compression="zstd"))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        return np.asarray(wheels.imagecodecs("LERC").lerc_decode(data))
