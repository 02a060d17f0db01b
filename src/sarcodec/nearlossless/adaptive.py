"""Adaptive coding of integers in contexts: counts learned alike by encoder and decoder, a range coder behind them.

A context is ``(kind · BUCKETS + bucket) · SIDES + side``: what kind of neighbourhood a symbol has, how active it is
(bucket :data:`UNIT_BUCKET` + 2·k stands for an activity of 2^k symbol steps), and which side it is likely on.

**Tables are learned, not stored**, so that a field of few symbols does not pay for them, and they follow what no
family of curves does. All is integer arithmetic, the same on every machine. Counts stand in 1/64. A context starts
with 48 imagined symbols of a two-sided geometric law, ``1 + floor(48·64·w / Σw)`` each. Its mean magnitude m, in
1/256, is 128·2^((bucket − 13)/2), with 181/128 for the root of 2, rounded down, at least 8, and halved for every low
bit. The weight w of 0 is 2^30, that of each next magnitude the one before times m·(256 + m) / (2·256² + 2·256·m +
m²), rounded down; the escape has that of 41. Before its first use a kind may take over the counts of another, scaled
down to 16 symbols (:meth:`Tables.inherit`). Frequencies are
``1 + floor(count · (2^24 − 82) / sum)``; what is missing to 2^24 goes to the first of the largest.

**Order.** The symbols of one call are coded context by context, ascending, in the order given within each. Those of
a context are cut into runs as long as the symbols seen there, imagined ones included and 32 at least; the counts of
a run are added after it. A run is: its symbols, shifted right by the low bits of its bucket,
``clip((bucket − 13) / 2 − 3, 0, 12)`` rounded down, as −40 … 40 or the escape, index 81; for every escaped one the
shifted value plus 2^23 in two halves of 12 bits, high first, equally likely; then, if any, the low bits of all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.entropy import tables

Field = npt.NDArray[np.int32]

BUCKETS: Final = 50
UNIT_BUCKET: Final = 13
SIDES: Final = 3
CONTEXTS: Final = BUCKETS * SIDES
"""Contexts of one kind."""

_REACH = 40
_SYMBOLS = 2 * _REACH + 2
_ESCAPE = _SYMBOLS - 1
_ONE = 64
_IMAGINED = 48 * _ONE
_INHERITED = 16 * _ONE
_FIRST_RUN = 32
_HALF = 1 << 23
_HALF_SYMBOL = constriction.stream.model.Uniform(1 << 12)


class Tables:
    """Counts of symbols by context, learned alike by encoder and decoder."""

    def __init__(self, kinds: int) -> None:
        self.counts = np.tile(_PRIOR, (kinds, 1))

    def inherit(self, kind: int, other: int) -> None:
        """Let the contexts of a kind start from the counts of another kind."""
        rows = self.counts[other * CONTEXTS : (other + 1) * CONTEXTS]
        self.counts[kind * CONTEXTS : (kind + 1) * CONTEXTS] = rows * _INHERITED // rows.sum(axis=1, keepdims=True)

    def model(self, context: int) -> Any:
        """Return the constriction model of a context's counts."""
        counts = self.counts[context]
        frequencies = 1 + counts * (tables.TOTAL - _SYMBOLS) // int(counts.sum())
        frequencies[np.argmax(frequencies)] += tables.TOTAL - int(frequencies.sum())
        return tables.SymbolTable(-_REACH, frequencies).model()

    def runs(self, contexts: Field) -> Iterator[tuple[int, slice]]:
        """Split sorted contexts into runs; each is as long as what its context has seen."""
        edges = [*np.flatnonzero(np.diff(contexts, prepend=-1)).tolist(), contexts.size]
        for start, stop in itertools.pairwise(edges):
            context = int(contexts[start])
            while start < stop:
                end = min(stop, start + max(_FIRST_RUN, int(self.counts[context].sum()) // _ONE))
                yield context, slice(start, end)
                start = end

    def learn(self, context: int, indices: Field) -> None:
        """Count the symbols of a run."""
        self.counts[context] += _ONE * np.bincount(indices, minlength=_SYMBOLS)


class Encoder:
    """Symbols to range coder words."""

    def __init__(self, kinds: int) -> None:
        self.tables = Tables(kinds)
        self.coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Field, contexts: Field) -> None:
        """Encode symbols, (n,) int32 of at most 2^22 in magnitude, in their contexts, (n,) int32."""
        order = np.argsort(contexts.astype(np.uint16), kind="stable")
        for context, run in self.tables.runs(contexts[order]):
            part, low_bits = symbols[order[run]], _low_bits(context)
            high = part >> low_bits
            escaped = np.abs(high) > _REACH
            indices = np.where(escaped, _ESCAPE, high + _REACH).astype(np.int32)
            self.coder.encode(indices, self.tables.model(context))
            if escaped.any():
                raw = high[escaped] + _HALF
                self.coder.encode(np.stack([raw >> 12, raw & 0xFFF], axis=1).ravel(), _HALF_SYMBOL)
            if low_bits:
                self.coder.encode(part & ((1 << low_bits) - 1), _plain(low_bits))
            self.tables.learn(context, indices)

    def finish(self) -> bytes:
        """Return all words."""
        words: npt.NDArray[np.uint32] = self.coder.get_compressed()
        return words.astype("<u4").tobytes()


class Decoder:
    """Range coder words to symbols."""

    def __init__(self, kinds: int, words: bytes) -> None:
        self.tables = Tables(kinds)
        self.coder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))

    def decode(self, contexts: Field) -> Field:
        """Decode the symbols, (n,) int32, of contexts, (n,) int32; FormatError when the stream is damaged."""
        order = np.argsort(contexts.astype(np.uint16), kind="stable")
        ordered = np.empty(contexts.size, np.int32)
        try:
            for context, run in self.tables.runs(contexts[order]):
                ordered[run] = self._run(context, run.stop - run.start)
        except (AssertionError, ValueError) as cause:
            raise errors.FormatError(f"symbols: the stream is damaged ({errors.plain(cause)})") from cause
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    def _run(self, context: int, size: int) -> Field:
        low_bits = _low_bits(context)
        indices: Field = self.coder.decode(self.tables.model(context), size)
        high = indices - np.int32(_REACH)
        escaped = indices == _ESCAPE
        if escaped.any():
            halves = self.coder.decode(_HALF_SYMBOL, 2 * int(np.count_nonzero(escaped))).reshape(-1, 2)
            high[escaped] = np.clip(
                ((halves[:, 0] << 12) | halves[:, 1]) - _HALF, -_HALF >> low_bits, _HALF >> low_bits
            )
        symbols = high << np.int32(low_bits)
        if low_bits:
            symbols |= self.coder.decode(_plain(low_bits), size)
        self.tables.learn(context, indices)
        return symbols

    def finish(self) -> None:
        """Raise FormatError if words are left over."""
        if not self.coder.maybe_exhausted():
            raise errors.FormatError("symbols: bytes are left over; the entry is damaged")


def _prior() -> npt.NDArray[np.int64]:
    """Imagined counts of the contexts of one kind of pass: two-sided geometric, by integer arithmetic alone."""
    rows = []
    for bucket in range(BUCKETS):
        octave, half = divmod(bucket - UNIT_BUCKET, 2)
        spread = max((181 if half else 128) << (octave + 8) >> 8, 8)
        spread >>= _low_bits(SIDES * bucket)  # mean magnitude of a symbol in 1/256
        ratio = (spread * (256 + spread), 2 * 256 * 256 + 2 * 256 * spread + spread * spread)
        weights = [1 << 30]
        for _ in range(_REACH + 1):
            weights.append(weights[-1] * ratio[0] // ratio[1])
        both = weights[_REACH:0:-1] + weights[: _REACH + 1] + weights[-1:]
        total = sum(both)
        rows += [[1 + _IMAGINED * w // total for w in both]] * SIDES
    return np.array(rows, np.int64)


def _low_bits(context: int) -> int:
    """Return how many low bits of a symbol are sent plain: the table's steps stay finer than the spread."""
    bucket = context % CONTEXTS // SIDES
    return min(max(0, (bucket - UNIT_BUCKET) // 2 - 3), 12)


def _plain(bits: int) -> Any:
    return constriction.stream.model.Uniform(1 << bits)


_PRIOR: Final = _prior()
