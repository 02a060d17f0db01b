"""Symbols of a file, hashed: what every machine must agree on."""

from __future__ import annotations

import hashlib

import numpy as np

from sarcodec import codec, container, engines, residual, stored_tiles


def symbol_hashes(coder: codec.Codec, reader: container.Reader) -> dict[str, str]:
    """Hash the symbols of every tile as little-endian int32 in the order of their array."""
    hashes = {}
    for band, row, column, size in stored_tiles.tiles_with_symbols(reader):
        name = container.tile_name(band, row, column)
        data, _ = container.split_tile(reader.read(name, 1 << 24), reader.header)
        hashes[name] = hashlib.sha256(_symbols(coder.engine, data, size, reader.header.step).tobytes()).hexdigest()
    return hashes


def _symbols(engine: engines.Engine, data: bytes, size: tuple[int, int], step: int) -> np.ndarray:
    if isinstance(engine, engines.BoundedEngine):
        return residual.decode(data, np.ones(size, bool)).astype("<i4")
    decoded = engine.coder.decode(data, size, step)
    return (decoded[0] if isinstance(engine, engines.LappedEngine) else decoded).astype("<i4")
