"""The optional libraries behind the peers, loaded on first use; what is missing is said, never passed over."""

import importlib
from typing import Any

from sarcodec import errors


def imagecodecs(codec: str) -> Any:
    """Return the module imagecodecs after making sure that its build has a codec, such as ``"SPERR"``.

    Raises
    ------
    MissingExtra
        If imagecodecs is not installed.
    InputError
        If it was built without the codec.
    """
    module = _load("imagecodecs")
    if not getattr(getattr(module, codec, None), "available", False):
        raise _built_without(f"imagecodecs {module.__version__}", codec)
    return module


def av() -> Any:
    """Return the module av (PyAV) after making sure that it encodes and decodes HEVC in 10-bit grey.

    Raises
    ------
    MissingExtra
        If PyAV is not installed.
    InputError
        If it was built without x265 or its 10-bit grey format, or without an HEVC decoder.
    """
    module = _load("av")
    for name, mode in (("libx265", "w"), ("hevc", "r")):
        if name not in module.codecs_available:
            raise _built_without(f"PyAV {module.__version__}", name)
        formats = module.Codec(name, mode).video_formats
        if mode == "w" and "gray10le" not in [f.name for f in formats or ()]:
            raise _built_without(f"PyAV {module.__version__}", "10-bit grey in libx265")
    return module


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.MissingExtra(name, "bench") from error


def _built_without(library: str, codec: str) -> errors.InputError:
    return errors.InputError(
        f"peer: {library} was built without {codec}; install a newer wheel of it or leave this peer out"
    )
