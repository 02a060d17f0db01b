"""What the server answers, and what it refuses."""

import io
import json
import os
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio

import sarcodec
import shown
from sarcodec import errors
from sarcodec.serve import cache, library, server

SHAPE = (300, 280)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    shown.write(folder / "a.sarc", shown.image(SHAPE), **shown.UTM)
    (folder / "plain.sarc").write_bytes(sarcodec.compress(shown.image(SHAPE, 5), quantity="db", max_error=0.5))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    target = tmp_path / "archive"
    shutil.copytree(made, target)
    return target


def rgba(png: bytes, tmp_path: Path) -> np.ndarray:
    (tmp_path / "a.png").write_bytes(png)
    with rasterio.open(tmp_path / "a.png") as dataset:
        index, table = dataset.read(1), dataset.colormap(1)
    return np.array([table[n] for n in range(len(table))])[index]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_is_stretched_between_its_limits_and_transparent_where_nothing_is(
    made: Path, tmp_path: Path
) -> None:
    with shown.served(made / "a.sarc") as client:
        db = np.load(io.BytesIO(client.get("/a.sarc/pixels/1/0/0.npy")))
        picture = rgba(client.get("/a.sarc/pixels/1/0/0.png?low=-20&high=-5"), tmp_path)
        default = rgba(client.get("/a.sarc/pixels/1/0/0.png"), tmp_path)
        low, high = client.json("/a.sarc/stretch?band=VV").values()
    for shades, (black, white) in ((picture, (-20, -5)), (default, (low, high))):
        np.testing.assert_array_equal(shades[..., 3] == 0, np.isnan(db))
        expected = np.clip((db - black) / (white - black), 0, 1) * 255
        assert np.nanmax(np.abs(shades[..., 0] - expected)[~np.isnan(db)]) <= 1
    assert 0.02 < np.nanmean(db < low) + np.nanmean(db > high) < 0.06


def test_info_says_what_a_file_is(made: Path) -> None:
    with shown.served(made) as client:
        listed = client.json("/info")["files"]
        assert [file["name"] for file in listed] == ["a.sarc", "plain.sarc"]
        about = client.json("/a.sarc/info")
        assert about["bands"] == ["VV", "VH"] and about["crs"] == "EPSG:32633"
        assert (about["height"], about["width"]) == SHAPE
        assert about["bytes"] == (made / "a.sarc").stat().st_size and about["max_error_db"] == 0.5
        assert about["bounds"] == pytest.approx([15, 48.726, 15.038, 48.753], abs=1e-3)
        assert about["nodata"] is None  # NaN
        plain = client.json("/plain.sarc/info")
        assert "bounds" not in plain and "tiles" not in plain and plain["crs"] is None


def test_a_file_without_a_place_has_pixels_and_no_map(made: Path) -> None:
    with shown.served(made / "plain.sarc") as client:
        assert client.get("/plain.sarc/pixels/0/0/0.png").startswith(b"\x89PNG")
        status, text = client.refused("/plain.sarc/0/0/0.png")
        assert status == 400 and "ask for /FILE/pixels" in text


def test_values_are_those_of_the_pixel(made: Path) -> None:
    with shown.served(made / "a.sarc") as client, sarcodec.open(made / "a.sarc") as file:
        found = client.json("/a.sarc/value?row=100.7&column=33.2")
        assert (found["row"], found["column"]) == (100, 33)
        for band in ("VV", "VH"):
            assert found["bands"][band]["db"] == pytest.approx(file.read(band)[100, 33])
        hole = client.json("/a.sarc/value?row=30&column=40")["bands"]["VV"]
        assert hole == {"value": None, "db": None}
        assert client.json("/a.sarc/value?row=-1&column=40")["row"] is None
        assert client.json("/a.sarc/value?lon=99&lat=1")["row"] is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_difference_is_that_of_the_pixels(made: Path, tmp_path: Path) -> None:
    with shown.served(made / "a.sarc", original=made / "a.tif") as client:
        assert [(f["name"], f["kind"]) for f in client.json("/info")["files"]] == [
            ("a.sarc", "sarc file"),
            ("a.tif", "original"),
        ]
        address = "/a.sarc/pixels/1/0/0.{}?minus=a.tif&band=VH"
        found = np.load(io.BytesIO(client.get(address.format("npy"))))
        picture = rgba(client.get(address.format("png") + "&low=-1&high=1"), tmp_path)
        reduced = np.load(io.BytesIO(client.get("/a.tif/pixels/0/0/0.npy?band=VH")))
    with rasterio.open(made / "a.tif") as dataset, sarcodec.open(made / "a.sarc") as file:
        original = dataset.read(2)
        error = file.read("VH")[:256, :256] - original[:256, :256]
    np.testing.assert_array_equal(found, error)
    assert 0.3 < np.nanmax(np.abs(found)) <= 0.5
    red, _, blue, alpha = (picture[..., n] for n in range(4))
    assert (red[found > 0.2] > blue[found > 0.2]).all() and (red[found < -0.2] < blue[found < -0.2]).all()
    np.testing.assert_array_equal(alpha == 0, np.isnan(found))
    boxes = original.reshape(150, 2, 140, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(reduced[:150, :140], boxes, rtol=1e-5)


def test_images_of_other_sizes_have_no_difference_in_pixels(made: Path, tmp_path: Path) -> None:
    (tmp_path / "b.sarc").write_bytes(sarcodec.compress(shown.image((200, 210)), quantity="db", max_error=0.5))
    with shown.served(made / "a.sarc", tmp_path / "b.sarc") as client:
        status, text = client.refused("/a.sarc/pixels/1/0/0.png?minus=b.sarc")
        assert status == 400 and "differ in size" in text


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.sarc/info",
        "/%2e%2e/secret.sarc/info",
        "/..%2fsecret.sarc/info",
        "/..%5csecret.sarc/info",
        "//etc/passwd",
        "/etc/passwd",
        "/%2fetc%2fpasswd/info",
        "/a.sarc/../../secret.sarc/info",
        "/a.sarc%00/info",
        "/archive%2fa.sarc/info",
        "/viewer.js/../a.sarc",
        "/nothing.sarc/info",
        "/nothing",
    ],
)
def test_nothing_else_is_found(folder: Path, target: str) -> None:
    shutil.copy(folder / "a.sarc", folder.parent / "secret.sarc")
    with shown.served(folder) as client:
        status, text = client.refused(target)
        assert status == 404 and str(folder.parent) not in text
        status, text = client.refused("/a.sarc/pixels/0/0/0.png?minus=../secret.sarc")
        assert status == 404


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_out_of_the_folder_are_not_followed(folder: Path) -> None:
    shutil.copy(folder / "a.sarc", folder.parent / "secret.sarc")
    (folder / "link.sarc").symlink_to("../secret.sarc")
    (folder / "inner.sarc").symlink_to("a.sarc")
    with shown.served(folder) as client:
        assert [file["name"] for file in client.json("/info")["files"]] == ["a.sarc", "inner.sarc", "plain.sarc"]
        assert client.refused("/link.sarc/info")[0] == 404
        client.json("/plain.sarc/info")
        (folder / "plain.sarc").unlink()
        (folder / "plain.sarc").symlink_to("../secret.sarc")
        status, text = client.refused("/plain.sarc/info")
        assert status == 404 and "has become a link" in text


def test_a_damaged_file_is_one_clear_error(folder: Path) -> None:
    data = bytearray((folder / "a.sarc").read_bytes())
    data[200:260] = bytes(60)
    (folder / "a.sarc").write_bytes(data)
    (folder / "cut.sarc").write_bytes(data[:-400])
    with shown.served(folder) as client:
        for target in ("/a.sarc/pixels/1/0/0.png", "/cut.sarc/info", "/cut.sarc/quicklook.png"):
            status, text = client.refused(target)
            assert status == 500 and "\n" not in text and str(folder) not in text
            assert "damaged" in text or "truncated" in text
        assert client.json("/plain.sarc/info")["bands"]  # the others have their turn
        assert client.refused("/a.sarc/pixels/1/0/0.png?band=VV")[0] == 500  # again, and not for ever waiting


def test_a_damaged_file_that_was_named_is_refused_at_once(folder: Path) -> None:
    (folder / "a.sarc").write_bytes(b"PK nothing")
    with pytest.raises(errors.FormatError, match=r"a\.sarc: not a \.sarc file"):
        library.Library([str(folder / "a.sarc")])


def test_a_file_that_changes_is_shown_as_it_is_and_one_that_vanishes_is_gone(folder: Path) -> None:
    target = "/plain.sarc/pixels/1/0/0.npy"
    with shown.served(folder) as client:
        before = np.load(io.BytesIO(client.get(target)))
        data = sarcodec.compress(shown.image(SHAPE, 9), quantity="db", max_error=0.5)
        (folder / "new").write_bytes(data)
        (folder / "new").replace(folder / "plain.sarc")
        after = np.load(io.BytesIO(client.get(target)))
        np.testing.assert_array_equal(after, sarcodec.decompress(data)[0][:256, :256])
        assert not np.array_equal(before, after, equal_nan=True)
        (folder / "plain.sarc").unlink()
        status, text = client.refused(target)
        assert status == 404 and "not there any more" in text
        assert len(client.json("/info")["files"]) == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/a.sarc/pixels/1/9/0.png", "tile: got 1/9/0"),
        ("/a.sarc/pixels/7/0/0.png", "tile: got 7/0/0"),
        ("/a.sarc/30/0/0.png", "tile: got 30/0/0"),
        ("/a.sarc/pixels/0/0/0.png?band=HH", "band: got 'HH'; the image has VV, VH"),
        ("/a.sarc/pixels/0/0/0.png?band=3", "band: got '3'"),
        ("/a.sarc/pixels/0/0/0.png?low=1&high=nan", "high: got 'nan'; pass a number"),
        ("/a.sarc/pixels/0/0/0.png?low=1&high=0", "low below high"),
        ("/a.sarc/pixels/0/0/0.png?low=1", "pass both or none"),
        ("/a.sarc/pixels/0/0/0.png?colour=red", "query: got 'colour'"),
        ("/a.sarc/pixels/0/0/0.png?band=VV&band=VH", "query: got 'band'; pass each"),
        ("/a.sarc/value?lon=3", "value: pass lon and lat"),
        ("/a.sarc/value?row=x&column=1", "row: got 'x'"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(made: Path, target: str, message: str) -> None:
    with shown.served(made / "a.sarc") as client:
        status, text = client.refused(target)
        assert status == 400 and message in text


def test_tiles_beside_the_image_are_empty(made: Path, tmp_path: Path) -> None:
    with shown.served(made / "a.sarc") as client:
        assert np.isnan(np.load(io.BytesIO(client.get("/a.sarc/9/3/3.npy")))).all()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:80", 200),
        ("127.8.8.8", 200),
        ("[::1]:9", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8035", 403),
        ("192.168.1.7", 403),
        ("x@127.0.0.1", 403),
        (" ", 403),
    ],
)
def test_pages_of_other_names_get_nothing(made: Path, host: str, status: int) -> None:
    with shown.served(made / "a.sarc") as client:
        found, headers, body = client.ask("/info", host=host)
        assert found == status
        assert "Access-Control-Allow-Origin" not in headers
        assert (b"a.sarc" in body) == (status == 200)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_only_get(made: Path, method: str) -> None:
    with shown.served(made / "a.sarc") as client:
        status, headers, _ = client.ask("/info", method=method)
        assert (status, headers["Allow"]) == (405, "GET")
        assert client.ask("/info", method="BREW")[0] == 501


def test_no_request_at_all(made: Path) -> None:
    with shown.served(made / "a.sarc") as client:
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            answer = connection.makefile("rb").read()
        assert b"error" in answer and b"<" not in answer
        client.get("/info")


def test_the_page_allows_nothing_from_elsewhere(made: Path) -> None:
    with shown.served(made / "a.sarc") as client:
        for target in ("/", "/viewer.js", "/viewer.css", "/viewer.svg"):
            status, headers, body = client.ask(target)
            assert status == 200
            policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
            assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert b"http://" not in body.replace(b'xmlns="http://www.w3.org/2000/svg"', b"")
            assert b"https://" not in body


def test_it_listens_on_this_machine_alone_unless_asked(made: Path) -> None:
    running = server.Server(library.Library([str(made / "a.sarc")]), port=0)
    try:
        assert running.socket.getsockname()[0] == "127.0.0.1"
        assert running.url == f"http://127.0.0.1:{running.server_address[1]}/"
        with pytest.raises(errors.InputError, match=r"cannot listen there .*; pass another, or port 0"):
            server.Server(library.Library([str(made / "a.sarc")]), port=running.server_address[1])
    finally:
        running.server_close()
    everywhere = server.Server(library.Library([str(made / "a.sarc")]), "0.0.0.0", 0)
    try:
        assert everywhere.knows("192.168.1.7:8035") and everywhere.knows(socket.gethostname())
        assert not everywhere.knows("evil.example")
    finally:
        everywhere.server_close()


def test_an_original_belongs_to_one_file(made: Path) -> None:
    with pytest.raises(errors.InputError, match="original: belongs to one file, got 2"):
        library.Library([str(made)], made / "a.tif")


def test_files_of_one_name_have_two(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "plain.sarc", tmp_path / "a.sarc")
    with shown.served(made / "a.sarc", tmp_path / "a.sarc") as client:
        first, second = client.json("/info")["files"]
        assert (first["name"], second["name"]) == ("a.sarc", "a.sarc-2")
        assert client.json(f"{first['url']}/info")["crs"] and not client.json(f"{second['url']}/info")["crs"]


def test_names_are_quoted(made: Path, tmp_path: Path) -> None:
    name = 'a b%2f#?&"<i>ä.sarc' if os.name == "posix" else "a b%2f#&ä.sarc"
    shutil.copy(made / "a.sarc", tmp_path / name)
    with shown.served(tmp_path) as client:
        (file,) = client.json("/info")["files"]
        assert file["name"] == name
        assert client.json(f"{file['url']}/info")["name"] == name


def test_what_several_ask_for_is_made_once() -> None:
    made_of, gate = [], threading.Event()
    kept: cache.Cache[bytes] = cache.Cache(10, len)

    def make() -> bytes:
        made_of.append(1)
        gate.wait(10)
        return b"12345"

    threads = [threading.Thread(target=kept.get, args=("key", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(made_of) == 1
    for key in ("other", "third"):
        kept.get(key, lambda: b"12345")
    kept.get("key", make)
    assert len(made_of) == 2  # it had to make room
    with pytest.raises(ValueError, match="no"):
        kept.get("bad", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert kept.get("bad", lambda: b"now") == b"now"


def test_errors_are_strict_json(made: Path) -> None:
    with shown.served(made / "a.sarc") as client:
        _, _, body = client.ask("/a.sarc/info")
        json.loads(body, parse_constant=lambda word: pytest.fail(word))
