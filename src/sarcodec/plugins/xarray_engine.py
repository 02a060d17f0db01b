"""``xarray.open_dataset("scene.sarc")``: lazy variables, of which only the tiles that are touched are decoded.

xarray loads this module when it looks for engines, and with it comes the accessor ``sarc``
(:mod:`sarcodec.plugins.xarray_accessor`); GDAL is loaded when a file is opened or read.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from sarcodec import errors, tiling
from sarcodec.files import remote, vsi

try:
    import xarray
    from xarray.backends import BackendArray, BackendEntrypoint, CachingFileManager
    from xarray.core import indexing
except ImportError as cause:
    raise errors.MissingExtra("xarray", "xarray") from cause

from sarcodec.plugins.xarray_accessor import SarcAccessor as SarcAccessor

if TYPE_CHECKING:
    from sarcodec.codec import codec
    from sarcodec.container import archive
    from sarcodec.container import header as container_header
    from sarcodec.raster import info as raster_info
    from sarcodec.scene.output import Output

CACHE_BYTES = 64 << 20
"""Decoded tiles that an open file keeps: the chunks beside one take them too, for context."""

COORDINATES = ("y", "x", "spatial_ref")

UNITS = {"intensity": "1", "dn": "1", "db": "dB"}


class Options(TypedDict, total=False):
    """What else may be said of how a file is opened; see :meth:`SarcBackend.open_dataset`."""

    reduce: int
    power: bool
    storage_options: Mapping[str, Any] | None
    restorer: bool


class SarcBackend(BackendEntrypoint):
    """The engine ``sarcodec`` of xarray."""

    description = "Open .sarc files of compressed SAR backscatter"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "mask_and_scale")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether this is the path or URL of a ``.sarc`` file, or an open one of such a name."""
        named = filename_or_obj.path if hasattr(filename_or_obj, "fs") else filename_or_obj
        if not isinstance(named, str | os.PathLike):
            named = getattr(filename_or_obj, "name", None)
        if not isinstance(named, str | os.PathLike):
            return False
        return vsi.public(named).removesuffix("?…").lower().endswith(".sarc")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: remote.Source,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        model: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        precision: str = "auto",
        speckle: bool = False,
        **options: Unpack[Options],
    ) -> xarray.Dataset:
        """Open a ``.sarc`` file; pixels are decoded when they are asked for.

        Parameters
        ----------
        filename_or_obj : path, URL or binary file
            The file; it is opened again by path or URL wherever a pickled dataset is read. Of a remote file the
            directory is fetched, and then the tiles that are asked for: see :func:`sarcodec.open`.
        drop_variables : str or iterable of str, optional
            Variables to leave out.
        mask_and_scale : bool
            Whether pixels of the nodata value become NaN; else they stay, and so does the dtype.
        model, device, precision
            As in :func:`sarcodec.open_codec`; a model is needed only for one that is not shipped.
        speckle : bool
            Whether to draw lost speckle anew; see :mod:`sarcodec.speckle.record`.
        **options
            ``reduce``, 0 to 6: the image at 1/2^reduce of the resolution; coordinates, transform, ground control
            points and chunks follow. ``power``: whether its pixels are means of power, or means of decibels.
            ``storage_options``: what fsspec needs besides a URL; it travels with a pickled dataset, and is shown
            nowhere. ``restorer``: whether the model restores with its network, as it does by default.

        Returns
        -------
        Dataset
            A variable (y, x) for every band, named by its description, else its polarisation, else ``band_1`` and so
            on; of a packed raster (:mod:`sarcodec.container.packing`) what it stands for. Coordinates are
            pixel centres where rows and columns run along the axes of the CRS; ``spatial_ref`` has the CRS,
            transform and ground control points as rioxarray reads them.

        Raises as :func:`sarcodec.open`; reading pixels as :meth:`sarcodec.Codec.restore_window`, and FormatError
        where the file is another by then.
        """
        from sarcodec.raster import info as raster_info

        output, storage_options, restorer = _settle(speckle, **options)
        place = remote.located(filename_or_obj, storage_options)
        if isinstance(place, str) and not vsi.is_virtual(place):
            place = str(Path(place).absolute())
        settings = model and os.fspath(model), device, precision, restorer
        manager = CachingFileManager(_OpenFile, place, *settings, mode="r")
        reader = manager.acquire().reader
        name, header, sizes, identity = reader.name, reader.header, reader.sizes(), reader.identity
        if not isinstance(place, remote.Place):
            manager.close()  # to open a remote file again takes requests
        info = output.describe(raster_info.RasterInfo.from_dict(header.raster))
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        coordinates = _coordinates(info)
        variables = {}
        for band, variable in enumerate(_names(info)):
            if variable not in dropped:
                shape, dtype = (info.height, info.width), np.dtype(info.working_dtype)
                array = _LazyBand(manager, identity, band, shape, dtype, output)
                variables[variable] = xarray.Variable(
                    ("y", "x"), indexing.LazilyIndexedArray(array), _attributes(info, header, band)
                )
                variables[variable].encoding = {"preferred_chunks": _tile(header.tile, info, output), "source": name}
                if "spatial_ref" in coordinates:
                    variables[variable].attrs["grid_mapping"] = "spatial_ref"
        about = _about(info, header, sizes) | ({"speckle": "rendered, not measured"} if speckle else {})
        dataset = xarray.Dataset(variables, coordinates, about)
        dataset = xarray.decode_cf(dataset, mask_and_scale=mask_and_scale, decode_times=False, decode_coords="all")
        dataset.encoding["source"] = name
        dataset.set_close(manager.close)
        return dataset


def _settle(
    speckle: bool,
    *,
    reduce: int = 0,
    power: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    restorer: bool = True,
) -> tuple[Output, Mapping[str, Any] | None, bool]:
    """Return what is wanted of a file, what fsspec needs, and whether the network restores; TypeError for others."""
    from sarcodec.scene.output import Output

    return Output(speckle=speckle, reduce=reduce, power=power), storage_options, restorer


class _OpenFile:
    """A file and the codec that reads it, found for the first pixel; in every process, shared by its threads.

    xarray says the mode too, without which it cannot open a file again from a pickle; there is but one.
    """

    def __init__(
        self,
        place: str | remote.Place | IO[bytes],
        model: str | None,
        device: str,
        precision: str,
        restorer: bool,
        **_mode: str,
    ) -> None:
        from sarcodec.codec import stored_tiles
        from sarcodec.container import archive

        self.reader: archive.Reader = archive.Reader(place)
        self.recent = stored_tiles.Recent(CACHE_BYTES)
        self._settings, self._lock = (model, device, precision, restorer), threading.Lock()
        self._codec: codec.Codec | None = None

    def codec(self) -> codec.Codec:
        """Return the codec of the file; raises as :func:`model_store.codec_for`."""
        from sarcodec.scene import model_store

        model, device, precision, restorer = self._settings
        with self._lock:
            if self._codec is None:
                self._codec = model_store.codec_for(
                    self.reader, model, device=device, precision=precision, restorer=restorer
                )
            return self._codec

    def close(self) -> None:
        """Close the file."""
        self.reader.close()


class _LazyBand(BackendArray):
    """A band that decodes what it is asked for."""

    def __init__(
        self,
        manager: CachingFileManager[_OpenFile],
        identity: str,
        band: int,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        output: Output,
    ) -> None:
        self.manager, self.identity, self.band = manager, identity, band
        self.shape, self.dtype, self.output = shape, dtype, output

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Read rows × columns, each a whole number, a slice or an array of places."""
        places = [np.arange(side)[part] for side, part in zip(self.shape, key, strict=True)]
        shape = tuple(size for place in places for size in place.shape)
        rows, columns = map(np.atleast_1d, places)
        pixels = np.empty((rows.size, columns.size), self.dtype)
        if pixels.size:
            window = tiling.Window(*(int(end) for p in (rows, columns) for end in (p.min(), p.max() + 1)))
            file = self.manager.acquire()
            if file.reader.identity != self.identity:
                raise errors.FormatError(f"{file.reader.name}: is another file by now; open the dataset again")
            strips = file.codec().restore_rows(
                file.reader,
                self.band,
                window,
                speckle=self.output.speckle,
                recent=file.recent,
                reduce=self.output.reduce,
                power=self.output.power,
            )
            for top, strip in strips:
                here = (rows >= top) & (rows < top + len(strip))
                pixels[here] = strip[np.ix_(rows[here] - top, columns - window.left)]
        return pixels.reshape(shape)


def _names(info: raster_info.RasterInfo) -> list[str]:
    """Return the names of variables: descriptions of one word, else polarisations, else numbers, each only once.

    A description that no other band has is kept, whatever its neighbours are called.
    """
    said = [info.descriptions[band] if band < len(info.descriptions) else None for band in range(info.count)]
    words = [text if text and re.fullmatch(r"[^\W\d]\w*", text) and text not in COORDINATES else "" for text in said]
    names = [word if words.count(word) == 1 else "" for word in words]
    polarisations = [info.polarisation(band) if not name else "" for band, name in enumerate(names)]
    for band, polarisation in enumerate(polarisations):
        if polarisation and polarisations.count(polarisation) == 1 and polarisation not in names:
            names[band] = polarisation
    for band, name in enumerate(names):
        number = f"band_{band + 1}"
        while not name and number in names:
            number += "_"
        names[band] = name or number
    return names


def _attributes(info: raster_info.RasterInfo, header: container_header.Header, band: int) -> dict[str, Any]:
    """Return what a variable says of itself; the fill value goes to its encoding where it is decoded."""
    from sarcodec.raster import labels

    said = info.descriptions[band] if band < len(info.descriptions) else None
    unit = info.units[band] if band < len(info.units) else None
    tags = info.band_tags[band] if band < len(info.band_tags) else {}
    found: dict[str, Any] = {key: text for key, text in tags.items() if key not in labels.DECODING}
    found |= {"units": unit or UNITS[header.quantity], "quantity": header.quantity}
    found |= {"long_name": said} if said and "long_name" not in found else {}
    found |= {"polarisation": info.polarisation(band)} if info.polarisation(band) else {}
    dtype, nodata = np.dtype(info.working_dtype), info.working_nodata
    if nodata is not None and (dtype.kind == "f" or float(nodata).is_integer()):
        limits = np.iinfo(dtype) if dtype.kind != "f" else None
        if limits is None or limits.min <= nodata <= limits.max:
            found["_FillValue"] = dtype.type(nodata)
    return found


def _tile(tile: int, info: raster_info.RasterInfo, output: Output) -> dict[str, int]:
    """Return the sides of a tile, and so where chunks may be cut without decoding a tile for more than one."""
    side = max(tile >> output.reduce, 1)
    return {"y": min(side, info.height), "x": min(side, info.width)}


def _about(info: raster_info.RasterInfo, header: container_header.Header, sizes: dict[str, int]) -> dict[str, Any]:
    """Return attributes of the whole: the tags of the source, and how it was compressed."""
    from sarcodec.raster import arrays

    about: dict[str, Any] = {
        **{key: text for key, text in info.tags.items() if key not in arrays.FLAT},
        "model": f"{header.architecture} {header.model}",
        "step": header.step,
        "bits_per_pixel": 8 * sizes["total"] / math.prod(header.shape),
    }
    return about | ({} if header.max_error_db is None else {"max_error_db": header.max_error_db})


def _coordinates(info: raster_info.RasterInfo) -> dict[str, xarray.Variable]:
    """Return pixel centres where there are such along the axes, and how they lie on the Earth."""
    import rasterio.crs

    from sarcodec.raster import georeference

    found: dict[str, xarray.Variable] = {}
    mapping: dict[str, Any] = {}
    crs_text = info.crs or info.gcp_crs
    crs = rasterio.crs.CRS.from_user_input(crs_text) if crs_text else None
    if crs is not None:
        mapping = {"crs_wkt": crs.to_wkt(), "spatial_ref": crs.to_wkt()}
    if info.transform is not None:
        a, b, c, d, e, f = info.transform
        mapping["GeoTransform"] = " ".join(map(repr, (c, a, b, f, d, e)))
        if b == d == 0:
            for name, first, spacing, count in (("y", f, e, info.height), ("x", c, a, info.width)):
                centres = georeference.centres(first, spacing, count)
                found[name] = xarray.Variable(name, centres, _axis(name, crs is not None and crs.is_geographic))
    if info.gcps:
        mapping["gcps"] = georeference.features(info.gcps)
    return found | ({"spatial_ref": xarray.Variable((), 0, mapping)} if mapping else {})


def _axis(name: str, geographic: bool) -> dict[str, str]:
    if geographic:
        long, unit = {"x": ("longitude", "degrees_east"), "y": ("latitude", "degrees_north")}[name]
        return {"axis": name.upper(), "standard_name": long, "units": unit}
    return {"axis": name.upper(), "standard_name": f"projection_{name}_coordinate"}
