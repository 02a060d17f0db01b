"""What a training sees: shuffled and turned windows of patches, a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sarcodec.training import patches, train_config


def count(train: patches.PatchSet, config: train_config.TrainConfig) -> int:
    """Return the number of batches of an epoch, in which as many pixels are seen as the set has."""
    return len(train) * _windows(train, config) // config.batch_size


def epoch(
    train: patches.PatchSet, config: train_config.TrainConfig, number: int, skip: int = 0
) -> Iterator[torch.Tensor]:
    """Yield the batches of an epoch but for the first ``skip``; the last, incomplete one is dropped.

    Yields
    ------
    Tensor
        (N, 1, h, w) float32 in [0, 1]: whole patches, or windows of ``config.crop`` pixels at random places.
    """
    random = np.random.default_rng([config.seed, number])
    draws = len(train) * _windows(train, config)
    order = random.permutation(draws) % len(train)
    turns = random.integers(0, 8, draws)
    size = train.manifest.config.size
    side = min(config.crop or size, size)
    corners = random.integers(0, size - side + 1, (draws, 2))
    for first in range(skip * config.batch_size, draws - config.batch_size + 1, config.batch_size):
        stack = []
        for draw in range(first, first + config.batch_size):
            top, left = corners[draw]
            window = train.scaled(int(order[draw]))[top : top + side, left : left + side]
            stack.append(patches.augment(window, int(turns[draw])))
        yield torch.from_numpy(np.stack(stack))[:, None]


def _windows(train: patches.PatchSet, config: train_config.TrainConfig) -> int:
    """Windows of a patch that make up its area."""
    size = train.manifest.config.size
    return (size // min(config.crop or size, size)) ** 2
