"""Compiled functions work where their code cannot be kept."""

from types import SimpleNamespace
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


def test_without_a_folder_for_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuses_to_cache(**options: Any) -> Any:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(compiled, "numba", SimpleNamespace(njit=refuses_to_cache))
    assert compiled.compiled(total)(np.arange(5.0)) == 10.0
    assert [bool(options.get("cache")) for options in asked] == [True, False]
