"""HEVC intra as a still-image codec: x265 through PyAV, 10-bit grey, tuned for squared error."""

import dataclasses
import math
import struct
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sarcodec.baselines import peer, scaling, wheels

_TOP: Final = 1023
_SIDES = struct.Struct("<II")
_MIN_SIDE = 16  # x265 refuses smaller pictures
_PARAMETERS = (
    "ipratio=1:keyint=1:psy-rd=0:psy-rdoq=0:aq-mode=0:info=0:hash=0:pools=none:frame-threads=1:wpp=0:log-level=none"
)


@dataclasses.dataclass(frozen=True)
class Hevc:
    """HEVC intra by x265: one 10-bit grey picture, preset veryslow, constant quantiser, one thread.

    Psycho-visual tuning and adaptive quantisation are off: they spend bits against squared error. The stream is
    the limits of the 10-bit mapping (2 x float32), height and width (2 x uint32, because pictures are padded to
    the 16 pixels a side that x265 needs) and the raw Annex-B bitstream with its parameter sets.

    The level is the quantiser step 2^((QP - 4) / 6) in 8-bit codes of the image's range (ITU-T H.265, 8.6.4):
    lower is finer. x265 rounds QP to a whole number, an eighth in step; what is left over is made up by
    stretching the 10-bit range by up to that much, so that any byte budget can be met. Below QP 0 x265 changes
    nothing: an error of about 0.8 of a 10-bit code remains.
    """

    name: str = "HEVC intra"
    levels: tuple[float, float] = (228.0, 0.63)

    def require(self) -> None:
        """Return if the codec can be used here; errors as `Peer.require`."""
        wheels.av()

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return limits, sides and bitstream of a finite (H, W) image in dB; errors as `Peer.encode`."""
        av = wheels.av()
        image = peer.check(self, db, level)
        exact_qp = 4 + 6 * math.log2(level)
        qp = math.floor(exact_qp)
        codes, limits = scaling.pack(image, _TOP, stretch=2 ** ((exact_qp - qp) / 6))
        height, width = codes.shape
        padded = np.pad(codes, ((0, max(_MIN_SIDE - height, 0)), (0, max(_MIN_SIDE - width, 0))), mode="edge")
        context = av.CodecContext.create("libx265", "w")
        context.height, context.width = padded.shape
        context.pix_fmt = "gray10le"
        context.time_base = context.framerate = Fraction(1)
        context.thread_count = 1
        context.options = {"preset": "veryslow", "x265-params": f"qp={qp}:{_PARAMETERS}"}
        packets = context.encode(av.VideoFrame.from_ndarray(padded, format="gray10le")) + context.encode(None)
        return limits + _SIDES.pack(height, width) + b"".join(bytes(packet) for packet in packets)

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream; errors as `Peer.decode`."""
        av = wheels.av()
        height, width = _SIDES.unpack_from(data, scaling.SIDE_BYTES)
        context = av.CodecContext.create("hevc", "r")
        context.thread_count = 1
        bitstream = data[scaling.SIDE_BYTES + _SIDES.size :]
        frames = context.decode(av.Packet(bitstream)) + context.decode(None)
        return scaling.unpack(frames[0].to_ndarray()[:height, :width], data, _TOP)
