"""Arrays of xarray as a source: pixels, and all that the array says of itself, without importing xarray.

An array is (y, x) or (band, y, x) in any order; a dataset has a band in each variable (y, x). Into the file go CRS,
transform and ground control points (:mod:`sarcodec.raster.georeference`), names of bands, units and attributes
(:mod:`sarcodec.raster.labels`) and the nodata value. ``_FillValue``, ``scale_factor`` and ``add_offset`` are honoured
among the attributes, of pixels as they were stored, and in the encoding, of pixels that xarray decoded, as long as
they are what it decoded (:mod:`sarcodec.raster.stored_pixels`). What cannot be kept is warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.raster import arrays, georeference, labels, reader, spool, stored_pixels
from sarcodec.raster import info as raster_info

HORIZONTAL = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"))
"""Names of the dimensions of rows and columns; with others, these are the last two."""


class Labelled(Protocol):
    """An ``xarray.DataArray`` or ``xarray.Dataset``."""

    @property
    def dims(self) -> Any:
        """Names of dimensions."""

    @property
    def coords(self) -> Any:
        """Coordinates by name."""

    @property
    def attrs(self) -> Any:
        """Attributes."""


def is_labelled(value: object) -> bool:
    """Tell whether a value is an array or dataset of xarray; importing xarray is not needed for that."""
    kinds = type(value).__mro__
    return any(k.__module__.split(".")[0] == "xarray" and k.__name__ in ("DataArray", "Dataset") for k in kinds)


@dataclass(frozen=True)
class Axes:
    """Names of the dimensions; ``band`` is None of a single image."""

    band: Any
    y: Any
    x: Any


class LabelledSource(reader.Raster):
    """An array of xarray, read as a raster is; made by :func:`open_array`."""

    def __init__(
        self,
        bands: Sequence[Any],
        info: raster_info.RasterInfo,
        stored: Sequence[stored_pixels.Stored],
        told: labels.Labels,
        data: Any,
    ) -> None:
        self._bands, self.info, self._stored, self._told = bands, info, stored, told
        self._packed = any(one.packed for one in stored)
        self._samples: dict[int, npt.NDArray[Any]] = {}
        self.name = "dataset" if hasattr(data, "data_vars") else str(data.name or "array")
        sources = [one.encoding.get("source") for one in (data, *bands) if hasattr(one, "encoding")]
        self.places = tuple({source for source in sources if isinstance(source, str)})

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Return a window of a band (0-based) in the working dtype; InputError when its encoding is not its own."""
        return self._stored[band].working(np.asarray(self._bands[band][window.slices]), self._packed)

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Return a thinned copy of a band (0-based); read once, for it may come from a file."""
        if band not in self._samples:
            pixels = np.asarray(self._bands[band][arrays.thinned((self.info.height, self.info.width))])
            self._samples[band] = self._stored[band].working(pixels, self._packed)
        return self._samples[band]

    def known_quantity(self) -> reader.Known | None:
        """Return what the attributes say the pixels are; None when they say nothing.

        InputError when they say another thing of each band, AmbiguousQuantity when the pixels belie them: xarray
        keeps attributes through arithmetic, so "dB" may stand on what is no longer in decibels.
        """
        told = labels.agreed_quantity(self._told)
        if told is None:
            return None
        known = reader.Known(told, "attributes")
        if np.dtype(self.info.working_dtype).kind != "f":
            return known
        try:
            seen, looks = radiometry.decide_quantity(self.sample(0), self.info.working_nodata)
        except errors.AmbiguousQuantity:
            return known
        if seen is not told and radiometry.Quantity.DB in (seen, told):
            raise errors.AmbiguousQuantity(
                f"quantity: the attributes say {told.value}, but {looks} are rather {seen.value}; xarray keeps "
                "attributes through arithmetic: correct them, with .assign_attrs(quantity=…, units=…)"
            )
        return known


@contextmanager
def open_array(data: Any, *, nodata: float | None = None) -> Iterator[LabelledSource]:
    """Take an array or dataset of xarray as a source.

    One in chunks is computed once, block by block, into a temporary file: see :mod:`sarcodec.raster.spool`. What is
    not yet read from its own file is read from it window by window.

    Raises
    ------
    InputError
        For dimensions, dtypes or coordinates that a file cannot hold, or when ``nodata`` contradicts the array.
    OutputError
        When there is no room for the temporary file.
    """
    data = _unwrapped(data)
    axes, variables = _images(data)
    bands = list(variables.values())
    for name, band in variables.items():
        arrays.check_dtype(
            f"pixels of {errors.plain(name)}" if name is not None else "pixels", band.dtype, band.shape
        )
    if len(kinds := {band.dtype for band in bands}) > 1:
        named = ", ".join(sorted(map(str, kinds)))
        raise errors.InputError(f"pixels: got variables of {named}; all must share one dtype")
    height, width = bands[0].shape
    told, place = _labels(data, variables, axes), _place(data, bands[0], axes)
    with _computed(data, bands, axes) as pixels:
        stored = stored_pixels.of_bands(bands, pixels, nodata)
        first = stored[0]
        packed = any(one.packed for one in stored)
        info = raster_info.RasterInfo(
            len(bands),
            height,
            width,
            first.dtype,
            first.nodata,
            crs=place.crs,
            transform=place.transform,
            gcps=place.gcps,
            gcp_crs=place.gcp_crs,
            descriptions=told.descriptions,
            units=told.units,
            tags=told.tags,
            band_tags=told.band_tags,
            scales=tuple(one.scale for one in stored) if packed else (),
            offsets=tuple(one.offset for one in stored) if packed else (),
        )
        yield LabelledSource(pixels, info, stored, told, data)


def _unwrapped(data: Any) -> Any:
    """Return the array of a dataset whose only one it is and has bands, as rioxarray opens rasters."""
    if not hasattr(data, "data_vars"):
        return data
    images = [variable for variable in data.data_vars.values() if variable.ndim]
    if len(images) == 1 and images[0].ndim == 3:
        return images[0].assign_attrs({**data.attrs, **images[0].attrs})
    return data


def _images(data: Any) -> tuple[Axes, dict[Any, Any]]:
    """Return the names of dimensions, and images (y, x) by name; InputError when it is no image, or several."""
    if hasattr(data, "data_vars"):
        variables = {name: variable for name, variable in data.data_vars.items() if variable.ndim}
        axes = {name: _axes(variable) for name, variable in variables.items() if variable.ndim == 2}
        shapes = {found: variables[name].shape for name, found in axes.items()}
        if len(shapes) != 1 or len(axes) != len(variables):
            listed = ", ".join(f"{errors.plain(name)} {variable.dims}" for name, variable in variables.items())
            raise errors.InputError(
                f"dataset: got variables {listed or 'without dimensions'}; pass those that are (y, x) on one grid: "
                "dataset[[…]]"
            )
        (shared,) = shapes
        return shared, {name: variable.transpose(shared.y, shared.x) for name, variable in variables.items()}
    axes_here = _axes(data)
    if axes_here.band is None:
        name = data.coords["band"].item() if "band" in data.coords else None
        return axes_here, {name if isinstance(name, str) else data.name: data.transpose(axes_here.y, axes_here.x)}
    cube = data.transpose(axes_here.band, axes_here.y, axes_here.x)
    return axes_here, {band: cube[band] for band in range(len(cube))}


def _axes(array: Any) -> Axes:
    dims = tuple(array.dims)
    if len(set(dims)) != len(dims) or len(dims) not in (2, 3) or 0 in array.shape:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(dims, array.shape, strict=True))
        advice = "; select one along the others: .isel(time=0), .squeeze()" if len(dims) > 3 else ""
        raise errors.InputError(
            f"array: got dimensions ({sizes}); pass (y, x) or (band, y, x), each of its own name, not empty{advice}"
        )
    y, x = next((pair for pair in HORIZONTAL if set(pair) <= set(dims)), dims[-2:])
    return Axes(next((dim for dim in dims if dim not in (y, x)), None), y, x)


def _labels(data: Any, variables: Mapping[Any, Any], axes: Axes) -> labels.Labels:
    """Label the bands, and warn of coordinates that a file has no place for."""
    mapping = _mapping_name(data, next(iter(variables.values())))
    scalars, along, lost = {}, {}, []
    others = {**data.coords, **getattr(data, "data_vars", {})}
    for name, variable in others.items():
        if name in (mapping, axes.y, axes.x, axes.band) or name in variables:
            continue
        if variable.ndim == 0:
            if name != "band":
                scalars[str(name)] = str(variable.values)
        elif variable.dims == (axes.band,):
            along[str(name)] = [str(value) for value in variable.values]
        else:
            lost.append(str(name))
    lost += [str(dim) for dim in (axes.y, axes.x) if dim in data.coords and not _has_grid(data, axes)]
    if lost:
        warnings.warn(
            f"coordinates {', '.join(lost)}: a .sarc file has no place for them, they are not kept", stacklevel=6
        )
    if axes.band is None:
        attributes = data.attrs if hasattr(data, "data_vars") else arrays.FLAT
        return labels.of_variables(variables, attributes, scalars)
    count = len(variables)
    band_tags = tuple({name: values[band] for name, values in along.items()} for band in range(count))
    more = labels.Labels((), (), scalars, band_tags, ())
    names = data.coords[axes.band].values if axes.band in data.coords else None
    return labels.of_bands(names, count, data.attrs, more)


def _has_grid(data: Any, axes: Axes) -> bool:
    """Tell whether both axes have numbers for coordinates."""
    return all(dim in data.coords and data.coords[dim].dtype.kind in "iuf" for dim in (axes.y, axes.x))


def _mapping_name(data: Any, band: Any) -> Any:
    for one in (band, data):
        named = {**one.attrs, **one.encoding}.get("grid_mapping")
        if named is not None:
            return str(named).split(":")[0].strip()
    return "spatial_ref"


def _place(data: Any, band: Any, axes: Axes) -> georeference.Place:
    name = _mapping_name(data, band)
    variable = {**data.coords, **getattr(data, "data_vars", {})}.get(name)
    mapping = {} if variable is None else dict(variable.attrs)
    crs = data.attrs.get("crs") or band.attrs.get("crs")
    if not any(mapping.get(key) for key in ("crs_wkt", "spatial_ref")):
        crs = getattr(getattr(data, "rio", None), "crs", None) or crs
        if crs is None and "grid_mapping_name" in mapping:
            raise errors.InputError(
                f"crs: {errors.plain(name)} says it in CF parameters alone; import rioxarray, or write it as WKT: "
                "rio.write_crs"
            )
    grid = _has_grid(data, axes)
    rows, columns = (data.coords[dim].values.astype(np.float64) if grid else None for dim in (axes.y, axes.x))
    return georeference.place_of(mapping, crs, rows, columns)


@contextmanager
def _computed(data: Any, bands: list[Any], axes: Axes) -> Iterator[Sequence[Any]]:
    """Yield images that give pixels when they are indexed: those of Dask from a file, computed once."""
    if not any(band.chunks for band in bands):
        yield bands
        return
    whole = data.unify_chunks()
    shape = (len(bands), *bands[0].shape)

    def compute(window: tiling.Window) -> npt.NDArray[Any]:
        rows, columns = window.slices
        part = whole.isel({axes.y: rows, axes.x: columns}).compute()
        return np.stack([np.asarray(image) for image in _images(part)[1].values()])

    chunks = whole.chunksizes[axes.y], whole.chunksizes[axes.x]
    with spool.spooled(compute, shape, bands[0].dtype, chunks) as cube:
        yield list(cube)
