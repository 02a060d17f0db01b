"""Rows of figures as they are kept in the JSON files of a study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sarcodec import errors
from sarcodec.evaluation import roundtrip
from sarcodec.metrics import summary
from sarcodec.study import fields


def from_dict(record: Mapping[str, Any]) -> roundtrip.Row:
    """Inverse of :meth:`roundtrip.Row.to_dict`; FormatError for a record that is none."""
    try:
        figures: dict[str, Any] = {f.name: fields.figure(record, f.name) for f in dataclasses.fields(summary.Metrics)}
        figures["valid_pixels"] = fields.whole(record, "valid_pixels")
        rate = math.inf if record["bits_per_pixel"] is None else fields.figure(record, "bits_per_pixel")
        if not rate > 0:
            raise ValueError(f"bits_per_pixel is {rate:g}")
        return roundtrip.Row(
            image=fields.text(record, "image"),
            band=fields.text(record, "band"),
            codec=fields.text(record, "codec"),
            step=fields.whole(record, "step"),
            bytes=fields.whole(record, "bytes"),
            bits_per_pixel=rate,  # null is of what has no rate
            metrics=summary.Metrics(**figures),
        )
    except KeyError as cause:
        raise errors.FormatError(f"row: has no {errors.plain(cause)}; measure the cell again") from cause
    except (TypeError, ValueError) as cause:
        raise errors.FormatError(f"row: {errors.plain(cause)}; measure the cell again") from cause


def read(path: Path) -> tuple[roundtrip.Row, ...]:
    """Read rows that :func:`roundtrip.write_rows` wrote as JSON, without the means at their end."""
    with fields.reading(path):
        return tuple(
            from_dict(record)
            for record in fields.read_json(path)
            if (record["image"], record["band"]) != ("mean", "")
        )


def complete_means(rows: Iterable[roundtrip.Row]) -> dict[str, list[roundtrip.Row]]:
    """Average rows over images: for each codec one row a step, by falling rate.

    A step that was not measured on every image and band is left out: a mean over fewer images would be a mean over
    easier ones.
    """
    known = tuple(rows)
    images = {(row.image, row.band) for row in known}
    seen: dict[tuple[str, int], set[tuple[str, str]]] = {}
    for row in known:
        seen.setdefault((row.codec, row.step), set()).add((row.image, row.band))
    usable = [row for row in known if seen[row.codec, row.step] == images]
    curves: dict[str, list[roundtrip.Row]] = {}
    for mean in roundtrip.means(usable):
        curves.setdefault(mean.codec, []).append(mean)
    return {codec: sorted(curve, key=lambda row: -row.bits_per_pixel) for codec, curve in curves.items()}


def figure(row: roundtrip.Row, name: str) -> float:
    """Return a figure of a row by its name in :class:`summary.Metrics`, or its rate."""
    return float(row.bits_per_pixel if name == "bits_per_pixel" else getattr(row.metrics, name))


def by_image(rows: Sequence[roundtrip.Row], name: str) -> dict[tuple[str, str], float]:
    """Average a figure over rows of the same image and band, which differ in their seed alone."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row.image, row.band), []).append(figure(row, name))
    return {key: sum(group) / len(group) for key, group in values.items()}
