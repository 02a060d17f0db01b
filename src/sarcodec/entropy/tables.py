"""Entropy coding of latents: integer symbols, static integer tables, a range coder.

All that decides a symbol is integer arithmetic, so a stream decodes to the same symbols on every machine. The byte
format is specified in ``docs/format.md``; the coder is constriction's ``RangeEncoder`` with 24-bit frequencies.
"""

from __future__ import annotations

import functools
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
