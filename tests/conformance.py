"""Symbols of a file, hashed: what every machine must agree on."""

from __future__ import annotations

import hashlib

import numpy as np

from sarcodec.codec import codec, stored_tiles
from sarcodec.codec import engine as codec_engine
from sarcodec.container import archive
from sarcodec.nearlossless import residual


def symbol_hashes(coder: codec.Codec, reader: archive.Reader) -> dict[str, str]:
    """Hash the symbols of every tile as little-endian int32 in the order of their array."""
    hashes = {}
    for band, row, column, size in stored_tiles.tiles_with_symbols(reader):
        name = archive.tile_name(band, row, column)
        data, _ = archive.split_tile(reader.read(name, 1 << 24), reader.header)
        hashes[name] = hashlib.sha256(_symbols(coder.engine, data, size, reader.header.step).tobytes()).hexdigest()
    return hashes


def _symbols(engine: codec_engine.Engine, data: bytes, size: tuple[int, int], step: int) -> np.ndarray:
    if engine.architecture == "bounded":
        return residual.decode(data, np.ones(size, bool)).astype("<i4")
    if engine.architecture in ("lapped", "variable"):
        return engine.model.coder.decode(data, size, step)[0].astype("<i4")
    return engine.coder.decode(data, size, step).astype("<i4")
