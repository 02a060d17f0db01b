"""Looking at a large file without unpacking it: small images, the viewer's tiles, and what is read of a remote one.

    python benchmarks/looking.py [--size 16705 26102] [-o docs/results/looking.json]

Writes a simulated amplitude image of the size of a Sentinel-1 product (a block of 2048×2048 DN, repeated, each time
of another brightness and mirrored or not), compresses it at the default quality, and measures:
``decompress --reduce`` as commands of their own; tiles of the viewer in one process, at places drawn at random, and
the next ones to the right of these, as panning asks for; requests and bytes of a window of 1024² pixels and of the
whole at 1/32 from a server of this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows

import sarcodec
from sarcodec.serve import answers, library
from sarcodec.simulate import scenes

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import serving  # noqa: E402, of the tests

BLOCK, PLACES, RUNS = 2048, 12, 3


def write_image(path: Path, height: int, width: int) -> None:
    """Write the image, somewhere in UTM."""
    block = np.sqrt(scenes.scene(BLOCK, BLOCK, seed=9, polarisations=("VV",), nodata_border=False).sigma0[0]) * 400
    rng, place = np.random.default_rng(0), rasterio.Affine(10, 0, 5e5, 0, -10, 5.4e6)
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=place, tiled=True) as raster:
        for top in range(0, height, BLOCK):
            for left in range(0, width, BLOCK):
                turned = (block * rng.uniform(0.5, 2))[:: rng.choice([1, -1]), :: rng.choice([1, -1])]
                part = np.clip(turned[: height - top, : width - left], 1, 65535).astype(np.uint16)
                raster.write(part, 1, window=rasterio.windows.Window(left, top, *part.shape[::-1]))


def commands(packed: Path) -> dict[str, list[float]]:
    """Seconds of commands that write the image at 1/32 and 1/8, in turn."""
    seconds: dict[str, list[float]] = {"1/32": [], "1/8": []}
    for _ in range(RUNS):
        for name, reduce in (("1/32", "5"), ("1/8", "3")):
            words = "decompress", packed, packed.with_suffix(".small.tif"), "--reduce", reduce, "--overwrite"
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "sarcodec", *words], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def milliseconds(shown: answers.Answers, targets: Sequence[str]) -> dict[str, float]:
    """Median and longest time of requests, one after the other."""
    found = []
    for target in targets:
        start = time.perf_counter()
        answer = shown.get(target)
        found.append(1000 * (time.perf_counter() - start))
        if answer.status != 200:
            raise RuntimeError(f"{target}: {answer.body.decode()}")
    return {"median": statistics.median(found), "most": max(found)}


def viewer(packed: Path, original: Path) -> dict[str, dict[str, float]]:
    """Time tiles of pixels at three zooms, as pictures and as differences to the original, in milliseconds."""
    shown = answers.Answers(library.Library([packed], original))
    about = json.loads(shown.get(f"/{packed.name}/info").body)
    found, rng = {}, np.random.default_rng(1)
    for minus in ("", f"?minus={original.name}"):
        for zoom in (about["pixel_zoom"], about["pixel_zoom"] - 2, about["pixel_zoom"] - 4):
            rows, columns = ((about[side] >> (about["pixel_zoom"] - zoom)) // 256 for side in ("height", "width"))
            # every other column, so that the tiles to their right are new
            pairs = rows * (columns // 2)
            drawn = rng.choice(pairs, min(PLACES + 1, pairs), replace=False)
            places = [(2 * int(place % (columns // 2)), int(place // (columns // 2))) for place in drawn]
            first, *there = [f"/{packed.name}/pixels/{zoom}/{x}/{y}.png{minus}" for x, y in places]
            following = [f"/{packed.name}/pixels/{zoom}/{x + 1}/{y}.png{minus}" for x, y in places[1:]]
            shown.get(first)
            name = f"1/{1 << (about['pixel_zoom'] - zoom)}{', difference' if minus else ''}"
            found[name] = milliseconds(shown, there)
            found[f"{name}, panning"] = milliseconds(shown, following)
    return found


def remote(packed: Path) -> dict[str, dict[str, float]]:
    """Count requests, and bytes in per cent of the file, of a window and of the whole at 1/32."""
    server = serving.Server(packed.parent)
    url, size, found = f"http://{server.host}/{packed.name}", packed.stat().st_size, {}
    window = (5000, 6024), (7000, 8024)
    try:
        for name, choice in (("1024×1024 pixels", {"window": window}), ("1/32", {"reduce": 5})):
            server.sent()
            with sarcodec.open(url) as image:
                image.read(1, **choice)
            sent = server.sent()
            found[name] = {"requests": len(sent), "per_cent": 100 * sum(sent) / size}
    finally:
        server.close()
    return found


def main() -> None:
    """Measure, write and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(16705, 26102), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results/looking.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        original, packed = Path(folder) / "files" / "scene.tif", Path(folder) / "files" / "scene.sarc"
        original.parent.mkdir()
        write_image(original, *arguments.size)
        size = sarcodec.compress_file(original, packed, sarcodec.open_codec())
        found: dict[str, Any] = {
            "megapixels": arguments.size[0] * arguments.size[1] / 1e6,
            "bytes": size.bytes,
            "seconds": commands(packed),
            "milliseconds": viewer(packed, original),
            "remote": remote(packed),
        }
    text = json.dumps(found, indent=1, ensure_ascii=False)
    arguments.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
