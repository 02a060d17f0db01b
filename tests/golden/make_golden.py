"""Make the golden files of a release: a tiny model, its .sarc files and what they must decode to.

python tests/golden/make_golden.py 2

Run once for every released version of the format, into a folder of its own; refuses to touch an existing one. The
weights are random: conformance is about bits, not about beauty.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import rasterio
import rasterio.control
import torch

from sarcodec import radiometry
from sarcodec.autoencoder import architecture, checkpoint, normalization, variants
from sarcodec.autoencoder import latents as autoencoder_latents
from sarcodec.codec import encoding
from sarcodec.container import archive
from sarcodec.lapped import model as lapped_model
from sarcodec.restoring import network as restoring_network
from sarcodec.restoring import pytorch
from sarcodec.scene import files, model_store, rate_control
from sarcodec.simulate import scenes
from sarcodec.training import coefficient_fit

sys.path.insert(0, str(Path(__file__).parent.parent))
import conformance

HERE = Path(__file__).parent


def make_model(path: Path) -> None:
    """Write a small calibrated checkpoint with random weights."""
    torch.manual_seed(2026)
    config = architecture.ModelConfig(latent_channels=4, base_channels=8)
    bounds = {
        "db/VV": normalization.Bounds(-25, 10),
        "db/VH": normalization.Bounds(-32, 3),
        "dn/": normalization.Bounds(20, 75),
    }
    normalizer = normalization.Normalizer(normalization.Clipping(), bounds)
    model = variants.build(config).eval()
    latents = [model.encode(torch.rand(1, 1, 64, 64)).detach().numpy()[0] for _ in range(8)]
    coder = autoencoder_latents.LatentCoder.fit(latents, np.array([0.01, 0.02, 0.03, 0.04], np.float32), (1, 4))
    tables = {name: torch.from_numpy(values) for name, values in coder.to_arrays().items()}
    checkpoint.save(path, checkpoint.Checkpoint(config, normalizer, model.state_dict(), tables))


def write_sources(folder: Path) -> list[Path]:
    """Write rasters that use every feature of the format."""
    sigma0 = scenes.scene(150, 210, seed=3).sigma0
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


def make_lapped_model(path: Path) -> None:
    """Write a small lapped model: a coder fitted to a simulated image, a restoring network of random weights."""
    torch.manual_seed(2026)
    sigma0 = scenes.scene(256, 256, seed=9, nodata_border=False).sigma0
    tiles = [coefficient_fit.tiles_of((10 * np.log10(band)).astype(np.float32)) for band in sigma0]
    network = pytorch.Network(restoring_network.RestorerConfig(8, 4, 4))
    with torch.no_grad():
        network.layers[-1].weight.normal_(std=0.01)
    coder = coefficient_fit.fit(tiles, rounds=1, steps=200, draws=2)
    lapped_model.save(path, lapped_model.LappedModel(coder, network.to_restorer(), coefficient_fit.RATE_WEIGHT))


def options(version: str, name: str) -> tuple[encoding.Options, rate_control.Goal | None]:
    """Say how a source is compressed."""
    if version == "1":
        return encoding.Options(step=4 if "dn" in name else 1, tile=96), None
    goal = rate_control.Goal.max_error(0.5) if "zero" in name else None
    return encoding.Options(step=None if goal else 1900 if "dn" in name else 1500, tile=128), goal


def main() -> None:
    """Make the folder of one format version."""
    version = sys.argv[1]
    folder = HERE / f"v{version}"
    folder.mkdir()
    {"1": make_model, "2": make_lapped_model}[version](folder / "tiny.ckpt")
    coder = model_store.open_codec(folder / "tiny.ckpt", precision="float32")
    hashes = {}
    for source in write_sources(folder):
        packed = source.with_suffix(".sarc")
        quantity = None if "all" not in source.name and "pixel" not in source.name else radiometry.Quantity.DN
        if "all" in source.name:
            quantity = radiometry.Quantity.DB
        how, goal = options(version, source.name)
        files.compress_file(source, packed, coder, quantity=quantity, options=how, goal=goal)
        with archive.Reader(packed) as reader:
            found = model_store.codec_for(reader, folder / "tiny.ckpt", precision="float32")
            hashes[packed.name] = conformance.symbol_hashes(found, reader)
        files.decompress_file(packed, source, model=folder / "tiny.ckpt", precision="float32", overwrite=True)
        source.rename(source.with_suffix(".restored.tif"))
    (folder / "symbols.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
