"""The README's Python runs as shown, with the shipped model."""

import doctest
import re

import places

ROOT = places.REPOSITORY


def test_python_in_the_readme_runs_as_shown():
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted >= 7
    assert result.failed == 0


def test_commands_in_the_readme_exist():
    from sarcodec.cli import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"^sarcodec (\w+)", text, re.MULTILINE))
    known = {command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert used <= known
    assert len(used) >= 8
