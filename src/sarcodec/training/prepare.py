"""Prepare: GeoTIFFs in, a patch set with its Normalizer out, one pass to fit and one to cut."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.warp

from sarcodec import errors, radiometry, tiling
from sarcodec.autoencoder import normalization
from sarcodec.files import atomic
from sarcodec.raster import find, geotiff
from sarcodec.raster import info as raster_info
from sarcodec.training import patches


@dataclass(frozen=True)
class Progress:
    """What has been done: images of ``images``, pixels read, patches kept."""

    stage: str
    image: str
    done: int
    images: int
    megapixels: float
    patches: int


@dataclass(frozen=True)
class Image:
    """A training image: where it is, what its numbers are, which place it shows."""

    path: Path
    quantity: radiometry.Quantity
    keys: tuple[str, ...]
    place: str


def prepare(
    inputs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    config: patches.PatchConfig | None = None,
    *,
    clipping: normalization.Clipping | None = None,
    quantity: radiometry.Quantity | None = None,
    validation: Sequence[str] = (),
    validation_share: float = 0.2,
) -> Iterator[Progress]:
    """Make a patch set; run the iterator to its end.

    The split is by place, never by patch: images whose footprints overlap, or whose names differ only in parts that
    are numbers or dates, are one place and stay on one side. Finished shards of an interrupted run with the same
    settings are kept.

    Parameters
    ----------
    inputs : sequence of paths
        GeoTIFFs, or folders of them.
    folder : path
        Where the patch set goes; made when missing.
    config : PatchConfig, optional
        Patch size, stride and quality filter.
    clipping : Clipping, optional
        Rule for the bounds, fitted to the training images only, separately per quantity and polarisation.
    quantity : Quantity, optional
        What the pixels of all inputs are; detected per image when not given.
    validation : sequence of str
        Name patterns (``"*Ottawa*"``) of validation images; whole places follow.
    validation_share : float
        Share of places taken for validation when no pattern is given, chosen by a hash of their names.

    Yields
    ------
    Progress
        After every image of both passes.

    Raises
    ------
    InputError, FormatError
        For unusable inputs, or when one side of the split would be empty.
    """
    config = config or patches.PatchConfig()
    clipping = clipping or normalization.Clipping()
    target = Path(folder)
    images = _describe(find.find_images(inputs), quantity)
    held_out = _split(images, validation, validation_share)
    _check_quantities(images, held_out)
    target.mkdir(parents=True, exist_ok=True)

    megapixels = 0.0
    histograms: dict[str, normalization.Histogram] = {}
    for done, image in enumerate(images, 1):
        if image.place not in held_out:
            megapixels += _count(image, histograms)
        yield Progress("fit", image.path.name, done, len(images), megapixels, 0)
    normalizer = normalization.Normalizer.fit(histograms, clipping)

    shards: list[patches.Shard] = []
    megapixels = 0.0
    for done, image in enumerate(images, 1):
        split = "val" if image.place in held_out else "train"
        with geotiff.open_raster(image.path) as raster:
            for band in range(raster.info.count):
                shards += _cut_or_keep(target, raster, image, (band, split), config, normalizer)
                megapixels += raster.info.height * raster.info.width / 1e6
        kept = sum(shard.patches for shard in shards)
        yield Progress("cut", image.path.name, done, len(images), megapixels, kept)
    manifest = patches.Manifest(config, normalizer, tuple(shards))
    for split in ("train", "val"):
        if manifest.count(split) == 0:
            raise errors.InputError(f"inputs: no patch of the {split} images passes the quality filter; loosen it")
    patches.write_manifest(target, manifest)


def _check_quantities(images: Sequence[Image], held_out: Collection[str]) -> None:
    """Refuse validation images of a quantity that no training image has: there are no bounds to scale them by."""
    names = {"db": "backscatter (intensity or dB)", "dn": "amplitude DN"}
    kinds = {image.path.name: image.keys[0].split("/")[0] for image in images}
    known = {kinds[image.path.name] for image in images if image.place not in held_out}
    for image in images:
        kind = kinds[image.path.name]
        if known and kind not in known:
            raise errors.InputError(
                f"validation: {image.path.name} holds {names[kind]}, the training images hold "
                f"{' and '.join(names[other] for other in sorted(known))}; validate on images of the same quantity, "
                "or say with --quantity what they are"
            )


def _describe(paths: list[Path], quantity: radiometry.Quantity | None) -> list[Image]:
    """Open every image once: its quantity, its keys in the Normalizer, its place."""
    images, boxes = [], []
    for path in paths:
        with geotiff.open_raster(path) as raster:
            info = raster.info
            known = quantity or radiometry.detect_quantity(raster.sample(0), info.nodata, info.unit_text())
            keys = tuple(normalization.Normalizer.key(known, info.polarisation(b)) for b in range(info.count))
            boxes.append(_footprint(info))
        images.append(Image(path, known, keys, place_name(path.stem)))
    for first in range(len(images)):
        for second in range(first):
            if _overlap(boxes[first], boxes[second]):
                old, new = images[first].place, images[second].place
                images = [Image(i.path, i.quantity, i.keys, new) if i.place == old else i for i in images]
    return images


def place_name(stem: str) -> str:
    """Strip the parts of a name that are numbers or dates (20200607T0512): two dates of one area are one place."""
    parts = re.split(r"[_\-. ]+", stem)
    return "_".join(part for part in parts if not re.fullmatch(r"\d*(T\d+)?", part)) or stem


def _footprint(info: raster_info.RasterInfo) -> tuple[float, float, float, float] | None:
    """West, south, east, north in degrees, where the raster has a CRS and a transform."""
    if info.crs is None or info.transform is None:
        return None
    bounds = rasterio.transform.array_bounds(info.height, info.width, rasterio.Affine(*info.transform))
    try:
        west, south, east, north = rasterio.warp.transform_bounds(info.crs, "EPSG:4326", *bounds)
    except rasterio.errors.RasterioError:  # an engineering or otherwise local CRS has no place on the globe
        return None
    return west, south, east, north


def _overlap(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> bool:
    if a is None or b is None:
        return False
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _split(images: list[Image], patterns: Sequence[str], share: float) -> set[str]:
    """Return the places held out for validation."""
    places = sorted({image.place for image in images})
    if patterns:
        held_out = {i.place for i in images if any(fnmatch.fnmatch(i.path.name, p) for p in patterns)}
    else:
        ranked = sorted(places, key=lambda place: hashlib.sha256(place.encode()).digest())
        held_out = set(ranked[: max(1, round(share * len(places)))])
    if not held_out or len(held_out) == len(places):
        raise errors.InputError(
            f"validation: {len(held_out)} of {len(places)} places would be held out; training and validation each "
            "need at least one place (pass images of more places, or --validation patterns)"
        )
    return held_out


def _strips(info: raster_info.RasterInfo, rows: int) -> Iterator[tiling.Window]:
    for top in range(0, info.height, rows):
        yield tiling.Window(top, min(top + rows, info.height), 0, info.width)


def _count(image: Image, histograms: dict[str, normalization.Histogram]) -> float:
    """Add an image to the histograms of its keys, strip by strip; returns the megapixels read."""
    with geotiff.open_raster(image.path) as raster:
        for band, key in enumerate(image.keys):
            histogram = histograms.setdefault(key, normalization.Histogram())
            for window in _strips(raster.info, 256):
                pixels = raster.read(band, window)
                valid = radiometry.classify(pixels, image.quantity, raster.info.nodata) == radiometry.Fill.VALID
                histogram.add(radiometry.to_db(pixels[valid], image.quantity))
        return raster.info.count * raster.info.height * raster.info.width / 1e6


def _cut_or_keep(
    folder: Path,
    raster: geotiff.RasterReader,
    image: Image,
    place: tuple[int, str],
    config: patches.PatchConfig,
    normalizer: normalization.Normalizer,
) -> list[patches.Shard]:
    """Cut one band into shards, or return those a run with the same settings has left."""
    band, split = place
    key = image.keys[band]
    bounds = normalizer.select_for(lambda: raster.sample(band), image.quantity, key.split("/")[1], raster.info.nodata)
    stat = image.path.stat()
    name = key if key in normalizer.bounds else next(k for k, b in normalizer.bounds.items() if b == bounds)
    recipe = {
        "config": asdict(config),
        "bounds": [bounds.vmin, bounds.vmax],
        "source": [image.path.name, stat.st_size, stat.st_mtime_ns, band],
        "quantity": image.quantity,
        "key": name,
    }
    record = folder / split / f"{image.path.stem}.{band}.json"
    try:
        done: dict[str, Any] = json.loads(record.read_text())
        if done["recipe"] == recipe:
            kept = [patches.Shard(**shard) for shard in done["shards"]]
            for shard in kept:
                if shard.patches:
                    patches.map_shard(folder / shard.file, shard, config)
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no record, or a shard was lost or damaged: cut again
    record.parent.mkdir(exist_ok=True)
    with _ShardWriter(folder, split, f"{image.path.stem}.{band}", config) as writer:
        for patch, good in _cut(raster, band, image.quantity, config, bounds):
            writer.add(patch, good)
    shards = [
        patches.Shard(file, split, image.path.name, band, name, count, writer.rejected if n == 0 else 0)
        for n, (file, count) in enumerate(writer.files)
    ]
    text = json.dumps({"recipe": recipe, "shards": [asdict(s) for s in shards]})
    atomic.write_bytes(record, text.encode(), overwrite=True)
    return shards


def _cut(
    raster: geotiff.RasterReader,
    band: int,
    quantity: radiometry.Quantity,
    config: patches.PatchConfig,
    bounds: normalization.Bounds,
) -> Iterator[tuple[npt.NDArray[np.float32], bool]]:
    """Cut patches of a band, one row of patches in memory at a time; each with the filter's verdict."""
    info, size = raster.info, config.size
    for top in range(0, info.height - size + 1, config.stride):
        pixels = raster.read(band, tiling.Window(top, top + size, 0, info.width))
        unusable = radiometry.classify(pixels, quantity, info.nodata) != radiometry.Fill.VALID
        db = np.where(unusable, np.float32(np.nan), radiometry.to_db(pixels, quantity))
        if pixels.dtype.kind in "ui":
            unusable |= pixels == np.iinfo(pixels.dtype).max
        for left in range(0, info.width - size + 1, config.stride):
            columns = slice(left, left + size)
            patch = db[:, columns]
            yield patch, patches.is_good(bounds.apply(patch), unusable[:, columns], config)


class _ShardWriter:
    """Collects good patches and writes them as shards of bounded size."""

    def __init__(self, folder: Path, split: str, name: str, config: patches.PatchConfig) -> None:
        self._folder, self._prefix = folder, f"{split}/{name}"
        self._buffer: list[npt.NDArray[np.float32]] = []
        self._size = config.size
        self.files: list[tuple[str, int]] = []
        self.rejected = 0

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and (self._buffer or not self.files):
            self._flush()

    def add(self, patch: npt.NDArray[np.float32], good: bool) -> None:
        if not good:
            self.rejected += 1
            return
        self._buffer.append(patch.copy())
        if len(self._buffer) == patches.SHARD_PATCHES:
            self._flush()

    def _flush(self) -> None:
        name = f"{self._prefix}.{len(self.files):03d}.npy"
        stack = np.array(self._buffer, np.float32).reshape(-1, self._size, self._size)
        with atomic.output(self._folder / name, overwrite=True) as temporary, temporary.open("wb") as stream:
            np.save(stream, stack, allow_pickle=False)
        self.files.append((name, len(self._buffer)))
        self._buffer = []
