"""A small SAFE product from simulated DN, laid out as the Sentinel-1 Product Specification says, for tests."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from pathlib import Path

import numpy as np
import rasterio
import rasterio.control
import rasterio.errors

import tiny

NAME = "S1A_IW_GRDH_1SDV_20200102T031415_20200102T031440_030620_038237_5AFE.SAFE"
SHAPE = (150, 200)
HEADER = """<adsHeader><missionId>S1A</missionId><productType>GRD</productType><polarisation>{pol}</polarisation>
<mode>IW</mode><swath>IW</swath><startTime>2020-01-02T03:14:15.000000</startTime>
<stopTime>2020-01-02T03:14:40.000000</stopTime><absoluteOrbitNumber>30620</absoluteOrbitNumber>
<missionDataTakeId>230967</missionDataTakeId><imageNumber>{number}</imageNumber></adsHeader>"""


def stem(pol: str) -> str:
    number = {"VV": "001", "VH": "002"}[pol]
    return f"s1a-iw-grd-{pol.lower()}-20200102t031415-20200102t031440-030620-038237-{number}"


def dn(pol: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Speckled DN with no-data borders, slanted on the left, and a hole."""
    pixels = tiny.dn(shape, seed={"VV": 3, "VH": 4}[pol])
    rows, columns = np.indices(shape)
    pixels[(columns < 12 + rows // 20) | (columns >= shape[1] - 9)] = 0
    pixels[40:44, 50:53] = 0
    return pixels


def sigma_table(pol: str, line: int, pixels: np.ndarray) -> np.ndarray:
    return {"VV": 330.0, "VH": 350.0}[pol] + 0.05 * line - 0.2 * pixels + 8 * np.sin(pixels / 30)


def calibration(pol: str, shape: tuple[int, int] = SHAPE) -> str:
    pixels = np.array([*range(0, shape[1], 40), shape[1] - 1])
    lines = [0, shape[0] // 3, shape[0] - 10, shape[0] + 20]
    vectors = "".join(
        f"<calibrationVector><azimuthTime>2020-01-02T03:14:15.000000</azimuthTime><line>{line}</line>"
        f'<pixel count="{len(pixels)}">{" ".join(map(str, pixels))}</pixel>'
        f'<sigmaNought count="{len(pixels)}">{" ".join(f"{v:.6e}" for v in sigma_table(pol, line, pixels))}'
        "</sigmaNought></calibrationVector>"
        for line in lines
    )
    header = HEADER.format(pol=pol, number=stem(pol)[-3:])
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<calibration>{header}<calibrationVectorList count="{len(lines)}">'
        f"{vectors}</calibrationVectorList></calibration>\n"
    )


def annotation(pol: str, shape: tuple[int, int] = SHAPE) -> str:
    header = HEADER.format(pol=pol, number=stem(pol)[-3:])
    points = "".join(
        f"<geolocationGridPoint><line>{p.row:.0f}</line><pixel>{p.col:.0f}</pixel><latitude>{p.y}</latitude>"
        f"<longitude>{p.x}</longitude><height>{p.z}</height></geolocationGridPoint>"
        for p in gcps(pol, shape)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<product>{header}<generalAnnotation><productInformation>'
        "<pass>Descending</pass></productInformation></generalAnnotation><imageAnnotation><imageInformation>"
        "<pixelValue>Detected</pixelValue><outputPixels>16 bit Unsigned Integer</outputPixels>"
        "<rangePixelSpacing>1.000000e+01</rangePixelSpacing><azimuthPixelSpacing>1.000000e+01</azimuthPixelSpacing>"
        f"<numberOfSamples>{shape[1]}</numberOfSamples><numberOfLines>{shape[0]}</numberOfLines>"
        f"</imageInformation></imageAnnotation><geolocationGrid><geolocationGridPointList>{points}"
        "</geolocationGridPointList></geolocationGrid></product>\n"
    )


def gcps(pol: str, shape: tuple[int, int] = SHAPE) -> list[rasterio.control.GroundControlPoint]:
    """Every 100 pixels; the heights of the polarisations differ."""
    return [
        rasterio.control.GroundControlPoint(
            row, column, 15.0 + 1e-4 * column, 42.0 - 1e-4 * row, 10.0 + (pol == "VH"), id=f"{n}", info=""
        )
        for n, (row, column) in enumerate(((r, c) for r in range(0, shape[0], 60) for c in range(0, shape[1], 60)), 1)
    ]


def write_measurement(path: Path, pol: str, pixels: np.ndarray) -> None:
    profile = dict(zip(("height", "width"), pixels.shape, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", dtype=str(pixels.dtype), count=1, **profile) as dataset:
            dataset.gcps = (gcps(pol, pixels.shape), rasterio.crs.CRS.from_epsg(4326))
            dataset.update_tags(
                TIFFTAG_IMAGEDESCRIPTION=f"Sentinel-1A IW GRD HR L1, {pol}",
                TIFFTAG_SOFTWARE="Sentinel-1 IPF 003.10",
                TIFFTAG_DATETIME="2020:01:02 05:00:00",
            )
            dataset.write(pixels, 1)  # last, so that the directory stands before the pixels


def _object(identity: str, kind: str, path: str, data: bytes) -> str:
    return (
        f'<dataObject ID="{identity}" repID="{kind}"><byteStream mimeType="text/xml" size="{len(data)}">'
        f'<fileLocation locatorType="URL" href="./{path}"/><checksum checksumName="MD5">'
        f"{hashlib.md5(data).hexdigest()}</checksum></byteStream></dataObject>\n"
    )


def manifest(folder: Path, polarisations: tuple[str, ...]) -> str:
    """The parts of a manifest that GDAL reads."""
    units, objects = "", ""
    for pol in polarisations:
        name = stem(pol)
        identity = name.replace("-", "")
        units += (
            '<xfdu:contentUnit unitType="Measurement Data Unit" repID="s1Level1MeasurementSchema" '
            f'dmdID="product{identity}Annotation noise{identity}Annotation calibration{identity}Annotation">'
            f'<dataObjectPointer dataObjectID="{identity}"/></xfdu:contentUnit>\n'
        )
        for prefix, kind, path in (
            ("product", "s1Level1ProductSchema", f"annotation/{name}.xml"),
            ("noise", "s1Level1NoiseSchema", f"annotation/calibration/noise-{name}.xml"),
            ("calibration", "s1Level1CalibrationSchema", f"annotation/calibration/calibration-{name}.xml"),
            ("", "s1Level1MeasurementSchema", f"measurement/{name}.tiff"),
        ):
            objects += _object(f"{prefix}{identity}", kind, path, (folder / path).read_bytes())
    metadata = "".join(
        f'<metadataObject ID="{p}{i}Annotation" classification="DESCRIPTION" category="DMD">'
        f'<dataObjectPointer dataObjectID="{p}{i}"/></metadataObject>\n'
        for i in (stem(pol).replace("-", "") for pol in polarisations)
        for p in ("product", "noise", "calibration")
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" '
        'xmlns:safe="http://www.esa.int/safe/sentinel-1.0" '
        'version="esa/safe/sentinel-1.0/sentinel-1/sar/level-1/grd">'
        f"<informationPackageMap><xfdu:contentUnit>{units}</xfdu:contentUnit></informationPackageMap>"
        f"<metadataSection>{metadata}</metadataSection><dataObjectSection>{objects}</dataObjectSection></xfdu:XFDU>\n"
    )


def make(parent: Path, polarisations: tuple[str, ...] = ("VH", "VV"), shape: tuple[int, int] = SHAPE) -> Path:
    """Write a product and return its folder. The manifest lists VH first, as those of ESA do."""
    folder = parent / NAME
    for name in ("annotation/calibration", "measurement", "preview/icons", "support"):
        (folder / name).mkdir(parents=True)
    for pol in polarisations:
        name = stem(pol)
        (folder / f"annotation/{name}.xml").write_text(annotation(pol, shape))
        (folder / f"annotation/calibration/calibration-{name}.xml").write_text(calibration(pol, shape))
        noise = f"<noise>{HEADER.format(pol=pol, number=name[-3:])}</noise>\n"
        (folder / f"annotation/calibration/noise-{name}.xml").write_text(noise)
        write_measurement(folder / f"measurement/{name}.tiff", pol, dn(pol, shape))
    (folder / "preview/icons/logo.png").write_bytes(bytes(range(256)))
    (folder / "support/s1-level-1-product.xsd").write_text("<xsd:schema/>\r\n")
    (folder / f"{NAME}-report-20200102T051500.pdf").write_bytes(b"%PDF-1.4\n\x00\xff\n")
    (folder / "manifest.safe").write_text(manifest(folder, polarisations))
    return folder


def pack(folder: Path) -> Path:
    """Zip a product as it is distributed: one folder, deflated."""
    target = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return target


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the measurements."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.parent.name != "measurement")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def read(folder: Path, pol: str) -> np.ndarray:
    with rasterio.open(folder / f"measurement/{stem(pol)}.tiff") as dataset:
        pixels: np.ndarray = dataset.read(1)
    return pixels
