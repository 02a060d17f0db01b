"""The strip below a quick look that says which colour stands for what, from which dB to which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors

Pixels = npt.NDArray[np.uint8]

COLOURS = {"grey": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@dataclass(frozen=True)
class Channel:
    """What a colour shows: a name, and the dB that are black and bright; NaN where nothing is valid."""

    name: str
    colour: str
    low: float
    high: float

    def __str__(self) -> str:
        """Say it in words."""
        if np.isnan(self.low):
            return f"{self.name}: no valid pixel"
        return f"{self.name} {self.low:.1f} to {self.high:.1f} dB".replace("-", "\u2212")


def below(picture: Pixels, channels: Sequence[Channel]) -> Pixels:
    """Return a picture (rows, columns, 4) with a legend on white below it; MissingExtra where none can be drawn.

    A picture that is too narrow for the longest entry is widened by what is transparent.
    """
    image_module, draw_module, font_module, font_file = _libraries()
    rows, columns = picture.shape[:2]
    size = max(12, max(rows, columns) // 56)
    font = font_module.truetype(font_file, size)
    bar, gap = 3 * size, size // 2
    widths = [bar + gap + int(font.getlength(str(channel))) + 2 * gap for channel in channels]
    width = max(columns, max(widths) + gap)
    lines: list[list[int]] = [[]]
    for number in range(len(channels)):
        if lines[-1] and gap + sum(widths[i] + gap for i in [*lines[-1], number]) > width:
            lines.append([])
        lines[-1].append(number)
    strip = image_module.new("RGB", (width, len(lines) * 2 * size), "white")
    draw = draw_module.Draw(strip)
    for line, numbers in enumerate(lines):
        left, middle = gap, (2 * line + 1) * size
        for number in numbers:
            ramp = np.linspace(0, 1, bar)[None, :, None] * COLOURS[channels[number].colour]
            swatch = np.repeat(np.round(ramp).astype(np.uint8), size, axis=0)
            strip.paste(image_module.fromarray(swatch), (left, middle - size // 2))
            draw.text((left + bar + gap, middle), str(channels[number]), fill="black", font=font, anchor="lm")
            left += widths[number] + gap
    whole = np.full((rows + strip.height, width, 4), 255, np.uint8)
    whole[:rows, columns:, 3] = 0
    whole[:rows, :columns] = picture
    whole[rows:, :, :3] = np.asarray(strip)
    return whole


def _libraries() -> tuple[Any, Any, Any, str]:
    """Return what draws, and a font that has signs of minus; both come with matplotlib."""
    try:
        import matplotlib
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as cause:
        raise errors.MissingExtra("matplotlib, which brings the legend's font,", "report") from cause
    return Image, ImageDraw, ImageFont, str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
