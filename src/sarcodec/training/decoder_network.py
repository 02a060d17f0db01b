"""The decoder network of the variable-rate autoencoder, as it is trained: what it adds to the linear decoder's image.

Residual blocks as of variant B (:class:`sarcodec.autoencoder.blocks.Residual`) between upsampling convolutions. It
starts at zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from sarcodec.autoencoder import blocks
from sarcodec.variable import decoder
from sarcodec.variable.decoder import LARGEST_SYMBOL, LATENT_DB


class DecoderNetwork(nn.Module):
    """Latents and step to a change of the image.

    Parameters
    ----------
    latents : int
        Latents of a block.
    channels : sequence of int
        Of the features at 1/8, 1/4 and 1/2 of the resolution.
    """

    def __init__(self, latents: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.latents, self.channels = latents, tuple(channels)
        self.first = nn.Conv2d(2 * latents + 1, channels[0], 1)
        widths = [channels[0], *channels]
        self.ups = nn.ModuleList(nn.Conv2d(a, 4 * b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(blocks.Residual(width, width, slope=0.0) for width in channels)
        self.last = nn.Conv2d(channels[-1], 4, 3, padding=1)
        blocks.zero(self.last)

    def forward(self, latents: torch.Tensor, step_db: torch.Tensor) -> torch.Tensor:
        """Return what to add in dB, (N, 1, 16h, 16w), for latents in dB (N, n, h, w) coded with steps (N,) in dB."""
        step = step_db[:, None, None, None]
        plane = (torch.log2(step) / 4).expand(-1, 1, *latents.shape[2:])
        scaled = (latents / step).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL) / 4
        values = self.first(torch.cat([latents / LATENT_DB, scaled, plane], 1))
        for up, block in zip(self.ups, self.blocks, strict=True):
            values = block(nn.functional.pixel_shuffle(up(values), 2))
        return nn.functional.pixel_shuffle(self.last(values), 2) * step

    def export(self) -> decoder.Network:
        """Return the network as the codec has it."""
        weights = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        return decoder.Network(self.latents, self.channels, weights)
