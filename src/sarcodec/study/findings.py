"""What a study found, in sentences made of its figures alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sarcodec.metrics import error
from sarcodec.study import choose, gains, linear_bounds, names, peers, results, tables

SPECKLE_DB = 2.19
"""Standard deviation in dB of speckle of 4.4 looks, as Sentinel-1 GRD has it."""
SAME_DB = 0.05
"""Differences below this make no difference to anyone."""
NEAR_DB = 0.25
"""Differences from a linear code below this are called small."""
RATES = (0.05, 0.1, 0.2, 0.4, 0.8)


def paragraphs(study: results.Study) -> Iterator[str]:
    """Yield the findings, as plain text."""
    found = gains.find(study)
    for part in gains.PARTS:
        chosen = [gain for gain in found if gain.part == part.title]
        if chosen:
            yield _of_part(part.title, chosen)
    yield from _linear(study)
    yield from _ratio(study)
    yield from _bytes(study)
    yield from _which(study)


def _of_part(title: str, chosen: Sequence[gains.Gain]) -> str:
    """Say what a part brings at every ratio it was tried at."""
    figures = "; ".join(
        f"{gain.difference.mean:+.2f} dB [{gain.difference.low:+.2f}, {gain.difference.high:+.2f}] at latent ratio "
        f"{gain.latent_ratio:g} ({gain.difference.variant}; validation {gain.validation:+.2f})"
        for gain in chosen
    )
    means = [gain.difference.mean for gain in chosen]
    up = [gain for gain in chosen if gain.difference.clear and gain.difference.mean > 0]
    down = [gain for gain in chosen if gain.difference.clear and gain.difference.mean < 0]
    if max(map(abs, means)) < SAME_DB:
        judged = f"less than {SAME_DB:g} dB either way: nothing that can be used"
    elif len(up) == len(chosen):
        judged = "a gain that is clear of zero wherever it was tried"
    elif len(down) == len(chosen):
        judged = "a loss that is clear of zero wherever it was tried"
    else:
        judged = f"clear of zero at {len(up) + len(down)} of {len(chosen)} places, {len(down)} of them a loss"
    return f"{title[0].upper()}{title[1:]}: {judged}. {figures}."


def _linear(study: results.Study) -> Iterator[str]:
    above = gains.above_bounds(study)
    for bound in linear_bounds.NAMES:
        best: dict[float, gains.Above] = {}
        for entry in above:
            if entry.bound == bound and entry.mean > best.get(entry.latent_ratio, entry).mean - 1e-12:
                best[entry.latent_ratio] = entry
        if not best:
            continue
        words = "; ".join(
            f"{entry.variant} {entry.mean:+.2f} dB at latent ratio {ratio:g}"
            + (f", below it on {entry.below} of {entry.images} images" if entry.below else ", on every image")
            for ratio, entry in sorted(best.items())
        )
        lead = {
            linear_bounds.KLT: "Against the best linear code that treats blocks of 16 × 16 on their own (KLT)",
            linear_bounds.OVERLAPPING: "Against a linear code with overlap (64-point lapped transform)",
        }[bound]
        yield f"{lead}, with as many numbers, the best models stand at: {words}."


def _ratio(study: results.Study) -> Iterator[str]:
    """Say what the number of values buys, and how large the error is beside speckle."""
    best: dict[float, float] = {}
    for cells in study.variants.values():
        psnr = gains.float_psnr(cells)
        if psnr:
            mean = sum(psnr.values()) / len(psnr)
            best[cells[0].latent_ratio] = max(mean, best.get(cells[0].latent_ratio, -math.inf))
    if not best:
        return
    errors = {ratio: error.rmse_of(psnr) for ratio, psnr in best.items()}
    ladder = "; ".join(
        f"{psnr:.2f} dB at {ratio:g}, an error of {errors[ratio]:.2f} dB, "
        f"{100 * (errors[ratio] / SPECKLE_DB) ** 2:.0f} % of speckle in square"
        for ratio, psnr in sorted(best.items())
    )
    floor = error.psnr_of(SPECKLE_DB)
    yield (
        f"The number of values decides: the best PSNR with latents as floats, by latent ratio, is {ladder}. To lose "
        f"all speckle, whose deviation is {SPECKLE_DB} dB, and nothing else would give {floor:.1f} dB."
    )
    gaps = [
        max(entry.mean for entry in gains.above_bounds(study) if (entry.latent_ratio, entry.bound) == place)
        for place in {(e.latent_ratio, e.bound) for e in gains.above_bounds(study)}
        if place[1] == linear_bounds.OVERLAPPING
    ]
    if gaps and max(map(abs, gaps)) < NEAR_DB:
        yield (
            f"At every ratio the best model stands within {max(map(abs, gaps)):.2f} dB of a linear code with "
            "overlap: what networks add to a linear transform of as many values is small on these images."
        )


def _bytes(study: results.Study) -> Iterator[str]:
    found, _ = tables.bd_rates(study)
    for reference in tables.REFERENCES:
        chosen = [rate for rate in found if rate.against == reference and math.isfinite(rate.mean)]
        if chosen:
            best = min(chosen, key=lambda rate: rate.mean)
            few = f", over the {best.images} of {best.of} images where their PSNR overlaps" * (best.images < best.of)
            yield (
                f"In bytes of real files, the autoencoder nearest to {names.codec(reference)} is {best.variant}: it "
                f"needs {best.mean:+.0f} % at equal PSNR{few}."
            )


def _which(study: results.Study) -> Iterator[str]:
    """Say which model has the best PSNR at a few rates, and what the default codec and JPEG 2000 have there."""
    for rate in RATES:
        ours = {name: psnr for name, curve in study.variant_curves.items() if (psnr := choose.psnr_at(curve, rate))}
        if not ours:
            continue
        best = max(ours, key=lambda name: ours[name])
        others = [
            f"{names.codec(name)} {psnr:.2f} dB"
            for name in (*peers.OWN, "hevc", "jpeg2000")
            if (psnr := choose.psnr_at(study.peer_curves.get(name, ()), rate))
        ]
        beside = f"; {', '.join(others)}" if others else ""
        yield f"At {rate:g} bits per pixel the autoencoder to use is {best}: {ours[best]:.2f} dB{beside}."
