"""The verdict: what was predicted of the variants, what was measured, and why the two differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sarcodec import checkpoint, evaluation, metrics
from sarcodec.study import charts, choose, peers, results, rows, tables

SPECKLE_DB = 2.19
"""Standard deviation in dB of speckle of 4.4 looks, as Sentinel-1 GRD has it."""
LATENT_RATIO = 16
MARKS = {"met": "✓ met", "missed": "✗ not met", "open": "not measured yet"}
_NAMES = {"psnr_db": "PSNR", "ssim": "SSIM", "enl_ratio": "ENL ratio", "epi": "EPI"}


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
    found = tables.differences(study)
    return [
        _gain(study, found, ("residual", "plain"), (2.0, 3.0), "Residual blocks gain over plain convolutions"),
        _gain(study, found, ("cbam", "residual"), (1.0, 2.0), "CBAM attention gains over residual blocks"),
        _beats(study, found, ("residual", "plain"), "B (residual) beats A (plain) at each ratio"),
        _beats(study, found, ("cbam", "residual"), "C (CBAM) beats B (residual) at each ratio"),
        *_targets(study),
        _above_klt(study),
    ]


def finest(study: results.Study, variant: str) -> evaluation.Row | None:
    """Return the means of a variant at its finest step."""
    return min(study.variant_curves[variant], key=lambda row: row.step, default=None)


def best_at_ratio(study: results.Study, ratio: float = LATENT_RATIO) -> tuple[str, evaluation.Row] | None:
    """Return the variant of a latent ratio with the best mean PSNR at its finest step, and its means."""
    options = []
    for name, cells in study.variants.items():
        row = finest(study, name)
        if cells[0].latent_ratio == ratio and row is not None:
            options.append((name, row))
    return max(options, key=lambda option: option[1].metrics.psnr_db, default=None)


def still_falling(cell: results.Finished) -> float:
    """Return by how many per cent the best validation loss fell over the last fifth of the epochs, at least one."""
    losses = [float(entry["loss"]) for entry in cell.history]
    last = max(1, len(losses) // 5)
    if len(losses) <= last:
        return math.nan
    before = min(losses[:-last])
    return 100 * (1 - min(before, *losses[-last:]) / before)


def _arch_differences(
    study: results.Study, found: Sequence[tables.Difference], pair: tuple[str, str]
) -> list[tables.Difference]:
    """PSNR differences at the finest step of two architectures that differ in nothing else, by latent channels."""
    chosen = []
    for d in found:
        models = [dict(study.variants[name][0].record["model"]) for name in (d.variant, d.against)]
        archs = tuple(model.pop("arch") for model in models)
        steps = [row.step for row in study.variant_curves[d.variant]]
        if archs == pair and models[0] == models[1] and d.figure == "psnr_db" and d.step == min(steps, default=0):
            chosen.append(d)
    return sorted(chosen, key=lambda d: -d.latent_channels)


def _in_words(found: Sequence[tables.Difference]) -> str:
    return "; ".join(
        f"{d.variant}: {d.mean:+.2f} dB [{d.low:+.2f}, {d.high:+.2f}], {d.images} images, "
        f"{len(d.seeds)} seed{'s' * (len(d.seeds) > 1)}"
        for d in found
    )


def _of(study: results.Study, archs: Sequence[str]) -> list[results.Finished]:
    return [cell for cell in study.cells if cell.record["model"]["arch"] in archs]


def _training(cells: Sequence[results.Finished]) -> str:
    """Say how long models were trained and whether their loss still fell."""
    epochs = sorted({len(cell.history) for cell in cells})
    falls = [fall for cell in cells if math.isfinite(fall := still_falling(cell))]
    fell = f"; over the last fifth of them the validation loss still fell by up to {max(falls, default=0):.1f} %"
    return (
        f"Trained for {' to '.join(map(str, dict.fromkeys((epochs[0], epochs[-1]))))} epochs{fell if falls else ''}."
    )


def _gain(
    study: results.Study,
    found: Sequence[tables.Difference],
    pair: tuple[str, str],
    predicted: tuple[float, float],
    claim: str,
) -> Claim:
    chosen = _arch_differences(study, found, pair)
    wanted = f"+{predicted[0]:g} to {predicted[1]:g} dB PSNR"
    if not chosen:
        return Claim(claim, wanted, "no two such models of one ratio are finished", "open", "")
    met = all(d.mean >= predicted[0] for d in chosen)
    floor = 20 * math.log10(metrics.PEAK_DB / SPECKLE_DB)
    levels = [row.metrics.psnr_db for d in chosen for name in (d.variant, d.against) if (row := finest(study, name))]
    why = (
        "A latent of one value for several pixels cannot hold the speckle, which is most of the error: losing all "
        f"of it and nothing else gives {floor:.1f} dB whatever the network (these have {min(levels):.1f} to "
        f"{max(levels):.1f} dB). "
    )
    return Claim(claim, wanted, _in_words(chosen), "met" if met else "missed", why + _training(_of(study, pair)))


def _beats(study: results.Study, found: Sequence[tables.Difference], pair: tuple[str, str], claim: str) -> Claim:
    chosen = _arch_differences(study, found, pair)
    wanted = "interval of the difference in PSNR above zero at each ratio"
    if not chosen:
        return Claim(claim, wanted, "no two such models of one ratio are finished", "open", "")
    clear = [d for d in chosen if d.clear and d.mean > 0]
    worse = [d for d in chosen if d.clear and d.mean < 0]
    words = f"clear at {len(clear)} of {len(chosen)} ratios"
    words += f", clearly worse at {len(worse)}" if worse else ""
    single = "One seed cannot tell the network from the luck of its training. "
    note = single if any(len(d.seeds) < 2 for d in chosen) else ""
    intervals = "The intervals are over images (each band one), after averaging seeds; clear also asks all seeds to "
    why = f"{note}{intervals}agree in sign. {_training(_of(study, pair))}"
    return Claim(claim, wanted, words, "met" if len(clear) == len(chosen) else "missed", why)


def _targets(study: results.Study) -> Iterator[Claim]:
    """Judge the four figures promised at latent ratio 16."""
    best = best_at_ratio(study)
    for name in rows.FIGURES:
        low, high = metrics.TARGETS[name]["good"]
        wanted = f"≥ {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
        claim = f"{_NAMES[name]} at latent ratio {LATENT_RATIO}"
        if best is None:
            yield Claim(claim, wanted, f"no model of latent ratio {LATENT_RATIO} is finished", "open", "")
            continue
        variant, row = best
        value = rows.figure(row, name)
        images = rows.by_image([r for c in study.variants[variant] for r in c.rows if r.step == row.step], name)
        measured = (
            f"{value:.3g} by {variant} ({min(images.values()):.3g} to {max(images.values()):.3g} over images), "
            f"at {row.bits_per_pixel:.3f} bits per pixel, true ratio {row.ratio:.1f}"
        )
        state = "met" if low <= value <= high else "missed"
        yield Claim(claim, wanted, measured, state, _why_target(study, name, variant, state == "met"))


def _why_target(study: results.Study, name: str, variant: str, met: bool) -> str:
    if name == "psnr_db":
        best = checkpoint.load(study.variants[variant][0].folder / "best.ckpt")
        spans = [bounds.span for bounds in best.normalizer.bounds.values()]
        lifts = sorted(20 * math.log10(span / metrics.PEAK_DB) for span in spans)
        return (
            f"Speckle deviates by {SPECKLE_DB} dB, and 1 value in {LATENT_RATIO} cannot carry it. On this model's "
            f"own scale, [0, 1] over {min(spans):.0f} to {max(spans):.0f} dB, the same errors read {lifts[0]:+.1f} "
            f"to {lifts[-1]:+.1f} dB against the fixed peak of {metrics.PEAK_DB:g} dB: a wide clipping range alone "
            "buys PSNR. " + _true_ratio(study)
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
    good = {name: limits["good"] for name, limits in metrics.TARGETS.items()}
    reached = []
    for name, curve in study.peer_curves.items():
        if name not in (peers.KLT, peers.GAUSSIAN) and (bpp := choose.lowest_rate(curve, good)):
            reached.append((16 / bpp, charts.NAMES.get(name, name)))
    if not reached:
        return "The prediction counts a ratio in values, not in bits."
    ratio, name = max(reached)
    return (
        f"The prediction counts a ratio in values, not in bits: in true bits {name} meets all four up to ratio "
        f"{ratio:.1f}."
    )


def _above_klt(study: results.Study) -> Claim:
    claim = f"Best model at latent ratio {LATENT_RATIO} above the KLT at equal coefficients"
    wanted = "PSNR above, interval excludes zero"
    best = best_at_ratio(study)
    kept = 256 // LATENT_RATIO
    linear = rows.by_image([r for r in study.peers.rows if r.codec == peers.KLT and r.step == kept], "psnr_db")
    if best is None or not linear:
        return Claim(claim, wanted, "no such model, or no KLT, is measured", "open", "")
    variant, row = best
    cells = study.variants[variant]
    ours = rows.by_image([r for c in cells for r in c.rows if r.step == row.step], "psnr_db")
    mean, low, high = tables.interval([ours[key] - linear[key] for key in ours if key in linear])
    level = sum(linear.values()) / len(linear)
    measured = (
        f"{variant}: {mean:+.2f} dB [{low:+.2f}, {high:+.2f}] against {level:.2f} dB of the KLT, step {row.step}"
    )
    why = (
        "The KLT keeps its coefficients at unlimited precision, the model quantises its latents; the KLT is the best "
        "linear code of 16 × 16 blocks, a network may look further and is not linear. "
    )
    return Claim(claim, wanted, measured, "met" if low > 0 else "missed", why + _training(cells))
