"""What the package makes, as hashes: the same before and after code is rearranged, on the same machine.

    python benchmarks/record.py -o runs/record.json             # before
    python benchmarks/record.py --against runs/record.json      # after: names what differs, exit status 1

Files of all three engines (bands, masks, record of lost speckle, goals, a product), decoded pixels of these and of
the golden files, ``info --json``, a report, the study's tables and page. It all goes through the command line, which
does not move.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio

from sarcodec import cli

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

WAYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "quality 25, speckle": ("--quality", "25", "--speckle", "keep"),
    "quality 80, effort 2": ("--quality", "80", "--effort", "2"),
    "small tiles": ("--tile", "256"),
    "ratio": ("--ratio", "24"),
    "psnr": ("--psnr", "31"),
    "bounded": ("--max-error", "0.7"),
    "residual16": ("--model", "residual16"),
    "residual16, step": ("--model", "residual16", "--step", "4"),
}


def sarcodec(*arguments: object) -> str:
    """Run a command of the package in this process; returns what it says."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        cli.app([*map(str, arguments)], standalone_mode=False)
    return said.getvalue()


def sha256(data: bytes) -> str:
    """Return the hash as hex digits."""
    return hashlib.sha256(data).hexdigest()


def pixels(path: Path) -> str:
    """Hash the pixels, the grid and the tags of a raster."""
    with rasterio.open(path) as raster:
        rest = repr((raster.profile, raster.tags(), raster.descriptions, [g.asdict() for g in raster.gcps[0]]))
        return sha256(raster.read().tobytes() + rest.replace(str(path.parent), "").encode())


def sources(folder: Path) -> Iterator[tuple[str, Path]]:
    """Make rasters of several kinds: two bands with invalid pixels, one band of dB, DN, and a product."""
    sarcodec("simulate", folder / "two.tif", "--size", 700, 900, "--seed", 5)
    yield "two bands", folder / "two.tif"
    with rasterio.open(folder / "two.tif") as raster:
        band, profile = raster.read(1), {**raster.profile, "count": 1}
    db = (10 * np.log10(np.where(band > 0, band, 1))).astype(np.float32)
    db[~(band > 0)] = np.nan
    db[100:140, 200:500] = np.nan
    dn = np.where(band > 0, np.sqrt(np.where(band > 0, band, 0)) * 800, 0).clip(0, 65535).astype(np.uint16)
    for name, image, changes in (("db", db, {"nodata": np.nan}), ("dn", dn, {"dtype": "uint16", "nodata": 0})):
        with rasterio.open(folder / f"{name}.tif", "w", **{**profile, **changes}) as raster:
            raster.write(image, 1)
        yield name, folder / f"{name}.tif"
    import safe_product  # of the tests

    (folder / "product").mkdir()
    yield "product", safe_product.make(folder / "product")


def coded(folder: Path) -> Iterator[tuple[str, str]]:
    """Hash files, what is said of them, and their pixels."""
    for name, source in sources(folder):
        for way, options in WAYS.items():
            if name == "product" and way.startswith(("residual16", "ratio")):  # cannot hold one; is too small
                continue
            target, back = folder / "coded.sarc", folder / ("back.SAFE" if name == "product" else "back.tif")
            sarcodec("compress", source, target, *options, "--overwrite", "-q")
            yield f"{name} | {way} | bytes", sha256(target.read_bytes())
            yield (
                f"{name} | {way} | info",
                sha256(sarcodec("info", target, "--json").replace(str(folder), "").encode()),
            )
            if name == "product":
                sarcodec("decompress", target, back, "-q")
                for path in sorted(back.rglob("*")):
                    if path.is_file():
                        yield f"{name} | {way} | {path.relative_to(back)}", sha256(path.read_bytes())
                shutil.rmtree(back)
                continue
            sarcodec("decompress", target, back, "-q", "--overwrite", "--precision", "float32")
            yield f"{name} | {way} | pixels", pixels(back)
            if "speckle" in way:
                sarcodec("decompress", target, back, "-q", "--overwrite", "--speckle", "restore")
                yield f"{name} | {way} | rendered", pixels(back)
            if way in ("default", "small tiles", "residual16"):
                sarcodec("decompress", target, back, "-q", "--overwrite", "--window", 130, 70, 300, 210)
                yield f"{name} | {way} | window", pixels(back)


def golden(folder: Path) -> Iterator[tuple[str, str]]:
    """Hash the pixels of the golden files."""
    for path in sorted((ROOT / "tests" / "golden").glob("*/*.sarc")):
        back = folder / "golden.tif"
        sarcodec(
            "decompress",
            path,
            back,
            "-q",
            "--overwrite",
            "--model",
            path.parent / "tiny.ckpt",
            "--precision",
            "float32",
        )
        yield f"golden | {path.parent.name}/{path.stem}", pixels(back)


def pages(folder: Path, data: Path) -> Iterator[tuple[str, str]]:
    """Hash a report, a table of metrics and, where the test images are, the tables and page of the study."""
    sarcodec("compress", folder / "two.tif", folder / "two.sarc", "--quality", 30, "-q")
    page = folder / "report.html"
    sarcodec("report", folder / "two.tif", folder / "two.sarc", page, "--peer", "jpeg2000", "-q")
    yield "report", sha256(page.read_bytes().replace(str(folder).encode(), b""))
    sarcodec("evaluate", "residual16", folder / "db.tif", "--step", 2, "--peers", "-o", folder / "rows.csv", "-q")
    yield "evaluate", sha256((folder / "rows.csv").read_bytes())
    if data.exists():
        study = folder / "study"
        shutil.copytree(ROOT / "docs" / "results" / "study", study)
        sarcodec("study", "report", study, "--plan", ROOT / "benchmarks" / "study.toml", "--no-peers", "-q")
        for path in sorted(study.glob("*.*")):
            yield f"study | {path.name}", sha256(path.read_bytes().replace(str(folder).encode(), b""))


def main() -> int:
    """Make the record; write it, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    found: dict[str, str] = {}
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for part in (coded(Path(folder)), golden(Path(folder)), pages(Path(folder), arguments.data)):
            for name, value in part:
                found[name] = value
                print(f"{value[:16]}  {name}", flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.against:
        before = json.loads(arguments.against.read_text(encoding="utf-8"))
        other = sorted(name for name in {*before, *found} if before.get(name) != found.get(name))
        print(f"{len(found)} recorded, {len(other)} differ", *other, sep="\n  ")
        return int(bool(other))
    return 0


if __name__ == "__main__":
    sys.exit(main())
