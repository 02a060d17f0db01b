"""Seams: the error along borders of tiles against the error elsewhere.

    python benchmarks/seams.py [--model residual16 …] [--data ../shared/data/test] [-o docs/results/seams.json]

Every band of every chip is mirrored into a mosaic of twice its size, compressed in tiles of 256 pixels and restored;
the root mean square error within 8 pixels of a tile border is divided by that of the other pixels. 1 is seamless.
Models that pool over a window are measured at these borders too, where windows of encoder and decoder change. The
same places in an image that is coded as one tile, without borders there, tell what of it is the scene's doing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from sarcodec import radiometry, tiling
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.evaluation import chips
from sarcodec.raster import find, geotiff, source
from sarcodec.scene import decision, model_store

TILE, BAND = 256, 8
ONE_TILE = 4096


class Mosaic(source.Raster):
    """A band mirrored to twice its size, as a source."""

    name = "mosaic"

    def __init__(self, raster: source.Raster, band: int) -> None:
        height, width = raster.info.height, raster.info.width
        pixels = raster.read(band, tiling.Window(0, height, 0, width))
        self.pixels = np.pad(pixels, [(0, height), (0, width)], mode="symmetric")
        self.info = replace(chips.one_band(raster.info, band), height=2 * height, width=2 * width)

    def read(self, band: int, window: tiling.Window) -> np.ndarray:
        """Read a window."""
        return self.pixels[window.slices]

    def sample(self, band: int) -> np.ndarray:
        """Read all of it."""
        return self.pixels


def near_borders(shape: tuple[int, int]) -> np.ndarray:
    """Mark the pixels within BAND of a border between tiles."""
    marks = []
    for length in shape:
        position = np.arange(length)
        offset = (position + BAND) % TILE
        marks.append((offset < 2 * BAND) & (position >= BAND) & (position < length - BAND))
    return marks[0][:, None] | marks[1][None, :]


def ratio(coder: codec.Codec, raster: source.Raster, band: int, folder: Path, tile: int = TILE) -> float:
    """Compress and restore the mosaic of a band, and compare the errors near and far from borders of TILE."""
    quantity = radiometry.detect_quantity(raster.sample(0), raster.info.nodata, raster.info.unit_text())
    mosaic = Mosaic(raster, band)
    path = folder / "seams.sarc"
    with archive.Writer(path) as writer:
        coder.compress(mosaic, decision.layout_of(mosaic, quantity), writer, encoding.Options(tile=tile))
    with archive.Reader(path) as reader:
        restored = np.concatenate([rows for _, rows in coder.restore_rows(reader, 0)])
    squared = (radiometry.to_db(restored, quantity) - radiometry.to_db(mosaic.pixels, quantity)) ** 2
    valid = radiometry.classify(mosaic.pixels, quantity, mosaic.info.nodata) == radiometry.Fill.VALID
    near = near_borders(squared.shape)
    return float(np.sqrt(squared[valid & near].mean() / squared[valid & ~near].mean()))


def main() -> None:
    """Measure, print and optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[model_store.DEFAULT_MODEL])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SARCODEC_DATA", "../shared/data")) / "test")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    result: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.model:
            coder = model_store.open_codec(model)
            found = {}
            for path in find.find_images([arguments.data]):
                with geotiff.open_raster(path) as raster:
                    for band in range(raster.info.count):
                        borders, none = (ratio(coder, raster, band, Path(folder), tile) for tile in (TILE, ONE_TILE))
                        found[f"{path.stem} {band + 1}"] = {
                            "borders": borders,
                            "no borders": none,
                            "over": borders / none,
                        }
            name = Path(model).parent.name if model.endswith(model_store.MODEL_SUFFIX) else model
            means = {
                key: float(np.mean([one[key] for one in found.values()])) for key in ("borders", "no borders", "over")
            }
            result[name] = found | {"mean": means}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
