"""What each part of a model brings: pairs of variants that differ in one thing, before quantisation.

The figure is PSNR on the test images with latents as floats, so that no quantiser stands between a model and what it
is compared with. Intervals are those of :mod:`sarcodec.study.tables`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sarcodec.autoencoder import architecture
from sarcodec.study import linear_bounds, plan, results, rows, tables
from sarcodec.training import linear_start, train_config

Images = Mapping[tuple[str, str], float]
WAYS = frozenset(plan.OF_TRAINING) - {"start"}
"""Settings by which one model, begun alike, is trained in several ways."""


@dataclass(frozen=True)
class Part:
    """A part by its title, the setting that turns it on, and that setting without it and with it.

    ``begun_alike`` asks for the same start in fact; else for the start that either has by itself. ``trained_alike``
    asks for the same epochs and optimiser; else for those by which either came furthest, where they differ.
    """

    title: str
    setting: str
    without: Any
    has: Any
    begun_alike: bool = True
    trained_alike: bool = True


PARTS = (
    Part("residual blocks (B − A)", "arch", "plain", "residual", begun_alike=False),
    Part("attention at the bottleneck (C − B)", "arch", "residual", "cbam"),
    Part("shortcuts that drop nothing", "shortcut", "strided", "rearranged"),
    Part("a linear start", "start", "random", "linear"),
    Part("twice the width", "base_channels", 32, 64),
    Part("longer training", "epochs", None, None),
    Part("Muon instead of Adam", "optimizer", "adam", "muon"),
    Part("residual blocks, either as far as it came (B − A)", "arch", "plain", "residual", False, False),
    Part("shortcuts that drop nothing, either as far as it came", "shortcut", "strided", "rearranged", True, False),
)


@dataclass(frozen=True)
class Gain:
    """What a part brings: a difference in PSNR with its interval over images, and on the validation patches."""

    part: str
    latent_ratio: float
    difference: tables.Difference
    validation: float


@dataclass(frozen=True)
class Above:
    """How far a variant is above a linear bound of as many numbers; ``below`` counts the images where it is not."""

    variant: str
    latent_ratio: float
    bound: str
    mean: float
    low: float
    high: float
    least: float
    below: int
    images: int
    validation: float | None


def find(study: results.Study) -> list[Gain]:
    """Compare all pairs that differ in one part, by part and latent ratio."""
    found = []
    furthest = {cell.variant for cell in study.furthest}
    for part in PARTS:
        variants = [cells for name, cells in study.variants.items() if part.trained_alike or name in furthest]
        for one in variants:
            for other in variants:
                if _is_pair(part, one[0], other[0]) and (gain := _gain(part, one, other)):
                    found.append(gain)
    order = [part.title for part in PARTS]
    return sorted(found, key=lambda gain: (order.index(gain.part), gain.latent_ratio))


def settings(cell: results.Finished) -> dict[str, Any]:
    """Return what a cell's variant is made of: its model, its start in fact, and its own settings of training."""
    model = dict(cell.record["model"])
    config = architecture.ModelConfig.from_dict(model)
    training = cell.record["training"]
    start = training.get("start", "random")
    carries = config.arch != "plain" and linear_start.can_carry(config)
    start = ("linear" if carries else "random") if start == "auto" else start
    own = {name: training.get(name, getattr(train_config.TrainConfig, name)) for name in plan.OF_TRAINING}
    return {**model, **own, "start": start}


def _is_pair(part: Part, without: results.Finished, has: results.Finished) -> bool:
    one, other = settings(without), settings(has)
    if not part.begun_alike:
        if {without.record["training"].get("start"), has.record["training"].get("start")} - {"auto"}:
            return False
        one["start"] = other["start"] = "auto"
    changed = {name for name in one if one[name] != other.get(name)}
    if not part.trained_alike:
        if changed.isdisjoint(WAYS):
            return False
        changed -= WAYS
    if changed != {part.setting}:
        return False
    if part.without is None:
        return bool(one[part.setting] < other[part.setting])
    return (one[part.setting], other[part.setting]) == (part.without, part.has)


def _gain(part: Part, without: Sequence[results.Finished], has: Sequence[results.Finished]) -> Gain | None:
    seeds = tuple(sorted({cell.seed for cell in without} & {cell.seed for cell in has}))
    if not seeds or not all(cell.floats for cell in (*without, *has)):
        return None
    difference = tables.difference_of("psnr_db", 0, has, without, seeds, lambda cell: cell.floats)
    after, before = (
        sum(cell.best_psnr for cell in side if cell.seed in seeds) / len(seeds) for side in (has, without)
    )
    return Gain(part.title, has[0].latent_ratio, difference, after - before)


def float_psnr(cells: Sequence[results.Finished]) -> Images:
    """Return PSNR with latents as floats by image and band, averaged over seeds."""
    return rows.by_image([row for cell in cells for row in cell.floats], "psnr_db")


def above_bounds(study: results.Study) -> list[Above]:
    """Compare every variant with the linear bounds of as many numbers."""
    found = []
    for name, cells in study.variants.items():
        kept = round(256 / cells[0].latent_ratio)
        ours = float_psnr(cells)
        for bound in linear_bounds.NAMES:
            theirs = rows.by_image([r for r in study.peers.rows if (r.codec, r.step) == (bound, kept)], "psnr_db")
            gaps = [ours[key] - theirs[key] for key in ours if key in theirs]
            if gaps:
                known = study.linear.get((bound, kept))
                validation = None if known is None else sum(c.best_psnr for c in cells) / len(cells) - known
                ends = tables.interval(gaps)
                below = sum(gap < 0 for gap in gaps)
                found.append(
                    Above(name, cells[0].latent_ratio, bound, *ends, min(gaps), below, len(gaps), validation)
                )
    return found
