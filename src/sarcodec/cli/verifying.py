"""The command verify: what a file promises, before its original is deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarcodec import errors
from sarcodec.cli import terminal

if TYPE_CHECKING:
    from sarcodec.scene import verify as scene_verify


def verify(
    files: Annotated[list[str], typer.Argument(help=".sarc files, also by URL.")],
    decode: Annotated[bool, typer.Option("--decode", help="Decode every symbol.")] = False,
    against: Annotated[
        Path | None, typer.Option(help="What the one file was made from, to be compared pixel by pixel.")
    ] = None,
    model: terminal.Model = None,
    as_json: terminal.AsJson = False,
) -> None:
    """Check files: checksums, symbols (--decode), and all they promise of their source (--against).

    Exit status 0 when all holds, 1 when something does not.
    """
    from sarcodec.scene import verify as scene_verify

    if against is not None and len(files) != 1:
        raise errors.InputError(
            f"against: one source belongs to one file, got {len(files)} files; pass one at a time"
        )
    verdicts = [scene_verify.verify(file, decode=decode, against=against, model=model) for file in files]
    if as_json:
        terminal.print_json([verdict.to_dict() for verdict in verdicts])
    else:
        for verdict in verdicts:
            _say(verdict)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


def _say(verdict: scene_verify.Verdict) -> None:
    """Print one line of what holds, and one for each thing that does not."""
    held = "; ".join(check.said for check in verdict.checks if check.holds)
    if verdict.holds:
        terminal.say(f"{verdict.path}: all holds: {held}")
        return
    for check in verdict.checks:
        if not check.holds:
            terminal.say(f"{verdict.path}: does not hold: {check.name}: {check.said}")
