"""The restoring network in PyTorch, for training and for devices other than the processor."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sarcodec.restoring import network as restorer
from sarcodec.runtime import devices


class Network(nn.Module):
    """A :class:`restorer.Restorer` that learns. It starts as the identity: its last layer is zero."""

    def __init__(self, config: restorer.RestorerConfig) -> None:
        super().__init__()
        self.config = config
        layers = [nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(config.widths)]
        for values in layers[-1].parameters():
            nn.init.zeros_(values)
        self.layers = nn.ModuleList(layers)

    @classmethod
    def of(cls, network: restorer.Restorer) -> Network:
        """Return a copy of a network, ready to be run."""
        made = cls(network.config)
        made.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in network.weights.items()})
        return made.eval()

    def to_restorer(self) -> restorer.Restorer:
        """Return the network as it is now."""
        state = self.state_dict()
        return restorer.Restorer(
            self.config, {name: value.float().cpu().numpy().copy() for name, value in state.items()}
        )

    def forward(self, centred_db: torch.Tensor, step_db: torch.Tensor) -> torch.Tensor:
        """Restore images.

        Parameters
        ----------
        centred_db : Tensor
            (N, 1, H, W) float32 in dB about the band's offset, sides multiples of the cell's.
        step_db : Tensor
            (N,) float32 quantisation step in dB.

        Returns
        -------
        Tensor
            (N, 1, H, W) float32 in dB.
        """
        cells = nn.functional.pixel_unshuffle(centred_db / restorer.SCALE_DB, self.config.cell)
        plane = (torch.log2(step_db) / 4)[:, None, None, None].expand(-1, 1, *cells.shape[2:])
        values = torch.cat([cells, plane], 1).contiguous(memory_format=torch.channels_last)
        values = nn.functional.relu(self.layers[0](values))
        for first, second in zip(self.layers[1:-1:2], self.layers[2:-1:2], strict=True):
            values = values + second(nn.functional.relu(first(values)))
        change = nn.functional.pixel_shuffle(self.layers[-1](values).float(), self.config.cell)
        return centred_db + change * step_db[:, None, None, None]


class Running:
    """A network at work on arrays, one at a time, for it takes all threads.

    Parameters
    ----------
    network : Network
        In float32; it moves to the device.
    device, precision : str
        See :mod:`sarcodec.runtime.devices`.
    """

    def __init__(self, network: Network, device: str, precision: str) -> None:
        self._device = devices.open_device(device)
        self._bfloat16 = devices.uses_bfloat16(precision, self._device)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._one_at_a_time = threading.Lock()

    def __call__(self, centred_db: npt.NDArray[np.float32], step_db: float) -> npt.NDArray[np.float32]:
        """Restore an image: see :data:`sarcodec.restoring.network.Restore`."""
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)
        with self._one_at_a_time, torch.inference_mode(), autocast:
            batch = torch.from_numpy(centred_db)[None, None].to(self._device)
            restored = self._network(batch, torch.tensor([step_db], device=self._device))
            found: npt.NDArray[np.float32] = restored[0, 0].float().cpu().numpy()
        return found
