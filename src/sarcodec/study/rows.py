"""Rows of figures as they are kept in the JSON files of a study."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sarcodec import errors, evaluation, metrics

FIGURES = ("psnr_db", "ssim", "enl_ratio", "epi")
"""The four figures that have targets, in the order in which they are shown."""


def from_dict(record: Mapping[str, Any]) -> evaluation.Row:
    """Inverse of :meth:`evaluation.Row.to_dict`; FormatError for a record that is none."""
    try:
        figures: dict[str, Any] = {
            f.name: math.nan if record[f.name] is None else record[f.name] for f in fields(metrics.Metrics)
        }
        quality = metrics.Metrics(**figures)
        plain = {f.name: record[f.name] for f in fields(evaluation.Row) if f.name != "metrics"}
        if plain["bits_per_pixel"] is None:  # of what has no rate
            plain["bits_per_pixel"] = math.inf
    except KeyError as cause:
        raise errors.FormatError(f"row: has no {cause}; measure the cell again") from cause
    return evaluation.Row(**plain, metrics=quality)


def read(path: Path) -> tuple[evaluation.Row, ...]:
    """Read rows that :func:`evaluation.write_rows` wrote as JSON, without the means at their end."""
    return tuple(from_dict(record) for record in read_json(path) if (record["image"], record["band"]) != ("mean", ""))


def read_json(path: Path) -> Any:
    """Read JSON; FormatError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise errors.FormatError(f"study: {path} cannot be read ({cause})") from cause


def complete_means(rows: Iterable[evaluation.Row]) -> dict[str, list[evaluation.Row]]:
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
    curves: dict[str, list[evaluation.Row]] = {}
    for mean in evaluation.means(usable):
        curves.setdefault(mean.codec, []).append(mean)
    return {codec: sorted(curve, key=lambda row: -row.bits_per_pixel) for codec, curve in curves.items()}


def figure(row: evaluation.Row, name: str) -> float:
    """Return a figure of a row by its name in :class:`metrics.Metrics`, or its rate."""
    return float(row.bits_per_pixel if name == "bits_per_pixel" else getattr(row.metrics, name))


def by_image(rows: Sequence[evaluation.Row], name: str) -> dict[tuple[str, str], float]:
    """Average a figure over rows of the same image and band, which differ in their seed alone."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row.image, row.band), []).append(figure(row, name))
    return {key: sum(group) / len(group) for key, group in values.items()}
