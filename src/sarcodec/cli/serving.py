"""The command serve: a viewer in the browser, until it is interrupted."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from sarcodec.cli import terminal


def serve(
    paths: Annotated[list[Path], typer.Argument(help=".sarc files, or folders of them.")],
    original: Annotated[
        str | None, typer.Option(help="What the one file was made from, to be seen beside it: a raster or a product.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. Other addresses than 127.0.0.1 let others see the files.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for one that is free.")] = 8035,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show .sarc files in the browser: pan, zoom, swipe, differences, values; Ctrl-C ends it."""
    from sarcodec.serve import library, server

    shown = server.Server(library.Library([os.fspath(path) for path in paths], original), host, port)
    terminal.say(shown.url)
    sys.stdout.flush()
    if browser:
        webbrowser.open(shown.url)
    with suppress(KeyboardInterrupt):
        shown.serve_forever()
