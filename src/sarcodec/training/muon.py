"""Muon: steps of orthogonalised momentum for the weights of convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

MOMENTUM = 0.95
ROUNDS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of the quintic that takes singular values from above 0.01 to between 0.7 and 1.2 in five rounds (Jordan 2024)."""
ROOT_MEAN_SQUARE = 0.2
"""Of a step at learning rate 1, about as large as Adam's, so that both take the same rate (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """Momentum whose steps have all singular values about equal (Jordan 2024; Liu et al. 2025, arXiv:2502.16982).

    A weight is the matrix from all it sees to its output channels, and its step is what Newton and Schulz make of
    Nesterov's momentum: directions in which gradients are small are learned as fast as those in which they are
    large. Weight decay is decoupled from the gradient.

    Written out because torch's own takes matrices only and multiplies them in bfloat16, which many CPUs lack.

    Parameters
    ----------
    groups : iterable of dict
        ``params``, 4-D weights, and ``outputs``, their axis of output channels.
    lr, weight_decay : float
        Learning rate, of the size that Adam takes, and weight decay per unit of it.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "outputs": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step with the gradients that there are."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
        ahead = gradient.add(momentum, alpha=MOMENTUM).movedim(group["outputs"], 0)
        matrix = orthogonal(ahead.flatten(1))
        scale = ROOT_MEAN_SQUARE * max(matrix.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.movedim(group["outputs"], 0).sub_(matrix.reshape(ahead.shape), alpha=group["lr"] * scale)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix (rows, columns) with the same singular vectors and singular values near 1; zero stays zero."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: torch.Tensor = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-30)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def inner_weights(model: nn.Module) -> list[dict[str, Any]]:
    """Return the weights of convolutions between several channels and several, as groups for :class:`Muon`."""
    kinds = ((nn.Conv2d, 0), (nn.ConvTranspose2d, 1))
    groups = [
        {
            "params": [
                module.weight
                for module in model.modules()
                if isinstance(module, kind) and min(module.in_channels, module.out_channels) > 1
            ],
            "outputs": outputs,
        }
        for kind, outputs in kinds
    ]
    return [group for group in groups if group["params"]]
