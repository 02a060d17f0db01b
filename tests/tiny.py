"""Tiny things for tests: speckled arrays, patch sets, and a small model that has learned a little."""

from __future__ import annotations

import dataclasses
import functools
import io as bytes_io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sarcodec import radiometry, tiling
from sarcodec.autoencoder import architecture, checkpoint, normalization, variants
from sarcodec.autoencoder import latents as autoencoder_latents
from sarcodec.autoencoder import network as autoencoder_network
from sarcodec.codec import codec, encoding, stored_tiles
from sarcodec.codec import layout as codec_layout
from sarcodec.container import archive
from sarcodec.lapped import model as lapped_model
from sarcodec.raster import info as raster_info
from sarcodec.restoring import network as restoring_network
from sarcodec.restoring import pytorch
from sarcodec.scene import model_store
from sarcodec.simulate import scenes
from sarcodec.training import (
    calibration,
    coefficient_fit,
    latent_fit,
    linear_start,
    overlapping,
    patches,
)
from sarcodec.variable import model as variable_model

torch.set_num_threads(1)  # more only wait for each other in models this small
linear_start.STEPS = 100  # as many do for them

CONFIG = architecture.ModelConfig(base_channels=8, latent_channels=4)
SIZE = 64
BOUNDS = normalization.Bounds(-30.0, 5.0)
NORMALIZER = normalization.Normalizer(
    normalization.Clipping(),
    {"db/VV": BOUNDS, "db/VH": normalization.Bounds(-36.0, 2.0), "dn/VV": normalization.Bounds(20.0, 70.0)},
)


def db(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Gamma speckle of 4.4 looks on a smooth scene; float32 dB within BOUNDS."""
    speckle = np.random.default_rng(seed).gamma(4.4, 1 / 4.4, shape)
    rows, columns = np.indices(shape)
    scene = -12.0 + 6.0 * np.sin((rows + 37 * seed) / 11.0) * np.cos(columns / 17.0)
    return np.clip(scene + 10.0 * np.log10(speckle), -29.0, 4.0).astype(np.float32)


def intensity(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return (10 ** (db(shape, seed) / 10)).astype(np.float32)


def dn(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.rint(10 ** ((db(shape, seed) + 60) / 20)).astype(np.uint16)


def patch_set(folder: Path, train: int = 16, val: int = 4) -> Path:
    """Write a patch set of 64×64 patches, and return its folder."""
    shards = []
    for split, count, seed in (("train", train, 0), ("val", val, 1000)):
        (folder / split).mkdir(parents=True)
        name = f"{split}/scene.0.000.npy"
        stack = [db((SIZE, SIZE), seed + i) for i in range(count)]
        np.save(folder / name, np.array(stack, np.float32).reshape(-1, SIZE, SIZE))
        shards.append(patches.Shard(name, split, f"{split}.tif", 0, "db/VV", count, 0))
    manifest = patches.Manifest(patches.PatchConfig(SIZE, SIZE), NORMALIZER, tuple(shards))
    patches.write_manifest(folder, manifest)
    return folder


def random_checkpoint(config: architecture.ModelConfig = CONFIG, seed: int = 0) -> checkpoint.Checkpoint:
    """Freshly initialised weights, not calibrated."""
    torch.manual_seed(seed)
    return checkpoint.Checkpoint(config, NORMALIZER, variants.build(config).state_dict())


@functools.cache
def trained() -> autoencoder_network.Autoencoder:
    """A tiny model after a few steps: enough for its latents to mean something."""
    torch.manual_seed(0)
    model = variants.build(CONFIG)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    pixels = torch.from_numpy(np.stack([BOUNDS.apply(db((SIZE, SIZE), i)) for i in range(16)]))[:, None]
    for step in range(80):
        batch = pixels[(step % 2) * 8 :][:8]
        loss = ((model(batch)[0] - batch) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@functools.cache
def calibrated_bytes() -> bytes:
    """The file of a calibrated checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        train = patches.PatchSet(patch_set(Path(folder) / "patches"), "train")
        fitted = calibration.calibrate(trained(), train)
        tables = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in fitted.coder.to_arrays().items()}
        path = Path(folder) / "tiny.ckpt"
        checkpoint.save(path, checkpoint.Checkpoint(CONFIG, NORMALIZER, trained().state_dict(), tables))
        return path.read_bytes()


def write_checkpoint(folder: Path) -> Path:
    path = folder / "tiny.ckpt"
    path.write_bytes(calibrated_bytes())
    return path


@functools.cache
def coder(precision: str = "float32") -> codec.Codec:
    with tempfile.TemporaryDirectory() as folder:
        model = checkpoint.load(write_checkpoint(Path(folder)))
    return model_store.codec_of(model, precision=precision)


@functools.cache
def other_coder() -> codec.Codec:
    """A codec of the same shape but of another model."""
    return model_store.codec_of(dataclasses.replace(coder().engine.model, identity="0" * 16), precision="float32")


def simulated_db(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """VV of a simulated scene without borders; float32 dB."""
    sigma0 = scenes.scene(*shape, seed=seed, nodata_border=False).sigma0[0]
    return radiometry.to_db(sigma0, radiometry.Quantity.INTENSITY)


def written(save: Callable[[Path, Any], str], model: Any) -> bytes:
    """The file of a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.ckpt"
        save(path, model)
        return path.read_bytes()


def read(load: Callable[[Path], Any], data: bytes) -> Any:
    """The model of a file's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.ckpt"
        path.write_bytes(data)
        return load(path)


@functools.cache
def lapped_bytes() -> bytes:
    """The file of a lapped model that is fitted a little; its restorer is random, small, and sees as far as any."""
    tiles = [coefficient_fit.tiles_of(simulated_db((192, 192), seed)) for seed in (1, 2)]
    coder = coefficient_fit.fit(tiles, rounds=2, steps=150, draws=2)
    torch.manual_seed(0)
    network = pytorch.Network(restoring_network.RestorerConfig(8, 4, 8))
    torch.nn.init.normal_(network.layers[-1].weight, std=0.01)
    return written(
        lapped_model.save, lapped_model.LappedModel(coder, network.to_restorer(), coefficient_fit.RATE_WEIGHT)
    )


@functools.cache
def lapped() -> lapped_model.LappedModel:
    return read(lapped_model.load, lapped_bytes())


@functools.cache
def lapped_codec() -> codec.Codec:
    return model_store.codec_of(lapped(), precision="float32")


@functools.cache
def variable_bytes() -> bytes:
    """The file of a variable-rate autoencoder that is fitted a little; its network is random, small and not zero."""
    images = [simulated_db((192, 208), seed) for seed in (1, 2)]
    *_, transform = overlapping.fit([image - np.median(image) for image in images], (20, 6), 3, seed=1)
    tiles = [transform.analyse(image - np.median(image)) for image in images]
    coder = latent_fit.fit(tiles, rounds=2, steps=60, draws=2)
    torch.manual_seed(0)
    network = pytorch.Network(restoring_network.RestorerConfig(8, 4, 2))
    torch.nn.init.normal_(network.layers[-1].weight, std=0.05)
    return written(variable_model.save, variable_model.VariableModel(transform, coder, network.to_restorer(), 0.35))


@functools.cache
def variable() -> variable_model.VariableModel:
    return read(variable_model.load, variable_bytes())


@functools.cache
def variable_codec() -> codec.Codec:
    return model_store.codec_of(variable())


class Array:
    """A source and a sink over one array (bands, H, W) that note every window."""

    def __init__(self, cube: np.ndarray) -> None:
        self.cube = cube
        self.windows: list[tuple[int, tiling.Window]] = []

    def read(self, band: int, window: tiling.Window) -> np.ndarray:
        self.windows.append((band, window))
        return self.cube[band][window.slices]

    def sample(self, band: int) -> np.ndarray:
        return self.cube[band, ::7, ::7]

    def write(self, band: int, window: tiling.Window, pixels: np.ndarray) -> None:
        self.windows.append((band, window))
        self.cube[band][window.slices] = pixels


def layout(source: Array, quantity: str) -> codec_layout.Layout:
    """What a source without coordinates, names or nodata says of itself."""
    count, height, width = source.cube.shape
    info = raster_info.RasterInfo(count, height, width, str(source.cube.dtype))
    return codec_layout.Layout(
        count,
        height,
        width,
        info.dtype,
        None,
        radiometry.Quantity(quantity),
        ("VV",) * count,
        info.to_dict(),
    )


def compress(source: Array, quantity: str, tile: int, step: int = 1, model: codec.Codec | None = None) -> bytes:
    """Compress through the codec itself, where the tile can be chosen."""
    buffer = bytes_io.BytesIO()
    with archive.Writer(buffer) as writer:
        (model or coder()).compress(source, layout(source, quantity), writer, encoding.Options(step, tile))
    return buffer.getvalue()


def symbols(data: bytes, band: int = 0) -> np.ndarray:
    """All symbols of a band of a file, its tiles put together."""
    with archive.Reader(bytes_io.BytesIO(data)) as reader:
        header = reader.header
        grid = tiling.TileGrid(*header.shape[1:], header.tile)
        rows = []
        for row in range(grid.rows):
            tiles = []
            for tile in grid.row_tiles(row):
                size = stored_tiles.latent_shape(tile.core.shape, header.stride)
                entry = reader.read(archive.tile_name(band, tile.row, tile.column), 1 << 24)
                tiles.append(coder().engine.coder.decode(entry, size, header.step))
            rows.append(np.concatenate(tiles, axis=2))
    return np.concatenate(rows, axis=1)


def tensors_equal(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@functools.cache
def variant_bytes(**changes: Any) -> bytes:
    """The file of an autoencoder (``changes`` to CONFIG) of random weights, nowhere zero, and fitted tables."""
    config = dataclasses.replace(CONFIG, **changes)
    torch.manual_seed(0)
    model = variants.build(config).train()
    for weights in model.parameters():
        if not weights.any():
            torch.nn.init.normal_(weights, std=0.1)
    batch = torch.from_numpy(np.stack([BOUNDS.apply(db((SIZE, SIZE), seed)) for seed in range(4)]))[:, None]
    with torch.no_grad():
        for _ in range(8):  # for the statistics of batch norms
            model(batch)
        latents = list(model.eval().encode(batch).numpy())
    fitted = autoencoder_latents.LatentCoder.fit(latents, np.full(config.latent_channels, 0.05, np.float32), (1, 2))
    tables = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in fitted.to_arrays().items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variant.ckpt"
        checkpoint.save(path, checkpoint.Checkpoint(config, NORMALIZER, model.state_dict(), tables))
        return path.read_bytes()
