"""Where pixels lie, and where they do not."""

import numpy as np
import pytest
import rasterio.warp

import shown
from sarcodec.raster import info, locator

ROWS, COLUMNS = np.array([0.0, 250.5, 499.0]), np.array([0.0, 10.25, 399.0])


def raster(**place: object) -> info.RasterInfo:
    return info.RasterInfo(1, 500, 400, "float32", **place)


def points(shape: tuple[int, int] = (500, 400), turn: float = 0.0) -> tuple[tuple[float | str, ...], ...]:
    found = shown.gcps(shape)["gcps"]
    return tuple((p.row, p.col, (p.x + turn + 180) % 360 - 180, p.y, p.z, "", "") for p in found)


def test_there_and_back() -> None:
    utm = raster(crs="EPSG:32633", transform=(10.0, 1.0, 500000.0, 2.0, -10.0, 5400000.0))
    for about in (utm, raster(gcps=points(), gcp_crs="EPSG:4326")):
        place = locator.of(about)
        rows, columns = place.pixels(*place.lonlat(ROWS, COLUMNS))
        np.testing.assert_allclose((rows, columns), (ROWS, COLUMNS), atol=2e-2)


def test_places_are_those_of_the_transform() -> None:
    place = locator.of(raster(crs="EPSG:32633", transform=(10.0, 0.0, 500000.0, 0.0, -20.0, 5400000.0)))
    x, y = 500000 + 10 * COLUMNS, 5400000 - 20 * ROWS
    expected = rasterio.warp.transform("EPSG:32633", "EPSG:4326", x, y)
    np.testing.assert_allclose(place.lonlat(ROWS, COLUMNS), expected)


def test_ground_control_points_lie_where_they_say() -> None:
    place = locator.of(raster(gcps=points(), gcp_crs="EPSG:4326"))
    given = shown.gcps((500, 400))["gcps"]
    lon, lat = place.lonlat(np.array([p.row for p in given]), np.array([p.col for p in given]))
    np.testing.assert_allclose(lon, [p.x for p in given], atol=1e-9)
    np.testing.assert_allclose(lat, [p.y for p in given], atol=1e-9)


def test_points_across_the_date_line_are_one_image() -> None:
    place = locator.of(raster(gcps=points(turn=164.98), gcp_crs="EPSG:4326"))
    west, _, east, _ = place.bounds
    assert west < 180 < east < 181
    rows, columns = place.pixels(np.array([-179.99, 180.01]), np.array([41.98, 41.98]))
    assert rows[0] == pytest.approx(rows[1]) and columns[0] == pytest.approx(columns[1])


def test_far_away_there_is_no_pixel() -> None:
    place = locator.of(raster(crs="EPSG:32633", transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5400000.0)))
    rows, columns = place.pixels(np.array([15.02, 105.0, -170.0, np.nan]), np.array([48.73, 0.0, 89.9, 48.0]))
    assert np.isfinite(rows).tolist() == np.isfinite(columns).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"crs": "EPSG:32633"},
        {"transform": (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)},
        {"crs": "EPSG:32633", "transform": (0.0, 0.0, 5e5, 0.0, -10.0, 5e6)},
        {"crs": "EPSG:32633", "transform": (float("nan"), 0.0, 5e5, 0.0, -10.0, 5e6)},
        {"crs": "EPSG:32633", "transform": (10.0, 0.0, 5e12, 0.0, -10.0, 5e6)},
        {"crs": 'LOCAL_CS["site",UNIT["metre",1]]', "transform": (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)},
        {"gcps": points()[:2], "gcp_crs": "EPSG:4326"},
        {"gcps": points()[:6], "gcp_crs": "EPSG:4326"},  # in a line
        {"gcps": points()},
    ],
)
def test_what_lies_nowhere(place: dict[str, object]) -> None:
    assert locator.of(raster(**place)) is None
