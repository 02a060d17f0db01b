"""Patch sets: folders of NumPy shards and one JSON manifest, readable with NumPy alone.

::

    patches/
      manifest.json                 version, settings, Normalizer, one record per shard
      train/<image>.<band>.<n>.npy  float32 (patches, size, size), dB, NaN where invalid
      val/…                         images of other places; never fitted to, never trained on
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.autoencoder import normalization
from sarcodec.files import atomic

MANIFEST_VERSION = 1
SHARD_PATCHES = 1024
"""Most patches in one shard: 256 MiB at 256×256."""


@dataclass(frozen=True)
class PatchConfig:
    """How patches are cut and which are kept.

    ``min_std`` is of the patch scaled to [0, 1] by its band's bounds, ``max_invalid`` the largest share of pixels
    that are invalid or saturated (at the top of an integer dtype).
    """

    size: int = 256
    stride: int = 128
    min_std: float = 0.02
    max_invalid: float = 0.01

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 16 or self.stride < 1:
            raise errors.InputError(
                f"patches: got size {self.size} and stride {self.stride}; "
                "size must be a multiple of 16, at least 16, and stride at least 1"
            )


@dataclass(frozen=True)
class Shard:
    """One shard: which image and band it was cut from and what is in it."""

    file: str
    split: str
    image: str
    band: int
    key: str
    patches: int
    rejected: int


@dataclass(frozen=True)
class Manifest:
    """The manifest of a patch set."""

    config: PatchConfig
    normalizer: normalization.Normalizer
    shards: tuple[Shard, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "format": "sarcodec patches",
            "version": MANIFEST_VERSION,
            "config": asdict(self.config),
            "normalizer": self.normalizer.to_dict(),
            "shards": [asdict(shard) for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Manifest:
        """Inverse of :meth:`to_dict`; raises FormatError for anything else."""
        try:
            if record["format"] != "sarcodec patches" or record["version"] != MANIFEST_VERSION:
                raise ValueError(f"format {record['format']!r} version {record['version']!r}")
            manifest = cls(
                PatchConfig(**record["config"]),
                normalization.Normalizer.from_dict(record["normalizer"]),
                tuple(Shard(**shard) for shard in record["shards"]),
            )
            if not {shard.key for shard in manifest.shards} <= set(manifest.normalizer.bounds):
                raise ValueError("a shard's key has no bounds")
            return manifest
        except (KeyError, TypeError, ValueError) as cause:
            raise errors.FormatError(f"manifest: not a patch set of this version ({errors.plain(cause)})") from cause

    def count(self, split: str) -> int:
        """Return the number of patches in a split."""
        return sum(shard.patches for shard in self.shards if shard.split == split)


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` of a patch set; FormatError when it is missing or not one."""
    path = folder / "manifest.json"
    try:
        return Manifest.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as cause:
        raise errors.FormatError(
            f"patch set {errors.plain(folder)}: has no manifest.json; make one with 'sarcodec prepare'"
        ) from cause
    except (OSError, ValueError) as cause:
        raise errors.FormatError(f"patch set {errors.plain(folder)}: {errors.plain(cause)}") from cause


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, replacing an older one whole."""
    text = json.dumps(manifest.to_dict(), indent=1)
    atomic.write_bytes(folder / "manifest.json", text.encode(), overwrite=True)


class PatchSet:
    """One split of a patch set, memory-mapped.

    Parameters
    ----------
    folder : path
        The patch set.
    split : str
        ``"train"`` or ``"val"``.

    Raises
    ------
    FormatError
        When the manifest or a shard is missing or does not fit the other.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.manifest = read_manifest(folder)
        self.shards = [s for s in self.manifest.shards if s.split == split and s.patches]
        self._maps = [map_shard(folder / shard.file, shard, self.manifest.config) for shard in self.shards]
        self._starts = np.cumsum([0, *(shard.patches for shard in self.shards)])

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self._starts[-1])

    def locate(self, index: int) -> tuple[Shard, npt.NDArray[np.float32]]:
        """Return the shard and the stored patch (dB, NaN where invalid) number ``index``."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.shards[shard], self._maps[shard][index - self._starts[shard]]

    def scaled(self, index: int) -> npt.NDArray[np.float32]:
        """Return patch ``index`` scaled to [0, 1] by its bounds; invalid pixels hold the mean of the valid ones."""
        shard, patch = self.locate(index)
        db = np.array(patch)
        invalid = np.isnan(db)
        if invalid.any():
            db[invalid] = db[~invalid].mean()
        return self.manifest.normalizer.bounds[shard.key].apply(db)


def map_shard(path: Path, shard: Shard, config: PatchConfig) -> npt.NDArray[np.float32]:
    """Memory-map a shard; FormatError when it is missing, damaged or not what the manifest says."""
    try:
        shard_map: npt.NDArray[np.float32] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as cause:
        raise errors.FormatError(
            f"shard {errors.plain(path)}: cannot be read ({errors.plain(cause)}); run 'sarcodec prepare' again"
        ) from cause
    expected = (shard.patches, config.size, config.size)
    if shard_map.shape != expected or shard_map.dtype != np.float32:
        raise errors.FormatError(
            f"shard {errors.plain(path)}: holds {shard_map.dtype} {shard_map.shape}, the manifest says float32 "
            f"{expected}; run 'sarcodec prepare' again"
        )
    return shard_map


def augment(patch: npt.NDArray[np.float32], choice: int) -> npt.NDArray[np.float32]:
    """Turn by quarter turns and flip: one of eight, by ``choice`` in 0…7 (0 leaves the patch as it is)."""
    turned = np.rot90(patch, choice % 4)
    return np.ascontiguousarray(turned[:, ::-1] if choice >= 4 else turned)


def is_good(scaled: npt.NDArray[np.float32], unusable: npt.NDArray[np.bool_], config: PatchConfig) -> bool:
    """Quality filter: enough contrast, few invalid or saturated pixels.

    Parameters
    ----------
    scaled : ndarray of float32
        Patch in [0, 1], NaN where invalid.
    unusable : ndarray of bool
        Invalid or saturated pixels of the patch.
    """
    if unusable.mean() > config.max_invalid or unusable.all():
        return False
    return float(np.nanstd(scaled)) >= config.min_std
