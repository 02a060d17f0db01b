"""Evaluation: every band of every image to a real file and back, measured, with peers at the same bytes beside it."""

from __future__ import annotations

import csv
import io as text_io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import baselines, errors
from sarcodec.codec import encoding
from sarcodec.evaluation import chips
from sarcodec.files import atomic
from sarcodec.metrics import summary
from sarcodec.scene import model_store
from sarcodec.text import jsontext

PEERS = ("jpeg2000", "jpegxl")
"""Peers that are set beside a model; ``study`` measures more of them."""


@dataclass(frozen=True)
class Row:
    """One band of one image by one codec: its real bytes and its quality."""

    image: str
    band: str
    codec: str
    step: int
    bytes: int
    bits_per_pixel: float
    metrics: summary.Metrics

    @property
    def ratio(self) -> float:
        """True compression ratio against 16 bits per pixel."""
        return 16 / self.bits_per_pixel

    def to_dict(self) -> dict[str, Any]:
        """Return one flat record of plain values."""
        record: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "metrics"}
        return record | {"ratio": self.ratio} | self.metrics.to_dict()


def evaluate(
    model: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    *,
    steps: Sequence[int | None] = (None,),
    with_peers: bool = False,
) -> Iterator[Row]:
    """Compress every band of every image to a file of its own, restore it and measure both.

    Rates are of whole files, one band each (PROTOCOL: each band is one image). Peers get as many bytes as the
    ``.sarc`` file has; their own count is what they needed of them.

    Parameters
    ----------
    model : path or str
        A calibrated checkpoint, or the name of a shipped model.
    images : sequence of paths
        GeoTIFFs, or folders of them. Also ``.sarc`` files of shipped models, by their names: the image measured is
        the one that such a file holds, which has lost already what is lost first.
    steps : sequence of int or None
        The model's steps to measure; None is its default.
    with_peers : bool
        Whether to measure JPEG 2000 and JPEG XL too; needs the extra ``bench``.

    Yields
    ------
    Row
        By image, band, step and codec.

    Raises
    ------
    InputError, FormatError, MissingExtra
        For unusable images, an unusable model, or missing peers.
    """
    coder = model_store.open_codec(model)
    for chip in chips.read(images, coded=True):
        for asked in steps:
            step = encoding.settle(coder.engine, encoding.Options(step=asked))[0]
            restored, used = chips.restore(chip, coder, step)
            yield _row(chip, "sarcodec", step, used, restored)
            for name in PEERS if with_peers else ():
                peer_db, used_by_peer = baselines.restore(baselines.PEERS[name], chip.db, chip.valid, used)
                yield _row(chip, name, step, used_by_peer, peer_db)


def _row(chip: chips.Chip, name: str, step: int, used: int, restored_db: npt.NDArray[Any]) -> Row:
    quality = summary.evaluate(chip.db, restored_db, chip.valid)
    return Row(chip.image, chip.band, name, step, used, 8 * used / chip.db.size, quality)


def means(rows: Sequence[Row]) -> list[Row]:
    """Average rows over images, for every codec and step; undefined figures are left out of their mean."""
    averaged = []
    for name, step in dict.fromkeys((row.codec, row.step) for row in rows):
        group = [row for row in rows if (row.codec, row.step) == (name, step)]
        values = {f.name: _nanmean([getattr(row.metrics, f.name) for row in group]) for f in fields(summary.Metrics)}
        averaged.append(
            Row(
                image="mean",
                band="",
                codec=name,
                step=step,
                bytes=round(float(np.mean([row.bytes for row in group]))),
                bits_per_pixel=float(np.mean([row.bits_per_pixel for row in group])),
                metrics=summary.Metrics(**{**values, "valid_pixels": round(values["valid_pixels"])}),  # type: ignore[arg-type]
            )
        )
    return averaged


def _nanmean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Raise InputError when :func:`write_rows` could not write there; for asking before hours of measuring."""
    target = Path(path)
    if target.suffix not in (".csv", ".json"):
        raise errors.InputError(f"output: got {target.name!r}; its suffix must be .csv or .json")
    atomic.check(target, overwrite=overwrite)


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row], *, overwrite: bool = False) -> None:
    """Write rows and their means as CSV or JSON, by the suffix of ``path``; errors as :func:`atomic.output`."""
    check_output(path, overwrite=overwrite)
    target = Path(path)
    records = [row.to_dict() for row in [*rows, *means(rows)]]
    if target.suffix == ".json":
        text = jsontext.dumps(records, indent=1) + "\n"
    else:
        buffer = text_io.StringIO()
        writer = csv.DictWriter(buffer, records[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in records)
        text = buffer.getvalue()
    atomic.write_bytes(target, text.encode(), overwrite=overwrite)
