"""A whole SAFE product there and back: time, peak memory, size, zeros and errors.

    python benchmarks/whole_product.py PRODUCT.zip [--polarisation VV] [--rows 4000 --columns 6000] [--zip]

Unpacks a real product and writes a measurement TIFF of the annotated size for every polarisation whose annotation
there is: a simulated block of 2048×2048 DN, repeated, each time of another brightness and mirrored or not, inside
slanted borders of zeros, uncompressed in strips as ESA writes it. Then compresses it and restores it, each in a
process of its own, and compares every file, every zero, and the DN of sample windows. Then restores windows of 2048²
and 8192² pixels out of the middle. ``--rows`` and ``--columns`` cut the product, and say so in its annotation.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows

from sarcodec.container import archive as container_archive
from sarcodec.simulate import scenes

BLOCK = 2048
WINDOWS = 2048, 8192
CHILD = """
import re, sys, time, json
from sarcodec import tiling
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.raster import info as raster_info
from sarcodec.scene import files, model_store, output
from sarcodec.scene import source as scene_source
work, source, target, polarisation, model, threads, side = sys.argv[1:]
if int(threads):
    import torch
    torch.set_num_threads(int(threads))
start = time.perf_counter()
if work == "compress":
    with scene_source.open(source, polarisation or None) as raster:
        simulated = encoding.Options(accept_loss=True)  # its measurement is not what the manifest was written for
        files.compress_file(raster, target, model_store.open_codec(model or None), options=simulated)
elif work == "decompress":
    files.decompress_file(source, target, model=model or None)
else:
    with archive.Reader(source) as reader:
        info = raster_info.RasterInfo.from_dict(reader.header.raster)
    place = [(n - int(side)) // 2 + 100 for n in (info.height, info.width)]  # not where tiles begin
    part = output.Output(tiling.Window.at(*place, int(side), int(side)), (0,))
    files.decompress_file(source, target, output=part, model=model or None, overwrite=True)
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"seconds": round(seconds, 1), "peak_mib": round(peak)}))
"""


def unpack(product: Path, folder: Path, rows: int | None, columns: int | None) -> Path:
    """Unpack all but the measurements, and cut the annotated size."""
    with zipfile.ZipFile(product) as archive:
        names = [name for name in archive.namelist() if not name.endswith((".tiff", "/"))]
        archive.extractall(folder, names)
    (root,) = folder.glob("*.SAFE")
    for path in (root / "annotation").glob("*.xml"):
        text = path.read_text()
        for key, most in (("numberOfLines", rows), ("numberOfSamples", columns)):
            if most:
                text = re.sub(f"<{key}>(\\d+)<", lambda m, k=key, n=most: f"<{k}>{min(int(m[1]), n)}<", text)
        path.write_text(text)
    return root


def fill(root: Path) -> dict[str, int]:
    """Write the measurements, in rows of blocks; returns pixels by polarisation."""
    blocks = simulated_blocks()
    (root / "measurement").mkdir(exist_ok=True)
    pixels = {}
    for annotation in sorted((root / "annotation").glob("*.xml")):
        text = annotation.read_text()
        height, width = (int(re.search(f"<{k}>(\\d+)<", text)[1]) for k in ("numberOfLines", "numberOfSamples"))
        polarisation = re.search(r"<polarisation>(\w+)<", text)[1]
        grid = [
            rasterio.control.GroundControlPoint(r, c, 15 - 1e-4 * c, 42 - 1e-4 * r, 0.0)
            for r in np.linspace(0, height, 10)
            for c in np.linspace(0, width, 21)
        ]
        path = root / "measurement" / f"{annotation.stem}.tiff"
        profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": height, "width": width}
        with rasterio.open(path, "w", **profile, gcps=grid, crs="EPSG:4326") as dataset:
            dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION=f"simulated, {polarisation}")
            write_pixels(dataset, blocks[polarisation])
        pixels[polarisation] = height * width
    return pixels


def simulated_blocks() -> dict[str, np.ndarray]:
    """Return a block of simulated DN by polarisation."""
    scene = scenes.scene(BLOCK, BLOCK, seed=1, nodata_border=False)
    return dict(zip(scene.polarisations, np.sqrt(scene.sigma0) * 500.0, strict=True))


def write_pixels(dataset: rasterio.io.DatasetWriter, block: np.ndarray) -> None:
    """Fill a band with a block, each time of another brightness and mirrored or not, within borders of zeros."""
    for top in range(0, dataset.height, BLOCK):
        strip = _strip(block, top, min(BLOCK, dataset.height - top), dataset.width)
        dataset.write(strip, 1, window=rasterio.windows.Window(0, top, dataset.width, len(strip)))


def _strip(block: np.ndarray, top: int, rows: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(top)
    parts = []
    for _ in range(0, width, BLOCK):
        part = block[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])] * 10 ** (rng.uniform(-6, 6) / 20)
        parts.append(np.clip(np.rint(part), 1, 65535).astype(np.uint16))
    strip = np.concatenate(parts, axis=1)[:rows, :width]
    lines, columns = np.arange(top, top + rows)[:, None], np.arange(width)[None]
    strip[(columns < width // 60 + lines // 50) | (columns >= width - width // 80)] = 0
    return strip


def run(
    work: str, source: Path, target: Path, options: argparse.Namespace, pixels: int, side: int = 0
) -> dict[str, float]:
    """Compress, decompress or read a window in a process of its own; seconds, Mpx/s and peak memory."""
    arguments = [
        work,
        str(source),
        str(target),
        options.polarisation or "",
        options.model or "",
        str(options.threads),
        str(side),
    ]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    found |= {"mpx_per_s": round(pixels / 1e6 / found["seconds"], 2), "wall_s": round(time.perf_counter() - start, 1)}
    print(work, found, flush=True)
    return found


def compare(before: Path, after: Path) -> dict[str, object]:
    """Every file but measurements byte for byte; all zeros; errors in dB of every eighth strip of 256 rows."""
    kept = [p.relative_to(before) for p in before.rglob("*") if p.is_file() and p.parent.name != "measurement"]
    _, differing, missing = filecmp.cmpfiles(before, after, kept, shallow=False)
    found: dict[str, object] = {"files_kept": len(kept), "files_differing": len(differing) + len(missing)}
    for path in sorted((after / "measurement").iterdir()):
        squares = count = wrong = 0
        worst = 0.0
        with rasterio.open(before / "measurement" / path.name) as one, rasterio.open(path) as other:
            same = [str(p) for p in one.gcps[0]] == [str(p) for p in other.gcps[0]]
            tags = one.tags() == other.tags() and one.profile["dtype"] == other.profile["dtype"]
            for number, top in enumerate(range(0, one.height, 256)):
                window = rasterio.windows.Window(0, top, one.width, min(256, one.height - top))
                dn, restored = one.read(1, window=window), other.read(1, window=window)
                wrong += int(np.count_nonzero((dn == 0) != (restored == 0)))
                if number % 8 == 0 and (valid := dn > 0).any():
                    error = 20 * np.log10(restored[valid] / dn[valid])
                    squares, count = squares + float(np.sum(error**2)), count + error.size
                    worst = max(worst, float(np.abs(error).max()))
        rmse = (squares / count) ** 0.5
        found[path.stem] = {"wrong_zeros": wrong, "same_gcps": same, "same_tags": tags}
        found[path.stem] |= {"rmse_db": round(rmse, 4), "max_error_db": round(worst, 3), "sampled_pixels": count}
    with rasterio.open(after / "manifest.safe") as dataset:
        found["opened_by_gdal"] = [dataset.driver, dataset.count, *dataset.shape]
    return found


def shape_of(packed: Path) -> tuple[int, int]:
    """Height and width of a file."""
    with container_archive.Reader(packed) as reader:
        return reader.header.shape[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("product", type=Path, help="a zipped SAFE product")
    parser.add_argument("--polarisation", help="compress one only")
    parser.add_argument("--rows", type=int, help="cut the product to so many lines")
    parser.add_argument("--columns", type=int, help="… and samples")
    parser.add_argument("--zip", action="store_true", help="compress from a zip file, as downloaded")
    parser.add_argument("--model", help="as of sarcodec compress")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves them as they are")
    parser.add_argument("--folder", type=Path, help="where to work; needs some 3 GB a polarisation")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        root = unpack(options.product, folder / "in", options.rows, options.columns)
        pixels = fill(root)
        taken = sum(n for p, n in pixels.items() if options.polarisation in (None, p))
        source = root
        if options.zip:
            source = folder / f"{root.name}.zip"
            with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for path in sorted(root.rglob("*")):
                    archive.write(path, path.relative_to(root.parent))
        packed, restored = folder / "scene.sarc", folder / root.name
        result: dict[str, object] = {"product": root.name, "pixels": taken, "polarisations": sorted(pixels)}
        result["compress"] = run("compress", source, packed, options, taken)
        result["decompress"] = run("decompress", packed, restored, options, taken)
        with container_archive.Reader(packed) as reader:
            result["bytes"] = reader.sizes()
        result["bits_per_pixel"] = round(8 * packed.stat().st_size / taken, 4)
        result["check"] = compare(root, restored)
        for side in WINDOWS:
            if min(shape_of(packed)) > side + 200:
                result[f"window of {side}"] = run("window", packed, folder / "window.tif", options, side**2, side)
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
