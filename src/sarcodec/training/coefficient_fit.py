"""Fitting the coefficient coder of the lapped codec to the symbols of training tiles.

Symbols depend on the coder, because the encoder weighs bits, and the coder on symbols; so both are found in turn,
starting from a coder that knows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from sarcodec.entropy import scale as quality_scale
from sarcodec.entropy import trellis
from sarcodec.lapped import coefficients, neighbourhood, transform
from sarcodec.training import level_fit
from sarcodec.training.level_fit import RATE_WEIGHT, STEP_RANGE, Samples

FloatArray = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


def fit(
    tiles: Sequence[FloatArray], *, seed: int = 0, rounds: int = 3, steps: int = 1500, draws: int = 3
) -> coefficients.CoefficientCoder:
    """Fit a coder.

    Parameters
    ----------
    tiles : sequence of ndarray of float32
        Coefficients (BLOCK, BLOCK, h, w) in dB of training images, from :func:`transform.analyse`.
    seed : int
        Of everything random.
    rounds : int
        How often symbols and coder are found in turn.
    steps : int
        Optimiser steps of every round.
    draws : int
        Quantisation steps drawn for every tile and round, log-uniform in :data:`STEP_RANGE`.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    spread = spread_of(tiles)
    coder = blank(spread)
    model = level_fit.LevelModel(neighbourhood.FEATURES, 5)
    for number in range(rounds):
        samples = collect(coder, tiles, rng, draws, passes=1 if number == 0 else 2)
        level_fit.train(model, samples, steps)
        network = neighbourhood.ScaleNetwork(model.network(), spread)
        coder = with_tables(network, samples)
    return coder


def spread_of(tiles: Sequence[FloatArray]) -> Integers:
    """Return the spread that :class:`neighbourhood.ScaleNetwork` stores: root mean squares over all tiles, smoothed.

    A coefficient and its mirror image (rows and columns exchanged) count as one.
    """
    power = np.mean([np.mean(tile.astype(np.float64) ** 2, axis=(2, 3)) for tile in tiles], axis=0)
    return level_fit.spread((power + power.T) / 2)


def blank(spread: Integers) -> coefficients.CoefficientCoder:
    """Return a coder to start from: its level is that of the spread alone, its tables are Laplacian."""
    network = neighbourhood.ScaleNetwork(level_fit.blank_network(neighbourhood.FEATURES, 5), spread)
    symbols = level_fit.blank_symbols()
    return coefficients.CoefficientCoder(network, symbols.tables, symbols.centroids)


def collect(
    coder: coefficients.CoefficientCoder,
    tiles: Sequence[FloatArray],
    rng: np.random.Generator,
    draws: int,
    passes: int = 2,
) -> Samples:
    """Quantise every tile with ``draws`` steps and keep up to 65,536 coefficients of each."""
    parts: list[tuple[npt.NDArray[np.generic], ...]] = []
    for tile in tiles:
        for _ in range(draws):
            index = int(rng.integers(*STEP_RANGE))
            symbols = coder.quantise(tile, index, RATE_WEIGHT, passes)
            chosen = rng.choice(symbols.size, min(symbols.size, 1 << 16), replace=False)
            inputs = _inputs(coder.network, symbols, index).reshape(neighbourhood.FEATURES, -1)[:, chosen].T
            quantisers = trellis.quantiser(trellis.all_states(symbols)).ravel()[chosen]
            scaled = tile.ravel()[chosen] / np.float32(quality_scale.step_db(index))
            parts.append((inputs, symbols.ravel()[chosen], quantisers, scaled))
    inputs, symbols, quantisers, scaled = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Samples(inputs, symbols, quantisers, scaled)


def _inputs(network: neighbourhood.ScaleNetwork, symbols: Integers, step_index: int) -> npt.NDArray[np.uint8]:
    known = neighbourhood.Neighbourhood(*symbols.shape[2:])
    found = np.zeros((neighbourhood.FEATURES, *symbols.shape), np.uint8)
    for number in range(neighbourhood.DIAGONALS):
        place = neighbourhood.diagonal(number)
        found[:, place.rows, place.columns] = known.features(number, network.prior(number, step_index))
        known.learn(number, symbols[place.rows, place.columns])
    return found


def with_tables(network: neighbourhood.ScaleNetwork, samples: Samples) -> coefficients.CoefficientCoder:
    """Return a coder of a network whose levels sort the samples into its tables."""
    level = network.network.level(samples.inputs.T.astype(np.float32)[:, :, None, None]).ravel()
    symbols = level_fit.count_symbols(level, samples)
    return coefficients.CoefficientCoder(network, symbols.tables, symbols.centroids)


def tiles_of(image_db: FloatArray) -> FloatArray:
    """Coefficients of an image (H, W) in dB without invalid pixels, of which the median is taken away first."""
    centred = image_db - np.float32(np.median(image_db))
    return transform.analyse(transform.extend(centred))
