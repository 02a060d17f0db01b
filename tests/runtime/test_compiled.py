"""Compiled functions call each other, wait with Numba, and work where their code cannot be kept."""

import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

from sarcodec.runtime import compiled


def total(values: np.ndarray) -> float:
    found = 0.0
    for value in values:
        found += value
    return found


@compiled.compiled
def half(value: float) -> float:
    """Half of it."""
    return value / 2


@compiled.compiled
def halves(values: np.ndarray) -> float:
    found = 0.0
    for value in values:
        found += half(value)
    return found


def test_one_calls_another() -> None:
    assert halves(np.arange(5.0)) == 5.0
    assert halves.dispatcher.signatures and half.__doc__ == "Half of it."


def test_what_looks_at_files_goes_without_numba() -> None:
    code = "import sarcodec, sys; sarcodec.open_codec(); import sarcodec.cli; print('numba' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_without_a_folder_for_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, njit = [], numba.njit

    def refuses_to_cache(**options: Any) -> Any:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", refuses_to_cache)
    assert compiled.compiled(total)(np.arange(5.0)) == 10.0
    assert [bool(options.get("cache")) for options in asked] == [True, False]
