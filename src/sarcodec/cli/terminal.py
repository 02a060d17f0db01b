"""Options that commands share, progress bars, and output for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sarcodec import jsontext

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1 …")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Model = Annotated[str | None, typer.Option(help="A checkpoint, or the name of a shipped model.")]
QuantityName = Annotated[
    str | None, typer.Option("--quantity", help="What the pixels are: intensity, dn or db. Default: detect.")
]


TABLE_WIDTH = 200
"""Columns for tables that go to a file or a pipe, where there is no terminal to ask."""


def say(what: Any) -> None:
    """Print text, as it is and never wrapped, or a table to stdout."""
    if isinstance(what, str):
        sys.stdout.write(what + "\n")
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=TABLE_WIDTH)
        console.print(what)


def warn(text: str) -> None:
    """Print a line of warning to stderr."""
    Console(stderr=True, soft_wrap=True).print(f"[yellow]{text}")


def print_json(record: Any) -> None:
    """Print strict JSON to stdout; see :func:`sarcodec.jsontext.dumps`."""
    sys.stdout.write(jsontext.dumps(record) + "\n")


def print_size(verb: str, path: Path, size: Any, as_json: bool) -> None:
    """Print the size of a compressed file, for people or as JSON."""
    if as_json:
        print_json({"bytes": size.bytes, "bits_per_pixel": size.bits_per_pixel, "ratio": size.ratio})
        return
    say(
        f"{path}: {verb} {size.bytes:,} bytes, {size.bits_per_pixel:.3f} bits per pixel, "
        f"ratio {size.ratio:.1f} to 16 bit"
    )


def bar(text: str, quiet: bool) -> Progress:
    """Return a progress bar on stderr; silent when asked to, or when there is no terminal."""
    return Progress(
        BarColumn(),
        TextColumn(text),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )


@contextmanager
def pixel_bar(verb: str, pixels: int, quiet: bool) -> Iterator[Any]:
    """Show Mpx/s and the time left; yields the function to call with pixels done."""
    with bar("{task.fields[note]}", quiet) as progress:
        task = progress.add_task(verb, total=pixels, note=verb)

        def advance(count: int) -> None:
            state = progress.tasks[task]
            rate = (state.completed + count) / 1e6 / max(state.elapsed or 0, 1e-9)
            progress.update(task, advance=count, note=f"{verb} {rate:.1f} Mpx/s")

        yield advance
