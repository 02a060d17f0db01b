"""Loops that NumPy has no words for, compiled by Numba to machine code when first called.

The code is kept on disk beside the module, or else in the user's cache folder, so that only the first run waits for
it; where neither can be written to, every process compiles anew. Compiled functions release the interpreter's lock:
tiles are coded in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function of arrays and numbers; without rounding other than that of the operations as written."""
    try:
        made = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep the code in
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(Function, made)
