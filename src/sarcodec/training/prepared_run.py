"""The beginning of a training of a codec for all rates: a run's folder with prepared images and settings."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from sarcodec import errors
from sarcodec.files import atomic

IMAGES, SETTINGS = "images.npz", "run.json"

FloatArray = npt.NDArray[np.float32]
Settings = TypeVar("Settings")


@dataclass(frozen=True, eq=False)
class Image:
    """One band in dB without invalid pixels: name, (H, W) float32, and whether it is for validation."""

    name: str
    db: FloatArray
    validation: bool


def write_images(path: Path, images: Sequence[Image]) -> None:
    """Write prepared images; arrays are named by number, a JSON record holds names and splits."""
    record = json.dumps([[image.name, image.validation] for image in images])
    arrays: dict[str, Any] = {str(number): image.db for number, image in enumerate(images)}
    with atomic.output(path, overwrite=True) as temporary, temporary.open("wb") as stream:
        np.savez(stream, record=np.frombuffer(record.encode(), np.uint8), **arrays)


def read_images(path: Path) -> list[Image]:
    """Inverse of :func:`write_images`; FormatError for anything else."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            record = json.loads(arrays["record"].tobytes())
            return [Image(name, arrays[str(number)], bool(val)) for number, (name, val) in enumerate(record)]
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as cause:
        raise errors.FormatError(f"{path}: not prepared images ({errors.plain(cause)})") from cause


def write_part(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays of what a run has fitted, as safetensors."""
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    atomic.write_bytes(path, safetensors.numpy.save(kept))


def begin(folder: Path, images: Sequence[Image], settings: Any, least: int, what: str) -> None:
    """Make a run of images and settings, a dataclass of JSON values.

    InputError when the folder holds one, a split is empty, or a training image has a side below ``least`` pixels,
    which ``what`` says in words.
    """
    if (folder / SETTINGS).exists():
        raise errors.InputError(f"run {folder}: exists already; continue it with --resume, or name another folder")
    for validation in (False, True):
        if not any(image.validation == validation for image in images):
            split = "validation" if validation else "training"
            raise errors.InputError(f"images: none for {split}; name validation images by --validation PATTERN")
    small = [image.name for image in images if not image.validation and min(image.db.shape) < least]
    if small:
        raise errors.InputError(f"images: {small[0]} is smaller than {what}; leave it out")
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / IMAGES, images)
    atomic.write_bytes(folder / SETTINGS, json.dumps(asdict(settings), indent=1).encode())


def read(folder: Path, kind: type[Settings]) -> tuple[Settings, list[Image]]:
    """Return settings and images of a run; FormatError for what is none."""
    try:
        settings = kind(**json.loads((folder / SETTINGS).read_text()))
    except (OSError, ValueError, TypeError) as cause:
        raise errors.FormatError(f"run {folder}: no usable {SETTINGS} ({errors.plain(cause)})") from cause
    return settings, read_images(folder / IMAGES)
