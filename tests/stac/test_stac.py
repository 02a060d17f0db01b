"""Items and catalogues of STAC, as a client of it reads them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pystac
import pystac.validation.stac_validator
import pytest
import rasterio
from pystac.extensions import file as file_extension
from pystac.extensions import projection

import safe_product
import sarcodec
import shown
from sarcodec import errors
from sarcodec.stac import catalogue, item

SHAPE = (128, 96)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "my archive"
    folder.mkdir()
    shown.write(folder / "a b.sarc", shown.image(SHAPE), **shown.UTM)
    shown.write(folder / "points.sarc", shown.image(SHAPE, 1), **shown.gcps(SHAPE))
    (folder / "plain.sarc").write_bytes(sarcodec.compress(shown.image(SHAPE, 2), quantity="db", quality=40))
    return folder


def check(record: dict) -> pystac.Item:
    """What the schemas of the core, which come with pystac, say of an item; and that it comes back as it is."""
    found = pystac.Item.from_dict(record, preserve_dict=True)
    validator = pystac.validation.stac_validator.JsonSchemaSTACValidator()
    validator.validate_core(record, pystac.STACObjectType.ITEM, "1.1.0")
    again = found.to_dict(include_self_link=False, transform_hrefs=False)
    assert {key: again[key] for key in record if key != "links"} == {
        key: record[key] for key in record if key != "links"
    }
    return found


def test_an_item_says_what_the_file_is(archive: Path) -> None:
    path = archive / "a b.sarc"
    record = item.item(path)
    found = check(record)
    place = projection.ProjectionExtension.ext(found)
    assert (place.code, place.shape) == ("EPSG:32633", [128, 96])
    assert place.transform == [10, 0, 500000, 0, -10, 5400000]
    asset = found.assets["data"]
    assert asset.href == "./a%20b.sarc" and asset.roles == ["data"]
    said = file_extension.FileExtension.ext(asset)
    assert said.size == path.stat().st_size
    assert said.checksum == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    band = {"data_type": "float32", "unit": "dB", "nodata": "nan"}
    assert record["assets"]["data"]["bands"] == [{"name": "VV"} | band, {"name": "VH"} | band]
    assert record["properties"]["sar:polarizations"] == ["VV", "VH"]
    assert record["properties"]["sarcodec:max_error_db"] == 0.5
    assert record["properties"]["sarcodec:quantity"] == "db"
    assert record["properties"]["sarcodec:bits_per_pixel"] == 8 * path.stat().st_size / (2 * 128 * 96)
    assert "sarcodec:quality" not in record["properties"]


def test_the_geometry_is_the_border_of_the_image(archive: Path) -> None:
    record = item.item(archive / "a b.sarc")
    (ring,) = record["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    x, y = np.array(ring).T
    assert np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0  # counter-clockwise
    corners = [(500000 + c, 5400000 - r) for r in (0, 1280) for c in (0, 960)]
    for lon, lat in zip(
        *rasterio.warp.transform("EPSG:32633", "EPSG:4326", *zip(*corners, strict=True)), strict=True
    ):
        assert np.abs(np.array(ring) - (lon, lat)).max(axis=1).min() < 1e-6
    assert record["bbox"] == [x.min(), y.min(), x.max(), y.max()]


def test_ground_control_points_give_the_place_and_no_projection(archive: Path) -> None:
    record = item.item(archive / "points.sarc")
    check(record)
    assert record["properties"]["proj:code"] is None and "proj:transform" not in record["properties"]
    first = shown.gcps(SHAPE)["gcps"][0]
    ring = np.array(record["geometry"]["coordinates"][0])
    assert np.abs(ring - (first.x, first.y)).max(axis=1).min() < 1e-6  # the spline passes through it


def test_a_file_without_a_place(archive: Path) -> None:
    record = item.item(archive / "plain.sarc")
    check(record)
    assert record["geometry"] is None and "bbox" not in record
    assert record["properties"]["sarcodec:quality"] == pytest.approx(40, abs=0.05)


def test_across_the_date_line_the_geometry_is_cut(tmp_path: Path) -> None:
    east = {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-3, 0, 179.95, 0, -1e-3, 5.0)}
    record = item.item(shown.write(tmp_path / "a.sarc", shown.image(SHAPE), **east))
    check(record)
    assert record["geometry"]["type"] == "MultiPolygon"
    (one,), (other,) = record["geometry"]["coordinates"]
    assert [min(x for x, _ in one), max(x for x, _ in one)] == [179.95, 180]
    assert [min(x for x, _ in other), max(x for x, _ in other)] == pytest.approx([-180, -179.954])
    assert record["bbox"] == pytest.approx([179.95, 4.872, -179.954, 5.0])


def test_a_crs_without_a_code_is_wkt(tmp_path: Path) -> None:
    crs = rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=50 +lon_0=13 +datum=WGS84 +units=m")
    path = shown.write(
        tmp_path / "a.sarc", shown.image(SHAPE), crs=crs, transform=rasterio.Affine(10, 0, 0, 0, -10, 0)
    )
    record = item.item(path)
    check(record)
    assert record["properties"]["proj:code"] is None
    assert rasterio.crs.CRS.from_wkt(record["properties"]["proj:wkt2"]) == crs


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ACQUISITION_DATE": "2020-01-02"}, (None, "2020-01-02T00:00:00Z", "2020-01-02T23:59:59Z")),
        ({"ACQUISITION_DATETIME": "2020-01-02T03:04:05"}, ("2020-01-02T03:04:05Z", None, None)),
        ({"acquisition_datetime": "2020-01-02T03:04:05+02:00"}, ("2020-01-02T01:04:05Z", None, None)),
        ({"ACQUISITION_DATE": "last summer", "TIFFTAG_DATETIME": "2020:01:02 05:00:00"}, None),
    ],
)
def test_when_it_was_taken(tmp_path: Path, write_tif, tags: dict[str, str], expected: tuple | None) -> None:
    tif = write_tif("a.tif", shown.image(SHAPE), tags={"UNITS": "dB"} | tags, nodata=float("nan"), **shown.UTM)
    sarcodec.compress_file(tif, tmp_path / "a.sarc", max_error=0.5)
    record = item.item(tmp_path / "a.sarc")
    check(record)
    found = tuple(record["properties"].get(key) for key in ("datetime", "start_datetime", "end_datetime"))
    if expected is not None:
        assert found == expected
    else:  # not known: from the first image from space to the file
        assert found[:2] == (None, "1978-06-27T00:00:00Z") and found[2] > "2024"


def test_a_product_says_platform_mode_and_time(tmp_path: Path) -> None:
    sarcodec.compress_file(safe_product.make(tmp_path), tmp_path / "p.sarc")
    record = item.item(tmp_path / "p.sarc")
    check(record)
    said = record["properties"]
    assert said["datetime"] == said["start_datetime"] == "2020-01-02T03:14:15Z"
    assert said["end_datetime"] == "2020-01-02T03:14:40Z"
    assert (said["platform"], said["instruments"]) == ("sentinel-1a", ["c-sar"])
    assert (said["sar:instrument_mode"], said["sar:frequency_band"]) == ("IW", "C")
    assert said["sar:product_type"] == "GRD" and said["sar:polarizations"] == ["VV", "VH"]
    west, south, east, north = record["bbox"]
    assert (west, north) == pytest.approx((15.0, 42.0), abs=1e-6) and east > west and south < north


def test_a_client_reads_a_catalogue(archive: Path) -> None:
    begun = []
    written = catalogue.write(archive, begin=begun.append)
    assert (written.path, written.items, written.faults) == (archive / "stac" / "catalog.json", 3, [])
    assert [path.name for path in begun] == ["a b.sarc", "plain.sarc", "points.sarc"]
    found = pystac.Catalog.from_file(written.path)
    items = {one.id: one for one in found.get_items()}
    assert items.keys() == {"a b", "plain", "points"}
    for name, one in items.items():
        path = Path(one.assets["data"].get_absolute_href().replace("%20", " "))
        assert path.resolve() == (archive / f"{name}.sarc").resolve()
        assert one.get_root().id == one.get_parent().id == "my archive"
    for place in written.path.parent.iterdir():
        assert str(archive.parent) not in place.read_text()  # it may be moved, with the archive
    with pytest.raises(errors.InputError, match="exists already"):
        catalogue.write(archive)
    assert catalogue.write(archive, overwrite=True).items == 3


def test_a_catalogue_elsewhere_leads_back(archive: Path, tmp_path: Path) -> None:
    written = catalogue.write(archive, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "plain.json").read_text())
    assert not record["assets"]["data"]["href"].startswith("/")
    href = (written.path.parent / record["assets"]["data"]["href"].replace("%20", " ")).resolve()
    assert href == (archive / "plain.sarc").resolve()


def test_a_damaged_file_is_named_and_left_out(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "good.sarc").write_bytes((archive / "plain.sarc").read_bytes())
    (tmp_path / "bad.sarc").write_bytes(b"nothing")
    written = catalogue.write(tmp_path)
    assert written.items == 1 and len(written.faults) == 1 and "bad.sarc" in written.faults[0]
    (tmp_path / "good.sarc").unlink()
    with pytest.raises(errors.InputError, match=r"none of the files .* can be described"):
        catalogue.write(tmp_path, overwrite=True)
    assert pystac.Catalog.from_file(tmp_path / "stac" / "catalog.json")  # what was there still is


def test_schemas_are_looked_at(archive: Path) -> None:
    record = item.item(archive / "plain.sarc")
    record["properties"]["start_datetime"] = "some day"
    validator = pystac.validation.stac_validator.JsonSchemaSTACValidator()
    with pytest.raises(pystac.errors.STACValidationError):
        validator.validate_core(record, pystac.STACObjectType.ITEM, "1.1.0")
