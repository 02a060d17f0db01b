"""The one exception tree of sarcodec.

::

    SarcodecError                 catch this to catch everything the package raises on purpose
    ├── InputError (ValueError)   an argument, array or raster that cannot be used as it is
    │   └── AmbiguousQuantity     the radiometric quantity of a raster cannot be told; pass it
    ├── FormatError (ValueError)  a file that is not what it should be: foreign, truncated, altered, too new
    │   └── ModelMissing          a .sarc file made by a model that is not installed here
    ├── RemoteError (OSError)      a remote file could not be fetched: no answer, no access, no byte ranges
    ├── OutputError (OSError)      an output could not be written; nothing is left behind
    ├── TrainingError             a training that cannot go on (NaN loss, collapsed output)
    └── MissingExtra (ImportError) an optional dependency is not installed; the message has the command

A message names the argument, what came, what is allowed and what to do.
"""

QUOTED = 200
"""Most characters of a foreign text that a message quotes."""


def plain(text: object) -> str:
    """Return a foreign text as a message may quote it: printable, in one line, of at most 200 characters."""
    shown = "".join(character if character.isprintable() else "·" for character in str(text))
    return shown if len(shown) <= QUOTED else shown[: QUOTED - 1] + "…"


class SarcodecError(Exception):
    """Base class of every error that sarcodec raises on purpose."""


class InputError(SarcodecError, ValueError):
    """An argument, array or raster cannot be used as it is."""


class AmbiguousQuantity(InputError):
    """The radiometric quantity of a raster cannot be told from its dtype, tags and range."""


class FormatError(SarcodecError, ValueError):
    """A file is foreign, truncated, altered or of a newer version."""


class ModelMissing(FormatError):
    """A ``.sarc`` file was made by a model that is not installed here."""


class RemoteError(SarcodecError, OSError):
    """A remote file could not be fetched, which says nothing of what is in it; it may be tried again."""


class OutputError(SarcodecError, OSError):
    """An output could not be written; nothing half-written is left behind."""


class TrainingError(SarcodecError, RuntimeError):
    """A training cannot go on: its loss is not finite or its output has collapsed."""


class MissingExtra(SarcodecError, ImportError):
    """An optional dependency is missing; the message holds the install command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; it comes with the extra '{extra}': pip install \"sarcodec[{extra}]\""
        )
