"""The compiled range decoder finds what constriction finds, in what it encoded and in bytes that nobody did."""

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sarcodec.entropy import tables as entropy_tables
from sarcodec.entropy.range_decoder import RangeDecoder, Tables

MIDDLES = (1, 3, 8)


def table(middle: int) -> entropy_tables.SymbolTable:
    weights = 0.5 ** np.abs(np.arange(-middle, middle + 2))
    return entropy_tables.SymbolTable(-middle, entropy_tables.to_frequencies(weights))


TABLES = [table(middle) for middle in MIDDLES]
JOINED = Tables.of(TABLES)


def take(data: bytes, counts: list[int], shift: list[int] | None = None) -> np.ndarray:
    total = sum(counts)
    low_bits = np.zeros(total, np.uint8) if shift is None else np.array(shift, np.uint8)
    return RangeDecoder(data).take(JOINED, np.array(counts), np.arange(total), low_bits)


def with_constriction(data: bytes, counts: list[int]) -> np.ndarray:
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    parts = [entropy_tables.take(coder, count, one) for one, count in zip(TABLES, counts, strict=True) if count]
    return np.concatenate([np.zeros(0, np.int64), *parts])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.lists(st.integers(0, 60), min_size=3, max_size=3))
def test_bytes_that_nobody_encoded(data: bytes, counts: list[int]) -> None:
    """The same symbols, or both refuse; escapes of any size among them."""
    data = data[: len(data) // 4 * 4]
    try:
        expected = with_constriction(data, counts)
    except (AssertionError, ValueError):
        with pytest.raises(ValueError, match="not what an encoder writes"):
            take(data, counts)
        return
    np.testing.assert_array_equal(take(data, counts), expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-9, 9), max_size=50), st.integers(0, 2))
def test_what_was_encoded(values: list[int], number: int) -> None:
    coder = constriction.stream.queue.RangeEncoder()
    entropy_tables.put(coder, np.array(values, np.int64), TABLES[number])
    counts = [0, 0, 0]
    counts[number] = len(values)
    np.testing.assert_array_equal(take(entropy_tables.words(coder), counts), values)


def test_low_bits_follow_by_how_many_they_are() -> None:
    """Those of two bits before those of five, at whatever places."""
    coder, uniform = constriction.stream.queue.RangeEncoder(), constriction.stream.model.Uniform
    high, shift = [1, -1, 0, 0], [5, 0, 2, 5]
    entropy_tables.put(coder, np.array(high), TABLES[1])
    coder.encode(np.array([3], np.int32), uniform(4))
    coder.encode(np.array([17, 31], np.int32), uniform(32))
    np.testing.assert_array_equal(take(entropy_tables.words(coder), [0, 4, 0], shift), [1 << 5 | 17, -1, 3, 31])


def test_places_of_symbols_and_groups_one_after_another() -> None:
    coder = constriction.stream.queue.RangeEncoder()
    for values, one in (([1, 0], 0), ([-3, 2, 3], 2), ([1], 1)):
        entropy_tables.put(coder, np.array(values), TABLES[one])
    decoder, none = RangeDecoder(entropy_tables.words(coder)), np.zeros(5, np.uint8)
    first = decoder.take(JOINED, np.array([2, 0, 3]), np.array([4, 0, 3, 1, 2]), none)
    np.testing.assert_array_equal(first, [0, 2, 3, -3, 1])
    np.testing.assert_array_equal(decoder.take(JOINED, np.array([0, 1, 0]), np.array([0]), none[:1]), [1])
