"""What is opened to be compressed, measured or compared: any source of rasters, and ``.sarc`` files, too."""

from __future__ import annotations

import os

from sarcodec import errors
from sarcodec.raster import source as raster_source
from sarcodec.scene import transcoding


def open(
    place: raster_source.Place, polarisation: str | None = None, *, nodata: float | None = None
) -> raster_source.Opened:
    """Open a source as :func:`sarcodec.raster.source.open` does, or a ``.sarc`` file of a shipped model.

    Of a ``.sarc`` file all bands are taken, with the nodata value that it has.
    Raises FormatError and ModelMissing for such a file that is damaged or of another model, InputError for a
    polarisation or nodata value that is said of it.
    """
    return raster_source.by_driver(DRIVERS, place, polarisation, nodata)


def _open_file(place: str | os.PathLike[str], polarisation: str | None, nodata: float | None) -> raster_source.Opened:
    if polarisation is not None:
        raise errors.InputError(f"polarisation: got {polarisation}; of {place} all bands are taken, leave it out")
    if nodata is not None:
        raise errors.InputError(f"nodata: got {nodata:g}; {place} knows its own, leave it out")
    return transcoding.open_file(place)


DRIVERS = (raster_source.Driver(transcoding.is_file, _open_file), *raster_source.DRIVERS)
"""By which a source is opened, codec and all: the first that takes it."""
