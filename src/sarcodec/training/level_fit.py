"""Fitting what codes symbols: the integer network of levels, tables and centroids, to samples of training tiles.

The network is trained with its numbers rounded as they will be, gradients passing through the rounding, against
tables that are trained along and read between two levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sarcodec.entropy import network as integer_network
from sarcodec.entropy import symbols as entropy_symbols
from sarcodec.entropy import tables as entropy_tables
from sarcodec.entropy.symbols import CENTROIDS, HIGHEST, LOWEST, TABLES

HIDDEN = 16
WIDEST = 63
BATCH = 16384
LEARNING_RATE = 4e-3
RATE_WEIGHT = 0.35
"""λ of the trellis search, in squared steps per bit."""

STEP_RANGE = 256 * 3, 256 * 11
"""Step indices that training draws from: 0.125 to 32 dB."""

FloatArray = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Samples:
    """Values drawn from quantised training tiles.

    ``inputs`` (n, FEATURES) uint8 of the network, ``symbols`` (n,) int32, ``quantisers`` (n,) int8, ``scaled`` (n,)
    float32 values in steps.
    """

    inputs: npt.NDArray[np.uint8]
    symbols: Integers
    quantisers: npt.NDArray[np.int8]
    scaled: FloatArray


def joined(parts: Sequence[Samples]) -> Samples:
    """Return all samples as one."""
    return Samples(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.symbols for part in parts]),
        np.concatenate([part.quantisers for part in parts]),
        np.concatenate([part.scaled for part in parts]),
    )


def spread(power: npt.NDArray[np.float64]) -> Integers:
    """Return the spreads (see :func:`sarcodec.entropy.network.priors`) of values of mean squares in dB²."""
    found: Integers = np.rint(2048 * np.log2(64 * np.sqrt(power) / 2)).astype(np.int32)
    return found


def blank_network(features: int, prior: int) -> integer_network.IntegerNetwork:
    """Return a network that passes one of its inputs on."""
    first = np.zeros((HIDDEN, features), np.int32)
    first[0, prior] = integer_network.SCALE
    second = np.zeros((HIDDEN, HIDDEN), np.int32)
    second[0, 0] = integer_network.SCALE
    last = np.zeros((1, HIDDEN), np.int32)
    last[0, 0] = integer_network.SCALE
    zeros = np.zeros(HIDDEN, np.int32)
    return integer_network.IntegerNetwork((first, second, last), (zeros, zeros, np.zeros(1, np.int32)))


def blank_symbols() -> entropy_symbols.SymbolCoder:
    """Return Laplacian tables without centroids."""
    tables = tuple(_table(weights) for weights in np.exp(_laplacian()).reshape(2 * TABLES, -1))
    return entropy_symbols.SymbolCoder(tables, np.zeros((2, TABLES, CENTROIDS), np.float32))


def count_symbols(level: npt.NDArray[np.uint8], samples: Samples) -> entropy_symbols.SymbolCoder:
    """Count symbols by level (n,) and quantiser into tables, and measure what they stand for."""
    shift, index = entropy_symbols.table_index(level)
    index += np.uint8(TABLES) * samples.quantisers.view(np.uint8)
    magnitude = np.minimum(np.abs(samples.symbols) >> shift, 4 * WIDEST)
    counts = np.zeros((2 * TABLES, 4 * WIDEST + 1))
    np.add.at(counts, (index, magnitude), 1.0)
    centroids = np.zeros((2 * TABLES, CENTROIDS), np.float32)
    sign = np.sign(samples.symbols)
    offset = np.abs(samples.scaled) * np.sign(samples.scaled) * sign - (
        2 * np.abs(samples.symbols) - (sign != 0) * samples.quantisers
    )
    kind = np.minimum(np.abs(samples.symbols), CENTROIDS - 1)
    total, number = np.zeros((2 * TABLES, CENTROIDS)), np.full((2 * TABLES, CENTROIDS), 200.0)
    usable = shift == 0
    np.add.at(total, (index[usable], kind[usable]), offset[usable])
    np.add.at(number, (index[usable], kind[usable]), 1.0)
    centroids[:] = total / number
    centroids[:, 0] = 0.0
    prior = np.exp(_laplacian()).reshape(2 * TABLES, -1)
    tables = []
    for row, start in zip(counts, prior, strict=True):
        weights = row.copy()
        weights[: start.size] += 20.0 * start / start.sum()
        tables.append(_table(weights))
    shape = (2, TABLES, CENTROIDS)
    return entropy_symbols.SymbolCoder(tuple(tables), centroids.reshape(shape))


def _table(weights: npt.NDArray[np.floating[Any]]) -> entropy_tables.SymbolTable:
    """Make a symmetric table of the weights of magnitudes 0, 1, …; what is far out is left to the escape."""
    share = weights / weights.sum()
    widest = max(int(np.flatnonzero(share > 1e-7).max()), 1)
    half = share[1 : widest + 1] / 2 + 1e-9
    escape = share[widest + 1 :].sum() + 1e-7
    both = np.concatenate([half[::-1], share[:1] + 1e-9, half, [escape]])
    return entropy_tables.SymbolTable(-widest, entropy_tables.to_frequencies(both))


def _laplacian() -> FloatArray:
    """Logarithms of the shares of magnitudes 0 … WIDEST for the scale of every level: (2, TABLES, WIDEST + 1)."""
    level = np.arange(LOWEST, HIGHEST + 1)
    scale = np.maximum((2.0 ** (level / integer_network.OCTAVE) - 3) / 64, 0.02)[:, None]
    upper = np.arange(WIDEST + 1)[None] + 0.5
    tail = np.exp(-upper / scale)
    share = np.concatenate([1 - tail[:, :1], tail[:, :-1] - tail[:, 1:]], axis=1) + 1e-7
    logs = np.log(share / share.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.stack([logs, logs])


class LevelModel(nn.Module):
    """The network in float, rounding as it will in integers, and tables to train it against.

    It starts as the mean of its first ``neighbours`` inputs, near enough.
    """

    def __init__(self, features: int, neighbours: int) -> None:
        super().__init__()
        widths = [features, HIDDEN, HIDDEN, 1]
        self.linears = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        self.layers = nn.ModuleList(self.linears)
        with torch.no_grad():
            for layer in self.linears:
                layer.bias.zero_()
                layer.weight[0] = 0.0
            self.linears[0].weight[0, :neighbours] = 1 / neighbours  # one path starts as the mean of their levels
            self.linears[1].weight[0, 0] = 1.0
            self.linears[2].weight.mul_(0.1)[0, 0] = 1.0
        self.logits = nn.Parameter(torch.from_numpy(_laplacian()))

    def forward(self, inputs: torch.Tensor, symbols: torch.Tensor, quantisers: torch.Tensor) -> torch.Tensor:
        """Return the bits of every symbol, (n,)."""
        values = inputs
        for layer in self.linears:
            weight = _round((layer.weight * integer_network.SCALE).clamp(-127, 127))
            bias = _round(layer.bias * integer_network.SCALE * 16)
            sums = nn.functional.linear(values, weight, bias) / integer_network.SCALE
            # a leak keeps units alive; the value is that of the clamp
            values = _passing(sums, torch.floor(sums).clamp(0, integer_network.LEVELS - 1))
        level = values[:, 0].clamp(LOWEST, HIGHEST - 1e-3) - LOWEST
        below = level.detach().floor().long()
        part = (level - below)[:, None]
        magnitude = symbols.abs().clamp_max(WIDEST)[:, None]
        shares = torch.log_softmax(self.logits, dim=2).exp()
        low = shares[quantisers, below].gather(1, magnitude)
        high = shares[quantisers, below + 1].gather(1, magnitude)
        likelihood = low * (1 - part) + high * part
        return -torch.log2(likelihood.clamp_min(1e-9))[:, 0] + (symbols != 0)

    def network(self) -> integer_network.IntegerNetwork:
        """Return the integer network."""
        weights, biases = [], []
        for layer in self.linears:
            scaled = (layer.weight.detach() * integer_network.SCALE).clamp(-127, 127)
            weights.append(torch.round(scaled).numpy().astype(np.int32))
            biases.append(torch.round(layer.bias.detach() * integer_network.SCALE * 16).numpy().astype(np.int32))
        return integer_network.IntegerNetwork(tuple(weights), tuple(biases))


def _round(values: torch.Tensor) -> torch.Tensor:
    return values + (torch.round(values) - values).detach()


def _passing(values: torch.Tensor, replaced: torch.Tensor) -> torch.Tensor:
    """Return ``replaced`` with the gradient of a leaky clamp of ``values``."""
    leaky = values.clamp(0, integer_network.LEVELS - 1) + 0.02 * (
        values - values.clamp(0, integer_network.LEVELS - 1)
    )
    return leaky + (replaced - leaky).detach()


def train(model: LevelModel, samples: Samples, steps: int) -> float:
    """Train by Adam with a cosine schedule; returns the mean bits of the last hundred steps."""
    inputs = torch.from_numpy(samples.inputs)
    symbols = torch.from_numpy(samples.symbols.astype(np.int64))
    quantisers = torch.from_numpy(samples.quantisers.astype(np.int64))
    rates = [(model.layers.parameters(), LEARNING_RATE), ([model.logits], 5 * LEARNING_RATE)]
    optimiser = torch.optim.Adam([{"params": p, "lr": rate} for p, rate in rates])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))),
    )
    recent: list[float] = []
    for _ in range(steps):
        chosen = torch.randint(len(symbols), (BATCH,))
        bits = model(inputs[chosen].float(), symbols[chosen], quantisers[chosen]).mean()
        optimiser.zero_grad()
        bits.backward()
        optimiser.step()
        schedule.step()
        recent = [*recent[-99:], bits.item()]
    return float(np.mean(recent))
