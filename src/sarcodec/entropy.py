"""Entropy coding of latents: integer symbols, static integer tables, a range coder.

All that decides a symbol is integer arithmetic, so a stream decodes to the same symbols on every machine. The byte
format is specified in ``docs/format.md``; the coder is constriction's ``RangeEncoder`` with 24-bit frequencies.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import errors

PRECISION = 24
TOTAL = 1 << PRECISION
"""Sum of the frequencies of every table."""

MAX_TABLE = 1 << 16
_HALF_WORD = constriction.stream.model.Uniform(1 << 16)

Symbols = npt.NDArray[np.int32]


@dataclass(frozen=True)
class SymbolTable:
    """A static distribution of integers ``minimum … minimum + len(frequencies) − 2`` and an escape.

    Parameters
    ----------
    minimum : int
        The integer that the first frequency belongs to.
    frequencies : ndarray of int64
        Each at least 1, summing to :data:`TOTAL`; the last one is the escape's.
    """

    minimum: int
    frequencies: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        f = self.frequencies
        if not 2 <= f.size <= MAX_TABLE or f.min() < 1 or int(f.sum()) != TOTAL:
            raise errors.FormatError(
                f"symbol table: {f.size} frequencies summing to {int(f.sum())}; there must be 2 to {MAX_TABLE}, "
                f"each at least 1, summing to {TOTAL}"
            )

    @classmethod
    def fit(cls, symbols: Symbols) -> SymbolTable:
        """Fit to training symbols: counts plus one half each over a range a quarter wider than seen."""
        low, high = (int(symbols.min()), int(symbols.max())) if symbols.size else (0, 0)
        room = 1 + (high - low) // 4
        low, high = max(low - room, -(2**31)), min(high + room, 2**31 - 1)
        if high - low + 2 > MAX_TABLE:
            raise errors.InputError(
                f"symbols: span {low}…{high}, more than {MAX_TABLE - 2} values; use a coarser quantisation step"
            )
        counts = np.bincount((symbols.ravel().astype(np.int64) - low), minlength=high - low + 2) + 0.5
        return cls(low, to_frequencies(counts))

    def model(self) -> Any:
        """Return the constriction model that codes with exactly these integer frequencies.

        constriction gives symbol i the weight ``floor(p_i·scale) + 1``; with ``p_i = f_i − 1`` its scale is exactly
        1 and the weight exactly ``f_i``.
        """
        return self._model

    @functools.cached_property
    def _model(self) -> Any:
        return constriction.stream.model.Categorical((self.frequencies - 1).astype(np.float64), perfect=False)


def to_frequencies(weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """Round positive weights to integer frequencies, each at least 1, that sum to :data:`TOTAL`."""
    share = weights / weights.sum() * (TOTAL - weights.size)
    frequencies: npt.NDArray[np.int64] = np.floor(share).astype(np.int64) + 1
    frequencies[int(np.argmax(frequencies))] += TOTAL - int(frequencies.sum())
    return frequencies


def put(coder: Any, values: npt.NDArray[np.integer[Any]], table: SymbolTable) -> None:
    """Append values (n,) to a constriction ``RangeEncoder``: their indices in the table, then the escaped ones."""
    escape = table.frequencies.size - 1
    index = values.astype(np.int64) - table.minimum
    escaped = (index < 0) | (index >= escape)
    index[escaped] = escape
    coder.encode(index.astype(np.int32), table.model())
    if escaped.any():
        outside = values[escaped].astype(np.int64)
        raw = np.where(outside < 0, -2 * outside - 1, 2 * outside)
        coder.encode(np.stack([raw >> 16, raw & 0xFFFF], axis=1).ravel().astype(np.int32), _HALF_WORD)


def take(coder: Any, count: int, table: SymbolTable) -> npt.NDArray[np.int64]:
    """Undo :func:`put`: take ``count`` values from a constriction ``RangeDecoder``."""
    return unescape(coder, coder.decode(table.model(), count), table)


def unescape(coder: Any, index: npt.NDArray[np.int32], table: SymbolTable) -> npt.NDArray[np.int64]:
    """Turn decoded indices in a table into values; takes the escaped ones, which follow, from the decoder."""
    values: npt.NDArray[np.int64] = index.astype(np.int64) + table.minimum
    escaped = index == table.frequencies.size - 1
    if escaped.any():
        halves = coder.decode(_HALF_WORD, 2 * int(escaped.sum())).astype(np.int64).reshape(-1, 2)
        raw = (halves[:, 0] << 16) | halves[:, 1]
        values[escaped] = np.where(raw & 1, -((raw + 1) >> 1), raw >> 1)
    return values


def words(coder: Any) -> bytes:
    """Return what a ``RangeEncoder`` holds as little-endian 32-bit words."""
    compressed: npt.NDArray[np.uint32] = coder.get_compressed()
    return compressed.astype("<u4").tobytes()


def encode(symbols: Symbols, tables: Sequence[SymbolTable]) -> bytes:
    """Encode symbols channel by channel.

    Parameters
    ----------
    symbols : ndarray of int32
        (C, h, w), any values.
    tables : sequence of SymbolTable
        One per channel.

    Returns
    -------
    bytes
        Little-endian 32-bit words of one range coder stream.
    """
    coder = constriction.stream.queue.RangeEncoder()
    for channel, table in zip(symbols, tables, strict=True):
        put(coder, channel.ravel(), table)
    return words(coder)


def decode(data: bytes, shape: tuple[int, int, int], tables: Sequence[SymbolTable]) -> Symbols:
    """Decode what :func:`encode` made.

    Parameters
    ----------
    data : bytes
        The stream.
    shape : tuple of int
        (C, h, w) of the symbols; the caller has checked it against its limits.
    tables : sequence of SymbolTable
        Those it was encoded with.

    Raises
    ------
    FormatError
        When the stream is damaged in a way that shows. Damage that does not is for checksums to find.
    """
    if len(data) % 4 or len(tables) != shape[0]:
        raise errors.FormatError(
            f"symbols: {len(data)} bytes for {shape[0]} channels with {len(tables)} tables; the entry is damaged"
        )
    symbols = np.empty(shape, np.int32)
    try:
        coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        for channel, table in zip(symbols, tables, strict=True):
            channel[...] = take(coder, channel.size, table).reshape(shape[1:])
    except (AssertionError, ValueError) as cause:
        raise errors.FormatError(f"symbols: the stream is damaged ({errors.plain(cause)})") from cause
    return symbols


@dataclass(frozen=True)
class LatentCoder:
    """Quantisation steps and symbol tables of one model: latents in, bytes out, and back.

    Parameters
    ----------
    steps : ndarray of float32
        (C,) quantisation step of each latent channel, in latent units.
    tables : mapping of int to sequence of SymbolTable
        For every step multiplier that was calibrated, one table a channel. Multiplier 1 is the default, larger
        ones are coarser.
    """

    steps: npt.NDArray[np.float32]
    tables: Mapping[int, Sequence[SymbolTable]]

    @classmethod
    def fit(
        cls,
        latents: Iterable[npt.NDArray[np.float32]],
        steps: npt.NDArray[np.float32],
        multipliers: Sequence[int] = (1, 2, 4, 8),
    ) -> LatentCoder:
        """Fit tables to training latents, each (C, h, w) float32, for every step multiplier."""
        blocks = [np.reshape(block, (steps.size, -1)) for block in latents]
        stacked = np.concatenate(blocks, axis=1)
        tables = {
            m: tuple(SymbolTable.fit(_quantise(row, step * m)) for row, step in zip(stacked, steps, strict=True))
            for m in multipliers
        }
        return cls(steps, tables)

    def check(self, multiplier: int) -> None:
        """Raise InputError when there are no tables for a step multiplier."""
        if multiplier not in self.tables:
            raise errors.InputError(
                f"step: got multiplier {multiplier}; this model has the steps {sorted(self.tables)} (--step); "
                "--quality and sizes to aim at are for the default codec, leave --model out for them"
            )

    def quantise(self, latent: npt.NDArray[np.float32], multiplier: int) -> Symbols:
        """Round a latent (C, h, w) to symbols: nearest multiple of ``steps · multiplier``."""
        return _quantise(latent, (self.steps * np.float32(multiplier))[:, None, None])

    def dequantise(self, symbols: Symbols, multiplier: int) -> npt.NDArray[np.float32]:
        """Return the latent (C, h, w) that symbols stand for, float32."""
        steps = (self.steps * np.float32(multiplier))[:, None, None]
        return (symbols.astype(np.float32) * steps).astype(np.float32)

    def encode(self, symbols: Symbols, multiplier: int) -> bytes:
        """Encode symbols (C, h, w); see :func:`encode`."""
        return encode(symbols, self.tables[multiplier])

    def decode(self, data: bytes, size: tuple[int, int], multiplier: int) -> Symbols:
        """Decode symbols of a grid of ``size`` (h, w); see :func:`decode`."""
        return decode(data, (self.steps.size, *size), self.tables[multiplier])

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return flat arrays for a checkpoint: steps, multipliers, and minimum, size and frequencies of the tables.

        Tables stand in the order of the multipliers, then of the channels.
        """
        multipliers = sorted(self.tables)
        flat = [table for m in multipliers for table in self.tables[m]]
        return {
            "steps": self.steps,
            "multipliers": np.array(multipliers, np.int32),
            "minimum": np.array([t.minimum for t in flat], np.int32),
            "size": np.array([t.frequencies.size for t in flat], np.int32),
            "frequencies": np.concatenate([t.frequencies for t in flat]).astype(np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LatentCoder:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            steps = arrays["steps"].astype(np.float32)
            ends = np.cumsum(arrays["size"])
            split = np.split(arrays["frequencies"].astype(np.int64), ends[:-1])
            flat = [SymbolTable(int(m), f) for m, f in zip(arrays["minimum"], split, strict=True)]
            multipliers = [int(m) for m in arrays["multipliers"]]
            if len(flat) != steps.size * len(multipliers) or not (steps > 0).all():
                raise ValueError(f"{len(flat)} tables for {steps.size} channels and {len(multipliers)} multipliers")
        except (KeyError, ValueError, IndexError, TypeError, OverflowError) as cause:
            raise errors.FormatError(f"entropy tables: not valid ({errors.plain(cause)})") from cause
        tables = {m: tuple(flat[i * steps.size : (i + 1) * steps.size]) for i, m in enumerate(multipliers)}
        return cls(steps, tables)


def _quantise(latent: npt.NDArray[np.float32], step: Any) -> Symbols:
    scaled = np.rint(latent.astype(np.float64) / step)
    symbols: Symbols = np.clip(scaled, -(2**30), 2**30).astype(np.int32)
    return symbols
