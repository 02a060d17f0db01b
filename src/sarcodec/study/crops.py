"""Crops restored by one model of every family and by a peer at equal bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sarcodec import baselines, errors
from sarcodec.codec import codec
from sarcodec.evaluation import chips, roundtrip
from sarcodec.metrics import error
from sarcodec.scene import model_store
from sarcodec.study import results
from sarcodec.study.sites import Place

TARGET_BPP = 0.4
"""Bits per pixel at which crops are compared, as near as the measured steps come."""
PEERS = ("hevc", "jpegxl", "jpeg2000")
"""The peer beside the variants is the first of these that can be used."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Operating:
    """A cell at one of its measured steps."""

    cell: results.Finished
    step: int
    bits_per_pixel: float
    psnr: float


@dataclass(frozen=True, eq=False)
class Restored:
    """A crop by one codec: its name, the rate of the whole band, PSNR of the crop, pixels in dB."""

    label: str
    bits_per_pixel: float
    psnr: float
    db: FloatArray


def operating_points(study: results.Study, target_bpp: float = TARGET_BPP) -> dict[str, Operating]:
    """Choose the cell and step to show of every main family: best PSNR within 15 % of a rate, else the nearest.

    Only cells whose checkpoints are still there can be shown.
    """
    found: dict[str, Operating] = {}
    for family in study.main_families:
        options = []
        for cell in study.cells:
            if cell.family == family and cell.best.exists():
                for mean in roundtrip.means(cell.rows):
                    options.append(Operating(cell, mean.step, mean.bits_per_pixel, mean.metrics.psnr_db))
        near = [o for o in options if abs(math.log(o.bits_per_pixel / target_bpp)) <= math.log(1.15)]
        if near:
            found[family] = max(near, key=lambda o: o.psnr)
        elif options:
            found[family] = min(options, key=lambda o: abs(math.log(o.bits_per_pixel / target_bpp)))
    return found


def crops(
    images: Sequence[chips.Chip], places: Mapping[str, Place], points: Mapping[str, Operating]
) -> dict[str, list[Restored]]:
    """Restore every place by every operating point and by a peer; the first of each list is the original.

    A whole band is compressed, not the crop. The peer gets as many bytes as the family with the best PSNR used on
    that band.
    """
    reasons = baselines.available()
    peer = next((name for name in PEERS if reasons[name] is None), None)
    best = max(points, key=lambda family: points[family].psnr, default=None)
    coders = {family: model_store.open_codec(point.cell.best) for family, point in points.items()}
    by_name = {(chip.image, chip.band): chip for chip in images}
    bands: dict[tuple[str, str], list[tuple[str, int, FloatArray]]] = {}
    result = {}
    for kind, place in places.items():
        key = place.image, place.band
        if key not in by_name:
            raise errors.InputError(f"place {kind}: there is no {place.image} {place.band} among the test images")
        chip = by_name[key]
        if key not in bands:
            bands[key] = _bands(chip, points, coders, (peer, best))
        original = chip.db[place.area]
        entries = [Restored("original", math.nan, math.nan, original)]
        for label, used, db in bands[key]:
            psnr = error.psnr(np.nan_to_num(original), np.nan_to_num(db[place.area]), chip.valid[place.area])
            entries.append(Restored(label, 8 * used / chip.db.size, psnr, db[place.area]))
        result[kind] = entries
    return result


def _bands(
    chip: chips.Chip,
    points: Mapping[str, Operating],
    coders: Mapping[str, codec.Codec],
    peer_and_best: tuple[str | None, str | None],
) -> list[tuple[str, int, FloatArray]]:
    """Restore a whole band by all codecs: label, bytes, dB."""
    peer, best = peer_and_best
    found, budget = [], 0
    for family, point in points.items():
        db, used = chips.restore(chip, coders[family], point.step)
        found.append((f"{point.cell.name}, step {point.step}", used, db))
        budget = used if family == best else budget
    if peer and budget:
        try:
            restored, used = baselines.restore(baselines.PEERS[peer], chip.db, chip.valid, budget)
        except errors.InputError:
            return found
        found.append((baselines.PEERS[peer].name, used, restored.astype(np.float32)))
    return found
