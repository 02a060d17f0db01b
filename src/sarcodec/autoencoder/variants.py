"""The variants, and the one table of what can be built. A variant is a recipe of shared blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from sarcodec import errors
from sarcodec.autoencoder import blocks
from sarcodec.autoencoder.architecture import ModelConfig
from sarcodec.autoencoder.network import Autoencoder

FIRST_SHORTCUT = 3
"""Side of the convolution in the first shortcut of a residual decoder: it sees the neighbours of a latent."""

POOLED_WINDOW = 256
"""Side in pixels of the windows in which models that pool over a window are trained and used."""


def plain(config: ModelConfig) -> Autoencoder:
    """Variant A, plain convolutions.

    At four stages and base 64: encoder 1→64→128→256→C, decoder C→256→128→64→1. A latent depends on pixels up to
    30 away from its centre, a pixel on the latents of its own and the neighbouring positions.
    """
    widths = _widths(config)
    return Autoencoder(
        config,
        encoder=nn.Sequential(*(blocks.down(a, b) for a, b in zip([1, *widths], widths, strict=False))),
        to_latent=_to_latent(config),
        decoder=nn.Sequential(
            *(blocks.up(a, b) for a, b in zip([config.latent_channels, *widths[::-1]], widths[::-1], strict=False))
        ),
        to_pixels=_to_pixels(config),
        margin=2,
    )


def residual(config: ModelConfig) -> Autoencoder:
    """Variant B, residual blocks at every resolution; variant C (``cbam``) when the configuration has attention.

    Every stage of variant A becomes a residual block that changes resolution and one that keeps it. Attention that
    pools over a window sees the window, not the scene: such models are used in windows of the size they are trained
    in, and a margin can only soften the seam between two of them.

    Without attention a latent depends on pixels up to 65 from its centre, a pixel on latents up to 5 positions away.
    """
    widths, latent = _widths(config), config.latent_channels
    pools = config.attention is not None or config.self_attention
    neutral = config.shortcut == "rearranged"
    encoder: list[nn.Module] = []
    for channels_in, channels_out in zip([1, *widths], widths, strict=False):
        encoder += _stage(config, channels_in, channels_out, "down")
        encoder += (
            [blocks.Cbam(channels_out, neutral=neutral)] if config.attention in ("encoder", "everywhere") else []
        )
    bottleneck: list[nn.Module] = [_to_latent(config)]
    bottleneck += [blocks.Cbam(latent, neutral=neutral)] if config.attention in ("bottleneck", "everywhere") else []
    bottleneck += [blocks.GridAttention(latent)] if config.self_attention else []
    decoder: list[nn.Module] = []
    for channels_in, channels_out in zip([latent, *widths[::-1]], widths[::-1], strict=False):
        kernel = 1 if decoder else FIRST_SHORTCUT
        decoder += _stage(config, channels_in, channels_out, "up", kernel)
        decoder += (
            [blocks.Cbam(channels_out, neutral=neutral)] if config.attention in ("decoder", "everywhere") else []
        )
    return Autoencoder(
        config,
        encoder=nn.Sequential(*encoder),
        to_latent=nn.Sequential(*bottleneck),
        decoder=nn.Sequential(*decoder),
        to_pixels=_to_pixels(config),
        margin=2 if pools else 5,
        window=POOLED_WINDOW if pools else None,
    )


def _widths(config: ModelConfig) -> list[int]:
    """Channels of the stages before the bottleneck: doubled at each, from the third on four times the base."""
    return [config.base_channels * min(2**stage, 4) for stage in range(config.stages - 1)]


def _to_latent(config: ModelConfig) -> nn.Conv2d:
    return nn.Conv2d((_widths(config) or [1])[-1], config.latent_channels, 5, stride=2, padding=2)


def _to_pixels(config: ModelConfig) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d((_widths(config) or [config.latent_channels])[0], 1, 4, stride=2, padding=1)


def _stage(
    config: ModelConfig, channels_in: int, channels_out: int, resample: str, kernel: int = 1
) -> list[nn.Module]:
    """Return the block that changes resolution and the one that keeps it."""
    shared = {
        "shortcut": config.shortcut,
        "activation_first": config.activation_first,
        "bottleneck_block": config.bottleneck_blocks,
        "slope": blocks.SLOPE if resample == "down" else 0.0,
    }
    return [
        blocks.Residual(channels_in, channels_out, resample=resample, kernel=kernel, **shared),  # type: ignore[arg-type]
        blocks.Residual(channels_out, channels_out, **shared),  # type: ignore[arg-type]
    ]


MODELS: Mapping[str, Callable[[ModelConfig], Autoencoder]] = {"plain": plain, "residual": residual, "cbam": residual}
"""Every architecture by the name that ``ModelConfig.arch`` gives it: variants A, B and C."""


def build(config: ModelConfig) -> Autoencoder:
    """Build the autoencoder of a configuration, freshly initialised; InputError for an unknown ``arch``."""
    if config.arch not in MODELS:
        raise errors.InputError(f"arch: got {config.arch!r}; this version has {', '.join(MODELS)}")
    return MODELS[config.arch](config)
