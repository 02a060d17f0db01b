"""What an array of xarray says of itself besides its pixels: names of bands, units, attributes, what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sarcodec import errors, radiometry
from sarcodec.raster import info as raster_info

FILLS = ("_FillValue", "missing_value", "fill_value", "nodata")
SCALINGS = ("scale_factor", "scales", "add_offset", "offsets")
STORAGE = frozenset({*FILLS, *SCALINGS, "grid_mapping", "coordinates", "_Unsigned"})
"""Attributes that say how pixels are stored or where they lie; the file says that in its own words."""

DECODING = STORAGE | {"dtype", "bounds", "calendar"}
"""Attributes by which xarray decodes; no tag of a band may pass for one."""

ENGINE = frozenset({"model", "step", "bits_per_pixel"})
"""What the engine of xarray tells of a file; what it was coded by once says nothing of the next file."""


@dataclass(frozen=True)
class Labels:
    """Entries of :class:`info.RasterInfo`, and the quantity that each band is said to be in."""

    descriptions: tuple[str | None, ...]
    units: tuple[str | None, ...]
    tags: Mapping[str, str]
    band_tags: tuple[Mapping[str, str], ...]
    quantities: tuple[radiometry.Quantity | None, ...]


def of_variables(variables: Mapping[Any, Any], attributes: Mapping[Any, Any], scalars: dict[str, str]) -> Labels:
    """Label images (y, x) by name, each with attributes of its own, that have ``attributes`` in common."""
    own = [dict(variable.attrs) for variable in variables.values()]
    descriptions = tuple(map(_description, variables, own))
    units = tuple(_unit(attrs, band, 1) for band, attrs in enumerate(own))
    band_tags = tuple(map(_band_tags, own, descriptions))
    told = tuple(map(_quantity, own, units))
    return Labels(descriptions, units, _tags(attributes) | scalars, band_tags, told)


def of_bands(names: Sequence[Any] | None, count: int, attributes: Mapping[Any, Any], more: Labels) -> Labels:
    """Label the bands of one array by the coordinate of their dimension, else by a ``long_name`` of each."""
    long_name = attributes.get("long_name")
    descriptions: list[str | None] = [None] * count
    if names is not None and list(names) != list(range(1, count + 1)):  # bare numbers name nothing
        descriptions = [_text(name) for name in names]
    elif isinstance(long_name, list | tuple) and len(long_name) == count:
        descriptions = [name and str(name) for name in long_name]
    units = tuple(_unit(attributes, band, count) for band in range(count))
    tags = _tags({key: value for key, value in attributes.items() if key not in ("units", "quantity")})
    if not isinstance(long_name, str):
        tags.pop("long_name", None)
    told = tuple(_quantity(attributes, unit) for unit in units)
    return Labels(tuple(descriptions), units, {**more.tags, **tags}, more.band_tags, told)


def agreed_quantity(labels: Labels) -> radiometry.Quantity | None:
    """Return what all bands are said to be in; InputError when they differ, as where one is no backscatter."""
    if len(set(labels.quantities)) == 1:
        return labels.quantities[0]
    said = [told.value if told else "nothing" for told in labels.quantities]
    pairs = ", ".join(
        f"{errors.plain(name or band)} says {text}"
        for band, (name, text) in enumerate(zip(labels.descriptions, said, strict=True), 1)
    )
    raise errors.InputError(
        f"quantity: {pairs}; a file is in one quantity, so select variables of one: dataset[[…]], or pass quantity"
    )


def _description(name: Any, attrs: Mapping[Any, Any]) -> str | None:
    """Return the name, but for those that the engine of xarray gives to what has none, the long one."""
    text, long_name = "" if name is None else str(name), attrs.get("long_name")
    nameless = not text or text.startswith(("band_", "__xarray_"))
    return str(long_name) if nameless and isinstance(long_name, str) and long_name else None if nameless else text


def _unit(attrs: Mapping[Any, Any], band: int, count: int) -> str | None:
    unit = attrs.get("units")
    if isinstance(unit, list | tuple):
        unit = unit[band] if len(unit) == count else None
    if unit is None:
        unit = next((value for key, value in attrs.items() if str(key).upper() in ("UNITS", "UNIT")), None)
    return str(unit) if unit not in (None, "", "1") else None


def _quantity(attrs: Mapping[Any, Any], unit: str | None) -> radiometry.Quantity | None:
    """Return what the attributes say; AmbiguousQuantity when they contradict each other."""
    by_unit = radiometry.quantity_from_text(unit or "")
    said = str(attrs.get("quantity", ""))
    if said not in list(radiometry.Quantity):
        return by_unit
    quantity = radiometry.Quantity.parse(said)
    if by_unit not in (None, quantity):
        raise errors.AmbiguousQuantity(
            f"quantity: the attribute 'quantity' says {said}, but 'units' {errors.plain(repr(unit))}; correct them, "
            "with .assign_attrs(quantity=…, units=…)"
        )
    return quantity


def _band_tags(attrs: Mapping[Any, Any], description: str | None) -> dict[str, str]:
    left_out = {"units", "quantity", "polarisation"}
    left_out |= {"long_name"} if attrs.get("long_name") == description else set()
    found = _tags({key: value for key, value in attrs.items() if key not in left_out})
    said = raster_info.polarisation_from_text(str(attrs.get("polarisation", "")))
    if said and said != raster_info.polarisation_from_text(description or ""):
        found["POLARISATION"] = said
    return found


def _tags(attrs: Mapping[Any, Any]) -> dict[str, str]:
    left_out = STORAGE | (ENGINE | {"max_error_db"} if set(attrs) >= ENGINE else set())
    return {
        str(key): _text(value)
        for key, value in attrs.items()
        if key not in left_out and (key, value) != ("AREA_OR_POINT", "Area")
    }


def _text(value: Any) -> str:
    return str(
        value if isinstance(value, np.datetime64 | np.timedelta64) else getattr(value, "tolist", lambda: value)()
    )
