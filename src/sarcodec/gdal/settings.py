"""The two options by which GDAL runs Python pixel functions of modules that are trusted by name."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable

Get = Callable[[str], str | None]
Put = Callable[[str, str], None]

MODULE = "sarcodec.gdal"
"""What is trusted: the module that a VRT names."""

ENABLE, TRUSTED = "GDAL_VRT_ENABLE_PYTHON", "GDAL_VRT_PYTHON_TRUSTED_MODULES"


def options(trusted: str | None = None, enabled: str | None = None) -> dict[str, str]:
    """Return both options; what was ``trusted`` or ``enabled`` before, and more than this, stays so."""
    modules = [name.strip() for name in (trusted or "").split(",") if name.strip()]
    if MODULE not in modules:
        modules.append(MODULE)
    everything = (enabled or "").upper() in ("YES", "TRUE", "ON", "1")
    return {ENABLE: "YES" if everything else "TRUSTED_MODULES", TRUSTED: ",".join(modules)}


def enable() -> None:
    """Let GDAL read VRTs of ``.sarc`` files in this process, and in those that it starts.

    Sets ``GDAL_VRT_ENABLE_PYTHON=TRUSTED_MODULES`` and ``GDAL_VRT_PYTHON_TRUSTED_MODULES=sarcodec.gdal`` in the
    environment, where GDAL looks for options, and in rasterio and osgeo where these are loaded and say otherwise.
    Other modules that are trusted stay so.
    """
    wanted = options(os.environ.get(TRUSTED), os.environ.get(ENABLE))
    os.environ.update(wanted)
    for get, put in _loaded():
        if get(ENABLE) != wanted[ENABLE] or get(TRUSTED) != wanted[TRUSTED]:
            for name, value in options(get(TRUSTED), get(ENABLE)).items():
                put(name, value)


def _loaded() -> list[tuple[Get, Put]]:
    """Return how options are asked for and set in each GDAL that is loaded."""
    found: list[tuple[Get, Put]] = []
    if "rasterio" in sys.modules:
        rasterio = importlib.import_module("rasterio.env")
        found.append((functools.partial(rasterio.get_gdal_config, normalize=False), _put_in_rasterio))
    if "osgeo.gdal" in sys.modules:
        osgeo = sys.modules["osgeo.gdal"]
        found.append((osgeo.GetConfigOption, osgeo.SetConfigOption))
    return found


def _put_in_rasterio(name: str, value: str) -> None:
    rasterio = importlib.import_module("rasterio.env")
    if rasterio.hasenv():  # which sets the options of its own again with every call
        rasterio.setenv(**{name: value})
    else:
        rasterio.set_gdal_config(name, value)
