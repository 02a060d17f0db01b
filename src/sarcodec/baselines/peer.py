"""What a peer is, and how any of them is brought to a byte budget."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors
from sarcodec.baselines import scaling

_MAX_ENCODES = 16  # the last step moves the level by less than 0.04 %
_CLOSE_ENOUGH = 0.995


class Peer(Protocol):
    """A codec of dB images with one quality level.

    `levels` is (coarsest, finest), both positive: streams grow from the first to the second, whichever of
    the two is the larger number.
    """

    @property
    def name(self) -> str:
        """Name to show in tables."""

    @property
    def levels(self) -> tuple[float, float]:
        """Coarsest and finest level."""

    def require(self) -> None:
        """Return if the codec can be used here.

        Raises
        ------
        MissingExtra
            If its library is not installed.
        InputError
            If its library was built without it.
        """

    def encode(self, db: NDArray[np.floating[Any]], level: float) -> bytes:
        """Return the whole stream of an image: everything `decode` needs.

        Parameters
        ----------
        db : ndarray, shape (H, W), float32 or float64
            Image in dB, finite everywhere (see `fill`); at least one pixel. Coded as float32.
        level : float
            Quality between the two `levels`.

        Raises
        ------
        InputError
            If the image or the level is not of that kind, or the library was built without the codec.
        MissingExtra
            If the library is not installed.
        """

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Return the (H, W) float32 image in dB of a stream that `encode` made; errors as `require`."""


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
        Budget for the whole stream, side information included.

    Returns
    -------
    restored_db : ndarray, shape (H, W), float64
        The decoded image in dB, NaN where `valid` is False.
    n_bytes : int
        Length of the stream, at most `target_bytes`.

    Raises
    ------
    InputError
        As `fill` and `at_bytes`.
    MissingExtra
        If the library of the codec is not installed.
    """
    data = at_bytes(peer, scaling.fill(db, valid), target_bytes)
    return np.where(np.asarray(valid), peer.decode(data).astype(np.float64), np.nan), len(data)


def rate_curve(
    peer: Peer, db: ArrayLike, valid: ArrayLike, bpps: Sequence[float]
) -> list[tuple[int, NDArray[np.float64]]]:
    """Code a dB image at several rates.

    Parameters
    ----------
    peer, db, valid
        As in `restore`.
    bpps : sequence of float
        Budgets in bits per pixel of the whole image, valid or not.

    Returns
    -------
    list of (int, ndarray of shape (H, W), float64)
        Bytes used and restored image of every budget, in their order.

    Raises
    ------
    InputError, MissingExtra
        As `restore`.
    """
    size = np.asarray(valid).size
    curve = []
    for bpp in bpps:
        restored_db, n_bytes = restore(peer, db, valid, int(bpp * size / 8))
        curve.append((n_bytes, restored_db))
    return curve


def at_bytes(peer: Peer, db: NDArray[np.floating[Any]], target_bytes: int) -> bytes:
    """Return the largest stream found that is not above a byte budget.

    Bisects the level on a logarithmic scale, with at most 17 encodes, and stops once a stream is within
    0.5 % of the budget. The stream is shorter where the codec's own steps are coarser than that, or when its
    finest level needs less. OpenJPEG truncates at few slopes: its sizes lie up to 4 % apart near 0.5 bit per
    pixel, also in its fixed-rate mode; ZFP knows only error bounds that are powers of two. So compare at the
    bytes that came back, not at those asked for.

    Parameters
    ----------
    peer : Peer
        The codec.
    db : ndarray, shape (H, W), float32 or float64
        Image in dB, finite everywhere.
    target_bytes : int
        Budget for the whole stream, headers included.

    Raises
    ------
    InputError
        If even the coarsest level needs more than the budget, or the image is not of that kind.
    MissingExtra
        If the library of the codec is not installed.
    """
    return largest_within(lambda level: peer.encode(db, level), peer, target_bytes)


def largest_within(encode: Callable[[float], bytes], peer: Peer, target_bytes: int) -> bytes:
    """Search the levels of a peer as `at_bytes` says, with any encoder of one image that takes such a level."""
    coarsest, finest = peer.levels
    best = b""
    low, high = 0.0, 1.0
    position = 0.5
    for _ in range(_MAX_ENCODES):
        data = encode(coarsest * (finest / coarsest) ** position)
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
    best = encode(coarsest)
    if len(best) > target_bytes:
        raise errors.InputError(
            f"target_bytes: {peer.name} needs at least {len(best)} bytes for this image, got {target_bytes}; "
            f"allow more bytes"
        )
    return best


def check(peer: Peer, db: NDArray[np.floating[Any]], level: float) -> NDArray[np.float32]:
    """Return an image as contiguous float32, or raise InputError if it or the level is no input of the peer."""
    if db.ndim != 2 or db.dtype not in (np.float32, np.float64) or not db.size or not np.isfinite(db).all():
        raise errors.InputError(
            f"db: got {db.dtype} of shape {db.shape}; pass a 2-D float array in dB that is finite everywhere"
        )
    check_level(peer, level)
    return np.ascontiguousarray(db, dtype=np.float32)


def check_level(peer: Peer, level: float) -> None:
    """Raise InputError for a level that the peer does not have."""
    if not min(peer.levels) <= level <= max(peer.levels):
        raise errors.InputError(
            f"level: {peer.name} got {level}; pass {peer.levels[0]} (coarsest) to {peer.levels[1]} (finest)"
        )
