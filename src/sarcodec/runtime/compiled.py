"""Loops that NumPy has no words for, compiled by Numba to machine code when first called.

The code is kept on disk beside the module, or else in the user's cache folder, so that only the first run waits for
it; where neither can be written to, every process compiles anew. Compiled functions release the interpreter's lock:
tiles are coded in threads. Numba itself is imported with the first call: what only looks at a file goes without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy.typing as npt

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function of arrays and numbers; without rounding other than that of the operations as written."""
    return cast(Function, _Compiled(function))


class _Compiled:
    """A function to be compiled; others that are compiled may call it."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """What Numba makes of it."""
        numba = _numba()
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy")(self._function)
        except RuntimeError:  # no folder to keep the code in
            return numba.njit(nogil=True, error_model="numpy")(self._function)


@functools.cache
def _numba() -> Any:
    """Import Numba, and tell it for what to take a function to be compiled that another one calls."""
    import numba.extending

    @numba.extending.typeof_impl.register(_Compiled)
    def _type(function: _Compiled, _: object) -> Any:
        return numba.typeof(function.dispatcher)  # type: ignore[no-untyped-call]

    return numba
