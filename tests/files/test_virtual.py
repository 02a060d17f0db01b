"""Sources that are not local files: URLs, archives, memory; and that their credentials stay out of everything."""

import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio.io
import rasterio.shutil

import safe_product
import serving
import tiny
from sarcodec import errors, tiling
from sarcodec.codec import codec, encoding
from sarcodec.container import archive as container_archive
from sarcodec.files import vsi
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.raster import geotiff
from sarcodec.raster import source as raster_source
from sarcodec.scene import decision, files

CODER = codec.Codec(nearlossless_engine.BoundedEngine(0.5))
TILES = encoding.Options(tile=64)
SECRET = "X-Amz-Signature=5ec2e7%2Fvh&token=5ec2e7"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[serving.Server]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    folder = tmp_path_factory.mktemp("server") / "www"
    folder.mkdir()
    found = serving.Server(folder)
    yield found
    found.close()


@pytest.fixture
def image(server: serving.Server, write_tif: Callable[..., Path]) -> Path:
    """A raster of several strips, on the server and in a zip file there; named so that it says a polarisation."""
    cube = np.stack([tiny.db((150, 200), seed) for seed in (0, 1)])
    tags = {"UNITS": "sigma0 dB"}
    path = write_tif(
        server.folder / "bucket/pair.tif", cube, bands=("VV", "VH"), tags=tags, crs="EPSG:4326", blockysize=16
    )
    write_tif(server.folder / "bucket/one-vv.tif", tiny.dn((150, 200)), nodata=0)
    with zipfile.ZipFile(server.folder / "bucket/pair.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "in/pair.tif")
    return path


def compressed(source: object, target: Path) -> bytes:
    files.compress_file(source, target, CODER, options=TILES, overwrite=True)
    return target.read_bytes()


def held(path: Path) -> bytes:
    """All that a .sarc file says and all its names, inflated."""
    with container_archive.Reader(path) as reader:
        return reader._header_text() + "\n".join(reader._zip.namelist()).encode()


@pytest.mark.parametrize(
    "name",
    [
        "http://{host}/bucket/pair.tif",
        "http://{host}/bucket/pair.tif?{secret}",
        "http://reader:5ec2e7@{host}/bucket/pair.tif",
        "/vsicurl/http://{host}/bucket/pair.tif",
        "/vsicurl/http://{host}/bucket/pair.tif?{secret}",
        "/vsicurl?max_retry=0&url=http://{host}/bucket/pair.tif?token=5ec2e7",
        "/vsizip/{folder}/pair.zip/in/pair.tif",
        "zip://{folder}/pair.zip!in/pair.tif",
        "/vsizip/{folder}/pair.zip",
        "/vsizip//vsicurl/http://{host}/bucket/pair.zip/in/pair.tif",
        "/vsizip/{{/vsicurl/http://{host}/bucket/pair.zip?{secret}}}/in/pair.tif",
        "s3://bucket/pair.tif",
        "/vsis3/bucket/pair.tif",
    ],
)
def test_the_same_file_as_of_a_local_copy(
    server: serving.Server, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if "s3" in name:
        for key, value in {
            "AWS_S3_ENDPOINT": server.host,
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_NO_SIGN_REQUEST": "YES",
        }.items():
            monkeypatch.setenv(key, value)
    source = name.format(host=server.host, folder=image.parent, secret=SECRET)
    assert vsi.is_virtual(source)
    assert compressed(source, tmp_path / "a.sarc") == compressed(image, tmp_path / "b.sarc")
    said = held(tmp_path / "a.sarc").decode()
    for private in ("5ec2e7", "127.0.0.1", str(tmp_path), "vsi", "pair"):
        assert private not in said
    if "host" in name or "s3" in name:
        assert any(line.startswith("/bucket/pair.") for line in server.asked())
    if "{secret}" in name:
        assert any(line.endswith(f"?{SECRET}") for line in server.asked())  # it is sent, but not told


def test_in_memory(image: Path, tmp_path: Path) -> None:
    with rasterio.io.MemoryFile(image.read_bytes()) as memory:
        assert memory.name.startswith("/vsimem/")
        assert compressed(memory.name, tmp_path / "a.sarc") == compressed(image, tmp_path / "b.sarc")


@pytest.mark.parametrize("query", ["", "?" + SECRET, "?HV=1"])
def test_polarisation_from_the_name_not_the_query(server: serving.Server, image: Path, query: str) -> None:
    url = f"http://{server.host}/bucket/one-vv.tif{query}"
    with raster_source.open(url, "VV") as raster:
        assert decision.layout_of(raster, None).polarisations == ("VV",)
        assert "5ec2e7" not in raster.name
    with pytest.raises(errors.InputError, match=r"polarisation: got VH; of http.*none is taken") as problem:
        raster_source.open(url, "VH")
    assert "5ec2e7" not in str(problem.value)


def run(*arguments: object) -> tuple[int, str]:
    """Run the command line as a user does: whatever libraries log goes to stderr too."""
    command = [sys.executable, "-m", "sarcodec", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_command_line(server: serving.Server, image: Path, tmp_path: Path) -> None:
    url = f"http://{server.host}/bucket/pair.tif?{SECRET}"
    status, said = run("compress", url, tmp_path / "a.sarc", "--max-error", "0.5", "--tile", 64)
    assert status == 0 and "5ec2e7" not in said
    assert (tmp_path / "a.sarc").read_bytes() == compressed(image, tmp_path / "b.sarc")
    missing = f"http://reader:5ec2e7@{server.host}/bucket/none.tif?{SECRET}"
    status, said = run("compress", missing, tmp_path / "c.sarc")
    assert status == 2 and said.count("\n") == 1 and "5ec2e7" not in said
    assert f"raster http://{server.host}/bucket/none.tif?…: cannot be opened" in said
    status, said = run("decompress", url.replace(".tif", ".sarc"), tmp_path / "c.tif")
    assert status == 2 and said.count("\n") == 1 and "5ec2e7" not in said
    assert f"http://{server.host}/bucket/pair.sarc?…: there is no such file" in said
    assert {path.name for path in tmp_path.iterdir()} == {"a.sarc", "b.sarc"}


@pytest.mark.parametrize(
    "name",
    [
        "http://{host}/bucket/none.tif?{secret}",
        "/vsicurl/http://{host}/bucket/none.tif?{secret}",
        "http://reader:5ec2e7@{host}/bucket/none.tif",
        "/vsizip/{{/vsicurl/http://{host}/bucket/none.zip?{secret}}}/in/pair.tif",
        "http://127.0.0.1:9/pair.tif?{secret}",
        "/vsimem/none.tif",
        "/vsizip/{folder}/pair.zip/in/none.tif",
        "ftp+odd://127.0.0.1/pair.tif?{secret}",
    ],
)
def test_what_is_not_there(server: serving.Server, image: Path, tmp_path: Path, name: str) -> None:
    source = name.format(host=server.host, folder=image.parent, secret=SECRET)
    with pytest.raises(errors.FormatError, match=r"raster .*: cannot be opened") as problem:
        compressed(source, tmp_path / "a.sarc")
    assert "5ec2e7" not in str(problem.value)
    assert problem.value.__suppress_context__  # nor in a traceback
    assert not (tmp_path / "a.sarc").exists()


def test_a_server_that_breaks_down_leaves_nothing(
    server: serving.Server, write_tif: Callable[..., Path], tmp_path: Path
) -> None:
    write_tif(server.folder / "large.tif", tiny.intensity((900, 900)), blockysize=16)
    with raster_source.open(f"http://{server.host}/large.tif?{SECRET}") as raster:
        raster.read(0, tiling.Window(0, 16, 0, 900))
        (server.folder / "broken").touch()
        with pytest.raises(errors.FormatError, match=r"raster .*large\.tif\?…: cannot be read") as problem:
            files.compress_file(raster, tmp_path / "a.sarc", CODER)
    assert "5ec2e7" not in str(problem.value)
    assert list(tmp_path.iterdir()) == []


def test_products_are_local(server: serving.Server, tmp_path: Path) -> None:
    """A product by URL is refused, for of it only pixels would be kept; one of its measurements is a raster."""
    folder = safe_product.make(server.folder)
    packed = safe_product.pack(folder)
    for name in (
        f"http://{server.host}/{packed.name}",
        f"http://{server.host}/{packed.name}?{SECRET}",
        f"/vsicurl/http://{server.host}/{packed.name}",
        f"s3://bucket/{folder.name}",
        f"http://{server.host}/{folder.name}/manifest.safe",
        f"/vsizip/{packed}/{folder.name}",
        f"/vsizip/{packed}/{folder.name}/",
        f"/vsizip/{packed}/{folder.name}/manifest.safe",
    ):
        with pytest.raises(errors.InputError, match=r"local files only; download it first, or .*/vsizip/") as problem:
            compressed(name, tmp_path / "a.sarc")
        assert "5ec2e7" not in str(problem.value)
    with pytest.raises(errors.FormatError, match="cannot be opened"):
        compressed(f"/vsizip/{packed}", tmp_path / "a.sarc")
    assert not (tmp_path / "a.sarc").exists()
    inside = f"{folder.name}/measurement/{safe_product.stem('VV')}.tiff"
    over = compressed(
        f"/vsizip/{{/vsicurl/http://{server.host}/{packed.name}?{SECRET}}}/{inside}", tmp_path / "a.sarc"
    )
    assert over == compressed(server.folder / inside, tmp_path / "b.sarc")


def test_local_paths_stay_out_of_headers(image: Path, tmp_path: Path) -> None:
    """Nor does a driver that keeps names of files bring them in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, driver in (("a.vrt", "VRT"), ("a.img", "ENVI"), ("b.img", "HFA")):
            rasterio.shutil.copy(image, tmp_path / name, driver=driver)
            compressed(tmp_path / name, tmp_path / "a.sarc")
            assert str(tmp_path).encode() not in held(tmp_path / "a.sarc")
    folder = safe_product.make(tmp_path)
    compressed(folder, tmp_path / "a.sarc")
    assert str(tmp_path).encode() not in held(tmp_path / "a.sarc")


@pytest.mark.parametrize(
    ("name", "shown", "stem"),
    [
        ("https://u:p@h/a/s1-vv.tif?x=1&VH", "https://h/a/s1-vv.tif?…", "s1-vv"),
        ("https://u:p@ss@h/x.tif", "https://h/x.tif", "x"),
        ("https://h/a@b/x.tif", "https://h/a@b/x.tif", "x"),
        (
            "/vsizip/{/vsicurl/https://h/a.zip?t/o}/in/x-vv.tif",
            "/vsizip/{/vsicurl/https://h/a.zip?…}/in/x-vv.tif",
            "x-vv",
        ),
        ("/vsizip/vsicurl/https://h/a.zip?t/b.tif", "/vsizip/vsicurl/https://h/a.zip?…", "a"),
        ("/vsicurl?header.A=Bearer x&url=http://h/x.tif", "/vsicurl?…", "vsicurl"),
        ("http:/u:p@h/x.sarc?sig=1", "http:/h/x.sarc?…", "x"),
        ("simplecache::https://u:p@h/x.sarc?sig=1", "simplecache::https://h/x.sarc?…", "x"),
        ("s3://b/k.tif", "s3://b/k.tif", "k"),
    ],
)
def test_what_is_shown_of_a_name(name: str, shown: str, stem: str) -> None:
    assert vsi.is_virtual(name)
    assert (vsi.public(name), vsi.stem(name)) == (shown, stem)


@pytest.mark.parametrize("name", ["a.tif", "/data/a?b@c.tif", "C:/a?b.tif", "C:\\a?b.tif", "a:b", Path("x/a?b.tif")])
def test_local_names_stay_as_they_are(name: str | Path) -> None:
    assert not vsi.is_virtual(name)
    assert vsi.public(name) == str(name)
    assert vsi.public_text("why?x 'http://u:p@h'", name) == "why?x 'http://u:p@h'"


def test_readers_show_public_names(server: serving.Server, image: Path) -> None:
    with geotiff.open_raster(f"http://reader:5ec2e7@{server.host}/bucket/pair.tif?{SECRET}") as raster:
        assert raster.name == f"http://{server.host}/bucket/pair.tif?…"
