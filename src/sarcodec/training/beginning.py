"""What a training begins with: its splits, its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sarcodec import errors
from sarcodec.autoencoder import architecture, checkpoint, variants
from sarcodec.training import linear_start, patches
from sarcodec.training.train_config import TrainConfig

if TYPE_CHECKING:
    pass


def fresh(
    patch_folder: Path, model: architecture.ModelConfig, config: TrainConfig, initial: Path | None
) -> checkpoint.Checkpoint:
    """Return the checkpoint that a run begins with: its start, then ``initial`` as far as shapes overlap."""
    torch.manual_seed(config.seed)
    normalizer = patches.read_manifest(patch_folder).normalizer
    built, train = variants.build(model), patches.PatchSet(patch_folder, "train")
    if len(train) and starts_linear(model, config):
        linear_start.fit(built, train, config.seed)
    elif len(train) and built.level is not None:
        linear_start.fit_level(built.level, train)
    weights = built.state_dict()
    given = checkpoint.load(initial).weights if initial else {}
    for name, value in weights.items():
        if name in given and given[name].dim() == value.dim():
            shared = tuple(slice(min(sides)) for sides in zip(value.shape, given[name].shape, strict=True))
            value[shared] = given[name][shared].to(value.dtype)
    return checkpoint.Checkpoint(model, normalizer, weights)


def starts_linear(model: architecture.ModelConfig, config: TrainConfig) -> bool:
    """Tell whether a training begins as the linear autoencoder of its patches."""
    carries = model.arch != "plain" and linear_start.can_carry(model)
    return config.start == "linear" or (config.start == "auto" and carries)


def splits(patch_folder: Path, config: TrainConfig) -> tuple[patches.PatchSet, patches.PatchSet]:
    """Open both splits of a patch set; InputError when they are too small to train on."""
    train, val = patches.PatchSet(patch_folder, "train"), patches.PatchSet(patch_folder, "val")
    if len(train) < config.batch_size or len(val) == 0:
        raise errors.InputError(
            f"patch set {patch_folder}: {len(train)} training and {len(val)} validation patches; "
            f"at least one batch of {config.batch_size} and one validation patch are needed"
        )
    return train, val
