"""Options that commands share, progress bars, and output for people and for programs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import rich.markup
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sarcodec import errors
from sarcodec.files import vsi
from sarcodec.text import jsontext, numerals

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1 …")]
Precision = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
Model = Annotated[str | None, typer.Option(help="A checkpoint, or the name of a shipped model.")]
QuantityName = Annotated[
    str | None, typer.Option("--quantity", help="What the pixels are: intensity, dn or db. Default: detect.")
]
Validation = Annotated[list[str] | None, typer.Option(help="Name pattern of validation images; may be given again.")]
RunFolder = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run.")]
LatentChannels = Annotated[int, typer.Option(help="Channels of the bottleneck.")]
Seed = Annotated[int, typer.Option()]
StudyFolder = Annotated[Path, typer.Argument(help="Folder of a study; it may be under way.")]

Step = TypeVar("Step")

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
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[yellow]{text}")


def fail(text: str) -> None:
    """Print an error to stderr, in one line."""
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {rich.markup.escape(text)}")


def print_json(record: Any) -> None:
    """Print strict JSON to stdout; see :func:`sarcodec.text.jsontext.dumps`."""
    sys.stdout.write(jsontext.dumps(record) + "\n")


def size_record(size: Any) -> dict[str, Any]:
    """Return what JSON says of the size of a file, and of what it was made of."""
    record = {"bytes": size.bytes, "bits_per_pixel": size.bits_per_pixel, "ratio": size.ratio}
    return record | (size.decision.to_dict() if size.decision else {})


def print_size(verb: str, path: Path, size: Any, as_json: bool) -> None:
    """Print the size of a compressed file, for people or as JSON."""
    if as_json:
        print_json(size_record(size))
        return
    say(
        f"{path}: {verb} {size.bytes:,} bytes, {numerals.fixed(size.bits_per_pixel, 3)} bits per pixel, "
        f"ratio {size.ratio:,.1f} to 16 bit"
    )


def print_outcomes(
    verb: str, outcomes: Sequence[Any], as_json: bool, more: Callable[[Any], None] | None = None
) -> None:
    """Print what became of every job of a :mod:`sarcodec.scene.batch`; exit status 1 when any failed.

    ``more`` prints what else there is to say of one that did not fail.
    """
    if as_json:
        records = []
        for outcome in outcomes:
            record = {"source": vsi.public(outcome.job.source), "target": str(outcome.job.target)}
            records.append(record | (size_record(outcome.size) if outcome.size else {"error": outcome.error}))
        print_json(records)
    for outcome in outcomes:
        if outcome.size is not None:
            if not as_json:
                print_size(verb, outcome.job.target, outcome.size, as_json)
            if more:
                more(outcome)
    fail_all(outcomes)


def say_nothing_to_do(folder: Path, as_json: bool) -> None:
    """Say that all files of a batch are there already."""
    if as_json:
        print_json([])
    else:
        say(f"{folder}: all are there already, nothing to do")


def fail_all(outcomes: Sequence[Any]) -> None:
    """Print the errors of those that failed; exit status 1 when there are any."""
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in failed:
        fail(error)
    if failed:
        raise typer.Exit(1)


def count_written(outcomes: Iterable[Any], jobs: Sequence[Any]) -> str:
    """Say how many files of a batch are whole."""
    written = sum(outcome.error is None for outcome in outcomes)
    return f"{written} of {len(jobs)} files were written to {jobs[0].target.parent}"


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


def choice(name: str, value: str, allowed: dict[str, bool | None]) -> bool | None:
    """Return what a word of an option stands for; InputError for another word."""
    if value not in allowed:
        raise errors.InputError(f"{name}: got {value!r}; pass one of {', '.join(allowed)}")
    return allowed[value]


class PixelBar:
    """A bar over pixels, with Mpx/s and the time left.

    Called with pixels done; a negative number begins a pass anew, and passes are counted from the second on.
    """

    def __init__(self, progress: Progress, verb: str, pixels: int) -> None:
        self._progress, self._verb, self._name, self._pass, self._worked = progress, verb, "", 1, 0
        self._task = progress.add_task(verb, total=pixels, note=verb)

    def begin(self, name: str) -> None:
        """Name what comes next."""
        self._name, self._pass = f"{name}: ", 1
        self(0)

    def __call__(self, pixels: int) -> None:
        """Advance."""
        self._pass += pixels < 0
        self._worked += max(pixels, 0)
        state = self._progress.tasks[self._task]
        rate = self._worked / 1e6 / max(state.elapsed or 0, 1e-9)
        again = f", pass {self._pass}" if self._pass > 1 else ""
        note = f"{self._name}{self._verb}{again} {rate:.1f} Mpx/s"
        self._progress.update(self._task, advance=pixels, note=note)


@contextmanager
def pixel_bar(verb: str, pixels: int, quiet: bool) -> Iterator[PixelBar]:
    """Show a bar over so many pixels; silent as :func:`bar`."""
    with bar("{task.fields[note]}", quiet) as progress:
        yield PixelBar(progress, verb, pixels)


class _Interrupted(BaseException):
    """A signal that asks to stop; not a KeyboardInterrupt, which the CLI framework takes for itself."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def interruptible(said: Callable[[], str]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process with status 128 + the signal and one line, once the block has tidied up.

    ``said`` tells what there is by then. A signal that is ignored, as in the background of a shell, stays so.
    """

    def stop(number: int, _: object) -> None:
        raise _Interrupted(number)

    with _signals_to(stop):
        try:
            yield
        except _Interrupted as interrupted:
            sys.stderr.write(f"interrupted; {said()}\n")
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(128 + interrupted.number)  # a tile that a thread is coding is not waited for


@contextmanager
def _signals_to(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Give SIGINT and SIGTERM a handler, but for one that is ignored; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, before in old.items():
        if before is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


class Stop:
    """Whether a signal has asked to stop; see :func:`stoppable`."""

    def __init__(self) -> None:
        self.number = 0

    def watch(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Pass the steps of a generator on; once asked to stop, close it after the step under way, which saves."""
        for step in steps:
            yield step
            if self.number:
                close = getattr(steps, "close", None)
                if close is not None:
                    close()
                return


@contextmanager
def stoppable(said: str) -> Iterator[Stop]:
    """Let SIGINT and SIGTERM end the steps that :meth:`Stop.watch` passes on, then the process, with one line.

    The first signal waits for the step under way and for what closing saves; a second one of the same kind ends the
    process as if there were no handler.
    """
    stop = Stop()

    def ask(number: int, _: object) -> None:
        stop.number = number
        signal.signal(number, signal.SIG_DFL)

    try:
        with _signals_to(ask):
            yield stop
    finally:
        if stop.number:
            sys.stderr.write(f"interrupted; {said}\n")
            raise SystemExit(128 + stop.number)
