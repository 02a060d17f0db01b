"""Which reader opens what: one list of drivers, and all of them behind :class:`Raster`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.files import vsi
from sarcodec.raster import arrays, geotiff, labelled, product_files, safe
from sarcodec.raster import info as raster_info
from sarcodec.raster.reader import Raster as Raster

Place = str | os.PathLike[str] | npt.NDArray[Any] | labelled.Labelled
"""What is opened: a path, a URL, a path of a virtual file system, or an array."""

Opened = AbstractContextManager[Raster]


class Driver(NamedTuple):
    """A reader of one kind of source: what it takes, and how it is opened."""

    takes: Callable[[Any], bool]
    open: Callable[[Any, str | None, float | None], Opened]


def open(place: Place, polarisation: str | None = None, *, nodata: float | None = None) -> Opened:
    """Open a source, to be used in a ``with`` block.

    Parameters
    ----------
    place : path, ndarray, xarray.DataArray or xarray.Dataset
        Anything GDAL reads, by path, URL or path of a virtual file system; a Sentinel-1 GRD product, a local SAFE
        folder or its zip file; or an array, as :func:`arrays.source_of` and :func:`labelled.open_array` take it.
    polarisation : str, optional
        The one to take of a product.
    nodata : float, optional
        The value of pixels that hold nothing, where the source does not declare it; products do.

    Raises
    ------
    InputError
        For a polarisation that the source has not, an array that is no image, or a product that is no local file.
    FormatError
        When there is no such file, or it is damaged.
    """
    return by_driver(DRIVERS, place, polarisation, nodata)


def by_driver(drivers: tuple[Driver, ...], place: Any, polarisation: str | None, nodata: float | None) -> Opened:
    """Open a source by the first driver that takes it; InputError where none does."""
    for driver in drivers:
        if driver.takes(place):
            return driver.open(place, polarisation, nodata)
    raise errors.InputError(
        f"source: got a value of type {type(place).__name__}; pass a path, a NumPy array, or an array or dataset of "
        "xarray"
    )


def _is_array(place: Any) -> bool:
    return isinstance(place, np.ndarray)


def _is_path(place: Any) -> bool:
    return isinstance(place, str | os.PathLike)


def _is_product(place: Any) -> bool:
    return _is_path(place) and safe.is_product(place)


def _open_labelled(data: Any, polarisation: str | None, nodata: float | None) -> Opened:
    _check_none(polarisation)
    return labelled.open_array(data, nodata=nodata)


def _open_array(pixels: npt.NDArray[Any], polarisation: str | None, nodata: float | None) -> Opened:
    _check_none(polarisation)
    return nullcontext(arrays.source_of(pixels, nodata))


def _check_none(polarisation: str | None) -> None:
    if polarisation is not None:
        raise errors.InputError(f"polarisation: got {polarisation}; of an array none is taken, pass one band of it")


def _open_product(place: str | os.PathLike[str], polarisation: str | None, _nodata: float | None) -> Opened:
    return safe.open_product(place, polarisation)


def _open_raster(place: str | os.PathLike[str], polarisation: str | None, nodata: float | None) -> Opened:
    """Open what GDAL reads; InputError for a polarisation of it, unless its name says that it is the one."""
    _check_no_product(place)
    if polarisation is not None and raster_info.polarisation_from_text(vsi.stem(place)) != polarisation.upper():
        raise errors.InputError(
            f"polarisation: got {polarisation}; of {vsi.public(place)} none is taken, for it is no SAFE folder "
            "or zip file"
        )
    return geotiff.open_raster(place, nodata=nodata)


def _check_no_product(place: str | os.PathLike[str]) -> None:
    """Raise InputError for what would be a product if it were local: only GDAL reads over its file systems."""
    name = vsi.public(place)
    ends = ("/" + product_files.MANIFEST, ".safe") + (() if name.startswith(("/vsizip/", "zip")) else (".zip",))
    if vsi.is_virtual(place) and name.removesuffix("?…").rstrip("/").lower().endswith(ends):
        raise errors.InputError(
            f"source {name}: a product is read from local files only; download it first, or pass one of its "
            "measurements: /vsizip//vsicurl/https://…/S1….zip/S1….SAFE/measurement/….tiff"
        )


DRIVERS = (
    Driver(labelled.is_labelled, _open_labelled),
    Driver(_is_array, _open_array),
    Driver(_is_product, _open_product),
    Driver(_is_path, _open_raster),
)
"""By which a source is opened: the first that takes it. :mod:`sarcodec.scene.source` adds that of ``.sarc`` files."""
