"""The commands serve and stac, and info --stac."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import command
import shown


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    shown.write(folder / "a.sarc", shown.image((128, 96)), **shown.UTM)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_serve_prints_its_address_and_ends_quietly(archive: Path) -> None:
    line = [sys.executable, "-c", command.INTERRUPTIBLE, "serve", str(archive / "a.sarc"), "--port", "0"]
    line += ["--original", str(archive / "a.tif")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url + "info") as answer:
            assert [file["name"] for file in json.load(answer)["files"]] == ["a.sarc", "a.tif"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_serve_refuses_what_there_is_not(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.call("serve", archive / "none.sarc") == 2
    assert "none.sarc: there is no such file" in capsys.readouterr().err
    assert command.call("serve", archive / "a.tif") == 2
    assert "a.tif: not a .sarc file" in capsys.readouterr().err
    assert command.call("serve", archive / "a.sarc", "--host", "no.such.host.invalid") == 2
    assert "cannot listen there" in capsys.readouterr().err


def test_info_prints_items(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.call("info", archive / "a.sarc", "--stac") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["type"], record["id"]) == ("Feature", "a")
    assert command.call("info", archive / "a.sarc", archive / "a.sarc", "--stac") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["type"] == "FeatureCollection" and len(record["features"]) == 2
    assert command.call("info", archive / "a.tif", "--stac") == 2


def test_stac_writes_a_catalogue(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.call("stac", archive, "-o", tmp_path / "catalogue") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'catalogue' / 'catalog.json'}: 1 items\n"
    assert {path.name for path in (tmp_path / "catalogue").iterdir()} == {"catalog.json", "a.json"}
    assert command.call("stac", archive / "a.sarc") == 2
    assert "is no folder" in capsys.readouterr().err
    (archive / "bad.sarc").write_bytes(b"nothing")
    try:
        assert command.call("stac", archive, "-o", tmp_path / "catalogue", "--overwrite", "--json") == 1
        printed = capsys.readouterr()
        assert json.loads(printed.out)["items"] == 1 and "bad.sarc" in printed.err
    finally:
        (archive / "bad.sarc").unlink()
