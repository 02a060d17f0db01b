"""SAFE products in and out: every other file byte for byte, measurements within the error, and bad products."""

import hashlib
import io as io_bytes
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import safe_product
import tiny
from sarcodec import errors, tiling
from sarcodec.codec import codec, encoding
from sarcodec.container import archive as container_archive
from sarcodec.container import header as container_header
from sarcodec.container import product
from sarcodec.container.product import Measurement, Product
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.raster import geotiff, manifest, product_files, safe, sigma0
from sarcodec.raster import source as raster_source
from sarcodec.scene import decision, model_store, rate_control
from sarcodec.scene import files as scene_files
from sarcodec.scene.output import Output

MAX_ERROR_DB = 0.5
CODER = codec.Codec(nearlossless_engine.BoundedEngine(MAX_ERROR_DB - 0.1))  # rounding to DN may add to it
TILES = encoding.Options(tile=64)


def compress(
    source: Path, target: Path, polarisation: str | None = None, *, accept_loss: bool = False
) -> decision.Size:
    with raster_source.open(source, polarisation) as raster:
        return scene_files.compress_file(raster, target, CODER, options=TILES, accept_loss=accept_loss)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product's folder, beside it its zip file; not to be changed."""
    folder = safe_product.make(tmp_path_factory.mktemp("made"))
    safe_product.pack(folder)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A product's folder that may be changed."""
    return Path(shutil.copytree(made, tmp_path / "in" / made.name))


@pytest.fixture(scope="module")
def packed(made: Path) -> Path:
    """A .sarc file of the product."""
    target = made.parent / "scene.sarc"
    compress(made, target)
    return target


def check_measurement(before: Path, after: Path, pol: str) -> None:
    """DN within the error, 0 exactly where it was 0, and all that the source's TIFF says of itself."""
    dn, restored = safe_product.read(before, pol), safe_product.read(after, pol)
    np.testing.assert_array_equal(restored == 0, dn == 0)
    valid = dn > 0
    assert 0 < (~valid).sum() < valid.sum()
    error = 20 * np.abs(np.log10(restored[valid] / dn[valid]))
    assert 0 < error.max() <= MAX_ERROR_DB
    path = f"measurement/{safe_product.stem(pol)}.tiff"
    with geotiff.open_raster(before / path) as one, geotiff.open_raster(after / path) as other:
        assert one.info == other.info
        assert len(one.info.gcps) == 12 and one.info.tags["TIFFTAG_IMAGEDESCRIPTION"].endswith(pol)
        assert one.info.nodata is None


@pytest.mark.parametrize("kind", ["folder", "manifest", "zip"])
def test_round_trip(made: Path, tmp_path: Path, kind: str) -> None:
    place = {"folder": made, "manifest": made / "manifest.safe", "zip": made.parent / f"{made.name}.zip"}[kind]
    size = compress(place, tmp_path / "a.sarc")
    assert (size.bands, size.height, size.width) == (2, *safe_product.SHAPE)
    target = tmp_path / "restored.SAFE"
    scene_files.decompress_file(tmp_path / "a.sarc", target)
    assert safe_product.contents(target) == safe_product.contents(made)
    assert sorted(p.name for p in (target / "measurement").iterdir()) == [
        f"{safe_product.stem(pol)}.tiff" for pol in ("VH", "VV")
    ]
    for pol in ("VV", "VH"):
        check_measurement(made, target, pol)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sarc", "restored.SAFE"]


def test_folder_and_zip_make_the_same_file(made: Path, packed: Path, tmp_path: Path) -> None:
    compress(made.parent / f"{made.name}.zip", tmp_path / "a.sarc")
    assert (tmp_path / "a.sarc").read_bytes() == packed.read_bytes()


def test_restored_zip(made: Path, packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "restored.SAFE.zip"
    scene_files.decompress_file(packed, target)
    assert list(tmp_path.iterdir()) == [target]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    assert safe_product.contents(tmp_path / made.name) == safe_product.contents(made)
    check_measurement(made, tmp_path / made.name, "VH")
    with pytest.raises(errors.FormatError, match=r"\.tiff has not the checksum .* restored since.*--accept-loss"):
        compress(target, tmp_path / "again.sarc")
    assert compress(target, tmp_path / "again.sarc", accept_loss=True).bands == 2  # what came out goes in again


def test_one_polarisation(made: Path, tmp_path: Path) -> None:
    compress(made, tmp_path / "vh.sarc", "vh")
    scene_files.decompress_file(tmp_path / "vh.sarc", tmp_path / "vh.SAFE")
    assert safe_product.contents(tmp_path / "vh.SAFE") == safe_product.contents(made)
    assert [p.stem for p in (tmp_path / "vh.SAFE" / "measurement").iterdir()] == [safe_product.stem("VH")]
    check_measurement(made, tmp_path / "vh.SAFE", "VH")


def test_restored_products_open_in_gdal_as_their_source_does(made: Path, packed: Path, tmp_path: Path) -> None:
    scene_files.decompress_file(packed, tmp_path / "b.SAFE")
    compress(made, tmp_path / "vv.sarc", "VV")
    scene_files.decompress_file(tmp_path / "vv.sarc", tmp_path / "vv.SAFE")

    def opened(folder: Path) -> rasterio.DatasetReader:
        return rasterio.open(folder / "manifest.safe")

    with opened(made) as one, opened(tmp_path / "b.SAFE") as other, opened(tmp_path / "vv.SAFE") as single:
        assert one.driver == other.driver == "SAFE"
        assert (one.count, single.count) == (2, 1)
        assert one.profile == other.profile and one.tags() == other.tags()
        assert [str(p) for p in one.gcps[0]] == [str(p) for p in other.gcps[0]]
        names = [
            [s.replace(str(f), "") for s in d.subdatasets] for d, f in ((one, made), (other, tmp_path / "b.SAFE"))
        ]
        assert names[0] == names[1] and len(names[0]) == 3
        subdatasets = [name for name in other.subdatasets if "IW_V" in name]
    for name in subdatasets:
        with rasterio.open(name) as dataset:
            pol = "VV" if "IW_VV" in name else "VH"
            np.testing.assert_array_equal(dataset.read(1), safe_product.read(tmp_path / "b.SAFE", pol))


def test_a_geotiff_of_all_bands(made: Path, packed: Path, tmp_path: Path) -> None:
    scene_files.decompress_file(packed, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert (dataset.descriptions, dataset.nodata, dataset.dtypes) == (("VV", "VH"), 0, ("uint16", "uint16"))
        assert len(dataset.gcps[0]) == 12
        pixels = dataset.read()
    for band, pol in enumerate(("VV", "VH")):
        np.testing.assert_array_equal(pixels[band] == 0, safe_product.dn(pol) == 0)


def test_sigma0_after_restoring_is_that_before_within_the_error(made: Path, packed: Path, tmp_path: Path) -> None:
    """The table multiplies: the error in dB of DN is that of sigma0, and the calibration annotation is the same."""
    target = tmp_path / "restored.SAFE"
    scene_files.decompress_file(packed, target)
    for pol in ("VV", "VH"):
        before, after = (
            sigma0.calibrate(safe_product.read(folder, pol), safe.calibration(folder, pol))
            for folder in (made, target)
        )
        valid = before > 0
        np.testing.assert_array_equal(after > 0, valid)
        error = 10 * np.log10(after[valid] / before[valid])
        dn_error = 20 * np.log10(safe_product.read(target, pol)[valid] / safe_product.read(made, pol)[valid])
        np.testing.assert_allclose(error, dn_error, atol=1e-9)
        assert 0 < np.abs(error).max() <= MAX_ERROR_DB


def test_the_default_codec_and_a_goal(made: Path, tmp_path: Path) -> None:
    """The lapped codec, and a goal, for which a file is written several times: all files are in it once."""
    model = tmp_path / "tiny.ckpt"
    model.write_bytes(tiny.lapped_bytes())
    goal = rate_control.Goal.rmse(1.5)
    scene_files.compress_file(made, tmp_path / "a.sarc", tiny.lapped_codec(), goal=goal)
    scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.SAFE", model=model)
    assert safe_product.contents(tmp_path / "b.SAFE") == safe_product.contents(made)
    squares = []
    for pol in ("VV", "VH"):
        dn, restored = safe_product.read(made, pol), safe_product.read(tmp_path / "b.SAFE", pol)
        np.testing.assert_array_equal(restored == 0, dn == 0)
        squares.append((20 * np.log10(restored[dn > 0] / dn[dn > 0])) ** 2)
    assert np.sqrt(np.mean(np.concatenate(squares))) == pytest.approx(1.5, rel=0.007)


def test_rendered_speckle_is_named_in_every_measurement(made: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.ckpt"
    model.write_bytes(tiny.lapped_bytes())
    scene_files.compress_file(
        made, tmp_path / "a.sarc", tiny.lapped_codec(), options=encoding.Options(2048, speckle=True)
    )
    scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.SAFE", model=model, output=Output(speckle=True))
    for pol in ("VV", "VH"):
        with rasterio.open(tmp_path / "b.SAFE" / f"measurement/{safe_product.stem(pol)}.tiff") as dataset:
            assert dataset.tags()["SARCODEC_SPECKLE"] == "rendered, not measured"


def test_bytes_by_purpose(packed: Path, made: Path) -> None:
    with container_archive.Reader(packed) as reader:
        sizes, header = reader.sizes(), reader.header
        assert reader.product_files().keys() == safe_product.contents(made).keys()
    assert sizes["total"] == packed.stat().st_size == sum(v for k, v in sizes.items() if k != "total")
    assert 500 < sizes["product"] < sum(map(len, safe_product.contents(made).values()))
    assert header.product is not None and header.product.name == safe_product.NAME
    assert header.version == 2
    with zipfile.ZipFile(packed) as archive:  # any tool gets at them
        assert archive.read("product/manifest.safe") == (made / "manifest.safe").read_bytes()


def test_measurement_tiff_of_a_product_is_an_ordinary_raster(made: Path, tmp_path: Path) -> None:
    path = made / f"measurement/{safe_product.stem('VV')}.tiff"
    compress(path, tmp_path / "a.sarc")
    compress(path, tmp_path / "b.sarc", "VV")
    inside = f"/vsizip/{made.parent}/{made.name}.zip/{made.name}/measurement/{path.name}"
    scene_files.compress_file(inside, tmp_path / "c.sarc", CODER, options=TILES)
    assert len({(tmp_path / name).read_bytes() for name in ("a.sarc", "b.sarc", "c.sarc")}) == 1
    with container_archive.Reader(tmp_path / "a.sarc") as reader:
        assert reader.header.product is None and reader.header.quantity == "dn"
    with pytest.raises(errors.InputError, match=r"polarisation: got VH; .*no SAFE folder"):
        compress(path, tmp_path / "d.sarc", "VH")


def test_existing_products_are_kept(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.SAFE"
    scene_files.decompress_file(packed, target)
    (target / "note.txt").write_text("mine")
    with pytest.raises(errors.InputError, match=r"b\.SAFE: exists already.*--overwrite"):
        scene_files.decompress_file(packed, target)
    assert (target / "note.txt").exists()
    scene_files.decompress_file(packed, target, overwrite=True)
    assert not (target / "note.txt").exists() and (target / "manifest.safe").exists()
    (target / "manifest.safe").unlink()
    with pytest.raises(errors.InputError, match=r"without manifest\.safe"):
        scene_files.decompress_file(packed, target, overwrite=True)
    (tmp_path / "file.SAFE").write_text("mine")
    with pytest.raises(errors.InputError, match="is a file"):
        scene_files.decompress_file(packed, tmp_path / "file.SAFE", overwrite=True)
    with pytest.raises(errors.InputError, match="create it first"):
        scene_files.decompress_file(packed, tmp_path / "nowhere" / "b.SAFE")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.SAFE", "file.SAFE"]


def remove(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))

    return change


def measurement(pixels: np.ndarray) -> Callable[[Path], None]:
    path = f"measurement/{safe_product.stem('VH')}.tiff"
    return lambda folder: safe_product.write_measurement(folder / path, "VH", pixels)


def cut(path: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: int(share * len(data))])

    return change


def without_measurements(folder: Path) -> None:
    shutil.rmtree(folder / "measurement")


def twice_vv(folder: Path) -> None:
    replace(f"annotation/{safe_product.stem('VH')}.xml", ">VH<", ">VV<")(folder)


def large(folder: Path) -> None:
    with (folder / "support/large.bin").open("wb") as stream:
        stream.truncate(product.MAX_FILE_BYTES + 1)


VV, VH = (f"{safe_product.stem(pol)}" for pol in ("VV", "VH"))
BAD_PRODUCTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (remove("manifest.safe"), r"has no manifest\.safe|holds no manifest\.safe"),
    "manifest cut off": (cut("manifest.safe", 0.9), r"manifest\.safe: is not valid XML"),
    "no measurements": (without_measurements, "none of the 2 measurement TIFFs"),
    "no annotation": (remove(f"annotation/{VH}.xml"), rf"annotation/{VH}\.xml is missing"),
    "annotation cut off": (cut(f"annotation/{VH}.xml", 0.5), rf"{VH}\.xml: is not valid XML, or truncated"),
    "annotation with entities": (
        replace(f"annotation/{VV}.xml", "<product>", "<!DOCTYPE product><product>"),
        "declares a document type",
    ),
    "no size": (replace(f"annotation/{VV}.xml", "numberOfLines", "lines"), "has no imageAnnotation.*numberOfLines"),
    "absurd size": (replace(f"annotation/{VV}.xml", "<numberOfLines>1", "<numberOfLines>-1"), "'-150'"),
    "other size": (measurement(safe_product.dn("VH", (150, 190))), "150×190 pixels; its annotation says 150×200"),
    "other dtype": (measurement(safe_product.dn("VH").astype(np.float32)), "1 bands of float32, not one of uint16"),
    "paths that escape": (replace("manifest.safe", "./measurement/", "../../measurement/"), r"'\.\./\.\./.*refused"),
    "complex": (twice_vv, "several measurements of a polarisation.*GRD"),
    "truncated TIFF": (cut(f"measurement/{VH}.tiff", 0.6), "has not the checksum that manifest.safe says"),
    "TIFF without a head": (cut(f"measurement/{VH}.tiff", 0.0001), "cannot be opened"),
    "large file": (large, r"support/large\.bin has 67,108,865 bytes"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", BAD_PRODUCTS)
def test_bad_products(source: Path, tmp_path: Path, name: str, zipped: bool) -> None:
    change, message = BAD_PRODUCTS[name]
    change(source)
    place = safe_product.pack(source) if zipped else source
    with pytest.raises(errors.FormatError, match=message):
        compress(place, tmp_path / "a.sarc")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("path", [f"measurement/{VH}.tiff", f"annotation/calibration/noise-{VV}.xml"])
def test_a_flipped_bit_is_told_by_the_manifest(source: Path, tmp_path: Path, path: str) -> None:
    """GDAL reads a TIFF with a flipped bit without a word, and noise vectors are not read at all."""
    data = bytearray((source / path).read_bytes())
    data[-3] ^= 4
    (source / path).write_bytes(data)
    with pytest.raises(errors.FormatError, match=f"{path} has not the checksum .*get the product again"):
        compress(source, tmp_path / "a.sarc")
    assert not (tmp_path / "a.sarc").exists()
    assert compress(source, tmp_path / "a.sarc", accept_loss=True).bands == 2
    if "tiff" in path:
        assert compress(source, tmp_path / "b.sarc", "VV").bands == 1  # the other polarisation is whole


@pytest.mark.parametrize(("name", "told"), [("SHA3-256", True), ("SHA-256", True), ("CRC-9000", False)])
def test_other_checksums(source: Path, tmp_path: Path, name: str, told: bool) -> None:
    """Known ones are held to; of others nothing can be told, which a zip file's own checksums make up for."""
    replace("manifest.safe", 'checksumName="MD5"', f'checksumName="{name}"')(source)
    if told:
        with pytest.raises(errors.FormatError, match="has not the checksum"):
            compress(source, tmp_path / "a.sarc")
    else:
        assert compress(source, tmp_path / "a.sarc").bands == 2
    entry = manifest.entries((source / "manifest.safe").read_bytes())[0]
    data = (source / entry.path).read_bytes()
    sound = manifest.Entry(entry.path, entry.kind, "SHA3256", hashlib.sha3_256(data).hexdigest())
    assert sound.holds(io_bytes.BytesIO(data)) and not sound.holds(io_bytes.BytesIO(data[1:]))


def test_a_flipped_bit_in_the_name_of_a_file_in_a_zip(made: Path, tmp_path: Path) -> None:
    """By its damaged name a file would lie beside the product; a file that does lie there is left out."""
    place = tmp_path / "a.zip"
    shutil.copy(made.parent / f"{made.name}.zip", place)
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("__MACOSX/readme", b"of another")
    compress(place, tmp_path / "a.sarc")
    data = bytearray(place.read_bytes())
    data[data.rindex(f"{made.name}/annotation/calibration/noise".encode()) + 3] ^= 1
    place.write_bytes(data)
    with pytest.raises(errors.FormatError, match=r"cannot be opened, or is truncated \(File name in directory"):
        compress(place, tmp_path / "b.sarc")
    place.write_bytes(bytes(data).replace(b"__MACOSX/readme", bytes(15)))  # up to the first zero
    with pytest.raises(errors.FormatError, match=r"a\.zip: holds a file without a name"):
        compress(place, tmp_path / "b.sarc")


def test_a_flipped_bit_of_a_measurement_in_a_zip(made: Path, source: Path, tmp_path: Path) -> None:
    """Also where the manifest has no checksum."""
    replace("manifest.safe", 'checksumName="MD5"', 'checksumName="none"')(source)
    place = safe_product.pack(source)
    with zipfile.ZipFile(place) as archive:
        entry = archive.getinfo(f"{made.name}/measurement/{VH}.tiff")
    data = bytearray(place.read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    place.write_bytes(data)
    with pytest.raises(errors.FormatError, match=rf"measurement/{VH}\.tiff is damaged"):
        compress(place, tmp_path / "a.sarc")


def test_missing_polarisations(made: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match=r"polarisation: got HH; .* measurements of VV and VH"):
        compress(made, tmp_path / "a.sarc", "HH")
    (source / f"measurement/{VH}.tiff").unlink()
    with pytest.raises(errors.InputError, match=r"polarisation: got VH; .* measurements of VV$"):
        compress(source, tmp_path / "a.sarc", "VH")
    with pytest.raises(errors.InputError, match=r"polarisation: got VH"):
        safe.calibration(source, "VH")
    with pytest.raises(errors.FormatError, match=rf"{VH}\.tiff is missing, though .*one polarisation"):
        compress(source, tmp_path / "a.sarc")
    assert not (tmp_path / "a.sarc").exists()
    assert compress(source, tmp_path / "a.sarc", "VV").bands == 1
    (source / f"annotation/{VH}.xml").unlink()  # nothing of VH: a product cut down to VV
    assert compress(source, tmp_path / "b.sarc").bands == 1


def test_sizes_that_differ_between_polarisations(source: Path, tmp_path: Path) -> None:
    measurement(safe_product.dn("VH", (150, 190)))(source)
    (source / f"annotation/{VH}.xml").write_text(safe_product.annotation("VH", (150, 190)))
    with pytest.raises(errors.FormatError, match="differ in size; pass one"):
        compress(source, tmp_path / "a.sarc")
    assert compress(source, tmp_path / "a.sarc", "VH", accept_loss=True).width == 190


def test_every_truncation_of_a_zip_is_refused(made: Path, tmp_path: Path) -> None:
    data = (made.parent / f"{made.name}.zip").read_bytes()
    place = tmp_path / "a.zip"
    for share in (0.0, 0.001, 0.3, 0.9, 0.9999):
        place.write_bytes(data[: int(share * len(data))])
        with pytest.raises(errors.FormatError, match=r"product .*(truncated|no manifest)"):
            compress(place, tmp_path / "a.sarc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_damaged_bytes_in_a_zip(made: Path, tmp_path: Path) -> None:
    """One flipped byte in a file that is kept: found by its checksum."""
    data = bytearray((made.parent / f"{made.name}.zip").read_bytes())
    with zipfile.ZipFile(made.parent / f"{made.name}.zip") as archive:
        entry = archive.getinfo(f"{made.name}/preview/icons/logo.png")
    data[entry.header_offset + 30 + len(entry.filename) + 100] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(errors.FormatError, match=r"logo\.png is damaged"):
        compress(tmp_path / "a.zip", tmp_path / "a.sarc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_zips_of_none_or_two_products(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("A.SAFE", "B.SAFE"):
            archive.write(made / "manifest.safe", f"{name}/manifest.safe")
    with pytest.raises(errors.FormatError, match="holds 2 products"):
        compress(tmp_path / "two.zip", tmp_path / "a.sarc")
    with pytest.raises(errors.FormatError, match="no such file"):
        compress(tmp_path / "none.zip", tmp_path / "a.sarc")
    with pytest.raises(errors.FormatError, match=r"no such file|cannot be opened"):
        compress(tmp_path / "none.SAFE", tmp_path / "a.sarc")


def test_zip_without_a_folder(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "flat.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(made.rglob("*")):
            archive.write(file, file.relative_to(made))
    compress(tmp_path / "flat.zip", tmp_path / "a.sarc")
    with container_archive.Reader(tmp_path / "a.sarc") as reader:
        assert reader.header.product is not None and reader.header.product.name == "flat"
        assert reader.product_files().keys() == safe_product.contents(made).keys()


@pytest.mark.skipif(os.name != "posix", reason="names that other systems do not allow")
def test_file_names_that_would_not_come_back(source: Path, tmp_path: Path) -> None:
    (source / "support" / "a\\b.xsd").write_text("")
    with pytest.raises(errors.FormatError, match="is refused"):
        compress(source, tmp_path / "a.sarc")


def test_autoencoders_hold_no_product(made: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match="cannot hold a product"):
        scene_files.compress_file(made, tmp_path / "a.sarc", tiny.coder())
    assert list(tmp_path.iterdir()) == []


def test_file_without_a_product(made: Path, tmp_path: Path) -> None:
    compress(made / f"measurement/{VV}.tiff", tmp_path / "a.sarc")
    for name in ("b.SAFE", "b.zip"):
        with pytest.raises(errors.InputError, match=r"a\.sarc was not made from a product.*GeoTIFF"):
            scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a.sarc"]


def forge(packed: Path, target: Path, entries: dict[str, bytes], described: Product | None = None) -> None:
    """Write a file with further entries, or another description, and a digest that fits."""
    with container_archive.Reader(packed) as reader, container_archive.Writer(target) as writer:
        header = reader.header
        with zipfile.ZipFile(packed) as archive:
            for name in archive.namelist():
                if name != container_archive.COMPACT_HEADER:
                    writer.add(name, archive.read(name))
        for name, data in entries.items():
            writer.add(name, data)
        changes = vars(header) | ({"product": described} if described else {})
        writer.finish(container_header.Header(**changes))


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/../../../evil", "..\\evil", "C:\\evil", "MANIFEST.SAFE", "manifest.safe/x"]
)
def test_entries_that_would_escape(packed: Path, tmp_path: Path, name: str) -> None:
    forge(packed, tmp_path / "a.sarc", {f"product/{name}": b"evil"})
    (tmp_path / "out").mkdir()
    with pytest.raises(errors.FormatError, match="product"):
        scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "out" / "b.SAFE")
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sarc", "out"]


@pytest.mark.parametrize(
    ("path", "raster", "message"),
    [
        ("../../evil.tiff", {}, "refused"),
        ("/evil.tiff", {}, "refused"),
        ("manifest.safe", {}, "two files"),
        ("measurement/a.tiff", {"height": 7}, "another size or dtype|another size"),
        ("measurement/a.tiff", {"dtype": "object"}, "dtype"),
        ("measurement/a.tiff", {"nonsense": 1}, "not a valid raster"),
    ],
)
def test_forged_measurements(packed: Path, tmp_path: Path, path: str, raster: dict, message: str) -> None:
    described = Product("X.SAFE", (Measurement(path, raster), Measurement("measurement/b.tiff", {})))
    forge(packed, tmp_path / "a.sarc", {}, described)
    with pytest.raises(errors.FormatError, match=message):
        scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.SAFE")
    assert [p.name for p in tmp_path.iterdir()] == ["a.sarc"]


def test_lost_product_files_are_noticed(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive, zipfile.ZipFile(tmp_path / "a.sarc", "w") as target:
        for name in archive.namelist():
            if name != "product/manifest.safe":
                target.writestr(name, archive.read(name))
    with pytest.raises(errors.FormatError, match="lost, added"):
        scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.SAFE")


def test_damaged_tiles_leave_no_product(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        entry = archive.getinfo("1/2.1")
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    (tmp_path / "a.sarc").write_bytes(data)
    for name in ("b.SAFE", "b.zip"):
        with pytest.raises(errors.FormatError, match=r"1/2\.1 is damaged"):
            scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a.sarc"]


def test_failed_overwrite_keeps_the_old_product(packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.SAFE"
    scene_files.decompress_file(packed, target)
    before = safe_product.contents(target)
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        entry = archive.getinfo("0/0.0")
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    (tmp_path / "a.sarc").write_bytes(data)
    with pytest.raises(errors.FormatError, match="damaged"):
        scene_files.decompress_file(tmp_path / "a.sarc", target, overwrite=True)
    assert safe_product.contents(target) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sarc", "b.SAFE"]


def test_real_product_without_measurements(data_dir: Path, tmp_path: Path) -> None:
    (place,) = sorted((data_dir / "safe").glob("S1A*.zip"))
    with pytest.raises(errors.FormatError, match="none of the 2 measurement TIFFs"):
        compress(place, tmp_path / "a.sarc")
    assert list(tmp_path.iterdir()) == []


def test_real_product_with_measurements_of_another_size(data_dir: Path, tmp_path: Path) -> None:
    """Real manifest and annotations of two polarisations, found and read; the annotated size is kept to."""
    (place,) = sorted((data_dir / "safe").glob("S1A*.zip"))
    with zipfile.ZipFile(place) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.glob("*.SAFE")
    annotations = sorted((folder / "annotation").glob("*.xml"))
    for annotation in annotations:
        path = folder / "measurement" / f"{annotation.stem}.tiff"
        safe_product.write_measurement(path, "VV", safe_product.dn("VV"))
    files = product_files.Files(folder)
    assert [(band.polarisation, band.height, band.width) for band in safe.bands(files)] == [
        ("VV", 16712, 25560),
        ("VH", 16712, 25560),
    ]
    with pytest.raises(errors.FormatError, match="150×200 pixels; its annotation says 16712×25560"):
        compress(folder, tmp_path / "a.sarc")
    for annotation in annotations:  # a product whose annotations say the size of the small ones, else as it is
        text = annotation.read_text().replace(">25560</numberOfSamples>", ">200</numberOfSamples>")
        annotation.write_text(text.replace(">16712</numberOfLines>", ">150</numberOfLines>"))
    with pytest.raises(errors.FormatError, match=r"annotation/s1a.*\.xml has not the checksum"):
        compress(folder, tmp_path / "a.sarc")
    compress(folder, tmp_path / "a.sarc", accept_loss=True)
    scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.SAFE")
    assert safe_product.contents(tmp_path / "b.SAFE") == safe_product.contents(folder)
    with rasterio.open(tmp_path / "b.SAFE" / "manifest.safe") as dataset:
        assert (dataset.driver, dataset.count, dataset.shape) == ("SAFE", 2, (150, 200))
        assert len(dataset.gcps[0]) == 210


def test_real_product_opens_in_its_zip(data_dir: Path) -> None:
    """VV only, though the manifest lists VH too; the whole size, all zero, and another nodata value."""
    (place,) = sorted((data_dir / "safe").glob("S1B*.zip"))
    with safe.open_product(place) as raster:
        assert (raster.info.count, raster.info.height, raster.info.width) == (1, 16705, 26102)
        assert (raster.info.descriptions, raster.info.nodata) == (("VV",), 65535)
        assert len(dict(raster.files())) == 5
        assert raster.product.name.startswith("S1B_IW_GRDH") and raster.product.name.endswith(".SAFE")
    with pytest.raises(errors.InputError, match=r"got VH; .* measurements of VV$"), safe.open_product(place, "VH"):
        pass


@pytest.mark.parametrize(
    "part", [{"window": tiling.Window(0, 9, 0, 9)}, {"bands": ("VV",)}, {"cog": True}, {"reduce": 1}], ids=str
)
def test_a_part_is_no_product(made: Path, tmp_path: Path, part: dict[str, Any]) -> None:
    scene_files.compress_file(made, tmp_path / "a.sarc", codec.Codec(model_store.bounded_engine(1.0)))
    with pytest.raises(errors.InputError, match="a product is restored whole; leave out window"):
        scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.SAFE", output=Output(**part))
    assert not (tmp_path / "b.SAFE").exists()
    scene_files.decompress_file(tmp_path / "a.sarc", tmp_path / "b.tif", output=Output(**part))
