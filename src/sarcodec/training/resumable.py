"""A training of one network that can be interrupted: its loop, its state in a run's folder, its schedule of rates."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from sarcodec.files import atomic

HISTORY, STATE = "history.jsonl", "state.safetensors"


@dataclass(frozen=True)
class Plan:
    """How long to train, how fast, and how often to save and to measure."""

    steps: int
    learning_rate: float
    save_minutes: float
    measured_every: int


def train(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    loss_at: Callable[[int], torch.Tensor],
    measure: Callable[[], dict[str, float]],
) -> Iterator[str]:
    """Train to the end of the plan from where the run is; yields lines to show.

    ``loss_at`` returns the loss of a step, a function of the step alone; ``measure`` what the history tells besides.
    """
    step = load(folder, model, optimizer)
    saved = time.monotonic()
    while step < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * schedule(step, plan.steps)
        loss = loss_at(step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % plan.measured_every == 0 or step == plan.steps:
            record = {"step": step, "loss": loss.item()} | measure()
            with (folder / HISTORY).open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            yield f"step {step} of {plan.steps}: " + ", ".join(f"{k} {v:.4f}" for k, v in record.items())
        if time.monotonic() - saved > 60 * plan.save_minutes or step == plan.steps:
            save(folder, model, optimizer, step)
            saved = time.monotonic()


def last(folder: Path) -> dict[str, Any]:
    """Return the last record of a run's history."""
    found: dict[str, Any] = json.loads((folder / HISTORY).read_text().splitlines()[-1])
    return found


def schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate: a warm-up of 100 steps, and a cosine down to a hundredth."""
    return min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write weights and optimiser after a step to the folder of a run."""
    tensors = {f"model.{name}": value.cpu().contiguous() for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"adam.{number}.{name}"] = torch.as_tensor(value).cpu().contiguous()
    tensors["step"] = torch.tensor([step])
    atomic.write_bytes(folder / STATE, safetensors.torch.save(tensors), overwrite=True)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore weights and optimiser if the run has a state; returns the step, and cuts the history there."""
    if not (folder / STATE).exists():
        (folder / HISTORY).unlink(missing_ok=True)
        return 0
    tensors = safetensors.torch.load((folder / STATE).read_bytes())
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    step = int(tensors["step"])
    if (folder / HISTORY).exists():
        lines = (folder / HISTORY).read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        atomic.write_bytes(folder / HISTORY, "".join(f"{line}\n" for line in kept).encode(), overwrite=True)
    return step
