"""Looking at a large file without unpacking it: small images, the viewer's tiles, and what is read of a remote one.

    python benchmarks/looking.py [--size 16705 26102] [-o docs/results/looking.json]

Writes a simulated amplitude image of the size of a Sentinel-1 product, of the pixels of whole_product.py, compresses
it at the default quality, and measures:
``decompress --reduce`` as commands of their own; tiles of the viewer, one after the other, in one process; requests,
bytes and time of a window of 1024² pixels and of the whole at 1/32 from a server of this machine.
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
import whole_product

import sarcodec
from sarcodec.serve import answers, library

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import serving  # noqa: E402, of the tests

SCREENS, RUNS = 5, 3


def write_image(path: Path, height: int, width: int) -> None:
    """Write the image, somewhere in UTM."""
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint16", "nodata": 0}
    place = rasterio.Affine(10, 0, 5e5, 0, -10, 5.4e6)
    with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=place, tiled=True) as raster:
        whole_product.write_pixels(raster, whole_product.simulated_blocks()["VV"])


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


def milliseconds(shown: answers.Answers, targets: Sequence[str]) -> list[float]:
    """Time requests, one after the other."""
    found = []
    for target in targets:
        start = time.perf_counter()
        answer = shown.get(target)
        found.append(1000 * (time.perf_counter() - start))
        if answer.status != 200:
            raise RuntimeError(f"{target}: {answer.body.decode()}")
    return found


def viewer(packed: Path, original: Path) -> dict[str, dict[str, float]]:
    """Time tiles of pixels at three zooms, as pictures and as differences to the original, in milliseconds.

    Of screens of 6×4 tiles, drawn at random: the median of their first tiles, and mean and longest of all.
    """
    shown = answers.Answers(library.Library([packed], original))
    about = json.loads(shown.get(f"/{packed.name}/info").body)
    found, rng = {}, np.random.default_rng(1)
    for minus in ("", f"?minus={original.name}"):  # loads what it takes
        shown.get(f"/{packed.name}/pixels/{about['pixel_zoom']}/0/0.png{minus}")
    for minus in ("", f"?minus={original.name}"):
        for level in (0, 2, 4):
            rows, columns = ((about[side] >> level) // 256 for side in ("height", "width"))
            screens = []
            for _ in range(SCREENS):
                x, y = int(rng.integers(columns - 5)), int(rng.integers(rows - 3))
                places = [(x + k % 6, y + k // 6) for k in range(24)]
                start = f"/{packed.name}/pixels/{about['pixel_zoom'] - level}"
                screens.append(milliseconds(shown, [f"{start}/{x}/{y}.png{minus}" for x, y in places]))
            found[f"1/{1 << level}{', difference' if minus else ''}"] = {
                "first": statistics.median(screen[0] for screen in screens),
                "mean": float(np.mean(screens)),
                "most": float(np.max(screens)),
            }
    return found


def remote(packed: Path) -> dict[str, dict[str, float]]:
    """Count requests, and bytes in per cent of the file, of a window and of the whole at 1/32."""
    server = serving.Server(packed.parent)
    url, size, found = f"http://{server.host}/{packed.name}", packed.stat().st_size, {}
    window = (5000, 6024), (7000, 8024)
    try:
        for name, choice in (("1024×1024 pixels", {"window": window}), ("1/32", {"reduce": 5})):
            server.sent()
            start = time.perf_counter()
            with sarcodec.open(url) as image:
                image.read(1, **choice)
            seconds, sent = time.perf_counter() - start, server.sent()
            found[name] = {"requests": len(sent), "per_cent": 100 * sum(sent) / size, "seconds": seconds}
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
