"""Classical codecs to compare with: JPEG 2000 and JPEG XL on the dB image, all bytes counted.

A peer codes 16-bit images. A dB image is mapped to 16 bit by its own minimum and maximum over valid pixels,
coded to a byte budget and mapped back. The budget pays for the whole stream with its headers and for the two
float32 limits of the mapping (`SIDE_BYTES`); the validity mask is not charged, here or elsewhere.

The codecs come with the extra ``bench`` (imagecodecs), which is loaded when a peer is first used.
"""

import dataclasses
import importlib
import math
import types
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors

SIDE_BYTES: Final = 8
"""Bytes charged beside a stream: the minimum and maximum of the 16-bit mapping, float32 each."""

_MAX_ENCODES = 16  # the last step moves the level by less than 0.01 %
_CLOSE_ENOUGH = 0.995
_TOP = 65535


class Peer(Protocol):
    """A codec of 16-bit images with one quality level.

    `levels` is (coarsest, finest), both positive: streams grow from the first to the second, whichever of
    the two is the larger number.
    """

    @property
    def name(self) -> str:
        """Name to show in tables."""

    @property
    def levels(self) -> tuple[float, float]:
        """Coarsest and finest level."""

    def encode(self, image_u16: NDArray[np.uint16], level: float) -> bytes:
        """Return the whole stream of a 2-D uint16 image, headers included."""

    def decode(self, data: bytes) -> NDArray[np.uint16]:
        """Return the 2-D uint16 image of a stream that `encode` made."""


@dataclasses.dataclass(frozen=True)
class Jpeg2000:
    """JPEG 2000 by OpenJPEG: irreversible 9/7 wavelet, raw codestream, one tile, one thread.

    The level is the PSNR in dB, for the peak of 16 bit, that the encoder's rate control aims at: higher is
    finer.
    """

    name: str = "JPEG 2000"
    levels: tuple[float, float] = (1.0, 120.0)

    def encode(self, image_u16: NDArray[np.uint16], level: float) -> bytes:
        """Return the codestream of a 2-D uint16 image.

        Raises
        ------
        InputError
            If the image is not 2-D uint16 or the level is out of range.
        MissingExtra
            If imagecodecs is not installed.
        """
        _check(self, image_u16, level)
        return bytes(
            _imagecodecs().jpeg2k_encode(image_u16, level=level, codecformat="j2k", reversible=False, numthreads=1)
        )

    def decode(self, data: bytes) -> NDArray[np.uint16]:
        """Return the 2-D uint16 image of a codestream.

        Raises
        ------
        MissingExtra
            If imagecodecs is not installed.
        """
        return np.asarray(_imagecodecs().jpeg2k_decode(data, numthreads=1), dtype=np.uint16)


@dataclasses.dataclass(frozen=True)
class JpegXl:
    """JPEG XL by libjxl: lossy, effort 7, greyscale, raw codestream, one thread.

    The level is the Butteraugli distance: lower is finer, and below 0.01 the encoder makes no difference.
    """

    name: str = "JPEG XL"
    levels: tuple[float, float] = (25.0, 0.01)

    def encode(self, image_u16: NDArray[np.uint16], level: float) -> bytes:
        """Return the codestream of a 2-D uint16 image.

        Raises
        ------
        InputError
            If the image is not 2-D uint16 or the level is out of range.
        MissingExtra
            If imagecodecs is not installed.
        """
        _check(self, image_u16, level)
        return bytes(
            _imagecodecs().jpegxl_encode(
                image_u16,
                effort=7,
                distance=level,
                lossless=False,
                photometric="gray",
                bitspersample=16,
                usecontainer=False,
                numthreads=1,
            )
        )

    def decode(self, data: bytes) -> NDArray[np.uint16]:
        """Return the 2-D uint16 image of a codestream.

        Raises
        ------
        MissingExtra
            If imagecodecs is not installed.
        """
        return np.asarray(_imagecodecs().jpegxl_decode(data, numthreads=1), dtype=np.uint16)


PEERS: Final[Mapping[str, Peer]] = types.MappingProxyType({"jpeg2000": Jpeg2000(), "jpegxl": JpegXl()})
"""Every peer by the name to ask for it."""


def restore(peer: Peer, db: ArrayLike, valid: ArrayLike, target_bytes: int) -> tuple[NDArray[np.float64], int]:
    """Code a dB image with a peer to a byte budget and decode it again.

    Parameters
    ----------
    peer : Peer
        The codec.
    db : array_like, shape (H, W), real
        Image in dB, finite wherever `valid` is True.
    valid : array_like, shape (H, W), bool
        True where a pixel counts. The mask itself is not charged.
    target_bytes : int
        Budget for stream and side information together.

    Returns
    -------
    restored_db : ndarray, shape (H, W), float64
        The decoded image in dB, NaN where `valid` is False.
    n_bytes : int
        Length of the stream plus `SIDE_BYTES`, at most `target_bytes`.

    Raises
    ------
    InputError
        As `to_uint16` and `at_bytes`.
    MissingExtra
        If imagecodecs is not installed.
    """
    image_u16, vmin_db, vmax_db = to_uint16(db, valid)
    data = at_bytes(peer, image_u16, target_bytes - SIDE_BYTES)
    restored_db = from_uint16(peer.decode(data), vmin_db, vmax_db)
    return np.where(np.asarray(valid), restored_db, np.nan), len(data) + SIDE_BYTES


def at_bytes(peer: Peer, image_u16: NDArray[np.uint16], target_bytes: int) -> bytes:
    """Return the largest stream found that is not above a byte budget.

    Bisects the level on a logarithmic scale, with at most 17 encodes, and stops once a stream is within
    0.5 % of the budget. The stream is shorter where the codec's own steps are coarser than that, or when its
    finest level needs less. OpenJPEG truncates at few slopes: its sizes lie up to 4 % apart near 0.5 bit per
    pixel, also in its fixed-rate mode, so compare at the bytes that came back, not at those asked for.

    Parameters
    ----------
    peer : Peer
        The codec.
    image_u16 : ndarray, shape (H, W), uint16
        The image.
    target_bytes : int
        Budget for the whole stream, headers included.

    Raises
    ------
    InputError
        If even the coarsest level needs more than the budget, or the image is not 2-D uint16.
    MissingExtra
        If imagecodecs is not installed.
    """
    coarsest, finest = peer.levels
    best = b""
    low, high = 0.0, 1.0
    position = 0.5
    for _ in range(_MAX_ENCODES):
        data = peer.encode(image_u16, coarsest * (finest / coarsest) ** position)
        if len(data) > target_bytes:
            high = position
        else:
            low = position
            best = max(best, data, key=len)
        if target_bytes * _CLOSE_ENOUGH <= len(best):
            break
        position = 0.5 * (low + high)
    if best:
        return best
    best = peer.encode(image_u16, coarsest)
    if len(best) > target_bytes:
        raise errors.InputError(
            f"target_bytes: {peer.name} needs at least {len(best)} bytes for this image, got {target_bytes}; "
            f"allow more bytes"
        )
    return best


def to_uint16(db: ArrayLike, valid: ArrayLike) -> tuple[NDArray[np.uint16], float, float]:
    """Map a dB image to 16 bit by its minimum and maximum over valid pixels.

    Parameters
    ----------
    db : array_like, shape (H, W), real
        Image in dB, finite wherever `valid` is True. Invalid pixels are replaced by the mean of the valid
        ones, which costs a codec little.
    valid : array_like, shape (H, W), bool
        True where a pixel counts.

    Returns
    -------
    image_u16 : ndarray, shape (H, W), uint16
        0 at `vmin_db`, 65535 at `vmax_db`; all 0 for a constant image.
    vmin_db, vmax_db : float
        Limits in dB, rounded outwards to float32, as they are stored.

    Raises
    ------
    InputError
        If the arrays are not 2-D and of one shape, `valid` is not bool or has no True, or a valid pixel is
        not finite.
    """
    image, mask = np.asarray(db, dtype=np.float64), np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2 or image.shape != mask.shape:
        raise errors.InputError(
            f"db, valid: got shapes {image.shape}, {mask.shape} and valid of {mask.dtype}; "
            f"pass 2-D arrays of one shape, valid of bool"
        )
    values = image[mask]
    if not values.size or not np.isfinite(values).all():
        raise errors.InputError(
            f"db: {values.size} valid pixels, {np.count_nonzero(~np.isfinite(values))} of them not finite; "
            f"pass at least one valid pixel and only finite ones"
        )
    vmin_db = -_float32_at_least(-float(values.min()))
    vmax_db = _float32_at_least(float(values.max()))
    if vmin_db == vmax_db:
        return np.zeros(image.shape, np.uint16), vmin_db, vmax_db
    filled = np.where(mask, image, values.mean())
    return np.rint((filled - vmin_db) / (vmax_db - vmin_db) * _TOP).astype(np.uint16), vmin_db, vmax_db


def from_uint16(image_u16: NDArray[np.uint16], vmin_db: float, vmax_db: float) -> NDArray[np.float64]:
    """Undo `to_uint16`: (H, W) uint16 to float64 in dB, within half a step of (vmax_db - vmin_db) / 65535."""
    return np.asarray(vmin_db + image_u16.astype(np.float64) * ((vmax_db - vmin_db) / _TOP))


def _float32_at_least(value: float) -> float:
    rounded = np.float32(value)
    # compared as float: NumPy would round a Python number to float32 first and see no difference
    return float(rounded if float(rounded) >= value else np.nextafter(rounded, np.float32(math.inf)))


def _check(peer: Peer, image_u16: NDArray[np.uint16], level: float) -> None:
    if image_u16.ndim != 2 or image_u16.dtype != np.uint16 or not image_u16.size:
        raise errors.InputError(
            f"image_u16: got {image_u16.dtype} of shape {image_u16.shape}; pass a 2-D uint16 array"
        )
    if not min(peer.levels) <= level <= max(peer.levels):
        raise errors.InputError(
            f"level: {peer.name} got {level}; pass {peer.levels[0]} (coarsest) to {peer.levels[1]} (finest)"
        )


def _imagecodecs() -> Any:
    try:
        return importlib.import_module("imagecodecs")
    except ImportError as error:
        raise errors.MissingExtra("imagecodecs", "bench") from error
