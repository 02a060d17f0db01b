"""What goes on inside a model: its latent channels, and what its attention gives weight to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sarcodec.autoencoder import blocks, checkpoint
from sarcodec.autoencoder import engine as autoencoder_engine
from sarcodec.evaluation import chips
from sarcodec.study import floats, results

FloatArray = npt.NDArray[np.float32]


def latent(cell: results.Finished, chip: chips.Chip) -> tuple[FloatArray, FloatArray]:
    """Encode a chip; returns the latent (C, h, w) in units of its steps, and the deviation of each channel."""
    engine = autoencoder_engine.AutoencoderEngine(checkpoint.load(cell.best), "cpu", "auto")
    scaled, _ = floats.scale(engine, chip)
    steps = engine.coder.steps.astype(np.float32)[:, None, None]
    values = engine.transform.encode(scaled) / steps
    return values.astype(np.float32), values.std(axis=(1, 2)).astype(np.float32)


def mosaic(values: FloatArray, columns: int) -> FloatArray:
    """Put pictures (n, h, w) side by side in rows, each scaled from its 2nd to its 98th percentile to [0, 1].

    A gap of NaN parts them.
    """
    count, height, width = values.shape
    rows_needed = -(-count // columns)
    sheet = np.full((rows_needed * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for index, picture in enumerate(values):
        low, high = np.percentile(picture, [2, 98])
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        scaled = np.clip((picture - low) / max(high - low, 1e-9), 0, 1)
        sheet[top : top + height, left : left + width] = scaled
    return sheet


@dataclass(frozen=True, eq=False)
class Attention:
    """What one attention block gives weight to: a vector over channels, or a map over positions."""

    place: str
    kind: str
    weights: FloatArray


def attention(cell: results.Finished, chip: chips.Chip, side: int = 256) -> list[Attention]:
    """Run the top left ``side`` × ``side`` pixels of a chip through a cell and note the weights of its attention.

    Returns
    -------
    list of Attention
        In the order of the layers; ``channels`` with weights (C,), ``positions`` with weights (h, w), between 0 and
        1, or 0 and 2 where 1 is neutral.
        Empty for a model without such blocks.
    """
    engine = autoencoder_engine.AutoencoderEngine(checkpoint.load(cell.best), "cpu", "float32")
    model = engine.model.build()
    stride = model.config.stride
    height, width = (min(side, length) // stride * stride for length in chip.db.shape)
    pixels = torch.from_numpy(np.ascontiguousarray(floats.scale(engine, chip)[0][:height, :width]))[None, None]
    found: list[Attention] = []

    def note(name: str, module: blocks.ChannelAttention | blocks.SpatialAttention, x: torch.Tensor) -> None:
        weights = module.weights(x)[0].float().numpy()
        by_channel = isinstance(module, blocks.ChannelAttention)
        shown = weights[:, 0, 0] if by_channel else weights[0]
        found.append(Attention(name, "channels" if by_channel else "positions", shown))

    for name, module in model.named_modules():
        if isinstance(module, blocks.ChannelAttention | blocks.SpatialAttention):
            module.register_forward_hook(lambda m, inputs, _, name=name: note(name, m, inputs[0]))
    with torch.inference_mode():
        model(pixels)
    return found
