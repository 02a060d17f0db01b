"""Damaged and forged files come to an error or to what they were, and to nothing else; a part of the benchmark."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import places
from sarcodec.raster import safe

SCRIPT = places.REPOSITORY / "benchmarks" / "robustness.py"
CASES = {
    "damaged .sarc": 150,
    "forged .sarc": 100,
    "damaged TIFF": 30,
    "damaged checkpoint": 40,
    "damaged SAFE folder": 50,
    "damaged SAFE zip": 60,
    "forged SAFE folder": 20,
    "damaged study": 60,
    "damaged run": 30,
}


@pytest.fixture(scope="module")
def robustness() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("robustness", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    sys.path.insert(0, str(SCRIPT.parent))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))


@pytest.mark.filterwarnings("ignore")  # of rasterio and NumPy, for images that are none
@pytest.mark.parametrize("kind", CASES)
def test_no_damage_is_taken_for_what_it_is_not(robustness: ModuleType, kind: str) -> None:
    tally = robustness.run(kind, 2, tuple(range(CASES[kind])))
    assert tally.bad == []
    assert tally.outcomes.total() == CASES[kind] and tally.outcomes["error"] > CASES[kind] // 10


def test_there_are_500_cases_of_all_kinds(robustness: ModuleType) -> None:
    assert sum(CASES.values()) >= 500 and list(CASES) == list(robustness.SHARES)


def test_cases_are_the_same_from_the_same_seed(robustness: ModuleType) -> None:
    changes = robustness.files.changes
    draws = [changes.damage(bytes(1000), bytes(10), robustness.random.Random(7)) for _ in range(2)]
    assert draws[0] == draws[1] and draws[0][1] != bytes(1000)


def test_a_reader_that_accepts_damage_is_found(robustness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(robustness.files.READERS, ".sarc", lambda path: path.read_bytes())
    tally = robustness.run("damaged .sarc", 2, tuple(range(10)))
    assert tally.outcomes["wrong"] == len(tally.bad) > 5


def test_a_product_whose_checksums_are_not_held_to_is_found(
    robustness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe.ProductReader, "check", lambda _: None)
    assert robustness.run("damaged SAFE folder", 2, tuple(range(30))).outcomes["wrong"] > 2


def test_a_reader_that_breaks_is_found(robustness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(path: Path) -> bytes:
        raise IndexError(path)

    monkeypatch.setitem(robustness.files.READERS, ".sarc", breaks)
    assert robustness.run("forged .sarc", 2, (0, 1)).outcomes == {"crashed": 2}
    assert "| forged .sarc | 2 | 0 | 0 | 0 | 0 | 2 |" in robustness.table(
        {"forged .sarc": robustness.run("forged .sarc", 2, (0, 1))}
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "numbers", "seed"),
    [
        ("forged .sarc", (150, 878), 1),  # a model's name of 5,000 characters, a list as quantity
        ("damaged TIFF", (341,), 1),  # a directory that GDAL reads late
        ("damaged SAFE zip", (199, 275, 324, 357), 3),  # names by which files lay beside the product, and were lost
        ("damaged SAFE zip", (194, 288), 1),  # a file without a name, a name of thousands of characters
    ],
)
def test_what_the_whole_run_once_found(
    robustness: ModuleType, kind: str, numbers: tuple[int, ...], seed: int
) -> None:
    assert robustness.run(kind, seed, numbers).outcomes == {"error": len(numbers)}
