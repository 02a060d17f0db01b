"""The command line: thin, one function a command; every error is one line and exit status 2.

Options and words for people live here, and no work: each command asks a package below.
"""

from __future__ import annotations

from typing import Annotated

import rich
import typer

from sarcodec import _version, errors
from sarcodec.cli import (
    compressing,
    decompressing,
    describing,
    looking,
    measuring,
    reporting,
    serving,
    simulating,
    studying,
    terminal,
    training,
    verifying,
    viewing,
)

app = typer.Typer(
    name="sarcodec",
    help="Compress SAR backscatter with learned transforms, and count every byte.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    compressing.compress,
    decompressing.decompress,
    describing.info,
    looking.quicklook,
    describing.stac,
    verifying.verify,
    viewing.vrt,
    simulating.simulate,
    training.prepare,
    training.models,
    training.train,
    training.train_lapped,
    training.train_variable,
    training.calibrate,
    measuring.evaluate,
    reporting.report,
    serving.serve,
):
    app.command()(command)
app.add_typer(studying.app, name="study")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        from sarcodec.scene import model_store

        rich.print(_version.__version__)
        for name, identity in model_store.IDENTITIES.items():
            terminal.say(f"model {name} {identity}")
        raise typer.Exit


def main() -> None:
    """Run the command line; errors of the package are one line on stderr and exit status 2."""
    try:
        app()
    except (errors.SarcodecError, OSError) as problem:
        terminal.fail(str(problem))
        raise SystemExit(2) from None
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "torch":
            raise
        terminal.fail(str(errors.MissingExtra("PyTorch", "train")))
        raise SystemExit(2) from None
