"""Fitting the latent coder of the variable-rate autoencoder to the latents of training images.

As with the lapped codec, symbols depend on the coder, which weighs bits, and the coder on symbols; both are found in
turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from sarcodec.entropy import scale, trellis
from sarcodec.training import level_fit
from sarcodec.variable import coder as latent_coder
from sarcodec.variable import contexts
from sarcodec.variable.contexts import PARENTS, PASSES

SAMPLES = 1 << 14
"""Symbols of a pass that are kept of a tile, at most."""

FloatArray = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


def fit(
    tiles: Sequence[FloatArray], *, seed: int = 0, rounds: int = 3, steps: int = 1500, draws: int = 3
) -> latent_coder.LatentCoder:
    """Fit a coder.

    Parameters
    ----------
    tiles : sequence of ndarray of float32
        Latents (n, h, w) in dB of training images.
    seed : int
        Of everything random.
    rounds : int
        How often symbols and coder are found in turn.
    steps : int
        Optimiser steps of every round and pass.
    draws : int
        Quantisation steps drawn for every tile and round, log-uniform in :data:`level_fit.STEP_RANGE`.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    blank = level_fit.blank_network(contexts.FEATURES, contexts.NEIGHBOURS)
    known = contexts.Contexts((blank,) * len(PASSES), spread_of(tiles), parents_of(tiles))
    coder = latent_coder.LatentCoder(known, level_fit.blank_symbols())
    models = [level_fit.LevelModel(contexts.FEATURES, contexts.NEIGHBOURS) for _ in PASSES]
    for number in range(rounds):
        samples = collect(coder, tiles, rng, draws, passes=1 if number == 0 else 2)
        for model, part in zip(models, samples, strict=True):
            level_fit.train(model, part, steps)
        networks = tuple(model.network() for model in models)
        levels = [n.level(s.inputs.T.astype(np.float32)) for n, s in zip(networks, samples, strict=True)]
        symbols = level_fit.count_symbols(np.concatenate(levels), level_fit.joined(samples))
        coder = latent_coder.LatentCoder(contexts.Contexts(networks, known.spread, known.parents), symbols)
    return coder


def spread_of(tiles: Sequence[FloatArray]) -> Integers:
    """Return the spread that :class:`contexts.Contexts` stores: root mean squares over all tiles."""
    power = np.mean([np.mean(tile.astype(np.float64) ** 2, axis=(1, 2)) for tile in tiles], axis=0)
    return level_fit.spread(power)


def parents_of(tiles: Sequence[FloatArray]) -> Integers:
    """Return for every latent the lower ones whose logarithms of magnitude correlate most with its own."""
    logs = [np.log1p(np.abs(tile)).reshape(len(tile), -1) for tile in tiles]
    joined = np.concatenate([log - log.mean(axis=1, keepdims=True) for log in logs], axis=1)
    correlation = np.corrcoef(joined)
    found = np.full((len(correlation), PARENTS), -1, np.int32)
    for number in range(1, len(found)):
        best = np.argsort(correlation[number, :number], kind="stable")[::-1][:PARENTS]
        found[number, : len(best)] = best
    return found


def collect(
    coder: latent_coder.LatentCoder,
    tiles: Sequence[FloatArray],
    rng: np.random.Generator,
    draws: int,
    passes: int = 2,
) -> list[level_fit.Samples]:
    """Quantise every tile with ``draws`` steps and keep some symbols of each; samples of every pass."""
    parts: list[list[level_fit.Samples]] = [[] for _ in PASSES]
    for tile in tiles:
        for _ in range(draws):
            index = int(rng.integers(*level_fit.STEP_RANGE))
            symbols = coder.quantise(tile, index, level_fit.RATE_WEIGHT, passes)
            for turn, part in enumerate(parts):
                part.append(_samples(coder.contexts, tile, symbols, (index, turn), rng))
    return [level_fit.joined(part) for part in parts]


def _samples(
    known: contexts.Contexts,
    tile: FloatArray,
    symbols: Integers,
    index_and_turn: tuple[int, int],
    rng: np.random.Generator,
) -> level_fit.Samples:
    index, turn = index_and_turn
    magnitude, priors = contexts.padded(symbols), known.priors(index)
    place = contexts.places(turn, *tile.shape[1:])
    inputs = np.stack([known.inputs(magnitude, n, turn, int(priors[n])) for n in range(len(tile))], axis=1)
    quantisers = trellis.quantiser(trellis.all_states(symbols[None])[0])
    size = len(tile) * place.size
    chosen = rng.choice(size, min(size, SAMPLES), replace=False)
    numbers, positions = chosen // place.size, place[chosen % place.size]
    scaled = tile.reshape(len(tile), -1)[numbers, positions] / np.float32(scale.step_db(index))
    return level_fit.Samples(
        inputs.reshape(len(inputs), -1)[:, chosen].T.astype(np.uint8),
        symbols.reshape(len(tile), -1)[numbers, positions],
        quantisers.reshape(len(tile), -1)[numbers, positions],
        scaled,
    )
