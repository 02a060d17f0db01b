"""Pictures: grey-scale quick looks and error maps as palette PNG in data URIs, entry 0 transparent for nodata."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import radiometry

PERCENTILES = 2, 98
"""Of the dB that are black and white."""

NATURAL_SIDE = 512
"""Pictures smaller than this are enlarged by a whole factor."""

FloatArray = npt.NDArray[np.float32]
Index = npt.NDArray[np.uint8]


def frame(shape: tuple[int, ...]) -> dict[str, object]:
    """Size a picture: pixel by pixel where there is room, small ones enlarged by a whole factor."""
    rows, columns = shape
    zoom = max(1, NATURAL_SIDE // max(shape))
    return {"rows": rows, "columns": columns, "width": columns * zoom, "kind": "enlarged" if zoom > 1 else ""}


def factor(shape: tuple[int, ...], side: int) -> int:
    """Return the whole factor by which an image shrinks to fit ``side``."""
    return -(-max(shape) // side)


def centre(image: FloatArray, side: int) -> FloatArray:
    """Cut out the central ``side`` × ``side`` pixels, or what there is of them."""
    top, left = (max(length - side, 0) // 2 for length in image.shape)
    return image[top : top + side, left : left + side]


def multilook(db: FloatArray, factor: int) -> FloatArray:
    """Average intensity over factor × factor pixels; NaN where fewer than half of them are valid."""
    if factor == 1:
        return db
    padded = np.pad(db, [(0, -length % factor) for length in db.shape], constant_values=np.nan)
    rows, columns = (length // factor for length in padded.shape)
    blocks = padded.reshape(rows, factor, columns, factor)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    mean = np.nansum(10.0 ** (blocks / 10.0), axis=(1, 3)) / np.maximum(count, 1)
    looks = 10.0 * np.log10(np.maximum(mean, radiometry.NOISE_FLOOR))
    return np.where(2 * count >= factor**2, looks, np.nan).astype(np.float32)


def stretch(db: npt.NDArray[np.floating[Any]], otherwise: tuple[float, float]) -> tuple[float, float]:
    """Return the dB of black and white: 2nd and 98th percentile of what is finite, ``otherwise`` where nothing is."""
    finite = db[np.isfinite(db)]
    low, high = (float(end) for end in np.percentile(finite, PERCENTILES)) if finite.size else otherwise
    return low, max(high, low + 0.1)


def indexed(values: FloatArray, low: float, high: float) -> Index:
    """Scale to palette entries 1 to 255; NaN becomes 0, the transparent one."""
    scaled = 1.0 + 254.0 * np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.where(np.isnan(scaled), 0.0, np.round(scaled)).astype(np.uint8)


def grey() -> Index:
    """Return a palette of 255 greys behind the transparent entry."""
    ramp = np.round(np.linspace(0, 255, 255))
    return np.repeat(np.r_[0, ramp][:, None], 3, axis=1).astype(np.uint8)


def diverging() -> Index:
    """Return a palette from blue over white to red behind the transparent entry."""
    return _colours("RdBu_r", 255)


def sequential() -> Index:
    """Return a palette from dark blue over green to yellow behind the transparent entry."""
    return _colours("viridis", 255)


def steps(count: int) -> Index:
    """Return a palette of ``count`` colours from dark to bright behind the transparent entry."""
    return _colours("cividis", count)


def _colours(name: str, count: int) -> Index:
    import matplotlib

    colours = matplotlib.colormaps[name](np.linspace(0.0, 1.0, count))[:, :3]
    return np.concatenate([np.zeros((1, 3)), np.round(255 * colours)]).astype(np.uint8)


def png(index: Index, palette: Index) -> str:
    """Encode a palette image whose entry 0 is transparent as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(index, palette)).decode()}"


def png_bytes(index: Index, palette: Index, effort: int = 9) -> bytes:
    """Encode a palette image whose entry 0 is transparent; ``effort`` is that of zlib, 1 to 9."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns = index.shape
    lines = np.zeros((rows, columns + 1), np.uint8)  # a leading 0 a row: no filter, which suits noise
    lines[:, 1:] = index
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0))
    data += chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", b"\x00")
    data += chunk(b"IDAT", zlib.compress(lines.tobytes(), effort)) + chunk(b"IEND", b"")
    return data


def gradient(palette: Index) -> str:
    """Return the colours of a palette but the transparent one as stops of a CSS gradient."""
    stops = palette[np.round(1 + np.linspace(0, 1, 11) * (len(palette) - 2)).astype(int)].tolist()
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in stops)
