"""The shape of the source: short functions, small modules, few parameters, no assertions, nothing left to do."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import sarcodec

ROOT = Path(sarcodec.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
Function = ast.FunctionDef | ast.AsyncFunctionDef

modules = pytest.mark.parametrize("path", SOURCES, ids=NAMES)


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code: no blank lines, comments or docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found = {n for t in tokens if t.type not in silent for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def test_the_counter_counts() -> None:
    text = 'def f():\n    """Doc.\n\n    More."""\n    # why\n\n    x = (1,\n         2)\n    return x\n'
    assert code_lines(text) == {1, 7, 8, 9}
    assert len(SOURCES) > 25


@modules
def test_no_function_over_60_code_lines(path: Path) -> None:
    text = path.read_text()
    code = code_lines(text)
    signature = path.parent.name != "cli"  # the options of a command are its signature
    sizes = {
        f.name: len(code & set(range(f.lineno if signature else f.body[0].lineno, f.end_lineno + 1)))
        for f in functions(ast.parse(text))
    }
    assert {name: size for name, size in sizes.items() if size > 60} == {}


@modules
def test_no_module_over_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@modules
def test_no_function_over_8_parameters(path: Path) -> None:
    if path.parent.name == "cli":
        return  # an option of a command is a parameter
    counts = {}
    for function in functions(ast.parse(path.read_text())):
        a = function.args
        names = [arg.arg for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg] if arg]
        counts[function.name] = len([name for name in names if name not in ("self", "cls")])
    assert {name: count for name, count in counts.items() if count > 8} == {}


@modules
def test_no_assert_statements(path: Path) -> None:
    """Python -O drops them, and a user wants a sentence."""
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


@modules
def test_nothing_left_to_do(path: Path) -> None:
    assert re.findall("TODO|FIXME|XXX", path.read_text()) == []


@modules
def test_nothing_unpickles(path: Path) -> None:
    """Files come from anyone, and a pickle runs what it holds."""
    forbidden = r"\bimport (?:\w*pickle|joblib|shelve)\b|\bfrom \w*pickle\b"
    forbidden += r"|(?<!safetensors\.)torch\.(?:load|save)\(|allow_pickle=True"
    assert re.findall(forbidden, path.read_text()) == []


def test_no_module_for_leftovers() -> None:
    assert {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "base", "misc"} == set()
