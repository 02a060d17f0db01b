"""From symbols to pixels by docs/format.md alone: transform and networks in plain NumPy."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

import plain_decoder
import plain_speckle
from plain_decoder import File

DTYPES = {"F32": "<f4", "I32": "<i4", "I64": "<i8"}
TORCH = {"F32": "torch.float32", "I32": "torch.int32", "I64": "torch.int64"}


class Model:
    """A model's file: record and tensors."""

    def __init__(self, data: bytes) -> None:
        self.identity = hashlib.sha256(data).hexdigest()[:16]
        end = 8 + int.from_bytes(data[:8], "little")
        entries = json.loads(data[8:end])
        self.record: dict[str, Any] = json.loads(entries.pop("__metadata__")["sarcodec"])
        self.arrays, digest = {}, hashlib.sha256()
        for name, entry in sorted(entries.items()):
            part = data[slice(*(end + offset for offset in entry["data_offsets"]))]
            self.arrays[name] = np.frombuffer(part, DTYPES[entry["dtype"]]).reshape(entry["shape"])
            digest.update(f"{name} {TORCH[entry['dtype']]} {tuple(entry['shape'])}\n".encode() + part)
        rest = {key: value for key, value in self.record.items() if key != "digest"}
        digest.update(json.dumps(rest, sort_keys=True).encode())
        assert self.record.get("digest", digest.hexdigest()) == digest.hexdigest()


def restore(data: bytes, model: bytes | None = None, *, speckle: bool = False) -> np.ndarray:
    """Pixels (bands, H, W) of a file, in the dtype of its source."""
    file = File(data)
    raster = file.header["raster"]
    assert not {"scales", "offsets", "mask"} & set(raster)
    bands = []
    for band in range(raster["count"]):
        pixels = from_db(decibels(file, band, model, speckle=speckle), file)
        if (constant := (file.header.get("extra", {}).get("constant") or [None] * (band + 1))[band]) is not None:
            pixels[:] = constant
        for row, column, rows, columns in file.tiles():
            part = pixels[rows, columns]
            fill(part, file.mask(band, row, column, part.shape), raster)
        bands.append(pixels)
    return np.stack(bands)


def decibels(file: File, band: int, model: bytes | None, *, speckle: bool = False) -> np.ndarray:
    """A band in dB, (H, W)."""
    if file.architecture == "bounded":
        db = bounded(file, band)
    else:
        found = Model(model or b"")
        assert found.identity == file.header["model"][0]
        db = {"lapped": lapped, "variable": variable}.get(file.architecture, autoencoder)(file, band, found)
    if speckle:
        for row, column, rows, columns in file.tiles():
            record, _ = file.entry(band, row, column) or (b"", b"")
            if record:
                lost, seed = plain_speckle.Record.parse(record), file.header["seed"]
                db[rows, columns] += plain_speckle.field_of(lost, seed, rows.start, columns.start)
    return db


def from_db(db: np.ndarray, file: File) -> np.ndarray:
    quantity, dtype = file.header["quantity"], np.dtype(file.header["raster"]["dtype"])
    wide = db.astype(float)
    if quantity != "db":
        wide = 10 ** (wide / (20 if quantity == "dn" else 10))
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        wide = np.clip(np.rint(wide), limits.min if quantity == "db" else 1, limits.max)
    pixels = wide.astype(dtype)
    if "nodata" in file.header["raster"]:
        nodata = float(file.header["raster"]["nodata"])
        taken = pixels == nodata
        if dtype.kind == "f":
            pixels[taken] = np.nextafter(pixels[taken], dtype.type(np.inf))
        elif taken.any():
            pixels[taken] = nodata - 1 if nodata == limits.max else nodata + 1
    return pixels


def fill(pixels: np.ndarray, codes: np.ndarray, raster: dict[str, Any]) -> None:
    real = pixels.dtype.kind == "f"
    nodata = float(raster.get("nodata", "nan" if real else 0))
    for code, value in {1: nodata, 2: 0, 3: np.nan, 4: np.inf, 5: -np.inf, 6: nodata}.items():
        if (codes == code).any():
            pixels[codes == code] = value


def bounded(file: File, band: int) -> np.ndarray:
    db = np.zeros(file.shape[1:], np.float32)
    unit = 2 * (file.header["max_error_db"] - 0.0001) / 31
    for row, column, rows, columns in file.tiles():
        _, data = file.entry(band, row, column) or (b"", b"")
        if data:
            everywhere = np.ones(db[rows, columns].shape, bool)
            db[rows, columns] = plain_decoder.Bounded(data, everywhere).decode() * unit
    return db


def lapped(file: File, band: int, model: Model) -> np.ndarray:
    """All blocks of a band at once: tiles meet without a seam."""
    step = file.header["step"]
    delta = 2 ** (step / 256) / 64
    coefficients = np.zeros((64, 64, *(-(-side // 64) for side in file.shape[1:])))
    for row, column, rows, columns in file.tiles():
        _, data = file.entry(band, row, column) or (b"", b"")
        if data:
            at = np.s_[:, :, rows.start // 64 : -(-rows.stop // 64), columns.start // 64 : -(-columns.stop // 64)]
            tile = plain_decoder.Lapped(model.arrays, step, coefficients[at].shape[2:])
            tile.decode(data)
            k, q = tile.symbols, tile.index // 72
            centroids = model.arrays["coder.centroids"][q, tile.index % 72, np.minimum(np.abs(k), 3)]
            coefficients[at] = delta * (2 * k - np.sign(k) * q + np.sign(k) * centroids)
    db = synthesis(coefficients)
    if step < model.record.get("restored_below", 2**16):
        db = restored(db, delta, model)
    return db[: file.shape[1], : file.shape[2]] + file.header["bands"][band][0]


def variable(file: File, band: int, model: Model) -> np.ndarray:
    """All blocks of a band at once: tiles meet without a seam."""
    step, arrays = file.header["step"], model.arrays
    delta = 2 ** (step / 256) / 64
    latents = np.zeros((len(arrays["linear.parity"]), *(-(-side // 16) for side in file.shape[1:])))
    for row, column, rows, columns in file.tiles():
        _, data = file.entry(band, row, column) or (b"", b"")
        if data:
            at = np.s_[:, rows.start // 16 : -(-rows.stop // 16), columns.start // 16 : -(-columns.stop // 16)]
            tile = plain_decoder.Variable(arrays, step, latents[at].shape[1:])
            tile.decode(data)
            k, q = tile.symbols, tile.index // 72
            centroids = arrays["coder.centroids"][q, tile.index % 72, np.minimum(np.abs(k), 3)]
            latents[at] = delta * (2 * k - np.sign(k) * q + np.sign(k) * centroids)
    around = mirrored(latents, arrays["linear.parity"])
    blocks = convolution(around, arrays["linear.synthesis"])[:, 1:-1, 1:-1]
    db = restored(shuffle(blocks, 16)[0], delta, model)
    return db[: file.shape[1], : file.shape[2]] + file.header["bands"][band][0]


def mirrored(latents: np.ndarray, parity: np.ndarray) -> np.ndarray:
    """Latents (n, h, w) and a ring of those of the image mirrored at its borders."""
    for axis in (1, 2):
        signs = parity[:, axis - 1].reshape(-1, 1, 1)
        first, last = (np.take(latents, [place], axis) * signs for place in (0, -1))
        latents = np.concatenate([first, latents, last], axis)
    return latents


def synthesis(coefficients: np.ndarray) -> np.ndarray:
    """Inverse lapped transform of coefficients (64, 64, h, w)."""
    cosines = dct2(64)
    blocks = cosines.T @ coefficients.transpose(2, 3, 0, 1) @ cosines
    pixels = blocks.transpose(0, 2, 1, 3).reshape(64 * coefficients.shape[2], 64 * coefficients.shape[3])
    n = np.arange(32)
    cosines_4 = np.sqrt(2 / 32) * np.cos(np.pi * (2 * n[:, None] + 1) * (2 * n + 1) / 128)
    i, j, zero = np.eye(32), np.eye(32)[::-1], np.zeros((32, 32))
    w, v = np.block([[i, j], [j, -i]]), j @ dct2(32).T @ cosines_4 @ j
    f = w @ np.block([[i, zero], [zero, v]]) @ w / 2
    for border in range(64, pixels.shape[1], 64):
        pixels[:, border - 32 : border + 32] = pixels[:, border - 32 : border + 32] @ f
    for border in range(64, pixels.shape[0], 64):
        pixels[border - 32 : border + 32] = f.T @ pixels[border - 32 : border + 32]
    return pixels


def dct2(size: int) -> np.ndarray:
    k, n = np.indices((size, size))
    return np.where(k == 0, np.sqrt(1 / size), np.sqrt(2 / size)) * np.cos(np.pi * (2 * n + 1) * k / (2 * size))


def restored(db: np.ndarray, delta: float, model: Model) -> np.ndarray:
    """The restoring network."""
    count, side = model.record["restorer"]["layers"], model.record["restorer"].get("cell", 4)
    layers = [[model.arrays[f"restorer.layers.{n}.{kind}"] for kind in ("weight", "bias")] for n in range(count)]
    x = unshuffle(db[None].astype(np.float32) / 8, side)
    x = np.concatenate([x, np.full((1, *x.shape[1:]), np.log2(delta) / 4, np.float32)])
    x = relu(convolution(x, *layers[0]))
    for n in range(1, count - 1, 2):
        x = x + convolution(relu(convolution(x, *layers[n])), *layers[n + 1])
    return db + shuffle(convolution(x, *layers[-1]), side)[0] * delta


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """(C, H, W) to (O, H, W), zeros beyond the border."""
    side, (_, height, width) = weight.shape[2], x.shape
    wide = np.pad(x, [(0, 0), (side // 2, side // 2), (side // 2, side // 2)])
    y = sum(
        np.tensordot(weight[:, :, i, j], wide[:, i : i + height, j : j + width], 1)
        for i, j in itertools.product(range(side), repeat=2)
    )
    return y if bias is None else y + bias[:, None, None]


def unshuffle(x: np.ndarray, side: int) -> np.ndarray:
    channels, height, width = x.shape
    cells = x.reshape(channels, height // side, side, width // side, side).transpose(0, 2, 4, 1, 3)
    return cells.reshape(channels * side**2, height // side, width // side)


def shuffle(x: np.ndarray, side: int) -> np.ndarray:
    channels, height, width = x.shape
    cells = x.reshape(channels // side**2, side, side, height, width).transpose(0, 3, 1, 4, 2)
    return cells.reshape(channels // side**2, height * side, width * side)


def transposed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """4×4 transposed convolution of stride 2: (C, H, W) to (O, 2H, 2W)."""
    _, height, width = x.shape
    y = np.zeros((weight.shape[1], 2 * height + 2, 2 * width + 2), np.float32)
    for i, j in itertools.product(range(4), repeat=2):
        y[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += np.tensordot(weight[:, :, i, j].T, x, 1)
    y = y[:, 1:-1, 1:-1]
    return y if bias is None else y + bias[:, None, None]


class Decoder:
    """The decoder of an autoencoder: latents (C, h, w) to values in [0, 1]."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "stages": 4,
        "activation_first": False,
        "bottleneck_blocks": False,
        "self_attention": False,
        "attention_at": "bottleneck",
    }

    def __init__(self, model: Model) -> None:
        before = {} if "output" in model.record["config"] else {"output": "sigmoid", "shortcut": "strided"}
        self.config = self.DEFAULTS | before | model.record["config"]
        self.arrays = {n.removeprefix("model."): a for n, a in model.arrays.items() if n.startswith("model.")}
        self.pools = self.config["arch"] == "cbam" or self.config["self_attention"]
        self.margin = 5 if self.config["arch"] == "residual" and not self.pools else 2
        self.rearranged = self.config["shortcut"] == "rearranged"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        attends = self.config["arch"] == "cbam" and self.config["attention_at"] in ("decoder", "everywhere")
        number = itertools.count()
        for _ in range(self.config["stages"] - 1):
            if self.config["arch"] == "plain":
                name = f"decoder.{next(number)}"
                x = relu(self.norm(f"{name}.1", transposed(x, *self.layer(f"{name}.0"))))
                continue
            x = self.block(f"decoder.{next(number)}", x, transposed)
            x = self.block(f"decoder.{next(number)}", x, convolution)
            if attends:
                x = self.attention(f"decoder.{next(number)}", x)
        x = transposed(x, *self.layer("to_pixels"))[0]
        if self.config["output"] == "sigmoid":
            return sigmoid(x)
        return np.clip(x * self.arrays["level.deviation"] + self.arrays["level.mean"], 0, 1)

    def layer(self, name: str) -> list[np.ndarray | None]:
        return [self.arrays[f"{name}.weight"], self.arrays.get(f"{name}.bias")]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        mean, variance, weight, bias = (
            self.arrays[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def block(self, name: str, x: np.ndarray, changing: Callable[..., np.ndarray]) -> np.ndarray:
        convolutions = [changing, convolution]
        if self.config["bottleneck_blocks"]:
            convolutions = [convolution, changing, convolution]
        first, y, at = self.rearranged or self.config["activation_first"], x, 0
        for n, layer in enumerate(convolutions):
            if first:
                if not self.rearranged:
                    y, at = self.norm(f"{name}.main.{at}", y), at + 1
                y, at = layer(relu(y), *self.layer(f"{name}.main.{at + 1}")), at + 2
            else:
                y = self.norm(f"{name}.main.{at + 1}", layer(y, *self.layer(f"{name}.main.{at}")))
                y, at = relu(y) if n < len(convolutions) - 1 else y, at + 3
        y = y + self.shortcut(f"{name}.shortcut", x, changing is transposed)
        return y if first else relu(y)

    def shortcut(self, name: str, x: np.ndarray, up: bool) -> np.ndarray:
        if not up:
            return x
        x = convolution(x, *self.layer(f"{name}.0"))
        if self.rearranged:
            return shuffle(x, 2)
        wide = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2]), np.float32)
        wide[:, ::2, ::2] = x
        return self.norm(f"{name}.2", wide)

    def attention(self, name: str, x: np.ndarray) -> np.ndarray:
        most = 2 if self.rearranged else 1
        gate = convolution(x.mean(axis=(1, 2), keepdims=True), *self.layer(f"{name}.0.gate.1"))
        x = x * most * sigmoid(convolution(relu(gate), *self.layer(f"{name}.0.gate.3")))
        summary = np.stack([x.mean(axis=0), x.max(axis=0)])
        return x * most * sigmoid(convolution(summary, *self.layer(f"{name}.1.convolution")))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def autoencoder(file: File, band: int, model: Model) -> np.ndarray:
    decoder, stride, step = Decoder(model), file.stride, file.header["step"]
    arrays = model.arrays
    multipliers, steps = arrays["entropy.multipliers"].tolist(), arrays["entropy.steps"] * np.float32(step)
    first = multipliers.index(step) * steps.size
    tables = plain_decoder.tables_of(arrays, "entropy.")[first : first + steps.size]
    latent = np.zeros((steps.size, *(-(-side // stride) for side in file.shape[1:])), np.float32)
    for row, column, rows, columns in file.tiles():
        _, data = file.entry(band, row, column) or (None, None)
        if data is not None:
            at = np.s_[:, rows.start // stride : -(-rows.stop // stride), columns.start // stride :]
            width = -(-columns.stop // stride) - columns.start // stride
            shape = latent[at].shape[1], width
            latent[at][:, :, :width] = plain_decoder.version_1(data, shape, tables) * steps[:, None, None]
    side = file.header["tile"]
    ramp = min(stride, side // 2 // stride * stride)
    inner = 256 - 2 * (decoder.margin + 1) * stride

    def window(part: np.ndarray) -> np.ndarray:
        size = part.shape[1] * stride, part.shape[2] * stride
        return (
            blended(part, size, (stride, inner, stride, decoder.margin), decoder) if decoder.pools else decoder(part)
        )

    values = blended(latent, file.shape[1:], (stride, side, ramp, decoder.margin), window)
    vmin, vmax, _ = file.header["bands"][band]
    return values * np.float32(vmax - vmin) + np.float32(vmin)


def blended(
    latent: np.ndarray,
    shape: tuple[int, ...],
    windows: tuple[int, int, int, int],
    decode: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Decode in windows, each a core with a ramp and a margin, and blend them."""
    stride, side, ramp, margin = windows
    values = np.zeros(shape, np.float32)
    for corner in itertools.product(*(range(0, length, side) for length in shape)):
        profiles, outer, inside, blend = [], [], [], []
        for start, length in zip(corner, shape, strict=True):
            stop = min(start + side, length)
            low, high = max(start - ramp, 0), min(stop + ramp, length)
            first = max(low - margin * stride, 0) // stride
            outer.append(slice(first, -(-min(high + margin * stride, length) // stride)))
            centre = np.arange(low, high) + 0.5
            profile = np.ones(centre.size)
            if ramp and start > 0:
                profile *= rise((centre - start) / ramp)
            if ramp and stop < length:
                profile *= 1 - rise((centre - stop) / ramp)
            profiles.append(profile)
            blend.append(slice(low, high))
            inside.append(slice(low - first * stride, high - first * stride))
        part = decode(latent[(slice(None), *outer)])
        values[tuple(blend)] += profiles[0][:, None] * profiles[1] * part[tuple(inside)]
    return values


def rise(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(x, -1, 1))
