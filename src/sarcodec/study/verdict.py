"""The verdict: what was predicted of the variants, what was measured, and why the two differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sarcodec.evaluation import roundtrip
from sarcodec.metrics import error, summary
from sarcodec.pages import figures
from sarcodec.study import choose, findings, gains, linear_bounds, names, peers, results, rows
from sarcodec.text import numerals

LATENT_RATIO = 16
MARKS = {"met": "✓ met", "missed": "✗ not met", "open": "not measured yet"}


@dataclass(frozen=True)
class Claim:
    """One prediction against its measurement; ``state`` is met, missed or open."""

    claim: str
    predicted: str
    measured: str
    state: str
    why: str


def claims(study: results.Study) -> list[Claim]:
    """Judge every prediction."""
    residual, attention = (part.title for part in gains.PARTS[:2])
    found = gains.find(study)
    by_part = {title: [gain for gain in found if gain.part == title] for title in (residual, attention)}
    return [
        _gain(by_part[residual], (2.0, 3.0), "Residual blocks gain over plain convolutions"),
        _gain(by_part[attention], (1.0, 2.0), "CBAM attention gains over residual blocks"),
        _beats(by_part[residual], "B (residual) beats A (plain) at each ratio"),
        _beats(by_part[attention], "C (CBAM) beats B (residual) at each ratio"),
        *_targets(study),
        *_above_linear(study),
    ]


def finest(study: results.Study, variant: str) -> roundtrip.Row | None:
    """Return the means of a variant at its finest step."""
    return min(study.variant_curves[variant], key=lambda row: row.step, default=None)


def best_at_ratio(study: results.Study, ratio: float = LATENT_RATIO) -> tuple[str, roundtrip.Row] | None:
    """Return the variant of a latent ratio with the best mean PSNR at its finest step, and its means."""
    options = []
    for name, cells in study.variants.items():
        row = finest(study, name)
        if cells[0].latent_ratio == ratio and row is not None:
            options.append((name, row))
    return max(options, key=lambda option: option[1].metrics.psnr_db, default=None)


def _in_words(found: Sequence[gains.Gain]) -> str:
    return "; ".join(
        f"latent ratio {gain.latent_ratio:g}: {gain.difference.mean:+.2f} dB [{gain.difference.low:+.2f}, "
        f"{gain.difference.high:+.2f}], {gain.difference.images} images, {len(gain.difference.seeds)} "
        f"seed{'s' * (len(gain.difference.seeds) > 1)}"
        for gain in found
    )


def _gain(found: Sequence[gains.Gain], predicted: tuple[float, float], claim: str) -> Claim:
    wanted = f"+{predicted[0]:g} to {predicted[1]:g} dB PSNR"
    if not found:
        return Claim(claim, wanted, "no two such models of one ratio are finished", "open", "")
    met = all(gain.difference.mean >= predicted[0] for gain in found)
    validation = ", ".join(f"{gain.validation:+.2f} dB" for gain in found)
    why = (
        f"Latents as floats, on the test images; on the validation patches {validation}. The sections below say how "
        "far linear codes come with as many values, and what is left of the error."
    )
    return Claim(claim, wanted, _in_words(found), "met" if met else "missed", why)


def _beats(found: Sequence[gains.Gain], claim: str) -> Claim:
    wanted = "interval of the difference in PSNR above zero at each ratio"
    if not found:
        return Claim(claim, wanted, "no two such models of one ratio are finished", "open", "")
    clear = [gain for gain in found if gain.difference.clear and gain.difference.mean > 0]
    worse = [gain for gain in found if gain.difference.clear and gain.difference.mean < 0]
    words = f"clear at {len(clear)} of {len(found)} ratios"
    words += f", clearly worse at {len(worse)}" if worse else ""
    single = "One seed cannot tell the network from the luck of its training. "
    note = single if any(len(gain.difference.seeds) < 2 for gain in found) else ""
    why = f"{note}The intervals are over images (each band one), after averaging seeds; clear also asks all seeds to "
    return Claim(claim, wanted, words, "met" if len(clear) == len(found) else "missed", f"{why}agree in sign.")


def _targets(study: results.Study) -> Iterator[Claim]:
    """Judge the four figures promised at latent ratio 16."""
    best = best_at_ratio(study)
    for name in summary.TARGETS:
        low, high = summary.TARGETS[name]["good"]
        wanted = figures.limits(low, high, " to ")
        claim = f"{names.figure(name).brief} at latent ratio {LATENT_RATIO}"
        if best is None:
            yield Claim(claim, wanted, f"no model of latent ratio {LATENT_RATIO} is finished", "open", "")
            continue
        variant, row = best
        value = rows.figure(row, name)
        images = rows.by_image([r for c in study.variants[variant] for r in c.rows if r.step == row.step], name)
        least, most = (numerals.significant(end(images.values()), 3) for end in (min, max))
        measured = (
            f"{numerals.significant(value, 3)} by {variant} ({least} to {most} over images), "
            f"at {numerals.fixed(row.bits_per_pixel, 3)} bits per pixel, true ratio {row.ratio:,.1f}"
        )
        state = "met" if low <= value <= high else "missed"
        yield Claim(claim, wanted, measured, state, _why_target(study, name, variant, state == "met"))


def _why_target(study: results.Study, name: str, variant: str, met: bool) -> str:
    if name == "psnr_db":
        spans = study.variants[variant][0].spans_db
        lifts = sorted(20 * math.log10(span / error.PEAK_DB) for span in spans)
        return (
            f"Speckle deviates by {findings.SPECKLE_DB} dB, and 1 value in {LATENT_RATIO} cannot carry it. On this "
            f"model's own scale, [0, 1] over {min(spans):.0f} to {max(spans):.0f} dB, the same errors read "
            f"{lifts[0]:+.1f} to {lifts[-1]:+.1f} dB against the fixed peak of {error.PEAK_DB:g} dB: a wide "
            "clipping range alone buys PSNR. " + _true_ratio(study)
        )
    if name == "enl_ratio":
        return (
            "Speckle is what a small latent loses first: homogeneous areas come back with more looks than they had."
        )
    if name == "epi":
        flattered = "The index is not centred: the mean gradient of speckle flatters it, "
        return flattered + ("which makes it easy to meet." if met else "and still the smoothing of speckle costs it.")
    return "SSIM on dB compares the texture of speckle too, window by window; smoothing it costs contrast."


def _true_ratio(study: results.Study) -> str:
    """Say where codecs meet all targets when the ratio is counted in bits."""
    good = {name: limits["good"] for name, limits in summary.TARGETS.items()}
    reached = []
    for name, curve in study.peer_curves.items():
        if name not in peers.BOUNDS and (bpp := choose.lowest_rate(curve, good)):
            reached.append((16 / bpp, names.codec(name)))
    if not reached:
        return "The prediction counts a ratio in values, not in bits."
    ratio, name = max(reached)
    return (
        f"The prediction counts a ratio in values, not in bits: in true bits {name} meets all four up to ratio "
        f"{ratio:.1f}."
    )


def _above_linear(study: results.Study) -> Iterator[Claim]:
    """Judge the best model of each latent ratio beside linear codes of as many values."""
    above = gains.above_bounds(study)
    for bound in linear_bounds.NAMES:
        claim = f"Above the {names.codec(bound)}, of as many values"
        wanted = "mean PSNR above, interval excludes zero, at each latent ratio"
        best: dict[float, gains.Above] = {}
        for entry in above:
            if entry.bound == bound:
                known = best.get(entry.latent_ratio)
                best[entry.latent_ratio] = entry if known is None or entry.mean > known.mean else known
        if not best:
            yield Claim(claim, wanted, "no such bound is measured", "open", "")
            continue
        measured = "; ".join(
            f"latent ratio {ratio:g}: {entry.variant} {entry.mean:+.2f} dB [{entry.low:+.2f}, {entry.high:+.2f}], "
            f"least of an image {entry.least:+.2f}"
            for ratio, entry in sorted(best.items())
        )
        met = all(entry.low > 0 for entry in best.values())
        why = "Both with numbers at unlimited precision: latents as floats, coefficients as they are."
        yield Claim(claim, wanted, measured, "met" if met else "missed", why)
