"""Descriptions of products in headers, and the paths of their files: none leads out of the target folder."""

import pytest

from sarcodec import errors
from sarcodec.container import product

GOOD = ["manifest.safe", "annotation/calibration/noise-s1a.xml", "a b/ü.pdf", "..a/b..c", "X.SAFE-report.pdf"]
BAD = [
    "",
    "/etc/passwd",
    "../escape",
    "a/../../escape",
    "a/./b",
    ".",
    "a//b",
    "a/",
    "a\\..\\b",
    "C:/windows",
    "C:evil",
    "file:stream",
    "a/.. /b",
    "a/.../b",
    "nul\x00",
    "line\nbreak",
    "con*",
]


@pytest.mark.parametrize("path", GOOD)
def test_plain_paths(path: str) -> None:
    product.check_path(path)


@pytest.mark.parametrize("path", BAD)
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(errors.FormatError, match=r"path .* is refused"):
        product.check_path(path)


def described(*paths: str, name: str = "X.SAFE") -> product.Product:
    return product.Product(name, tuple(product.Measurement(path, {"nodata": None}) for path in paths))


def test_round_trip() -> None:
    found = described("measurement/a.tiff", "measurement/b.tiff")
    assert product.Product.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"name": "X.SAFE"},
        {"name": "X.SAFE", "measurements": 3},
        {"name": "X.SAFE", "measurements": [["a.tiff"]]},
        {"name": "X.SAFE", "measurements": [["a.tiff", 7]]},
        {"name": "X.SAFE", "measurements": [["../a.tiff", {}]]},
        {"name": "../X.SAFE", "measurements": [["a.tiff", {}]]},
        {"name": "a/X.SAFE", "measurements": [["a.tiff", {}]]},
    ],
)
def test_malformed(record: dict[str, object]) -> None:
    with pytest.raises(errors.FormatError, match="product"):
        product.Product.from_dict(record)


def test_files_fit_their_product() -> None:
    files = {"manifest.safe": 10, "a/b.xml": 20}
    product.check_files(described("m/a.tiff"), files, 1)
    product.check_files(None, {}, 1)
    for found, held, bands, message in (
        (None, files, 1, "of a product that its header lacks"),
        (described("m/a.tiff"), files, 2, "1 measurements for 2 bands"),
        (described("a/b.xml"), files, 1, "two files"),
        (described("A/B.xml"), files, 1, "two files"),
        (described("a/b.xml/c.tiff"), files, 1, "both a file and a folder"),
        (described("m/a.tiff"), {"../x": 1}, 1, "refused"),
        (described("m/a.tiff"), {"x": product.MAX_FILE_BYTES + 1}, 1, "has 67,108,865 bytes"),
        (described("m/a.tiff"), dict.fromkeys("abcde", product.MAX_FILE_BYTES), 1, "allowed are"),
        (described("m/a.tiff"), dict.fromkeys(map(str, range(5000)), 0), 1, "allowed are"),
    ):
        with pytest.raises(errors.FormatError, match=message):
            product.check_files(found, held, bands)
