"""Pictures of a study: crops at equal bytes with error maps, latent channels, and what attention looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sarcodec import baselines, errors
from sarcodec.autoencoder import blocks, checkpoint
from sarcodec.autoencoder import engine as autoencoder_engine
from sarcodec.codec import codec
from sarcodec.evaluation import chips, roundtrip
from sarcodec.metrics import error
from sarcodec.report import pictures as report_pictures
from sarcodec.scene import model_store
from sarcodec.study import floats, results

SIDE = 128
"""Rows and columns of a crop."""
KINDS = ("town", "coast", "fields", "sea")
TARGET_BPP = 0.4
"""Bits per pixel at which crops are compared, as near as the measured steps come."""
PEERS = ("hevc", "jpegxl", "jpeg2000")
"""The peer beside the variants is the first of these that can be used."""
_LOOKS = 8

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """A crop: which band of which image, and its top left corner."""

    image: str
    band: str
    top: int
    left: int

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the crop."""
        return slice(self.top, self.top + SIDE), slice(self.left, self.left + SIDE)

    def overlaps(self, other: Place) -> bool:
        """Tell whether two crops show a common part of one image."""
        near = max(abs(self.top - other.top), abs(self.left - other.left)) < SIDE
        return near and self.image == other.image


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


def find_places(images: Sequence[chips.Chip]) -> dict[str, Place]:
    """Choose a town, a coast, fields and sea by statistics of the originals alone.

    Candidates are windows of 128×128 without a gap, every 64 pixels. Of each, 8×8 means of intensity in dB (speckle
    mostly gone) are looked at. **Town**: the most pixels above the 98th percentile of the image, times how far in dB
    that is above its median: many strong scatterers. **Sea**: how far the mean is below the brightest tenth of the
    image, over the deviation of the means: dark and even. **Coast**: the widest gap
    between the means of two classes (Otsu), the smaller with at least a quarter of the window. **Fields**: of windows
    with less σ/μ than most and nothing as dark as the darkest fifth of their image, the largest deviation of the
    means. Windows do not overlap, in whatever band.
    """
    candidates = [found for chip in images for found in _candidates(chip)]
    if not candidates:
        return {}
    usual = float(np.median([window.variation for window in candidates]))
    rules: dict[str, Callable[[_Window], float]] = {
        "coast": lambda w: w.gap,
        "town": lambda w: w.bright,
        "sea": lambda w: (w.light - w.mean) / max(w.deviation, 1e-6),
        "fields": lambda w: w.deviation if w.variation < usual and w.low > w.dim else -math.inf,
    }
    places: dict[str, Place] = {}
    for kind, rule in rules.items():
        free = (w for w in candidates if not any(w.place.overlaps(taken) for taken in places.values()))
        best = max(free, key=rule, default=None)
        if best is not None and rule(best) > -math.inf:
            places[kind] = best.place
    return {kind: places[kind] for kind in KINDS if kind in places}


@dataclass(frozen=True)
class _Window:
    place: Place
    bright: float
    variation: float
    mean: float
    low: float
    deviation: float
    gap: float
    dim: float
    light: float


def _candidates(chip: chips.Chip) -> list[_Window]:
    means = report_pictures.multilook(np.where(chip.valid, chip.db, np.float32(np.nan)), _LOOKS)
    known = means[np.isfinite(means)]
    if not known.size:
        return []
    dim, light = (float(v) for v in np.percentile(known, [20, 90]))
    middle, bright = (float(v) for v in np.percentile(chip.db[chip.valid], [50, 98]))
    found = []
    for top in range(0, chip.db.shape[0] - SIDE + 1, SIDE // 2):
        for left in range(0, chip.db.shape[1] - SIDE + 1, SIDE // 2):
            place = Place(chip.image, chip.band, top, left)
            if chip.valid[place.area].all():
                intensity = 10.0 ** (chip.db[place.area].astype(np.float64) / 10.0)
                inner = report_pictures.multilook(chip.db[place.area], _LOOKS)
                found.append(
                    _Window(
                        place,
                        bright=float((chip.db[place.area] > bright).mean()) * (bright - middle),
                        variation=float(intensity.std() / intensity.mean()),
                        mean=float(inner.mean()),
                        low=float(np.percentile(inner, 5)),
                        deviation=float(inner.std()),
                        gap=_gap(inner),
                        dim=dim,
                        light=light,
                    )
                )
    return found


def _gap(means: FloatArray) -> float:
    """Return the distance of the means of the two classes that part best, each with a quarter of the values."""
    ordered = np.sort(means, axis=None).astype(np.float64)
    cuts = np.arange(ordered.size // 4, ordered.size - ordered.size // 4)
    sums = np.cumsum(ordered)
    lower, upper = sums[cuts - 1] / cuts, (sums[-1] - sums[cuts - 1]) / (ordered.size - cuts)
    share = cuts / ordered.size
    best = int(np.argmax(share * (1 - share) * (upper - lower) ** 2))
    return float(upper[best] - lower[best])


def operating_points(study: results.Study, target_bpp: float = TARGET_BPP) -> dict[str, Operating]:
    """Choose the cell and step to show of every main family: best PSNR within 15 % of a rate, else the nearest.

    Only cells whose checkpoints are still there can be shown.
    """
    found: dict[str, Operating] = {}
    for family in study.main_families:
        options = []
        for cell in study.cells:
            if cell.family == family and _checkpoint(cell).exists():
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
    coders = {family: model_store.open_codec(_checkpoint(point.cell)) for family, point in points.items()}
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


def _checkpoint(cell: results.Finished) -> Path:
    return cell.folder / "best.ckpt"


def latent(cell: results.Finished, chip: chips.Chip) -> tuple[FloatArray, FloatArray]:
    """Encode a chip; returns the latent (C, h, w) in units of its steps, and the deviation of each channel."""
    engine = autoencoder_engine.AutoencoderEngine(checkpoint.load(_checkpoint(cell)), "cpu", "auto")
    scaled, _ = floats.scale(engine, chip)
    steps = engine.coder.steps.astype(np.float32)[:, None, None]
    values = engine.transform.encode(scaled) / steps
    return values.astype(np.float32), values.std(axis=(1, 2)).astype(np.float32)


def mosaic(values: FloatArray, columns: int) -> FloatArray:
    """Put pictures (n, h, w) side by side in rows, each scaled from its 2nd to its 98th percentile to [0, 1].

    A gap of NaN parts them.
    """
    count, height, width = values.shape
    rows_needed = -(-count // columns)
    sheet = np.full((rows_needed * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for index, picture in enumerate(values):
        low, high = np.percentile(picture, [2, 98])
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        scaled = np.clip((picture - low) / max(high - low, 1e-9), 0, 1)
        sheet[top : top + height, left : left + width] = scaled
    return sheet


@dataclass(frozen=True, eq=False)
class Attention:
    """What one attention block gives weight to: a vector over channels, or a map over positions."""

    place: str
    kind: str
    weights: FloatArray


def attention(cell: results.Finished, chip: chips.Chip, side: int = 256) -> list[Attention]:
    """Run the top left ``side`` × ``side`` pixels of a chip through a cell and note the weights of its attention.

    Returns
    -------
    list of Attention
        In the order of the layers; ``channels`` with weights (C,), ``positions`` with weights (h, w), between 0 and
        1, or 0 and 2 where 1 is neutral.
        Empty for a model without such blocks.
    """
    engine = autoencoder_engine.AutoencoderEngine(checkpoint.load(_checkpoint(cell)), "cpu", "float32")
    model = engine.model.build()
    stride = model.config.stride
    height, width = (min(side, length) // stride * stride for length in chip.db.shape)
    pixels = torch.from_numpy(np.ascontiguousarray(floats.scale(engine, chip)[0][:height, :width]))[None, None]
    found: list[Attention] = []

    def note(name: str, module: blocks.ChannelAttention | blocks.SpatialAttention, x: torch.Tensor) -> None:
        weights = module.weights(x)[0].float().numpy()
        by_channel = isinstance(module, blocks.ChannelAttention)
        shown = weights[:, 0, 0] if by_channel else weights[0]
        found.append(Attention(name, "channels" if by_channel else "positions", shown))

    for name, module in model.named_modules():
        if isinstance(module, blocks.ChannelAttention | blocks.SpatialAttention):
            module.register_forward_hook(lambda m, inputs, _, name=name: note(name, m, inputs[0]))
    with torch.inference_mode():
        model(pixels)
    return found
