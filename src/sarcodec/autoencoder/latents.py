"""Latents to bytes and back: quantised with a step a channel, coded with a table a channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.entropy import tables as entropy_tables


def encode(symbols: entropy_tables.Symbols, tables: Sequence[entropy_tables.SymbolTable]) -> bytes:
    """Encode symbols channel by channel.

    Parameters
    ----------
    symbols : ndarray of int32
        (C, h, w), any values.
    tables : sequence of SymbolTable
        One per channel.

    Returns
    -------
    bytes
        Little-endian 32-bit words of one range coder stream.
    """
    coder = constriction.stream.queue.RangeEncoder()
    for channel, table in zip(symbols, tables, strict=True):
        entropy_tables.put(coder, channel.ravel(), table)
    return entropy_tables.words(coder)


def decode(
    data: bytes, shape: tuple[int, int, int], tables: Sequence[entropy_tables.SymbolTable]
) -> entropy_tables.Symbols:
    """Decode what :func:`encode` made.

    Parameters
    ----------
    data : bytes
        The stream.
    shape : tuple of int
        (C, h, w) of the symbols; the caller has checked it against its limits.
    tables : sequence of SymbolTable
        Those it was encoded with.

    Raises
    ------
    FormatError
        When the stream is damaged in a way that shows. Damage that does not is for checksums to find.
    """
    if len(data) % 4 or len(tables) != shape[0]:
        raise errors.FormatError(
            f"symbols: {len(data)} bytes for {shape[0]} channels with {len(tables)} tables; the entry is damaged"
        )
    symbols = np.empty(shape, np.int32)
    try:
        coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        for channel, table in zip(symbols, tables, strict=True):
            channel[...] = entropy_tables.take(coder, channel.size, table).reshape(shape[1:])
    except (AssertionError, ValueError) as cause:
        raise errors.FormatError(f"symbols: the stream is damaged ({errors.plain(cause)})") from cause
    return symbols


@dataclass(frozen=True)
class LatentCoder:
    """Quantisation steps and symbol tables of one model: latents in, bytes out, and back.

    Parameters
    ----------
    steps : ndarray of float32
        (C,) quantisation step of each latent channel, in latent units.
    tables : mapping of int to sequence of SymbolTable
        For every step multiplier that was calibrated, one table a channel. Multiplier 1 is the default, larger
        ones are coarser.
    """

    steps: npt.NDArray[np.float32]
    tables: Mapping[int, Sequence[entropy_tables.SymbolTable]]

    @classmethod
    def fit(
        cls,
        latents: Iterable[npt.NDArray[np.float32]],
        steps: npt.NDArray[np.float32],
        multipliers: Sequence[int] = (1, 2, 4, 8),
    ) -> LatentCoder:
        """Fit tables to training latents, each (C, h, w) float32, for every step multiplier."""
        blocks = [np.reshape(block, (steps.size, -1)) for block in latents]
        stacked = np.concatenate(blocks, axis=1)
        tables = {
            m: tuple(
                entropy_tables.SymbolTable.fit(_quantise(row, step * m))
                for row, step in zip(stacked, steps, strict=True)
            )
            for m in multipliers
        }
        return cls(steps, tables)

    def check(self, multiplier: int) -> None:
        """Raise InputError when there are no tables for a step multiplier."""
        if multiplier not in self.tables:
            raise errors.InputError(
                f"step: got multiplier {multiplier}; this model has the steps {sorted(self.tables)} (--step); "
                "--quality and sizes to aim at are for the default codec, leave --model out for them"
            )

    def quantise(self, latent: npt.NDArray[np.float32], multiplier: int) -> entropy_tables.Symbols:
        """Round a latent (C, h, w) to symbols: nearest multiple of ``steps · multiplier``."""
        return _quantise(latent, (self.steps * np.float32(multiplier))[:, None, None])

    def dequantise(self, symbols: entropy_tables.Symbols, multiplier: int) -> npt.NDArray[np.float32]:
        """Return the latent (C, h, w) that symbols stand for, float32."""
        steps = (self.steps * np.float32(multiplier))[:, None, None]
        return (symbols.astype(np.float32) * steps).astype(np.float32)

    def encode(self, symbols: entropy_tables.Symbols, multiplier: int) -> bytes:
        """Encode symbols (C, h, w); see :func:`encode`."""
        return encode(symbols, self.tables[multiplier])

    def decode(self, data: bytes, size: tuple[int, int], multiplier: int) -> entropy_tables.Symbols:
        """Decode symbols of a grid of ``size`` (h, w); see :func:`decode`."""
        return decode(data, (self.steps.size, *size), self.tables[multiplier])

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return flat arrays for a checkpoint: steps, multipliers, and minimum, size and frequencies of the tables.

        Tables stand in the order of the multipliers, then of the channels.
        """
        multipliers = sorted(self.tables)
        flat = [table for m in multipliers for table in self.tables[m]]
        return {
            "steps": self.steps,
            "multipliers": np.array(multipliers, np.int32),
            "minimum": np.array([t.minimum for t in flat], np.int32),
            "size": np.array([t.frequencies.size for t in flat], np.int32),
            "frequencies": np.concatenate([t.frequencies for t in flat]).astype(np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LatentCoder:
        """Inverse of :meth:`to_arrays`; FormatError for anything else."""
        try:
            steps = arrays["steps"].astype(np.float32)
            ends = np.cumsum(arrays["size"])
            split = np.split(arrays["frequencies"].astype(np.int64), ends[:-1])
            flat = [entropy_tables.SymbolTable(int(m), f) for m, f in zip(arrays["minimum"], split, strict=True)]
            multipliers = [int(m) for m in arrays["multipliers"]]
            if len(flat) != steps.size * len(multipliers) or not (steps > 0).all():
                raise ValueError(f"{len(flat)} tables for {steps.size} channels and {len(multipliers)} multipliers")
        except (KeyError, ValueError, IndexError, TypeError, OverflowError) as cause:
            raise errors.FormatError(f"entropy tables: not valid ({errors.plain(cause)})") from cause
        tables = {m: tuple(flat[i * steps.size : (i + 1) * steps.size]) for i, m in enumerate(multipliers)}
        return cls(steps, tables)


def _quantise(latent: npt.NDArray[np.float32], step: Any) -> entropy_tables.Symbols:
    scaled = np.rint(latent.astype(np.float64) / step)
    symbols: entropy_tables.Symbols = np.clip(scaled, -(2**30), 2**30).astype(np.int32)
    return symbols
