"""Run the command line: ``python -m sarcodec``."""

from sarcodec import cli

cli.main()
