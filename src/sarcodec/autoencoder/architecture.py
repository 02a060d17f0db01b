"""The configuration of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sarcodec import errors

ATTENTION_PLACES = ("bottleneck", "encoder", "decoder", "everywhere")
SHORTCUTS = ("rearranged", "strided")
OUTPUTS = ("clamp", "sigmoid")


@dataclass(frozen=True)
class ModelConfig:
    """What an autoencoder looks like.

    ``arch`` names an entry of :data:`sarcodec.autoencoder.variants.MODELS`; ``stages`` stride-2 stages shrink each
    side by ``2**stages``; ``base_channels`` is the width of the first stage, doubled twice in the next ones; the
    bottleneck has ``latent_channels``.

    ``shortcut`` says what residual blocks that change resolution add: see
    :class:`sarcodec.autoencoder.blocks.Residual`. Residual variants may have bottleneck blocks and self-attention
    over the latent grid; strided ones may have their activations first (rearranged ones always do). ``attention_at``
    says where variant C attends: ``bottleneck``, after every block of the ``encoder``, of the ``decoder``, or
    ``everywhere``. ``output`` is ``clamp`` (pixels are standardised on the way in, and cut off at 0 and 1 on the way
    out) or ``sigmoid``.
    """

    arch: str = "plain"
    latent_channels: int = 16
    base_channels: int = 64
    stages: int = 4
    activation_first: bool = False
    bottleneck_blocks: bool = False
    self_attention: bool = False
    attention_at: str = "bottleneck"
    shortcut: str = "rearranged"
    output: str = "clamp"

    def __post_init__(self) -> None:
        for name in ("activation_first", "bottleneck_blocks", "self_attention"):
            if not isinstance(getattr(self, name), bool):
                raise errors.InputError(f"{name}: got {_shown(getattr(self, name))}; pass True or False")
        for name, allowed in (("attention_at", ATTENTION_PLACES), ("shortcut", SHORTCUTS), ("output", OUTPUTS)):
            if getattr(self, name) not in allowed:
                raise errors.InputError(
                    f"{name}: got {_shown(getattr(self, name))}; pass one of {', '.join(allowed)}"
                )
        if self.arch == "plain" and (self.activation_first or self.bottleneck_blocks or self.self_attention):
            raise errors.InputError(
                "arch: plain has no residual blocks and no attention; pass residual or cbam for activation_first, "
                "bottleneck_blocks or self_attention"
            )
        if self.arch != "cbam" and self.attention_at != "bottleneck":
            raise errors.InputError(
                f"attention_at: got {self.attention_at!r} for arch {_shown(self.arch)}; only cbam attends"
            )
        if not isinstance(self.arch, str):
            raise errors.InputError(f"arch: got {_shown(self.arch)}; pass the name of an architecture")
        for name, low, high in (("latent_channels", 1, 1024), ("base_channels", 1, 1024), ("stages", 1, 6)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise errors.InputError(f"{name}: got {_shown(value)}; pass a whole number from {low} to {high}")

    @property
    def attention(self) -> str | None:
        """Where CBAM attends, or None."""
        return self.attention_at if self.arch == "cbam" else None

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
        """Inverse of :meth:`to_dict`; FormatError for unknown keys or values.

        A record without ``output`` is from before there was a choice, of this and of the shortcut.
        """
        before = {} if "output" in record else {"output": "sigmoid", "shortcut": "strided"}
        try:
            return cls(**{**before, **record})
        except (TypeError, errors.InputError) as cause:
            raise errors.FormatError(f"model configuration: {errors.plain(cause)}") from cause


def _shown(value: object) -> str:
    return errors.plain(repr(value))
