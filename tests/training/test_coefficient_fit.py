"""Fitting the coefficient coder: it learns, says the truth about size, and repeats itself."""

import numpy as np
import pytest

import tiny
from sarcodec.entropy import scale, tables, trellis
from sarcodec.entropy.symbols import CENTROIDS, TABLES, table_index
from sarcodec.lapped import coefficients, neighbourhood, transform
from sarcodec.lapped.transform import BLOCK
from sarcodec.training import coefficient_fit


def held_out() -> np.ndarray:
    return coefficient_fit.tiles_of(tiny.simulated_db((192, 192), 31))


def estimated_bits(coder: coefficients.CoefficientCoder, symbols: np.ndarray, step: int) -> float:
    """What tables, low bits and escapes should take."""
    used = coefficients.last_diagonal(symbols)
    coded = np.add(*np.indices((BLOCK, BLOCK))) < used
    level = coder.network.levels_of(symbols, step, used)
    quantiser = trellis.quantiser(trellis.all_states(symbols))
    shift, index = table_index(level[coded].ravel())
    index = index.astype(int) + TABLES * quantiser[coded].ravel()
    found = float(shift.sum())
    for value, table in zip((symbols[coded].ravel() >> shift).tolist(), index.tolist(), strict=True):
        frequencies, low = coder.tables[table].frequencies, coder.tables[table].minimum
        escaped = not low <= value <= -low
        found += tables.PRECISION - np.log2(frequencies[-1 if escaped else value - low]) + 32 * escaped
    return found


@pytest.mark.parametrize("step", [1100, 1600, 2100])
def test_size_is_as_estimated(step: int) -> None:
    coder = tiny.lapped().coder
    symbols = coder.quantise(held_out(), step, coefficient_fit.RATE_WEIGHT)
    bits = 8 * len(coder.encode(symbols, step))
    assert bits == pytest.approx(estimated_bits(coder, symbols, step), rel=0.002, abs=72)


@pytest.mark.parametrize("step", [1100, 1500, 1900])
def test_beats_a_coder_that_knows_the_spread_alone(step: int) -> None:
    """On an image it was not fitted to, in bytes and in the sum that the encoder minimises."""
    tile, fitted = held_out(), tiny.lapped().coder
    results = []
    for coder in (fitted, coefficient_fit.blank(fitted.network.spread)):
        symbols = coder.quantise(tile, step, coefficient_fit.RATE_WEIGHT)
        error = tile / scale.step_db(step) - coder.multiples(symbols, step)
        results.append((len(coder.encode(symbols, step)), float(np.sum(error**2))))
    (size, error), (blank_size, blank_error) = results
    assert size < 0.995 * blank_size
    weight = 8 * coefficient_fit.RATE_WEIGHT
    assert error + weight * size < 0.995 * (blank_error + weight * blank_size)


def test_same_seed_same_coder() -> None:
    tiles = [coefficient_fit.tiles_of(tiny.simulated_db((64, 128), 3))]
    runs = [coefficient_fit.fit(tiles, seed=seed, rounds=1, steps=2, draws=1).to_arrays() for seed in (5, 5, 6)]
    for name, array in runs[0].items():
        np.testing.assert_array_equal(array, runs[1][name])
    assert any(not np.array_equal(array, runs[2][name]) for name, array in runs[0].items())


def test_spread() -> None:
    tiles = [np.zeros((BLOCK, BLOCK, 2, 2), np.float32), np.zeros((BLOCK, BLOCK, 1, 5), np.float32)]
    for tile in tiles:
        tile[...] = 4.0
        tile[1, 0], tile[0, 1] = -1.0, 3.0
    spread = coefficient_fit.spread_of(tiles)
    assert spread[5, 9] == 2048 * 7
    assert spread[1, 0] == spread[0, 1] == round(2048 * np.log2(32 * np.sqrt(5)))


def test_tables() -> None:
    """Of fitted and blank coders alike: symmetric but for rounding, and the fitted ones wider as levels rise."""
    coder = tiny.lapped().coder
    for each in (coder, coefficient_fit.blank(coder.network.spread)):
        assert len(each.tables) == 2 * TABLES
        for table in each.tables:
            assert table.frequencies.size == 2 - 2 * table.minimum
            both = table.frequencies[:-1]
            np.testing.assert_allclose(both, both[::-1], atol=both.size)  # rounding leaves this to one entry
        zero = [table.frequencies[-table.minimum] for table in each.tables[:TABLES]]
        assert zero[0] > 2 * zero[TABLES // 2] > 4 * zero[-1]
    assert coder.centroids.shape == (2, TABLES, CENTROIDS)
    assert (coder.centroids[:, :, 0] == 0).all()
    assert np.abs(coder.centroids).max() < 2


def test_samples_are_as_coded() -> None:
    """Collected inputs are those that the coder will see."""
    coder, tile = tiny.lapped().coder, coefficient_fit.tiles_of(tiny.simulated_db((64, 128), 3))
    samples = coefficient_fit.collect(coder, [tile], np.random.default_rng(0), draws=2, passes=1)
    count = 2 * tile.size
    assert samples.inputs.shape == (count, neighbourhood.FEATURES)
    assert samples.symbols.shape == samples.quantisers.shape == samples.scaled.shape == (count,)
    restored = trellis.dequantise(samples.symbols, samples.quantisers)
    assert np.abs(restored - samples.scaled).mean() < 1.0
    assert set(np.unique(samples.quantisers)) <= {0, 1}


def test_tiles_of() -> None:
    db = tiny.simulated_db((70, 64), 4)
    tile = coefficient_fit.tiles_of(db)
    assert tile.shape == (BLOCK, BLOCK, 2, 1)
    np.testing.assert_allclose(transform.synthesise(tile)[:70] + np.median(db), db, atol=1e-3)
