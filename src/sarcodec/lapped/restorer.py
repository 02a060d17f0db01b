"""A small network that makes decoded transform coefficients look less quantised: the CNN half of the lapped codec."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sarcodec import errors
from sarcodec.runtime import devices

SCALE_DB = 8.0
REACH = 32
"""Pixels around each that it may see."""


@dataclass(frozen=True)
class RestorerConfig:
    """Width and number of 3×3 layers, and the side in pixels of the cells of which it holds one at every position.

    It sees ``layers · cell`` pixels around each cell.
    """

    channels: int = 64
    layers: int = 8
    cell: int = 4

    def __post_init__(self) -> None:
        reach = self.layers * self.cell
        if not (
            1 <= self.channels <= 512 and self.cell in (4, 8, 16) and self.layers in (2, 4, 6, 8) and reach <= REACH
        ):
            raise errors.InputError(
                f"restorer: got {self.channels} channels, {self.layers} layers and cells of {self.cell} pixels; pass "
                f"1 to 512 channels, 2 to 8 layers, an even number, and cells of 4, 8 or 16, at most {REACH} together"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RestorerConfig:
        """Inverse of :meth:`to_dict`; FormatError for unknown keys or values."""
        try:
            return cls(**record)
        except (TypeError, errors.InputError) as cause:
            raise errors.FormatError(f"restorer configuration: {errors.plain(cause)}") from cause


class Restorer(nn.Module):
    """Adds to a decoded image what a quantised one most likely lost, seeing the quantisation step.

    It starts as the identity: its last layer is zero.
    """

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        pixels = config.cell**2
        widths = [pixels + 1, *[config.channels] * (config.layers - 1), pixels]
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        for values in layers[-1].parameters():
            nn.init.zeros_(values)
        self.layers = nn.ModuleList(layers)

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
        cells = nn.functional.pixel_unshuffle(centred_db / SCALE_DB, self.config.cell)
        plane = (torch.log2(step_db) / 4)[:, None, None, None].expand(-1, 1, *cells.shape[2:])
        values = torch.cat([cells, plane], 1).contiguous(memory_format=torch.channels_last)
        values = nn.functional.relu(self.layers[0](values))
        for first, second in zip(self.layers[1:-1:2], self.layers[2:-1:2], strict=True):
            values = values + second(nn.functional.relu(first(values)))
        change = nn.functional.pixel_shuffle(self.layers[-1](values).float(), self.config.cell)
        return centred_db + change * step_db[:, None, None, None]


class Running:
    """A restorer at work on arrays, one at a time, for it takes all threads.

    Parameters
    ----------
    network : Restorer
        In float32; it moves to the device.
    device, precision : str
        See :mod:`sarcodec.runtime.devices`.
    """

    def __init__(self, network: Restorer, device: str, precision: str) -> None:
        self._device = devices.open_device(device)
        self._bfloat16 = devices.uses_bfloat16(precision, self._device)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._one_at_a_time = threading.Lock()

    def __call__(self, centred_db: npt.NDArray[np.float32], step_db: float) -> npt.NDArray[np.float32]:
        """Restore an image (H, W) in dB about the band's offset, coded with a step in dB."""
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)
        with self._one_at_a_time, torch.inference_mode(), autocast:
            batch = torch.from_numpy(centred_db)[None, None].to(self._device)
            restored = self._network(batch, torch.tensor([step_db], device=self._device))
            found: npt.NDArray[np.float32] = restored[0, 0].float().cpu().numpy()
        return found
