"""How a model is trained: the configuration of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sarcodec import errors
from sarcodec.training import losses

MOST = 2**53
"""No whole number of a configuration is larger."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    ``optimizer`` is ``adam``, ``adamw``, or ``muon``: :class:`sarcodec.training.muon.Muon` for convolutions between
    hidden features and AdamW for the rest. ``schedule`` is ``cosine`` (to zero at the last epoch), ``plateau``
    (halved after ``patience // 3`` epochs without progress) or ``constant``, after ``warmup_steps`` of linear
    warm-up. ``patience`` epochs without a lower validation loss stop the run; 0 never does. ``precision`` is
    ``bfloat16`` (autocast), ``float32``, or ``auto``: bfloat16 where the device computes in it.

    ``start`` is ``linear`` (see :mod:`sarcodec.training.linear_start`), ``random``, or ``auto``: linear for residual
    variants that can. ``crop`` is the side in pixels of the windows that patches are trained on, 0 for whole patches.
    ``average`` is the decay of the exponential mean of the weights, which is what is validated and kept; 0 keeps the
    weights themselves.
    """

    epochs: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-4
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_steps: int = 200
    clip_norm: float = 1.0
    patience: int = 0
    loss: losses.LossWeights = losses.PRESETS["balanced"]
    precision: str = "auto"
    seed: int = 0
    save_minutes: float = 3.0
    tensorboard: bool = True
    start: str = "auto"
    crop: int = 0
    average: float = 0.998

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_kind(each.name, each.default, getattr(self, each.name))
        for name, allowed in (
            ("optimizer", ("adam", "adamw", "muon")),
            ("schedule", ("cosine", "plateau", "constant")),
            ("precision", ("auto", "bfloat16", "float32")),
            ("start", ("auto", "linear", "random")),
        ):
            if getattr(self, name) not in allowed:
                raise errors.InputError(
                    f"{name}: got {errors.plain(repr(getattr(self, name)))}; pass one of {', '.join(allowed)}"
                )
        for name in ("epochs", "batch_size", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise errors.InputError(f"{name}: got {getattr(self, name)}; it must be above 0")
        for name in ("weight_decay", "warmup_steps", "patience", "seed", "save_minutes"):
            if not getattr(self, name) >= 0:
                raise errors.InputError(f"{name}: got {getattr(self, name)}; it must be 0 or more")
        if not 0 <= self.average < 1:
            raise errors.InputError(f"average: got {self.average}; it must be at least 0 and below 1")
        if self.crop < 0 or self.crop % 16:
            raise errors.InputError(f"crop: got {self.crop}; pass a multiple of 16 pixels, or 0 for whole patches")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainConfig:
        """Inverse of :meth:`to_dict`; FormatError for unknown keys or values."""
        try:
            return cls(**{**record, "loss": losses.LossWeights(**record["loss"])})
        except (TypeError, KeyError, errors.InputError) as cause:
            raise errors.FormatError(f"training configuration: {errors.plain(cause)}") from cause


def _check_kind(name: str, default: Any, value: Any) -> None:
    """Raise InputError for a value of another kind than a setting's default, not finite, or far too large."""
    kind = type(default)
    if kind is float:
        fits = type(value) in (int, float) and abs(value) <= MOST and math.isfinite(value)
    elif kind is int:
        fits = type(value) is int and abs(value) <= MOST
    else:
        fits = isinstance(value, kind)
    if not fits:
        allowed = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a word"}
        asked = allowed.get(kind, kind.__name__)
        raise errors.InputError(f"{name}: got {errors.plain(repr(value))}; pass {asked}")
