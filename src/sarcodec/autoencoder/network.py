"""What every autoencoder is: an encoder to a latent grid and a decoder back to [0, 1]."""

from __future__ import annotations

import torch
from torch import nn

from sarcodec.autoencoder.architecture import ModelConfig


class Level(nn.Module):
    """Standardises pixels on the way in and undoes it on the way out, by what training patches are like.

    Buffers ``mean`` and ``deviation``, scalars of pixels in [0, 1]; before they are fitted, 0.5 and 0.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("deviation", torch.tensor(0.1))

    def remove(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels in [0, 1] to mean 0 and deviation 1."""
        return (pixels - self.mean) / self.deviation

    def restore(self, values: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`remove`."""
        return values * self.deviation + self.mean


class Autoencoder(nn.Module):
    """An encoder and a decoder that share a latent grid.

    Parameters
    ----------
    config : ModelConfig
        What was built.
    encoder : Module
        Maps (N, 1, H, W) in [0, 1] to the last hidden features (N, F, H/stride, W/stride).
    to_latent, decoder, to_pixels : Module
        Bottleneck convolution, hidden decoder, last transposed convolution.
    margin : int
        Latent positions beyond a window that its pixels depend on, each side; also in units of the stride, the
        pixels that a latent depends on.
    window : int, optional
        Side in pixels of the only windows the model should see, when it pools over a window; None for any size.

    Notes
    -----
    The two outermost convolutions run in float32 even under autocast: eight bits of mantissa over a span of 60 dB
    are steps of 0.2 dB, and their arithmetic is 1 % of the whole.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        encoder: nn.Sequential,
        to_latent: nn.Module,
        decoder: nn.Sequential,
        to_pixels: nn.ConvTranspose2d,
        margin: int,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.to_latent = to_latent
        self.decoder = decoder
        self.to_pixels = to_pixels
        self.margin = margin
        self.window = window
        self.level = Level() if config.output == "clamp" else None

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels (N, 1, H, W) in [0, 1], sides multiples of the stride, to the latent (N, C, h, w), float32."""
        hidden = self.encoder(pixels if self.level is None else self.level.remove(pixels))
        with torch.autocast(hidden.device.type, enabled=False):
            latent: torch.Tensor = self.to_latent(hidden.float())
        return latent

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Map a latent (N, C, h, w) to pixels (N, 1, H, W) in [0, 1], float32.

        In training mode a clamped output is not cut off yet: what is cut off has no gradient to come back by.
        """
        hidden = self.decoder(latent)
        with torch.autocast(hidden.device.type, enabled=False):
            pixels: torch.Tensor = self.to_pixels(hidden.float())
            if self.level is None:
                return torch.sigmoid(pixels)
            restored = self.level.restore(pixels)
            return restored if self.training else restored.clamp(0.0, 1.0)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the restored pixels and the latent."""
        latent = self.encode(pixels)
        return self.decode(latent), latent
