"""The configuration of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sarcodec import errors


@dataclass(frozen=True)
class ModelConfig:
    """What an autoencoder looks like.

    ``arch`` names an entry of :data:`sarcodec.models.MODELS`; ``stages`` stride-2 stages shrink each side by
    ``2**stages``; ``base_channels`` is the width of the first stage; the bottleneck has ``latent_channels``.
    """

    arch: str = "plain"
    latent_channels: int = 16
    base_channels: int = 64
    stages: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.arch, str):
            raise errors.InputError(f"arch: got {self.arch!r}; pass the name of an architecture")
        for name, low, high in (("latent_channels", 1, 1024), ("base_channels", 1, 1024), ("stages", 1, 6)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise errors.InputError(f"{name}: got {value!r}; pass a whole number from {low} to {high}")

    @property
    def stride(self) -> int:
        """Pixels per latent position along each axis."""
        return int(2**self.stages)

    @property
    def latent_ratio(self) -> float:
        """Pixels per latent value. Not a compression ratio: it counts values, not bits."""
        return self.stride**2 / self.latent_channels

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`; FormatError for unknown keys or values."""
        try:
            return cls(**record)
        except (TypeError, errors.InputError) as cause:
            raise errors.FormatError(f"model configuration: {cause}") from cause
