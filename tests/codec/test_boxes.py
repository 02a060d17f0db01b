"""Sums, means and largest values of boxes, also where the last ones are smaller."""

import numpy as np
import pytest

from sarcodec.codec import boxes


def each(values: np.ndarray, factor: int, what: object) -> np.ndarray:
    """What a function of an array gives for every box."""
    height, width = values.shape
    return np.array(
        [
            [what(values[y : y + factor, x : x + factor]) for x in range(0, width, factor)]
            for y in range(0, height, factor)
        ]
    )


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 64), (33, 70), (3, 100)])
@pytest.mark.parametrize("factor", [1, 2, 3, 8, 64])
def test_boxes_one_by_one(shape: tuple[int, int], factor: int) -> None:
    values = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(boxes.sums(values, factor), each(values, factor, np.sum), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(boxes.means(values, factor), each(values, factor, np.mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(boxes.largest(values, factor), each(values, factor, np.max))
    np.testing.assert_array_equal(boxes.sizes(shape, factor), each(values, factor, np.size))


def test_means_of_what_is_valid() -> None:
    values = np.array([[1, 3, np.nan], [np.nan, np.nan, np.nan], [5, np.nan, 7]], np.float32)
    np.testing.assert_array_equal(boxes.valid_means(values, 2), [[2, np.nan], [5, 7]])
    np.testing.assert_array_equal(boxes.valid_means(values[2:, :1], 2), [[5]])


def test_sums_of_pixels_that_are_or_are_not() -> None:
    np.testing.assert_array_equal(boxes.sums(np.array([[True, True, False], [True, False, True]]), 2), [[3, 1]])
