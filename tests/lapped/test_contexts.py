"""The integer network that tells the size of a coefficient: exact, and as docs/format.md says."""

import itertools
from typing import Any

import numpy as np
import pytest

from sarcodec import errors
from sarcodec.entropy import network as integer_network
from sarcodec.entropy import scale
from sarcodec.entropy.network import LEVELS, SCALE
from sarcodec.lapped import neighbourhood
from sarcodec.lapped.neighbourhood import DIAGONALS, FEATURES
from sarcodec.lapped.transform import BLOCK
from sarcodec.training import coefficient_fit

FIRST = [(1, 0), (0, 1)]
SECOND = [(1, 1), (2, 0), (0, 2)]
THIRD = [(2, -1), (2, 1), (1, 2), (3, 0), (0, 3)]


def exact_level(value: int) -> int:
    """8·log2(1 + i/256), rounded, plus 8·e, by whole numbers of any size."""
    exponent = (value + 3).bit_length() - 1
    leading = ((value + 3) << 8) >> exponent
    steps = 0
    while leading**16 >= 2 ** (2 * (steps + 1) - 1 + 128):  # 8·log2(leading/256) ≥ steps + ½
        steps += 1
    return min(255, 8 * exponent + steps)


def random_network(seed: int = 0, most: int = 40) -> neighbourhood.ScaleNetwork:
    rng = np.random.default_rng(seed)
    widths = [FEATURES, 24, 24, 1]
    weights = tuple(rng.integers(-most, most + 1, (b, a)).astype(np.int32) for a, b in itertools.pairwise(widths))
    # outputs lie about the middle where inputs do
    biases = tuple(
        (128 * (SCALE - w.sum(axis=1)) + rng.integers(-999, 999, len(w))).astype(np.int32) for w in weights
    )
    spread = rng.integers(-(2**15), 2**15, (BLOCK, BLOCK)).astype(np.int32)
    return neighbourhood.ScaleNetwork(integer_network.IntegerNetwork(weights, biases), spread)


def test_steps() -> None:
    assert scale.step_db(1792) == 2.0
    assert scale.step_db(1792 + 256) == 4.0
    assert scale.step_db(0) == 1 / 64


def test_diagonals_visit_every_place_once() -> None:
    visited = np.zeros((BLOCK, BLOCK), int)
    for number in range(DIAGONALS):
        place = neighbourhood.diagonal(number)
        assert (place.rows + place.columns == number).all()
        assert (np.diff(place.rows) == 1).all()
        visited[place.rows, place.columns] += 1
    assert (visited == 1).all()


def test_levels_are_exact() -> None:
    rng = np.random.default_rng(0)
    powers = [2**e + d for e in range(3, 24) for d in (-5, -4, -3, -2)]
    values = np.unique(np.concatenate([np.arange(5000), powers, rng.integers(0, 2**24 - 3, 5000)]))
    found = integer_network.levels(values.astype(np.float32))
    assert found.tolist() == [exact_level(int(value)) for value in values]
    assert np.abs(found - 8 * np.log2(values + 3.0)).max() < 0.56
    assert (np.diff(found.astype(int)) >= 0).all()


def slow_features(magnitude: np.ndarray, number: int) -> np.ndarray:
    """The first five inputs of a diagonal for magnitudes (BLOCK, BLOCK, h, w), as docs/format.md says."""
    height, width = magnitude.shape[2:]
    place = neighbourhood.diagonal(number)
    found = np.zeros((5, place.rows.size, height, width), int)
    for n, (u, v) in enumerate(zip(place.rows.tolist(), place.columns.tolist(), strict=True)):
        sums, counts = [], []
        for offsets in (FIRST, SECOND, THIRD):
            inside = [(u - a, v - b) for a, b in offsets if u >= a and 0 <= v - b < BLOCK]
            sums.append(sum((magnitude[place].astype(int) for place in inside), np.zeros((height, width), int)))
            counts.append(max(len(inside), 1))
        near, count = sums[0] + sums[1], counts[0] + counts[1]
        for y in range(height):
            for x in range(width):
                around = sum(
                    int(near[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)])
                    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
                )
                means = [64 * int(sums[kind][y, x]) // counts[kind] for kind in range(3)]
                means += [16 * around // count, 64 * int(near.sum()) // (count * height * width)]
                found[:, n, y, x] = [exact_level(mean) for mean in means]
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("largest", [2, 300, 2**24])
def test_features(shape: tuple[int, int], largest: int) -> None:
    rng = np.random.default_rng(largest)
    symbols = rng.integers(-largest, largest + 1, (BLOCK, BLOCK, *shape)).astype(np.int32)
    magnitude = np.minimum(np.abs(symbols), 1 << 14)
    checked = {0, 1, 2, 3, 4, 17, 63, 64, 65, 124, 126}
    known = neighbourhood.Neighbourhood(*shape)
    for number in range(DIAGONALS):
        place = neighbourhood.diagonal(number)
        prior = (place.rows * 3 + 1).astype(np.int32)
        if number in checked:
            inputs = known.features(number, prior)
            assert inputs.dtype == np.float32
            assert inputs.shape == (FEATURES, place.rows.size, *shape)
            np.testing.assert_array_equal(inputs[:5], slow_features(magnitude, number))
            for row, values in ((5, prior), (6, 2 * place.rows), (7, 2 * place.columns)):
                expected = np.broadcast_to(values[:, None, None], inputs.shape[1:])
                np.testing.assert_array_equal(inputs[row], expected)
        known.learn(number, symbols[place.rows, place.columns])


def integer_level(network: neighbourhood.ScaleNetwork, inputs: np.ndarray) -> np.ndarray:
    values = inputs.astype(np.int64)
    for weight, bias in zip(network.network.weights, network.network.biases, strict=True):
        values = np.clip((weight.astype(np.int64) @ values + bias[:, None]) >> 6, 0, LEVELS - 1)
    return values[0]


@pytest.mark.parametrize("most", [20, 40, 105])
def test_network_is_integer_arithmetic(most: int) -> None:
    network = random_network(most, most)
    inputs = np.random.default_rng(1).integers(0, LEVELS, (FEATURES, 5000))
    found = network.network.level(inputs.astype(np.float32)[:, :, None, None])
    assert found.shape == (5000, 1, 1)
    np.testing.assert_array_equal(found.ravel(), integer_level(network, inputs))
    assert np.unique(found).size > 20


def test_network_does_not_depend_on_order_or_precision() -> None:
    network = random_network(3)
    inputs = np.random.default_rng(2).integers(0, LEVELS, (FEATURES, 999, 2, 1)).astype(np.float32)
    whole = network.network.level(inputs)
    order = np.random.default_rng(3).permutation(999)
    np.testing.assert_array_equal(network.network.level(np.ascontiguousarray(inputs[:, order])), whole[order])
    for part in (slice(0, 1), slice(5, 8), slice(100, 355)):
        np.testing.assert_array_equal(network.network.level(np.ascontiguousarray(inputs[:, part])), whole[part])
    np.testing.assert_array_equal(network.network.level(inputs.astype(np.float64)), whole)
    np.testing.assert_array_equal(network.network.level(np.asfortranarray(inputs)), whole)


def test_levels_of_a_tile() -> None:
    """Each from what is known before it; beyond the diagonals that are asked for, 0."""
    network = random_network(4)
    symbols = np.random.default_rng(4).integers(-9, 10, (BLOCK, BLOCK, 2, 1)).astype(np.int32)
    found = network.levels_of(symbols, 1500)
    later = symbols.copy()
    later[20:, 20:] = 77
    again = network.levels_of(later, 1500, 41)
    for number in range(41):
        place = neighbourhood.diagonal(number)
        np.testing.assert_array_equal(again[place.rows, place.columns], found[place.rows, place.columns])
    assert not again[21:, 21:].any()


def test_prior() -> None:
    spread = np.zeros((BLOCK, BLOCK), np.int32)
    spread[3, 4] = round(2048 * np.log2(64 * 10 / 2))
    network = coefficient_fit.blank(spread).network
    index = int(np.flatnonzero(neighbourhood.diagonal(7).rows == 3)[0])
    for step in (512, 1000, 1536):
        level = network.prior(7, step)[index]
        assert level == pytest.approx(8 * np.log2(64 * 10 / (2 * scale.step_db(step))), abs=1)
    assert network.prior(7, 1256)[index] - network.prior(7, 1512)[index] == 8
    assert network.prior(0, 3328)[0] == network.prior(0, 1536)[0] == 0
    assert network.prior(7, -(2**16))[index] == LEVELS - 1


def test_blank_network_answers_with_the_prior() -> None:
    spread = np.random.default_rng(0).integers(0, 2**14, (BLOCK, BLOCK)).astype(np.int32)
    network = coefficient_fit.blank(spread).network
    prior = network.prior(9, 1400)
    inputs = neighbourhood.Neighbourhood(1, 2).features(9, prior)
    np.testing.assert_array_equal(network.network.level(inputs), np.repeat(prior[:, None, None], 2, axis=2))


def test_arrays() -> None:
    network = random_network(5)
    again = neighbourhood.ScaleNetwork.from_arrays(network.to_arrays())
    pairs = zip(again.to_arrays().values(), network.to_arrays().values(), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.spread, network.spread)


def changed(**arrays: Any) -> dict[str, np.ndarray]:
    return random_network().to_arrays() | {name.replace("_", "."): value for name, value in arrays.items()}


WIDE: dict[str, Any] = {
    "weight.0": np.full((600, FEATURES), 1),
    "bias.0": np.zeros(600, int),
    "weight.1": np.full((24, 600), 127),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (changed(weight_1=np.full((24, 24), 128)), "out of range"),
        (changed(weight_1=np.full((24, 24), -(2**31))), "out of range"),
        (changed(bias_0=np.full(24, 2**20 + 1)), "out of range"),
        (changed(bias_0=np.full(24, -(2**31))), "out of range"),
        (changed(**WIDE), "2\\^24"),
        (changed(weight_0=np.ones((24, FEATURES + 1))), "9 inputs"),
        (changed(weight_0=np.ones(24)), "fit together"),
        (changed(bias_1=np.zeros(23)), "fit together"),
        (changed(weight_2=np.ones((2, 24)), bias_2=np.zeros(2)), "one output"),
        (changed(spread=np.zeros((BLOCK, BLOCK + 1))), "spread of shape"),
        (changed(weight_4=np.ones((1, 1))), "not valid"),
        (changed(weight_0=np.ones((0, FEATURES)), bias_0=np.zeros(0)), "not valid"),
        ({}, "one output"),
    ],
)
def test_refuses_what_would_not_be_exact(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(errors.FormatError, match=message):
        neighbourhood.ScaleNetwork.from_arrays(arrays)


def test_largest_sums_are_exact() -> None:
    """Weights and biases at their limits: sums as large as eight inputs allow."""
    weights = (np.full((4, FEATURES), 127), np.full((4, 4), -127), np.full((1, 4), 127))
    biases = (np.full(4, 2**20), np.full(4, 2**20 - 1), np.array([-(2**20)]))
    layers = (tuple(part.astype(np.int32) for part in parts) for parts in (weights, biases))
    network = neighbourhood.ScaleNetwork(integer_network.IntegerNetwork(*layers), np.zeros((BLOCK, BLOCK), np.int32))
    inputs = np.random.default_rng(0).integers(0, LEVELS, (FEATURES, 500))
    found = network.network.level(inputs.astype(np.float32)[:, :, None, None]).ravel()
    np.testing.assert_array_equal(found, integer_level(network, inputs))
    assert SCALE == 64
