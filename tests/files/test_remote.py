"""Remote .sarc files: few requests and bytes, the pixels of a local copy, one clear error, and no credentials."""

import asyncio
import io
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
import fsspec.asyn
import numpy as np
import pytest
import rasterio

import command
import places
import sarcodec
import serving
import tiny
from sarcodec import errors
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.files import remote
from sarcodec.lapped import lower
from sarcodec.scene import files, verify

SECRET = "X-Amz-Signature=5ec2e7%2Fvh&token=5ec2e7"
WINDOW = ((70, 130), (10, 60))


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Server]:
    folder = tmp_path_factory.mktemp("server") / "www"
    folder.mkdir()
    found = serving.Server(folder)
    yield found
    found.close()


@pytest.fixture
def server(module_server: serving.Server) -> Iterator[serving.Server]:
    module_server.behave("")
    module_server.sent()
    yield module_server
    module_server.behave("")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A band of 4×3 tiles, some of them masked, about 20 kB."""
    band = tiny.db((256, 192))
    band[:80, 90:] = np.nan
    path = tmp_path_factory.mktemp("local") / "a.sarc"
    files.compress_file(band, path, quantity="db", max_error=0.5, options=encoding.Options(tile=64))
    return path


@pytest.fixture
def url(server: serving.Server, local: Path) -> str:
    (server.folder / "a.sarc").write_bytes(local.read_bytes())
    return f"http://reader:5ec2e7@{server.host}/a.sarc?{SECRET}"


def test_a_window_takes_few_requests_and_bytes(server: serving.Server) -> None:
    """The end, then a request for each row of the tiles that it touches; nothing else."""
    path = serving.many_tiles(server.folder / "many.sarc", side=16, tile=128)
    with sarcodec.open(path) as image:
        expected = image.read(1, ((520, 630), (520, 630)))
    with sarcodec.Reader(path) as reader:
        entry = len(reader.read("0/4.4", 1 << 24))
    with sarcodec.open(f"http://{server.host}/many.sarc") as image:
        assert server.sent() == [0, remote.TAIL]
        np.testing.assert_array_equal(image.read(1, ((520, 630), (520, 630))), expected)
        asked = server.sent()
        assert len(asked) == 3  # a tile and, for context, its eight neighbours
        assert sum(asked) <= 9 * (entry + 100) < path.stat().st_size / 20
        image.read(1, ((520, 630), (520, 630)))
        assert server.sent() == []


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A band of 3×3 tiles of the default codec, with records of lost speckle."""
    path = tmp_path_factory.mktemp("textured") / "a.sarc"
    band = np.random.default_rng(5).gamma(1, 1, (2100, 2900)).astype(np.float32)
    band *= np.kron(np.random.default_rng(6).gamma(0.5, 2, (33, 46)), np.ones((64, 64)))[:2100, :2900] + 0.01
    band[1000:1100] = np.nan
    files.compress_file(band, path, quantity="intensity", quality=40)
    return path


@pytest.mark.parametrize("power", [False, True])
def test_reduced_images_take_the_heads_of_tiles(
    server: serving.Server, textured: Path, monkeypatch: pytest.MonkeyPatch, power: bool
) -> None:
    monkeypatch.setattr(remote, "TAIL", 4096)
    (server.folder / "b.sarc").write_bytes(textured.read_bytes())
    with sarcodec.open(textured) as image:
        expected = image.read(1, reduce=5, power=power)
    with sarcodec.open(f"http://{server.host}/b.sarc") as image:
        server.sent()
        np.testing.assert_array_equal(image.read(1, reduce=5, power=power), expected)
    asked = sum(server.sent())
    assert asked < (0.3 if power else 0.02) * textured.stat().st_size


def test_what_heads_do_not_tell_is_read(
    server: serving.Server, textured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that are longer than foretold, and records of lost speckle that are."""
    monkeypatch.setattr(remote, "TAIL", 4096)
    (server.folder / "b.sarc").write_bytes(textured.read_bytes())
    with sarcodec.open(textured) as image:
        expected = image.read(1, reduce=5)
    for margin, room in ((0.1, lower.RECORD), (lower.MARGIN, -500)):
        monkeypatch.setattr(lower, "MARGIN", margin)
        monkeypatch.setattr(lower, "RECORD", room)
        with sarcodec.open(f"http://{server.host}/b.sarc") as image:
            server.sent()
            np.testing.assert_array_equal(image.read(1, reduce=5), expected)
        assert sum(server.sent()) > 0.9 * textured.stat().st_size


def test_no_head_of_another_entry(server: serving.Server, textured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TAIL", 4096)
    data = bytearray(textured.read_bytes())
    place = data.index(b"PK\3\4")
    data[place + 30 : place + 33] = b"1/9"
    (server.folder / "b.sarc").write_bytes(data)
    with sarcodec.open(f"http://{server.host}/b.sarc") as image, pytest.raises(errors.FormatError, match="damaged"):
        image.read(1, reduce=5)


def ways_in(url: str, local: Path) -> dict[str, Any]:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.sarc", local.read_bytes())
    return {
        "url": url,
        "memory": "memory://bucket/a.sarc",
        "cached": "simplecache::memory://bucket/a.sarc",
        "fsspec's": fsspec.open(url),
        "opened by fsspec": fsspec.open(url).open(),
        "of fsspec, local": fsspec.open(str(local)).open(),
        "file://": f"file://{local}",
        "bytes": io.BytesIO(local.read_bytes()),
        "path": local,
    }


def test_every_way_in(url: str, local: Path) -> None:
    with sarcodec.open(local) as image:
        expected = image.read(window=WINDOW)
    for name, source in ways_in(url, local).items():
        with sarcodec.open(source) as image:
            np.testing.assert_array_equal(image.read(window=WINDOW), expected, err_msg=name)
        assert "5ec2e7" not in image.name
    with local.open("rb") as stream:
        with sarcodec.open(stream) as image:
            np.testing.assert_array_equal(image.read(window=WINDOW), expected)
            assert image.name == str(local)
        assert stream.read(2) is not None  # it is left open
    np.testing.assert_array_equal(sarcodec.decompress(url), sarcodec.decompress(local))


def test_whole_images_come_in_pieces(
    server: serving.Server, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is fetched at once is bounded; so is what is kept."""
    monkeypatch.setattr(archive, "AHEAD", 6000)
    monkeypatch.setattr(remote, "KEPT", 15_000)
    monkeypatch.setattr(remote, "TAIL", 4096)
    with sarcodec.open(url) as image, sarcodec.open(local) as known:
        np.testing.assert_array_equal(image.read(), known.read())
    asked = server.sent()
    assert max(asked) <= 6000 and 5 <= len(asked) <= 8, asked
    assert sum(asked) < 1.2 * local.stat().st_size


def test_a_directory_larger_than_the_end(url: str, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TAIL", 300)
    with sarcodec.open(url) as image, sarcodec.open(local) as known:
        np.testing.assert_array_equal(image.read(1, WINDOW), known.read(1, WINDOW))


def test_ranges_near_each_other_are_one() -> None:
    gap = remote.GAP
    assert remote.merged([(90, 95), (0, 10), (10, 20)]) == [(0, 95)]
    assert remote.merged([(0, 10), (10 + gap, 20 + gap), (21 + 2 * gap, 30 + 2 * gap)]) == [
        (0, 20 + gap),
        (21 + 2 * gap, 30 + 2 * gap),
    ]
    assert remote.merged([(0, 50), (10, 20)]) == [(0, 50)]


def test_decompressed(server: serving.Server, url: str, local: Path, tmp_path: Path) -> None:
    size = files.decompress_file(url, tmp_path / "a.tif")
    assert len(server.sent()) <= 6
    assert size.bytes == local.stat().st_size
    files.decompress_file(local, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with (tmp_path / "c.tif").open("w+b") as stream:
        stream.write(local.read_bytes())
        with pytest.raises(errors.InputError, match="is the source"):
            files.decompress_file(stream, tmp_path / "c.tif", overwrite=True)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_command_line(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.call("info", url) == 0
    assert command.call("info", url, url, "--json") == 0
    assert command.call("verify", url, "--decode") == 0
    assert command.call("verify", url, "--json") == 0
    assert command.call("decompress", url, tmp_path / "a.tif", "--window", 10, 70, 50, 60) == 0
    assert command.call("decompress", url, "-o", tmp_path / "many", "--json") == 0
    assert command.call("decompress", url, "-o", tmp_path / "many") != 0  # there already
    assert command.call("decompress", url, url, "-o", tmp_path / "more") != 0
    assert command.call("decompress", url, url) != 0
    assert command.call("info", url.replace("a.sarc", "none.sarc")) != 0
    said = capsys.readouterr()
    assert "all holds" in said.out and "a.sarc?…" in said.out and "there is no such file" in said.err
    assert "5ec2e7" not in said.out + said.err
    assert (tmp_path / "many/a.tif").exists()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.shape == (60, 50)
        assert "5ec2e7" not in str(dataset.tags())
    assert b"5ec2e7" not in (tmp_path / "a.tif").read_bytes()


def test_verified_in_few_requests(server: serving.Server, url: str, local: Path) -> None:
    assert verify.verify(url).holds
    assert len(server.sent()) <= 3
    damaged = bytearray(local.read_bytes())
    damaged[1000] ^= 1
    (server.folder / "a.sarc").write_bytes(damaged)
    found = verify.verify(url)
    assert not found.holds and "5ec2e7" not in str(found)
    assert "is damaged" in found.checks[-1].said


def said_of(problem: pytest.ExceptionInfo[BaseException]) -> str:
    """The message of an error, if neither it nor its traceback shows what is secret."""
    assert "5ec2e7" not in "".join(traceback.format_exception(problem.value, chain=True))
    assert "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize(
    ("manner", "kind", "said"),
    [
        ("refuses", errors.RemoteError, "access is refused"),
        ("silent", errors.RemoteError, "the server does not say how large it is"),
        ("dies", errors.RemoteError, "bytes came where|cannot be fetched"),
    ],
)
def test_servers_that_fail(
    server: serving.Server, url: str, manner: str, kind: type[Exception], said: str, tmp_path: Path
) -> None:
    server.behave(manner)
    with pytest.raises(kind, match=rf"^http://{server.host}/a\.sarc\?…: .*({said})") as problem:
        files.decompress_file(url, tmp_path / "a.tif")
    said_of(problem)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_fails_later(
    server: serving.Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of damage nothing is said where it is the connection."""
    monkeypatch.setattr(remote, "TAIL", 4096)
    for manner, said in (("dies", "cannot be fetched"), ("refuses", "access is refused")):
        server.behave("")
        with sarcodec.open(url) as image:
            server.behave(manner)
            with pytest.raises(errors.RemoteError, match=said) as problem:
                image.read()
            assert "damaged" not in said_of(problem)
    server.behave("")
    with sarcodec.Reader(url) as reader:
        server.behave("dies")
        with pytest.raises(errors.RemoteError, match="cannot be fetched"):
            reader.check_entries()
    server.behave("")
    with sarcodec.open(url) as image:
        (server.folder / "a.sarc").unlink()
        with pytest.raises(errors.FormatError, match="is no longer there") as problem:
            image.read()
        said_of(problem)


def test_a_server_that_ignores_ranges(server: serving.Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file is read whole, as its end; of a large one no more than that."""
    server.behave("whole")
    with sarcodec.open(url) as image:
        assert image.read(1, WINDOW).shape == (60, 50)
    assert len(server.sent()) == 2
    monkeypatch.setattr(remote, "TAIL", 4096)
    with pytest.raises(errors.RemoteError, match="does not send parts of files; download it first") as problem:
        sarcodec.open(url)
    said_of(problem)


def test_no_answer_in_time(server: serving.Server, url: str) -> None:
    server.behave("sleeps")
    options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=0.3)}}
    with pytest.raises(errors.RemoteError, match="no answer came in time") as problem:
        sarcodec.open(url, storage_options=options)
    said_of(problem)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("http://u:5ec2e7@{host}/none.sarc?{secret}", errors.FormatError, "there is no such file"),
        ("http://u:5ec2e7@127.0.0.1:9/a.sarc?{secret}", errors.RemoteError, "cannot be fetched .*127.0.0.1:9"),
        ("memory://none.sarc", errors.FormatError, "there is no such file"),
        ("http://{host}/empty.sarc?{secret}", errors.FormatError, r"not a \.sarc file"),
        ("http://{host}/page.sarc?{secret}", errors.FormatError, r"not a \.sarc file"),
        ("odd://u:5ec2e7@host/a.sarc?{secret}", errors.InputError, "Protocol not known: odd"),
        ("/vsicurl/http://{host}/a.sarc?{secret}", errors.FormatError, "there is no such file; pass a URL as text"),
    ],
)
def test_what_is_not_there(server: serving.Server, name: str, kind: type[Exception], said: str) -> None:
    (server.folder / "empty.sarc").write_bytes(b"")
    (server.folder / "page.sarc").write_bytes(b"<html>" * 60_000)
    with pytest.raises(kind, match=said) as problem:
        sarcodec.open(name.format(host=server.host, secret=SECRET))
    said_of(problem)


def test_a_path_is_no_url() -> None:
    with pytest.raises(errors.FormatError, match="there is no such file; pass a URL as text"):
        sarcodec.open(Path("https://127.0.0.1/a.sarc"))


def test_what_is_no_file(local: Path) -> None:
    with local.open(encoding="latin-1") as text, pytest.raises(errors.InputError, match="open it in binary mode"):
        sarcodec.open(text)  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match="type bytes; pass a path, a URL or a binary file"):
        sarcodec.open(local.read_bytes())  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match="storage_options: belong to a URL"):
        sarcodec.open(local, storage_options={"anon": True})

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(errors.InputError, match="a stream that cannot seek"):
        sarcodec.open(Stream(local.read_bytes()))


@pytest.mark.parametrize(
    ("missing", "url", "said"),
    [
        ("fsspec", "https://host/a.sarc", 'fsspec is not installed; it comes with .* pip install "sarcodec[remote]"'),
        (
            "aiohttp",
            "https://host/a.sarc",
            'aiohttp is not installed; it comes with .* pip install "sarcodec[remote]"',
        ),
        ("s3fs", "s3://bucket/a.sarc", "s3://bucket/a.sarc: a package is missing (Install s3fs to access S3)"),
        ("gcsfs", "gs://bucket/a.sarc", "gs://bucket/a.sarc: a package is missing (Please install gcsfs to access"),
    ],
)
def test_missing_packages(missing: str, url: str, said: str) -> None:
    code = "import sys, sarcodec; sys.modules[sys.argv[1]] = None\ntry: sarcodec.Reader(sys.argv[2])\n"
    code += "except sarcodec.SarcodecError as problem: print(problem)"
    done = subprocess.run([sys.executable, "-c", code, missing, url], capture_output=True, text=True, check=False)
    assert re.match(re.escape(said).replace(r"\.\*", ".*"), done.stdout), done.stderr


def test_a_remote_file_that_changes(
    server: serving.Server, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TAIL", 4096)
    data = local.read_bytes()
    for other in (data[:2000] + bytes(10_000) + data[12_000:], data[:5] + data, data[: len(data) // 2]):
        (server.folder / "a.sarc").write_bytes(data)
        with sarcodec.open(url) as image:
            (server.folder / "a.sarc").write_bytes(other)
            with pytest.raises(
                (errors.FormatError, errors.RemoteError), match=r"written anew|was changed"
            ) as problem:
                image.read()
            said_of(problem)
    memory = fsspec.filesystem("memory")
    memory.pipe("/b.sarc", data)
    with sarcodec.open("memory://b.sarc") as image:
        memory.pipe("/b.sarc", data[:1000] + bytes(len(data) - 1000))
        with pytest.raises(errors.FormatError, match="written anew"):
            image.read()


def test_a_local_file_that_changes(local: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "b.sarc", local.read_bytes()
    for other in (data[:1000], bytes(len(data) + 1), b""):
        path.write_bytes(data)
        with sarcodec.open(path) as image:
            path.write_bytes(other)
            with pytest.raises(errors.FormatError, match=r"b\.sarc: was written anew after it was opened"):
                image.read()
    path.write_bytes(data)
    (tmp_path / "c.sarc").write_bytes(b"another")
    with sarcodec.open(path) as image, sarcodec.open(local) as known:
        (tmp_path / "c.sarc").replace(path)  # what was opened is still there
        np.testing.assert_array_equal(image.read(), known.read())


def test_places_show_no_credentials(url: str) -> None:
    place = remote.located(url)
    assert isinstance(place, remote.Place)
    assert "5ec2e7" not in repr(place) + str(place) and "a.sarc?…" in repr(place)
    with sarcodec.open(url) as image:
        assert "5ec2e7" not in repr(image)
        assert repr(image).startswith("<sarcodec file 'http://127.0.0.1:")


def test_the_page_of_other_programs(
    server: serving.Server, write_tif: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its code runs as it stands, on this server."""
    source = write_tif("scene.tif", tiny.db((150, 160)), bands=("VV",), crs="EPSG:4326")
    files.compress_file(source, server.folder / "scene.sarc", quantity="db", max_error=0.5, overwrite=True)
    page = (places.DOCS / "interop.md").read_text(encoding="utf-8")
    section = page.partition("## Remote files\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert "https://example.org/" in code
    exec(code.replace("https://example.org", f"http://{server.host}"), {})
    assert -20 < float(capsys.readouterr().out) < 0


class Busy(fsspec.asyn.AsyncFileSystem):
    """A file that is slow to come, and how many requests for it were ever on their way at once."""

    protocol, cachable = "busy", False

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data, self.now, self.most = data, 0, 0

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self.data), "type": "file"}

    async def _cat_file(self, path: str, start: int = 0, end: int | None = None, **_: Any) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return self.data[start:end]


def test_hundreds_of_ranges_are_not_asked_for_at_once() -> None:
    """A server that keeps few who wait drops the others, which try again after seconds."""
    system = Busy(np.random.default_rng(1).bytes(1 << 20))
    file = remote.RemoteFile(remote.Place(system, "a"))
    ranges = [(first, first + 7) for first in range(0, 700_000, 2000)]
    file.fetch(ranges, gap=0)
    assert 1 < system.most <= remote.AT_ONCE
    assert [file.part(*wanted) for wanted in ranges] == [system.data[first:end] for first, end in ranges]
