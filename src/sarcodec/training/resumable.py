"""A training of one network that can be interrupted: its state in a run's folder, and its schedule of rates."""

from __future__ import annotations

import json
import math
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from sarcodec.files import atomic


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
    atomic.write_bytes(folder / "state.safetensors", safetensors.torch.save(tensors), overwrite=True)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore weights and optimiser if the run has a state; returns the step, and cuts the history there."""
    if not (folder / "state.safetensors").exists():
        (folder / "history.jsonl").unlink(missing_ok=True)
        return 0
    tensors = safetensors.torch.load((folder / "state.safetensors").read_bytes())
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    step = int(tensors["step"])
    if (folder / "history.jsonl").exists():
        lines = (folder / "history.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        atomic.write_bytes(folder / "history.jsonl", "".join(f"{line}\n" for line in kept).encode(), overwrite=True)
    return step
