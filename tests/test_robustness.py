"""Damaged and forged files come to an error or to what they were, and to nothing else; a part of the benchmark."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "robustness.py"
CASES = {"damaged .sarc": 250, "forged .sarc": 180, "damaged TIFF": 40, "damaged checkpoint": 30}


@pytest.fixture(scope="module")
def robustness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("robustness", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # of rasterio and NumPy, for images that are none
@pytest.mark.parametrize("kind", CASES)
def test_no_damage_is_taken_for_an_image(robustness: ModuleType, kind: str) -> None:
    tally = robustness.run(kind, 2, tuple(range(CASES[kind])))
    assert tally.bad == []
    assert tally.outcomes.total() == CASES[kind] and tally.outcomes["error"] > CASES[kind] // 10


def test_cases_are_the_same_from_the_same_seed(robustness: ModuleType) -> None:
    draws = [robustness.damage(bytes(1000), bytes(10), robustness.random.Random(7)) for _ in range(2)]
    assert draws[0] == draws[1] and draws[0][1] != bytes(1000)


def test_a_reader_that_accepts_damage_is_found(robustness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(robustness.READERS, ".sarc", lambda path: path.read_bytes())
    tally = robustness.run("damaged .sarc", 2, tuple(range(10)))
    assert tally.outcomes["wrong"] == len(tally.bad) > 5


def test_a_reader_that_breaks_is_found(robustness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(path: Path) -> bytes:
        raise IndexError(path)

    monkeypatch.setitem(robustness.READERS, ".sarc", breaks)
    assert robustness.run("forged .sarc", 2, (0, 1)).outcomes == {"crashed": 2}
    assert "| forged .sarc | 2 | 0 | 0 | 0 | 0 | 2 |" in robustness.table(
        {"forged .sarc": robustness.run("forged .sarc", 2, (0, 1))}
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "number"), [("forged .sarc", 150), ("forged .sarc", 878), ("damaged TIFF", 341)])
def test_what_the_whole_run_once_found(robustness: ModuleType, kind: str, number: int) -> None:
    """A model's name of 5,000 characters, a list as quantity, and a directory that GDAL reads late."""
    assert robustness.run(kind, 1, (number,)).outcomes == {"error": 1}
