"""The command line, run in this process as the console script does."""

from __future__ import annotations

import sys

import pytest

from sarcodec import cli

INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom sarcodec import cli; cli.main()"
)
"""A program that is the command, and hears Ctrl-C even where who runs the tests lets processes ignore it."""


def call(*arguments: object) -> int:
    """Run a command; returns the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sarcodec", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0
