"""Images band by band, as they are measured: each band is an image of its own, and goes to a file of its own."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.raster import find, geotiff
from sarcodec.raster import info as raster_info
from sarcodec.scene import files, rate_control, source


@dataclass(frozen=True, eq=False)
class Chip:
    """One band of an image.

    Parameters
    ----------
    image, band : str
        Names as in the rows of :mod:`sarcodec.evaluation.roundtrip`.
    db : ndarray of float32
        (H, W) in dB, NaN where invalid.
    valid : ndarray of bool
        (H, W).
    """

    image: str
    band: str
    db: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    pixels: npt.NDArray[Any]
    quantity: radiometry.Quantity
    info: raster_info.RasterInfo

    @property
    def name(self) -> str:
        """Name to show."""
        return f"{self.image} {self.band}"


def read(images: Sequence[str | os.PathLike[str]], *, coded: bool = False) -> Iterator[Chip]:
    """Read every band of every image, under the names of rows of :mod:`sarcodec.evaluation.roundtrip`.

    With ``coded`` a ``.sarc`` file is the image that it holds; else, as for training, InputError.
    """
    for path in find.find_images(images, coded=coded):
        with source.open(path) as raster:
            whole, nodata = raster.info, raster.info.working_nodata
            known = raster.known_quantity()
            if known is None:
                quantity = radiometry.detect_quantity(raster.sample(0), nodata, whole.unit_text())
            else:
                quantity = known.quantity
            for number in range(whole.count):
                pixels = raster.read(number, tiling.Window(0, whole.height, 0, whole.width))
                valid = radiometry.classify(pixels, quantity, nodata) == radiometry.Fill.VALID
                db = np.where(valid, radiometry.to_db(pixels, quantity), np.float32(np.nan))
                info = one_band(whole, number)
                band = info.descriptions[0] or str(number + 1)
                yield Chip(Path(raster.name).stem, band, db, valid, pixels, quantity, info)


def restore(
    chip: Chip, coder: codec.Codec, step: int, *, speckle: bool | None = None, effort: int = 1
) -> tuple[npt.NDArray[np.float32], int]:
    """Compress a chip to a real file and restore it; returns (H, W) in dB, NaN where invalid, and the bytes.

    With ``speckle`` the file keeps a record of what was lost of it, and the speckle is rendered. ``effort`` as of
    :class:`sarcodec.codec.encoding.Options`.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "band.tif", Path(folder) / "band.sarc"
        with geotiff.create_raster(plain, chip.info, overwrite=True) as writer:
            writer.write(0, tiling.Window(0, chip.info.height, 0, chip.info.width), chip.pixels)
        options = encoding.Options(step=step, speckle=speckle, effort=effort)
        size = files.compress_file(plain, packed, coder, quantity=chip.quantity, options=options)
        with archive.Reader(packed) as reader:
            strips = [strip for _, strip in coder.restore_rows(reader, 0, speckle=bool(speckle))]
    restored = radiometry.to_db(np.concatenate(strips), chip.quantity)
    return np.where(chip.valid, restored, np.float32(np.nan)), size.bytes


def restore_at(chip: Chip, coder: codec.Codec, bits_per_pixel: float) -> tuple[npt.NDArray[np.float32], int]:
    """Compress a chip at the step whose file comes within 2 % of a rate; else as :func:`restore`.

    InputError when there is no such step.
    """
    tried: dict[int, tuple[npt.NDArray[np.float32], int]] = {}

    def measure(step: int) -> float:
        if step not in tried:
            tried[step] = restore(chip, coder, step)
        return math.log(8 * tried[step][1] / chip.db.size)

    wanted, tolerance = math.log(bits_per_pixel), math.log1p(rate_control.RATE_TOLERANCE)
    steps = coder.engine.steps
    if not isinstance(steps, range):
        raise errors.InputError(f"model: {coder.engine.architecture} has a few fixed steps and cannot aim at a rate")
    step, reached = rate_control.find_step(measure, steps, coder.engine.default_step, wanted, tolerance)
    if abs(reached - wanted) > tolerance:
        raise errors.InputError(f"bits_per_pixel: {bits_per_pixel:g} is out of reach for {chip.name}")
    return tried[step]


def one_band(info: raster_info.RasterInfo, band: int) -> raster_info.RasterInfo:
    """Describe a single band of a raster as a raster of its own."""
    return info.cropped(tiling.Window(0, info.height, 0, info.width), (band,))
