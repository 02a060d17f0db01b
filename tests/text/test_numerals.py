"""Numbers as people read them."""

import math

import pytest

from sarcodec.text import numerals


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (262144, 0, "262,144"),
        (1006000.5, 1, "1,006,000.5"),
        (0.816497, 3, "0.816"),
        (0.0, 3, "0.000"),
        (-0.0, 3, "0.000"),
        (0.0002775, 3, "< 0.001"),
        (-0.0002775, 3, "> -0.001"),
        (0.0006, 3, "0.001"),
        (math.inf, 2, "∞"),
        (-math.inf, 2, "-∞"),
        (math.nan, 2, "–"),
        (1e30, 2, "1.00e+30"),
    ],
)
def test_fixed(value: float, digits: int, expected: str) -> None:
    assert numerals.fixed(value, digits) == expected


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (262144, 4, "262,144"),
        (1006000.4, 4, "1,006,000"),
        (12345.678, 2, "12,346"),
        (0.0207351, 3, "0.0207"),
        (0.00003051, 3, "0.0000305"),
        (2.0, 3, "2"),
        (100.0, 2, "100"),
        (99.996, 3, "100"),
        (-31.25, 3, "-31.2"),
        (0, 4, "0"),
        (1e-12, 3, "1e-12"),
        (math.nan, 4, "–"),
        (math.inf, 4, "∞"),
    ],
)
def test_significant(value: float, digits: int, expected: str) -> None:
    assert numerals.significant(value, digits) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10.0, "10"),
        (-9999999.0, "-9999999"),
        (8.983152841195215e-05, "0.00008983152841195215"),
        (5400000.0, "5400000"),
        (-3.4028234663852886e38, "-3.4028234663852886e+38"),
        (0.0, "0"),
        (math.nan, "NaN"),
    ],
)
def test_exact_can_be_typed_again(value: float, expected: str) -> None:
    assert numerals.exact(value) == expected
    assert float(expected) == value or math.isnan(value)
