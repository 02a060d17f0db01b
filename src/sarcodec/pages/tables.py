"""Tables: columns that are named once, for the page and for CSV alike, and their HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Column(Generic[Thing]):
    """One column of a table of things.

    Parameters
    ----------
    header : str
        Above the column on the page.
    shown : callable
        Writes its cell of a thing, as HTML.
    name : str
        Of the column in CSV and JSON where a thing does not hold its ``value`` itself.
    value : callable, optional
        Takes a thing and returns what CSV and JSON say there; without it they have no more than the thing holds.
    number : bool
        Whether it is aligned to the right.
    """

    header: str
    shown: Callable[[Thing], str]
    name: str = ""
    value: Callable[[Thing], Any] | None = None
    number: bool = False


def of(columns: Sequence[Column[Thing]], things: Iterable[Thing]) -> str:
    """Return the HTML table of things."""
    body = [[column.shown(thing) for column in columns] for thing in things]
    return html([c.header for c in columns], body, [n for n, column in enumerate(columns) if column.number])


def record(columns: Sequence[Column[Thing]], thing: Thing, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a thing holds itself, and after it what columns add: a line of CSV, an object of JSON."""
    return {**own, **{column.name: column.value(thing) for column in columns if column.value}}


def html(head: Sequence[str], body: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a table of HTML cells; the columns in ``numbers`` are aligned to the right."""
    right = set(numbers)
    kinds = [' class="number"' if column in right else "" for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{title}</th>' for kind, title in zip(kinds, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>"
        for line in body
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV: a column for every key of any of them; what is not defined or not there is empty."""
    buffer = io.StringIO()
    keys = list(dict.fromkeys(key for found in records for key in found))
    writer = csv.DictWriter(buffer, keys, restval="", lineterminator="\n")
    writer.writeheader()
    for found in records:
        writer.writerow({key: _plain(value) for key, value in found.items()})
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(str(_plain(item)) for item in value)
    if isinstance(value, float):
        return f"{value:.8g}" if math.isfinite(value) else ""
    return value
