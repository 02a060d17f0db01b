"""GDAL, and all that reads with it, opens ``.sarc`` files: rasterio, QGIS, rio-tiler, the tools of the command line.

A VRT beside a file has bands without sources, whose pixels GDAL asks of :func:`read` here: a Python pixel function of
a module that the user trusts by two options, which :func:`enable` sets. Here lives what speaks with GDAL, and neither
decoding nor commands. Pixels are read without rasterio, so that a program with a GDAL of its own loads no second one.
"""

from typing import TYPE_CHECKING, Any

from sarcodec.gdal.pixels import read
from sarcodec.gdal.settings import enable

if TYPE_CHECKING:
    from sarcodec.gdal.vrt import write_vrt
else:

    def __getattr__(name: str) -> Any:
        if name != "write_vrt":
            raise AttributeError(f"module 'sarcodec.gdal' has no attribute {name!r}")
        from sarcodec.gdal import vrt

        return vrt.write_vrt


__all__ = ["enable", "read", "write_vrt"]
