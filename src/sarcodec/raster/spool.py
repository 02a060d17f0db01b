"""Pixels that cost a computation, as those of Dask: computed once, block by block, into a temporary file.

A file is coded tile by tile with context around each tile, and towards a goal again and again: computed on demand, a
chunk would be computed many times, and one that draws random numbers would differ each time.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, tiling

BLOCK_BYTES = 128 << 20
"""Most bytes that are computed at once, but for a single chunk that is larger."""


@contextmanager
def spooled(
    compute: Callable[[tiling.Window], npt.NDArray[Any]],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    chunks: tuple[Sequence[int], Sequence[int]],
) -> Iterator[npt.NDArray[Any]]:
    """Yield an array (bands, H, W) on disk of what ``compute`` gives, which is told windows of whole chunks.

    ``chunks`` are the sizes of chunks along rows and columns. The file has no name and goes with the block; the
    environment's TMPDIR says in which folder it is. OutputError when it has no room there.
    """
    with tempfile.TemporaryFile() as file:
        for block in blocks(shape, dtype.itemsize, chunks):
            cube = np.ascontiguousarray(compute(block), dtype)
            try:
                for band, row in np.ndindex(cube.shape[:2]):
                    place = (band * shape[1] + block.top + row) * shape[2] + block.left
                    file.seek(place * dtype.itemsize)
                    file.write(cube[band, row].data)
                file.flush()
            except OSError as cause:
                raise errors.OutputError(
                    f"pixels: computed, they need {np.prod(shape) * dtype.itemsize / 2**30:.3g} GiB in "
                    f"{tempfile.gettempdir()} ({cause.strerror}); set TMPDIR to a folder that has room"
                ) from cause
        yield np.memmap(file, dtype, "r", shape=shape)


def blocks(
    shape: tuple[int, int, int], itemsize: int, chunks: tuple[Sequence[int], Sequence[int]]
) -> Iterator[tiling.Window]:
    """Cut an image (bands, H, W) along its chunks into blocks of at most :data:`BLOCK_BYTES`, or a single chunk."""
    bands, _, width = shape
    for top, bottom in _runs(chunks[0], BLOCK_BYTES // (bands * width * itemsize)):
        for left, right in _runs(chunks[1], BLOCK_BYTES // (bands * (bottom - top) * itemsize)):
            yield tiling.Window(top, bottom, left, right)


def _runs(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Join neighbouring chunks of an axis while they have no more than ``most`` pixels together."""
    start = 0
    for end, following in itertools.pairwise([*itertools.accumulate(sizes), None]):
        if end is not None and end > start and (following is None or following - start > most):
            yield start, end
            start = end
