"""Image codecs of 16-bit greyscale: JPEG 2000, JPEG XL and high-throughput JPEG 2000.

Every stream is the two float32 limits of the 16-bit mapping and a raw codestream. Errors are those of `Peer`.
"""

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sarcodec.baselines import peer, scaling, wheels

_TOP: Final = 65535


@dataclasses.dataclass(frozen=True)
class Jpeg2000:
    """JPEG 2000 by OpenJPEG: irreversible 9/7 wavelet, raw codestream, one tile, one thread.

    The level is the PSNR in dB, for the peak of 16 bit, that the encoder's rate control aims at: higher is
    finer.
    """

    name: str = "JPEG 2000"
    levels: tuple[float, float] = (1.0, 120.0)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("JPEG2K")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return limits and codestream of a finite (H, W) image in dB."""
        codes, limits = scaling.pack(peer.check(self, db, level), _TOP)
        return limits + self.encode_u16(codes, level)

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        return scaling.unpack(self.decode_u16(data[scaling.SIDE_BYTES :]), data, _TOP)

    def encode_u16(self, image_u16: NDArray[np.uint16], level: float) -> bytes:
        """Return the codestream alone of a (H, W) uint16 image, for `dn_jpeg2000`."""
        peer.check_level(self, level)
        return bytes(
            wheels.imagecodecs("JPEG2K").jpeg2k_encode(
                image_u16, level=level, codecformat="j2k", reversible=False, numthreads=1
            )
        )

    def decode_u16(self, codestream: bytes) -> NDArray[np.uint16]:
        """Return the (H, W) uint16 image of a codestream."""
        return np.asarray(wheels.imagecodecs("JPEG2K").jpeg2k_decode(codestream, numthreads=1), dtype=np.uint16)


@dataclasses.dataclass(frozen=True)
class JpegXl:
    """JPEG XL by libjxl: lossy, effort 7, greyscale, raw codestream, one thread.

    The level is the Butteraugli distance: lower is finer, and below 0.01 the encoder makes no difference.
    """

    name: str = "JPEG XL"
    levels: tuple[float, float] = (25.0, 0.01)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("JPEGXL")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return limits and codestream of a finite (H, W) image in dB."""
        codes, limits = scaling.pack(peer.check(self, db, level), _TOP)
        codestream = wheels.imagecodecs("JPEGXL").jpegxl_encode(
            codes,
            effort=7,
            distance=level,
            lossless=False,
            photometric="gray",
            bitspersample=16,
            usecontainer=False,
            numthreads=1,
        )
        return limits + bytes(codestream)

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        codes = wheels.imagecodecs("JPEGXL").jpegxl_decode(data[scaling.SIDE_BYTES :], numthreads=1)
        return scaling.unpack(np.asarray(codes, dtype=np.uint16), data, _TOP)


@dataclasses.dataclass(frozen=True)
class Htj2k:
    """High-throughput JPEG 2000 (ISO/IEC 15444-15) by OpenJPH: irreversible 9/7 wavelet, raw codestream.

    The level is the quantiser's base step as a fraction of the code range: lower is finer.
    """

    name: str = "HTJ2K"
    levels: tuple[float, float] = (1.0, 1e-5)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.imagecodecs("HTJ2K")

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return limits and codestream of a finite (H, W) image in dB."""
        codes, limits = scaling.pack(peer.check(self, db, level), _TOP)
        return limits + bytes(wheels.imagecodecs("HTJ2K").htj2k_encode(codes, level=level, reversible=False))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream."""
        codes = wheels.imagecodecs("HTJ2K").htj2k_decode(data[scaling.SIDE_BYTES :])
        return scaling.unpack(np.asarray(codes, dtype=np.uint16), data, _TOP)
