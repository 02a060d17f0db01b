"""Training throughput against the naive loop, in one run.

    python benchmarks/training_speed.py [--arch plain] [--batch-size 8] [-o docs/results/training_speed.json]

Ours is the step of ``sarcodec train``: channels last, bfloat16 where the processor computes in it. Naive is the same
step in float32 with contiguous tensors. Both take the same random patches in turn; medians of patches per second.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sarcodec.autoencoder import architecture, variants
from sarcodec.runtime import devices
from sarcodec.training import losses


def make_step(
    config: architecture.ModelConfig, weights: losses.LossWeights, fast: bool, bfloat16: bool, pixels: torch.Tensor
) -> Callable[[], None]:
    """Return a function that takes one optimiser step."""
    torch.manual_seed(0)
    model = variants.build(config)
    if fast:
        model = model.to(memory_format=torch.channels_last)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused=fast)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast and bfloat16):
            loss, _ = losses.combined(model(pixels)[0], pixels, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    """Measure, print and optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["plain", "residual", "cbam"])
    parser.add_argument("--loss", default="balanced", choices=list(losses.PRESETS))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    bfloat16 = devices.uses_bfloat16("auto", "cpu")
    pixels = torch.rand(arguments.batch_size, 1, 256, 256)
    result: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "precision": "bfloat16" if bfloat16 else "float32",
        "loss": arguments.loss,
        "batch_size": arguments.batch_size,
        "runs": arguments.runs,
    }
    for arch in arguments.arch:
        steps = [
            make_step(architecture.ModelConfig(arch), losses.PRESETS[arguments.loss], fast, bfloat16, pixels)
            for fast in (True, False)
        ]
        times: list[list[float]] = [[], []]
        for turn in range(arguments.runs + 1):
            for step, found in zip(steps, times, strict=True):
                begun = time.perf_counter()
                step()
                if turn:  # the first one warms up
                    found.append(time.perf_counter() - begun)
        ours, naive = (arguments.batch_size / statistics.median(found) for found in times)
        result[arch] = {
            "patches/s": ours,
            "naive patches/s": naive,
            "speed-up": statistics.median(b / a for a, b in zip(*times, strict=True)),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
