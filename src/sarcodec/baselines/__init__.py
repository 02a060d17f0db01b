"""Codecs to compare with, all on the same dB image, all bytes counted.

A `Peer` codes a finite float32 image in dB to one stream and back. Image codecs (JPEG 2000, JPEG XL, HEVC, HTJ2K)
map it to whole numbers by its own minimum and maximum, which stand at the head of their streams; codecs of
scientific data (SZ3, SPERR, ZFP, LERC) take the floats as they are and a bound on the absolute error. `restore`
meets a byte budget with any of them. The validity mask is not charged, here or elsewhere.

The codecs come with the extra ``bench`` (imagecodecs, PyAV), which is loaded when a peer is first used. Not every
wheel has every codec: `available` says which can be used here, and using a missing one raises an error.
"""

import types
from collections.abc import Mapping
from typing import Final

from sarcodec import errors
from sarcodec.baselines.amplitude import dn_jpeg2000
from sarcodec.baselines.floats import Lerc, Sperr, Sz3, Zfp
from sarcodec.baselines.hevc import Hevc
from sarcodec.baselines.images import Htj2k, Jpeg2000, JpegXl
from sarcodec.baselines.peer import Peer, at_bytes, rate_curve, restore
from sarcodec.baselines.scaling import SIDE_BYTES, fill, from_uint16, to_uint16

PEERS: Final[Mapping[str, Peer]] = types.MappingProxyType(
    {
        "jpeg2000": Jpeg2000(),
        "jpegxl": JpegXl(),
        "hevc": Hevc(),
        "htj2k": Htj2k(),
        "sz3": Sz3(),
        "sperr": Sperr(),
        "zfp": Zfp(),
        "lerc": Lerc(),
    }
)
"""Every peer by the name to ask for it."""

MAX_ERROR: Final = frozenset({"sz3", "sperr", "zfp", "lerc"})
"""Names of the peers whose level is the largest absolute error in dB that a valid pixel can have."""


def available() -> dict[str, str | None]:
    """Say of every peer whether it can be used here: None if so, else the reason and what to do."""
    reasons: dict[str, str | None] = {}
    for name, peer in PEERS.items():
        try:
            peer.require()
        except (errors.MissingExtra, errors.InputError) as error:
            reasons[name] = str(error)
        else:
            reasons[name] = None
    return reasons


__all__ = [
    "Hevc",
    "Htj2k",
    "Jpeg2000",
    "JpegXl",
    "Lerc",
    "MAX_ERROR",
    "PEERS",
    "Peer",
    "SIDE_BYTES",
    "Sperr",
    "Sz3",
    "Zfp",
    "at_bytes",
    "available",
    "dn_jpeg2000",
    "fill",
    "from_uint16",
    "rate_curve",
    "restore",
    "to_uint16",
]
