"""Make the golden files of a release: a tiny model, its .sarc files and what they must decode to.

python tests/golden/make_golden.py 1

Run once for every released version of the format, into a folder of its own; refuses to touch an existing one. The
weights are random: conformance is about bits, not about beauty.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import rasterio
import rasterio.control
import torch

from sarcodec import (
    checkpoint,
    codec,
    container,
    entropy,
    models,
    normalization,
    radiometry,
    scene,
    simulate,
    stored_tiles,
)

HERE = Path(__file__).parent


def make_model(path: Path) -> None:
    """Write a small calibrated checkpoint with random weights."""
    torch.manual_seed(2026)
    config = models.ModelConfig(latent_channels=4, base_channels=8)
    bounds = {
        "db/VV": normalization.Bounds(-25, 10),
        "db/VH": normalization.Bounds(-32, 3),
        "dn/": normalization.Bounds(20, 75),
    }
    normalizer = normalization.Normalizer(normalization.Clipping(), bounds)
    model = models.build(config).eval()
    latents = [model.encode(torch.rand(1, 1, 64, 64)).detach().numpy()[0] for _ in range(8)]
    coder = entropy.LatentCoder.fit(latents, np.array([0.01, 0.02, 0.03, 0.04], np.float32), (1, 4))
    tables = {name: torch.from_numpy(values) for name, values in coder.to_arrays().items()}
    checkpoint.save(path, checkpoint.Checkpoint(config, normalizer, model.state_dict(), tables))


def write_sources(folder: Path) -> list[Path]:
    """Write rasters that use every feature of the format."""
    sigma0 = simulate.scene(150, 210, seed=3).sigma0
    db = (10 * np.log10(sigma0)).astype(np.float32)
    db[0, 5, 5:9] = [np.inf, -np.inf, np.nan, -100.0]
    dn = np.clip(np.nan_to_num(np.sqrt(sigma0[0])) * 500, 0, 65535).astype(np.uint16)
    dn[40:90, 60:130] = 0
    gcps = [
        rasterio.control.GroundControlPoint(r, c, 9 + c / 1e4, 48 - r / 1e4, 0.0, str(n))
        for n, (r, c) in enumerate([(0, 0), (0, 209), (149, 0), (149, 209)])
    ]
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5.4e6)}
    made = {
        "two_bands_db": (db, {"nodata": np.nan} | place),
        "dn_gcps": (dn[None], {"nodata": 0}),
        "intensity_zero_and_negative": (
            np.where(np.isnan(sigma0[:1]), -1.0, np.where(sigma0[:1] < 0.02, 0.0, sigma0[:1])).astype(np.float32),
            {},
        ),
        "all_invalid": (np.full((1, 20, 30), np.nan, np.float32), {"nodata": np.nan} | place),
        "one_pixel": (np.full((1, 1, 1), 321, np.uint16), {}),
    }
    paths = []
    for name, (pixels, profile) in made.items():
        path = folder / f"{name}.tif"
        count, height, width = pixels.shape
        profile |= {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
        with rasterio.open(path, "w", **profile) as raster:
            raster.write(pixels)
            raster.update_tags(UNITS="sigma0 dB" if "db" in name else "amplitude DN" if "dn" in name else "sigma0")
            if "gcps" in name:
                raster.gcps = (gcps, rasterio.crs.CRS.from_epsg(4326))
            if count == 2:
                raster.descriptions = ("VV", "VH")
        paths.append(path)
    return paths


def symbol_hashes(coder: codec.Codec, path: Path) -> dict[str, str]:
    """Hash the symbols of every tile, as little-endian int32 in (channel, row, column) order."""
    hashes = {}
    with container.Reader(path) as reader:
        for band, row, column, size in stored_tiles.tiles_with_symbols(reader):
            name = container.tile_name(band, row, column)
            symbols = coder.engine.coder.decode(reader.read(name, 1 << 24), size, reader.header.step)
            hashes[name] = hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest()
    return hashes


def main() -> None:
    """Make the folder of one format version."""
    folder = HERE / f"v{sys.argv[1]}"
    folder.mkdir()
    make_model(folder / "tiny.ckpt")
    coder = scene.open_codec(folder / "tiny.ckpt", precision="float32")
    hashes = {}
    for source in write_sources(folder):
        packed = source.with_suffix(".sarc")
        quantity = None if "all" not in source.name and "pixel" not in source.name else radiometry.Quantity.DN
        if "all" in source.name:
            quantity = radiometry.Quantity.DB
        options = codec.Options(step=4 if "dn" in source.name else 1, tile=96)
        scene.compress_file(source, packed, coder, quantity=quantity, options=options)
        hashes[packed.name] = symbol_hashes(coder, packed)
        scene.decompress_file(packed, source, model=folder / "tiny.ckpt", precision="float32", overwrite=True)
        source.rename(source.with_suffix(".restored.tif"))
    (folder / "symbols.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
