"""Sentinel-1 products in SAFE: a folder or zip file as one raster, and back to a folder or zip file.

What stands where in a product: Sentinel-1 Product Specification S1-RS-MDA-52-7441. The manifest lists the files by
kind; a measurement, its annotation, ``calibration-…`` and ``noise-…`` share the stem of their names. GDAL reads and
writes pixels; of the XML only what it leaves out is parsed: what the measurements are, their polarisation and size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy.typing as npt

from sarcodec import errors, radiometry, tiling
from sarcodec.container import product
from sarcodec.files import vsi
from sarcodec.raster import geotiff, manifest, reader, safe_output, sigma0, xmltext
from sarcodec.raster import info as raster_info
from sarcodec.raster.product_files import MANIFEST, Files


@dataclass(frozen=True)
class Band:
    """A polarisation of a product: the path of its measurement and its annotated size in pixels."""

    polarisation: str
    path: str
    height: int
    width: int


def bands(files: Files) -> list[Band]:
    """Find the measurements that are there, in the order of their image numbers; FormatError when there are none."""
    listed = _listed(files)
    found = [path for path in listed if path in files.sizes]
    if not found:
        raise errors.FormatError(
            f"product {files.place}: has none of the {len(listed)} measurement TIFFs that its manifest lists"
        )
    numbered = []
    for path in found:
        name = _annotation(path)
        root = xmltext.parse(files.read(name), name)
        polarisation = xmltext.text(root, "adsHeader/polarisation", name)
        size = "imageAnnotation/imageInformation/numberOf"
        height, width = (xmltext.whole_number(root, size + what, name) for what in ("Lines", "Samples"))
        numbered.append((xmltext.text(root, "adsHeader/imageNumber", name), Band(polarisation, path, height, width)))
    ordered = [band for _, band in sorted(numbered, key=lambda pair: pair[0])]
    if len({band.polarisation for band in ordered}) != len(ordered):
        raise errors.FormatError(
            f"product {files.place}: has several measurements of a polarisation, as complex (SLC) products do; "
            "only detected products (GRD) can be compressed"
        )
    return ordered


def _listed(files: Files) -> list[str]:
    """Return the paths of the measurements that the manifest lists, whether they are there or not."""
    entries = manifest.entries(files.read(MANIFEST))
    return [entry.path for entry in entries if entry.kind == manifest.MEASUREMENTS]


def _annotation(path: str) -> str:
    return f"annotation/{PurePosixPath(path).stem}.xml"


def _check_whole(files: Files) -> None:
    """Raise FormatError for a measurement that is missing though its annotation is there."""
    for path in _listed(files):
        if path not in files.sizes and _annotation(path) in files.sizes:
            raise errors.FormatError(
                f"product {files.place}: {errors.plain(path)} is missing, though its annotation is there; get "
                "the whole product, "
                "or take one polarisation that is there (--polarisation)"
            )


def calibration(place: str | os.PathLike[str], polarisation: str) -> sigma0.Table:
    """Return the calibration table of a polarisation of a product in a folder or zip file.

    Raises
    ------
    InputError
        When the product has no such polarisation.
    FormatError
        When the product or its calibration annotation is damaged or missing.
    """
    files = Files(place)
    try:
        band = _chosen(files, bands(files), polarisation)[0]
        name = f"annotation/calibration/calibration-{PurePosixPath(band.path).stem}.xml"
        return sigma0.Table.from_xml(files.read(name), name)
    finally:
        files.close()


def _chosen(files: Files, found: list[Band], polarisation: str | None) -> list[Band]:
    if polarisation is None:
        return found
    chosen = [band for band in found if band.polarisation == polarisation.upper()]
    if not chosen:
        raise errors.InputError(
            f"polarisation: got {polarisation}; {files.place} has measurements of "
            f"{errors.plain(' and '.join(band.polarisation for band in found))}"
        )
    return chosen


class ProductReader(reader.Raster):
    """An open product: a raster of one band a polarisation, in DN, and all its other files.

    :attr:`info` describes the raster: 0 is nodata where the measurements declare none, what else the first
    measurement says holds for all. :attr:`product` has what the others say otherwise.
    """

    def __init__(self, files: Files, found: list[Band], rasters: list[geotiff.RasterReader]) -> None:
        self._files, self._rasters = files, rasters
        self.name = str(files.place)
        self.places = (self.name,)
        infos = [raster.info for raster in rasters]
        declared = {info.nodata for info in infos}
        self.info = replace(
            infos[0],
            count=len(infos),
            nodata=infos[0].nodata if len(declared) == 1 and None not in declared else 0.0,
            descriptions=tuple(band.polarisation for band in found),
            units=(),
            band_tags=(),
        )
        measurements = zip(found, infos, strict=True)
        self.product: product.Product = product.Product(
            files.name, tuple(product.Measurement(band.path, _unlike(info, self.info)) for band, info in measurements)
        )
        listed = _listed(files)
        self._paths = [path for path in files.sizes if path not in listed]
        product.check_path(files.name)
        product.check_files(self.product, {path: files.sizes[path] for path in self._paths}, len(found))

    def read(self, band: int, window: tiling.Window) -> npt.NDArray[Any]:
        """Read a window of a band (0-based)."""
        return self._rasters[band].read(0, window)

    def sample(self, band: int) -> npt.NDArray[Any]:
        """Read a thinned copy of a band (0-based)."""
        return self._rasters[band].sample(0)

    def known_quantity(self) -> reader.Known:
        """Return DN, which GRD products hold."""
        return reader.Known(radiometry.Quantity.DN, "product")

    def check(self) -> None:
        """Read the files that the manifest lists, of measurements those that are open; FormatError for a damaged one.

        Those without a checksum in the manifest have one in a zip file, or none.
        """
        opened = {measurement.path for measurement in self.product.measurements}
        for entry in manifest.entries(self._files.read(MANIFEST)):
            if entry.path in opened or (entry.kind != manifest.MEASUREMENTS and entry.path in self._files.sizes):
                self._files.check(entry)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of every file but the measurements."""
        for path in self._paths:
            yield path, self._files.read(path)


def _unlike(info: raster_info.RasterInfo, base: raster_info.RasterInfo) -> dict[str, Any]:
    """Return the entries of a measurement's description unlike those that :func:`measurement_info` starts with."""
    own, known = info.to_dict(), safe_output.single(base).to_dict()
    return {key: own.get(key) for key in sorted(own.keys() | known.keys()) if own.get(key) != known.get(key)}


def is_product(place: str | os.PathLike[str]) -> bool:
    """Tell whether a path is to be read as a product: a zip file, a ``.SAFE`` folder, or one with a manifest."""
    path = Path(place)
    if path.name == MANIFEST or path.suffix.lower() in (".zip", ".safe"):
        return not vsi.is_virtual(place)
    return path.is_dir() and (path / MANIFEST).is_file()


@contextmanager
def open_product(place: str | os.PathLike[str], polarisation: str | None = None) -> Iterator[ProductReader]:
    """Open a product in a folder or zip file, all its polarisations or one.

    Raises
    ------
    InputError
        When the product has not the polarisation that is asked for.
    FormatError
        When the manifest, an annotation or all measurements are missing, or one though its annotation is there and
        no polarisation is asked for; when a file is damaged or truncated, or a measurement has not its annotated
        size or is not of uint16.
    """
    with ExitStack() as stack:
        files = Files(place)
        stack.callback(files.close)
        found = _chosen(files, bands(files), polarisation)
        if polarisation is None:
            _check_whole(files)
        rasters = []
        for band in found:
            raster = stack.enter_context(geotiff.open_raster(files.raster(band.path)))
            info = raster.info
            if (info.count, info.dtype) != (1, "uint16"):
                raise errors.FormatError(
                    f"product {files.place}: {errors.plain(band.path)} has {info.count} bands of {info.dtype}, "
                    "not one of uint16"
                )
            if (info.height, info.width) != (band.height, band.width):
                raise errors.FormatError(
                    f"product {files.place}: {errors.plain(band.path)} has {info.height}×{info.width} pixels; "
                    f"its annotation says {band.height}×{band.width}"
                )
            rasters.append(raster)
        if len({(band.height, band.width) for band in found}) != 1:
            raise errors.FormatError(
                f"product {files.place}: its polarisations differ in size; pass one of them (--polarisation)"
            )
        yield ProductReader(files, found, rasters)
