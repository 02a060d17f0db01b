"""The columns of a study's tables, each named once: the page shows them, CSV and JSON have those with a value."""

from __future__ import annotations

import html
import math

from sarcodec.pages import markup
from sarcodec.pages.tables import Column
from sarcodec.study import names, results, tables


def _epochs(cell: results.Finished) -> str:
    return f"{len(cell.history)} of {cell.record['training']['epochs']}, best {cell.record['epoch']}"


def _steps(cell: results.Finished) -> str:
    return f"{cell.history[-1]['step']:,} of {cell.record['training']['batch_size']}" if cell.history else "–"


def _rise(cell: results.Finished) -> str:
    return f"{cell.late_rise:.3f} dB" if math.isfinite(cell.late_rise) else "–"


CELLS: tuple[Column[results.Finished], ...] = (
    Column("Cell", lambda cell: html.escape(cell.name)),
    Column("Parameters", lambda cell: f"{cell.record['parameters']:,}", number=True),
    Column("Multiply-adds per pixel", lambda cell: f"{cell.record['multiply_adds_per_pixel']:,.0f}", number=True),
    Column("Latent ratio", lambda cell: f"{cell.latent_ratio:g}", number=True),
    Column("Epochs", _epochs),
    Column("Steps of windows", _steps),
    Column("Rise in the last fifth", _rise, number=True),
    Column("Minutes", lambda cell: f"{cell.record['seconds_of_last_stretch'] / 60:.1f}", number=True),
    Column("Machine", lambda cell: html.escape(cell.record["machine"])),
)
"""Of finished cells; cells.csv has before them all that ``cell.json`` holds."""


def _difference(found: tables.Difference) -> str:
    return html.escape(f"{found.variant} − {found.against}")


def _interval(found: tables.Difference) -> str:
    mean = names.figure(found.figure).mean
    return f"{mean(found.low, '+')} to {mean(found.high, '+')}"


def _seeds(found: tables.Difference) -> str:
    return ", ".join(names.figure(found.figure).mean(value, "+") for value in found.seed_means)


DIFFERENCES: tuple[Column[tables.Difference], ...] = (
    Column("Difference", _difference),
    Column("Step", lambda found: str(found.step)),
    Column("Figure", lambda found: names.figure(found.figure).brief),
    Column("Mean", lambda found: names.figure(found.figure).mean(found.mean, "+"), number=True),
    Column("95 % interval", _interval, number=True),
    Column("Mean of each seed", _seeds, number=True),
    Column("Clear", lambda found: "yes" if found.clear else "no", "clear", lambda found: found.clear),
)
"""Of differences between variants."""

SPREADS: tuple[Column[tables.Spread], ...] = (
    Column("Variant", lambda found: html.escape(found.variant)),
    Column("Step", lambda found: str(found.step)),
    Column("Figure", lambda found: names.figure(found.figure).brief),
    Column("Mean", lambda found: names.figure(found.figure).mean(found.mean), number=True),
    Column("Deviation", lambda found: names.figure(found.figure).mean(found.deviation), number=True),
    Column("Least", lambda found: names.figure(found.figure).mean(found.least), number=True),
    Column("Median", lambda found: names.figure(found.figure).mean(found.median), number=True),
    Column("Most", lambda found: names.figure(found.figure).mean(found.most), number=True),
)
"""Of figures over images."""


def _percent(value: float) -> str:
    return f"{markup.signed(value, '+.1f')} %" if math.isfinite(value) else "–"


BD_RATES: tuple[Column[tables.BdRate], ...] = (
    Column("Variant", lambda found: html.escape(found.variant)),
    Column("Against", lambda found: names.codec(found.against)),
    Column("Mean BD-rate", lambda found: _percent(found.mean), number=True),
    Column("Least", lambda found: _percent(found.least), number=True),
    Column("Most", lambda found: _percent(found.most), number=True),
    Column("Images with overlapping PSNR", lambda found: f"{found.images} of {found.of}", number=True),
)
"""Of bytes against another codec."""
