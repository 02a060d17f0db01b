"""What learns in a training: a model, the exponential mean of its weights, and the optimiser; saved and put back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sarcodec.autoencoder import network
from sarcodec.training import train_config


@dataclass(frozen=True)
class Learner:
    """A model in training; ``averaged`` is the exponential mean of its weights, or the model itself."""

    model: network.Autoencoder
    averaged: network.Autoencoder
    optimizer: torch.optim.Optimizer
    decay: float

    @classmethod
    def build(cls, model: network.Autoencoder, config: train_config.TrainConfig) -> Learner:
        """Return a learner that has not learned yet."""
        averaged = copy.deepcopy(model).requires_grad_(False) if config.average else model
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
        return cls(model, averaged, kind(model.parameters(), **settings), config.average)

    def average(self, step: int) -> None:
        """Move the mean of weights and statistics towards the model's, faster in the first steps."""
        if self.averaged is self.model:
            return
        decay = min(self.decay, step / (step + 10))
        pairs = list(zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True))
        floats = [(mean, value) for mean, value in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in floats], [value for _, value in floats], 1 - decay)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)

    def state(self) -> dict[str, torch.Tensor]:
        """Return a copy of everything as flat tensors, named ``model.…``, ``average.…`` and ``optimizer.…``."""
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.averaged is not self.model:
            named |= {f"average.{name}": value for name, value in self.averaged.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
        return {name: value.detach().clone() for name, value in named.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Undo :meth:`state`."""
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for name, value in state.items():
            part, key = name.split(".", 1)
            parts[part][key] = value.clone()
        self.model.load_state_dict(parts["model"])
        if self.averaged is not self.model:
            self.averaged.load_state_dict(parts["average"])
        per_parameter: dict[int, dict[str, torch.Tensor]] = {}
        parameters = list(self.model.parameters())
        for name, value in parts["optimizer"].items():
            index, key = name.split(".", 1)
            like = parameters[int(index)]  # in whose memory format the fused optimiser takes its moments to be
            moment = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            per_parameter.setdefault(int(index), {})[key] = moment
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
