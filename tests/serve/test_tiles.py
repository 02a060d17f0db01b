"""Tiles lie where GDAL puts the image, and hold its pixels."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp

import sarcodec
import shown
from sarcodec import errors
from sarcodec.raster import info, locator, source
from sarcodec.serve import tiles

SHAPE = (420, 600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    shown.write(folder / "utm.sarc", shown.image(SHAPE), **shown.UTM)
    shown.write(folder / "gcps.sarc", shown.image(SHAPE, 3), **shown.gcps(SHAPE))
    east = {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-4, 0, 179.97, 0, -1e-4, 5.02)}
    shown.write(folder / "date_line.sarc", shown.image(SHAPE, 4), **east)
    return folder


def tile_at(lon: float, lat: float, zoom: int) -> tiles.Address:
    x, y = tiles.world(np.array(lon), np.array(lat))
    return tiles.Address(zoom, int(x * 2**zoom), int(y * 2**zoom))


def by_gdal(values: np.ndarray, tile: tiles.Address, dataset: rasterio.DatasetReader) -> np.ndarray:
    """The tile as rasterio warps it, of an image that lies where a dataset does."""
    west, south, east, north = tile.bounds_m
    if dataset.gcps[0]:
        lies = {"gcps": dataset.gcps[0], "src_crs": dataset.gcps[1], "SRC_METHOD": "GCP_TPS"}
    else:
        lies = {"src_transform": dataset.transform, "src_crs": dataset.crs}
    found, _ = rasterio.warp.reproject(
        values.astype(np.float32),
        np.full((256, 256), np.nan, np.float32),
        dst_transform=rasterio.Affine((east - west) / 256, 0, west, 0, (south - north) / 256, north),
        dst_crs="EPSG:3857",
        src_nodata=float("nan"),
        dst_nodata=float("nan"),
        **lies,
    )
    return found


@pytest.mark.parametrize("name", ["utm", "gcps"])
@pytest.mark.parametrize("zoom", [9, 12, 13, 14, 15])
def test_tiles_of_the_map_lie_where_gdal_warps_them(folder: Path, name: str, zoom: int) -> None:
    """GDAL approximates to an eighth of a pixel; what differs is beside the border of two pixels."""
    with source.open(folder / f"{name}.tif") as raster:
        place = locator.of(raster.info)
    west, south, east, north = place.bounds
    tile = tile_at((west + east) / 2, (south + north) / 2, zoom)
    places = tiles.Map(place).places(tile)
    with rasterio.open(folder / f"{name}.tif") as dataset:
        rows, columns = (by_gdal(index, tile, dataset) for index in np.indices(SHAPE))
    inside = np.isfinite(places.rows)
    assert inside.any() and (inside != np.isfinite(rows)).mean() < 0.01
    both = inside & np.isfinite(rows)
    for ours, theirs in ((places.rows, rows), (places.columns, columns)):
        assert np.abs(ours - 0.5 - theirs)[both].max() < 0.5 + 0.35 * max(1, 2 ** (tiles.Map(place).zoom - zoom))
        assert (np.floor(ours) == theirs)[both].mean() > 0.75
    with shown.served(folder / f"{name}.sarc") as client, sarcodec.open(folder / f"{name}.sarc") as file:
        found = np.load(io.BytesIO(client.get(f"/{name}.sarc/{tile.z}/{tile.x}/{tile.y}.npy?band=VV")))
        level = file.read("VV", reduce=places.reduce)
    ours_rows, ours_columns = ((p[inside].astype(int) >> places.reduce) for p in (places.rows, places.columns))
    np.testing.assert_array_equal(found[inside], level[ours_rows, ours_columns])
    assert np.isnan(found[~inside]).all()


def test_tiles_of_pixels_are_the_pixels(folder: Path) -> None:
    with shown.served(folder / "utm.sarc") as client, sarcodec.open(folder / "utm.sarc") as file:
        about = client.json("/utm.sarc/info")
        assert about["pixel_zoom"] == 2
        tile = np.load(io.BytesIO(client.get("/utm.sarc/pixels/2/2/1.npy?band=2")))
        np.testing.assert_array_equal(tile[: 420 - 256, : 600 - 512], file.read("VH", ((256, 420), (512, 600))))
        assert np.isnan(tile[420 - 256 :]).all() and np.isnan(tile[:, 600 - 512 :]).all()
        half = np.load(io.BytesIO(client.get("/utm.sarc/pixels/1/0/0.npy")))
        np.testing.assert_array_equal(half[:210], file.read("VV", reduce=1)[:, :256])


def test_a_tile_as_geotiff(folder: Path, tmp_path: Path) -> None:
    with shown.served(folder / "utm.sarc") as client:
        west, south, east, north = client.json("/utm.sarc/info")["bounds"]
        tile = tile_at((west + east) / 2, (south + north) / 2, 14)
        address = f"/utm.sarc/{tile.z}/{tile.x}/{tile.y}"
        (tmp_path / "tile.tif").write_bytes(client.get(f"{address}.tif"))
        values = np.load(io.BytesIO(client.get(f"{address}.npy")))
        (tmp_path / "pixels.tif").write_bytes(client.get("/utm.sarc/pixels/1/0/0.tif"))
    with rasterio.open(tmp_path / "tile.tif") as dataset:
        assert dataset.crs == "EPSG:3857" and dataset.dtypes == ("float32",) and math.isnan(dataset.nodata)
        assert dataset.bounds == pytest.approx(tile.bounds_m)
        np.testing.assert_array_equal(dataset.read(1), values)
    with rasterio.open(tmp_path / "pixels.tif") as dataset:
        assert dataset.crs is None and dataset.transform[:6] == (2, 0, 0, 0, -2, 0)


def test_an_image_across_the_date_line_is_on_both_sides(folder: Path) -> None:
    with shown.served(folder / "date_line.sarc") as client, sarcodec.open(folder / "date_line.sarc") as file:
        for lon, column in ((179.99, 200), (-179.99, 400)):
            found = client.json(f"/date_line.sarc/value?lon={lon + 5e-5}&lat=5.00005")
            assert (found["row"], found["column"]) == (199, column)
            pixel = file.read("VV", ((199, 200), (column, column + 1)))[0, 0]
            assert found["bands"]["VV"] == {"value": pytest.approx(pixel), "db": pytest.approx(pixel)}
            tile = tile_at(lon, 5.0, 13)
            values = np.load(io.BytesIO(client.get(f"/date_line.sarc/{tile.z}/{tile.x}/{tile.y}.npy")))
            assert np.isfinite(values).mean() > 0.2


def test_interpolated_places_are_the_exact_ones(folder: Path) -> None:
    """A tile of a whole continent is warped as exactly as a small one."""
    wide = info.RasterInfo(
        1, 4000, 4000, "float32", crs="EPSG:3035", transform=(1000.0, 0.0, 2.5e6, 0.0, -1000.0, 5.4e6)
    )
    place = locator.of(wide)
    assert place is not None
    shown_map = tiles.Map(place)
    for zoom in (3, 5, 8):
        tile = tile_at(12.0, 48.0, zoom)
        places = shown_map.places(tile)
        points = (np.arange(256) + 0.5) / 256
        lon, lat = tiles.lonlat(*np.meshgrid((tile.x + points) / 2**zoom, (tile.y + points) / 2**zoom))
        x, y = rasterio.warp.transform("EPSG:4326", "EPSG:3035", lon.ravel(), lat.ravel())
        columns, rows = (np.reshape(x, lon.shape) - 2.5e6) / 1000, (5.4e6 - np.reshape(y, lat.shape)) / 1000
        inside = np.isfinite(places.rows)
        allowed = 0.2 * 2.0 ** (shown_map.zoom - zoom)
        assert inside.mean() > 0.1
        assert np.abs(places.rows - rows)[inside].max() < allowed
        assert np.abs(places.columns - columns)[inside].max() < allowed


@pytest.mark.parametrize("tile", [(0, 1, 0), (25, 0, 0), (3, 0, 8)])
def test_no_such_tile_of_a_map(tile: tuple[int, int, int]) -> None:
    with pytest.raises(errors.InputError, match="tile: got"):
        tiles.Address(*tile).check()
