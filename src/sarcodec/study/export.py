"""The tables of a study as CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sarcodec.files import atomic
from sarcodec.pages import tables as page_tables
from sarcodec.study import columns, results, tables
from sarcodec.text import jsontext


def summary(study: results.Study) -> dict[str, Any]:
    """Return everything of the tables but the single rows, as JSON values."""
    curves = {**study.variant_curves, **study.peer_curves}
    bd, missing = tables.bd_rates(study)
    record = page_tables.record
    return {
        "cells": [record(columns.CELLS, cell, cell.record) for cell in study.cells],
        "unfinished": {cell.name: cell.state for cell in study.unfinished},
        "peers_missing": dict(study.peers.missing),
        "peers_skipped": list(study.peers.skipped),
        "means": {name: [row.to_dict() for row in curve] for name, curve in curves.items()},
        "spread": [record(columns.SPREADS, found, asdict(found)) for found in tables.spreads(study)],
        "differences": [record(columns.DIFFERENCES, found, asdict(found)) for found in tables.differences(study)],
        "bd_rate_percent": [record(columns.BD_RATES, found, asdict(found)) for found in bd],
        "bd_rate_missing": missing,
    }


def write(study: results.Study, folder: Path) -> list[Path]:
    """Write cells.csv, rows.csv, differences.csv and summary.json; a figure that is not defined is empty or null."""
    record = summary(study)
    measured = [row.to_dict() | {"cell": cell.name} for cell in study.cells for row in cell.rows]
    measured += [row.to_dict() | {"cell": ""} for row in study.peers.rows]
    contents = {
        "cells.csv": page_tables.to_csv([_flat(cell) for cell in record["cells"]]),
        "rows.csv": page_tables.to_csv(measured),
        "differences.csv": page_tables.to_csv(record["differences"]),
        "summary.json": jsontext.dumps(record, indent=1) + "\n",
    }
    for name, text in contents.items():
        atomic.write_bytes(folder / name, text.encode(), overwrite=True)
    return [folder / name for name in contents]


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
