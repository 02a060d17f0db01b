"""The shape of the source: short functions, small modules, few parameters, no assertions, nothing left to do."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import places
import sarcodec

ROOT = Path(sarcodec.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
TESTS = sorted(places.TESTS.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


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


def found(look: Callable[[Path], object], paths: list[Path] = SOURCES) -> dict[str, object]:
    """What is not empty of what a look at each file gives, by file."""
    seen = {str(path.relative_to(path.parents[1])): look(path) for path in paths}
    return {name: there for name, there in seen.items() if there}


def test_no_function_over_60_code_lines() -> None:
    def look(path: Path) -> object:
        text = path.read_text()
        code = code_lines(text)
        signature = path.parent.name != "cli"  # the options of a command are its signature
        sizes = {
            f.name: len(code & set(range(f.lineno if signature else f.body[0].lineno, f.end_lineno + 1)))
            for f in functions(ast.parse(text))
        }
        return {name: size for name, size in sizes.items() if size > 60}

    assert found(look) == {}


def test_no_module_over_350_lines() -> None:
    assert found(lambda path: max(len(path.read_text().splitlines()) - 350, 0)) == {}


def test_no_function_over_8_parameters() -> None:
    def look(path: Path) -> object:
        counts = {}
        for function in functions(ast.parse(path.read_text())):
            a = function.args
            names = [arg.arg for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg] if arg]
            counts[function.name] = len([name for name in names if name not in ("self", "cls")])
        return {name: count for name, count in counts.items() if count > 8}

    assert found(look, [path for path in SOURCES if path.parent.name != "cli"]) == {}  # an option is a parameter


def test_no_assert_statements() -> None:
    """Python -O drops them, and a user wants a sentence."""

    def look(path: Path) -> object:
        return [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]

    assert found(look) == {}


def test_nothing_left_to_do() -> None:
    assert found(lambda path: re.findall("TODO|FIXME|XXX", path.read_text())) == {}


def test_nothing_unpickles() -> None:
    """Files come from anyone, and a pickle runs what it holds."""
    forbidden = r"\bimport (?:\w*pickle|joblib|shelve)\b|\bfrom \w*pickle\b"
    forbidden += r"|(?<!safetensors\.)torch\.(?:load|save)\(|allow_pickle=True"
    assert found(lambda path: re.findall(forbidden, path.read_text())) == {}


def test_no_module_for_leftovers() -> None:
    assert {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "base", "misc"} == set()


def test_packages_say_what_they_are() -> None:
    """What lives there, and what must not: three lines, or a few more where the package hands names on."""
    packages = [path for path in SOURCES if path.name == "__init__.py"]
    assert len(packages) > 20
    assert found(lambda path: not (ast.get_docstring(ast.parse(path.read_text())) or "").strip(), packages) == {}


def test_the_root_holds_packages_and_little_else() -> None:
    alone = {path.stem for path in ROOT.glob("*.py")}
    assert alone == {"__init__", "__main__", "_version", "errors", "radiometry", "tiling"}


def test_tests_use_no_private_names() -> None:
    """Of the package: what a test needs to see is worth a name."""

    def look(path: Path) -> object:
        tree = ast.parse(path.read_text())
        modules = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sarcodec")
            for alias in node.names
        }
        return [
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ]

    assert found(look, TESTS) == {}
