"""The variants, and the one table of what can be built.

A variant is a recipe of stages; the stages are functions here, shared between variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from sarcodec import errors
from sarcodec.models.autoencoder import Autoencoder
from sarcodec.models.config import ModelConfig


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halve each side: 5×5 convolution of stride 2, batch norm, LeakyReLU(0.2)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(0.2, inplace=True),
    )


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double each side: 4×4 transposed convolution of stride 2, batch norm, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def plain(config: ModelConfig) -> Autoencoder:
    """Variant A, plain convolutions.

    At four stages and base 64: encoder 1→64→128→256→C, decoder C→256→128→64→1. A latent depends on pixels up to
    30 away from its centre, a pixel on the latents of its own and the neighbouring positions.
    """
    widths = [config.base_channels * 2**stage for stage in range(config.stages - 1)]
    return Autoencoder(
        config,
        encoder=nn.Sequential(*(down(a, b) for a, b in zip([1, *widths], widths, strict=False))),
        to_latent=nn.Conv2d((widths or [1])[-1], config.latent_channels, 5, stride=2, padding=2),
        decoder=nn.Sequential(
            *(up(a, b) for a, b in zip([config.latent_channels, *widths[::-1]], widths[::-1], strict=False))
        ),
        to_pixels=nn.ConvTranspose2d(widths[0] if widths else config.latent_channels, 1, 4, stride=2, padding=1),
        margin=2,
    )


MODELS: Mapping[str, Callable[[ModelConfig], Autoencoder]] = {"plain": plain}
"""Every architecture by the name that ``ModelConfig.arch`` gives it."""


def build(config: ModelConfig) -> Autoencoder:
    """Build the autoencoder of a configuration, freshly initialised; InputError for an unknown ``arch``."""
    if config.arch not in MODELS:
        raise errors.InputError(f"arch: got {config.arch!r}; this version has {', '.join(MODELS)}")
    return MODELS[config.arch](config)
