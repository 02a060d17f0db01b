"""Short trainings, and what is in their folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sarcodec.training import train_config

FILES = ("best.ckpt", "last.ckpt", "history.jsonl")


def config(**changes: Any) -> train_config.TrainConfig:
    settings = {
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "warmup_steps": 4,
        "precision": "float32",
        "save_minutes": 0.0,
        "tensorboard": False,
    }
    return train_config.TrainConfig(**(settings | changes))


class Interrupted(Exception):
    pass


def stopping(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """Do as ``function``, and stop everything after so many calls."""
    done = []

    def stop(*args: Any) -> Any:
        result = function(*args)
        done.append(None)
        if len(done) == calls:
            raise Interrupted
        return result

    return stop


def history(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
