"""What a model costs and sees: parameters, arithmetic, receptive field, training memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sarcodec.autoencoder.architecture import ModelConfig
from sarcodec.autoencoder.network import Autoencoder
from sarcodec.autoencoder.variants import build

SIDE = 256
"""Side in pixels of the patches that figures are given for."""


@dataclass(frozen=True)
class Census:
    """Figures of one architecture.

    ``multiply_adds_per_pixel`` counts the products of all convolutions, forward, encoder and decoder.
    ``receptive_field`` is the side in pixels of what a latent depends on; None when it pools over the whole window.
    """

    config: ModelConfig
    parameters: int
    multiply_adds_per_pixel: float
    receptive_field: int | None
    latent_shape: tuple[int, int, int]


def take(config: ModelConfig) -> Census:
    """Count and probe a freshly built model of a configuration."""
    model = build(config).eval()
    side = SIDE // config.stride
    return Census(
        config=config,
        parameters=sum(p.numel() for p in model.parameters()),
        multiply_adds_per_pixel=_multiply_adds(model) / SIDE**2,
        receptive_field=None if model.window else _receptive_field(model),
        latent_shape=(config.latent_channels, side, side),
    )


def _multiply_adds(model: Autoencoder) -> int:
    """Run one patch and count the products of every convolution."""
    count = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal count
        if isinstance(layer, nn.Conv2d):  # every output value is a sum over one filter
            count += layer.weight[0].numel() * output[0].numel()
        elif isinstance(layer, nn.ConvTranspose2d):  # every input value is spread over one filter
            count += layer.weight[0].numel() * inputs[0][0].numel()

    handles = [layer.register_forward_hook(add) for layer in model.modules()]
    with torch.inference_mode():
        model(torch.zeros(1, 1, SIDE, SIDE))
    for handle in handles:
        handle.remove()
    return count


def _receptive_field(model: Autoencoder) -> int:
    """Measure over how many pixels the gradient of one latent position spreads."""
    side = 2 * SIDE
    pixels = torch.rand(1, 1, side, side, requires_grad=True)
    latent = model.encode(pixels)
    middle = latent.shape[-1] // 2
    torch.autograd.backward(latent[0, :, middle, middle].abs().sum())
    if pixels.grad is None:
        return 0
    rows = torch.nonzero(pixels.grad[0, 0].abs().sum(dim=1)).flatten()
    return int(rows[-1] - rows[0]) + 1


_STEP = """
import sys, json, torch
from pathlib import Path
from sarcodec import models
def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024
config, batch, side = models.ModelConfig.from_dict(json.loads(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
model = models.build(config).to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(model.parameters())
before = peak()
for _ in range(2):
    pixels = torch.rand(batch, 1, side, side).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ((model(pixels)[0] - pixels) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(peak() - before)
"""


def training_memory(config: ModelConfig, batch: int) -> float | None:
    """Measure what training adds to a process's peak resident memory.

    Two bfloat16 steps of Adam on ``batch`` patches of 256², in a process of its own.

    Returns
    -------
    float or None
        MiB; None where the system does not tell (no ``/proc``).
    """
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-c", _STEP, json.dumps(config.to_dict()), str(batch), str(SIDE)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
