"""Running an autoencoder on windows of any size, as fast as the processor allows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import fusion

from sarcodec import tiling
from sarcodec.autoencoder import network as autoencoder_network
from sarcodec.runtime import devices

FloatArray = npt.NDArray[np.float32]


class Transform:
    """An autoencoder for inference: batch norm folded into convolutions, channels last, bfloat16 where it is fast.

    Parameters
    ----------
    model : Autoencoder
        In float32 and evaluation mode.
    device : str
        A torch device, for example ``"cpu"`` or ``"cuda:1"``.
    precision : str
        ``"float32"``, ``"bfloat16"`` or ``"auto"``: bfloat16 where the processor has instructions for it.

    Raises
    ------
    InputError
        For another precision, or a device that does not work here.

    Attributes
    ----------
    stride : int
        Pixels per latent position.
    margin : int
        Pixels of context that a window needs on every side, a multiple of the stride.
    window : int or None
        Side in pixels of the windows that a model which pools over them is run in; None for any size at once.
    channels : int
        Latent channels.
    """

    def __init__(
        self, model: autoencoder_network.Autoencoder, *, device: str = "cpu", precision: str = "auto"
    ) -> None:
        self.device = devices.open_device(device)
        self.bfloat16 = devices.uses_bfloat16(precision, self.device)
        self.stride = model.config.stride
        self.margin = model.margin * model.config.stride
        self.window = model.window
        self.channels = model.config.latent_channels
        fold_batch_norm(model)
        self._model = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def encode(self, scaled: FloatArray) -> FloatArray:
        """Encode a window.

        Parameters
        ----------
        scaled : ndarray of float32
            (h, w) in [0, 1], any size from 1×1; sides are filled up to multiples of the stride by repeating the
            last row and column.

        Returns
        -------
        ndarray of float32
            Latent (C, ceil(h/stride), ceil(w/stride)).
        """
        filled = np.pad(scaled, [(0, -side % self.stride) for side in scaled.shape], mode="edge")
        if self.window is None:
            return self._encode(filled)
        height, width = filled.shape
        latent = np.empty((self.channels, height // self.stride, width // self.stride), np.float32)
        for tile in tiling.TileGrid(height, width, self.window - 2 * self.margin, margin=self.margin):
            part = self._encode(filled[tile.outer.slices])
            core, outer = tile.core.divided(self.stride), tile.outer.divided(self.stride)
            latent[(slice(None), *core.slices)] = part[(slice(None), *core.inside(outer))]
        return latent

    def decode(self, latent: FloatArray) -> FloatArray:
        """Decode a latent (C, h, w) to pixels (h·stride, w·stride) in [0, 1], float32.

        A model that pools over its window decodes in windows of its own size, blended by a raised cosine.
        """
        if self.window is None:
            return self._decode(latent)
        height, width = latent.shape[1] * self.stride, latent.shape[2] * self.stride
        core = self.window - 2 * (self.margin + self.stride)
        grid = tiling.TileGrid(height, width, core, ramp=self.stride, margin=self.margin)
        pixels = np.zeros((height, width), np.float32)
        for tile in grid:
            part = self._decode(latent[(slice(None), *tile.outer.divided(self.stride).slices)])
            pixels[tile.blend.slices] += grid.weights(tile) * part[tile.blend.inside(tile.outer)]
        return pixels

    def _encode(self, pixels: FloatArray) -> FloatArray:
        latent: FloatArray = self._run(self._model.encode, pixels[None, None])[0]
        return latent

    def _decode(self, latent: FloatArray) -> FloatArray:
        pixels: FloatArray = self._run(self._model.decode, latent[None])[0, 0]
        return pixels

    def _run(self, network: object, batch: FloatArray) -> FloatArray:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            tensor = torch.from_numpy(batch).to(self.device).contiguous(memory_format=torch.channels_last)
            result: FloatArray = network(tensor).cpu().numpy()  # type: ignore[operator]
        return result


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch norm that follows a convolution in a sequence into it, in place; returns the network."""
    for name, child in network.named_children():
        setattr(network, name, fold_batch_norm(child))
    if not isinstance(network, nn.Sequential):
        return network
    folded: list[nn.Module] = []
    for layer in network:
        convolution = folded[-1] if folded else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            folded[-1] = fusion.fuse_conv_bn_eval(convolution, layer, transpose=transposed)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)
