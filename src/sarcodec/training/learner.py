"""What learns in a training: a model, the exponential mean of its weights, and optimisers; saved and put back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sarcodec.autoencoder import network
from sarcodec.training import muon, train_config


@dataclass(frozen=True)
class Learner:
    """A model in training; ``averaged`` is the exponential mean of its weights, or the model itself.

    Every parameter belongs to one of ``optimizers``.
    """

    model: network.Autoencoder
    averaged: network.Autoencoder
    optimizers: tuple[torch.optim.Optimizer, ...]
    decay: float

    @classmethod
    def build(cls, model: network.Autoencoder, config: train_config.TrainConfig) -> Learner:
        """Return a learner that has not learned yet."""
        averaged = copy.deepcopy(model).requires_grad_(False) if config.average else model
        rest = list(model.parameters())
        optimizers: list[torch.optim.Optimizer] = []
        settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        if config.optimizer == "muon" and (groups := muon.inner_weights(model)):
            optimizers.append(muon.Muon(groups, **settings))
            taken = {id(weight) for group in groups for weight in group["params"]}
            rest = [weight for weight in rest if id(weight) not in taken]
        adam = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        optimizers.append(adam(rest, fused=True, **settings))
        return cls(model, averaged, tuple(optimizers), config.average)

    def step(self, learning_rate: float) -> None:
        """Move the weights by the gradients that there are."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()

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
        for index, weight in enumerate(self.model.parameters()):
            for optimizer in self.optimizers:
                values = optimizer.state.get(weight, {})
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
        places = {id(weight): index for index, weight in enumerate(self.model.parameters())}
        for optimizer in self.optimizers:
            held = [weight for group in optimizer.param_groups for weight in group["params"]]
            moments = [_moments(parts["optimizer"], places[id(weight)], weight) for weight in held]
            known = {number: each for number, each in enumerate(moments) if each}
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": known, "param_groups": groups})


def _moments(saved: Mapping[str, torch.Tensor], index: int, like: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what an optimiser knew of a parameter, in the memory format that the fused one takes it to have."""
    start = f"{index}."
    return {
        name.removeprefix(start): torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        for name, value in saved.items()
        if name.startswith(start)
    }
