"""The commands and Python of the guides run as they stand, on a small product."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import places
import safe_product

DOCS = places.DOCS


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(os.name != "posix", reason="the guide's commands are for a POSIX shell")
def test_archive_a_product(tmp_path: Path) -> None:
    guide = DOCS / "guide-safe.md"
    folder = safe_product.make(tmp_path)
    safe_product.pack(folder)
    commands = blocks(guide, "sh")
    assert len(commands) == 4
    script = (
        f'sarcodec() {{ "{sys.executable}" -m sarcodec "$@"; }}\n'
        f'python() {{ "{sys.executable}" "$@"; }}\n' + "\n".join(commands)
    )
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "product/manifest.safe" in done.stdout
    made = {"scene.sarc", "vv.sarc", "exact.sarc", "scene.tif", "restored", "products"}
    assert {path.name for path in tmp_path.iterdir()} == made | {folder.name, f"{folder.name}.zip"}
    assert [path.name for path in (tmp_path / "products").iterdir()] == ["scene.SAFE"]
    restored = tmp_path / "restored" / folder.name
    assert safe_product.contents(restored) == safe_product.contents(folder)

    (code,) = blocks(guide, "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sigma0_error, dn_error = (float(number) for number in re.findall(r"([\d.]+) dB", done.stdout))
    assert sigma0_error == dn_error and 0 < sigma0_error < 2.5
    before, after = safe_product.read(folder, "VV"), safe_product.read(restored, "VV")
    np.testing.assert_array_equal(before == 0, after == 0)
