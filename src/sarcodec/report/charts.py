"""Charts of a band: distributions, looks, spectra, and errors by brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from sarcodec.metrics import looks as metric_looks
from sarcodec.pages.charts import ERROR, INK, ORIGINAL, RESTORED, SOFT, plain_numbers, svg
from sarcodec.report import classes
from sarcodec.report.pair import FloatArray, Mask, Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 500
"""Points of each kind in a scatter; more make the page heavy and the cloud a blot."""

FloatVector = npt.NDArray[np.float64]


def histogram(pair: Pair, name: str) -> str:
    """Draw the distributions of dB of both images, and the clipping bounds where they are in sight."""
    before, after = pair.original[pair.valid], pair.restored[pair.valid]
    low, high = np.percentile(np.r_[before, after], [0.1, 99.9])
    edges = np.linspace(low - 0.5, high + 0.5, 81)
    percent = [100 * np.histogram(v, edges)[0] / v.size / (edges[1] - edges[0]) for v in (before, after)]

    def draw(axes: Axes) -> None:
        axes.stairs(percent[0], edges, fill=True, color=ORIGINAL, alpha=0.18)
        axes.stairs(percent[0], edges, color=ORIGINAL, linewidth=1.6, label="original")
        axes.stairs(percent[1], edges, color=RESTORED, linewidth=1.6, label="restored")
        limits = (pair.record.vmin, pair.record.vmax) if pair.clips else ()
        bounds = [limit for limit in limits if edges[0] < limit < edges[-1]]
        for number, bound in enumerate(bounds):
            axes.axvline(bound, color=SOFT, linestyle=":", label="" if number else "clipping bound")
        axes.set(xlabel="backscatter (dB)", ylabel="pixels (% per dB)", xlim=(edges[0], edges[-1]))
        plain_numbers(axes.yaxis)
        _legend_above(axes)

    return svg(draw, f"{name}: histograms of original and restored in dB")


def looks(pair: Pair, name: str) -> tuple[str, int]:
    """Draw the ENL of windows, restored over original; returns the chart and the number of windows shown."""
    before, after = (_window_looks(image, pair.valid) for image in (pair.original, pair.restored))
    usable = np.isfinite(before) & np.isfinite(after) & (before > 0) & (after > 0)
    before, after = before[usable], after[usable]
    best = before >= np.percentile(before, 80) if before.size else np.zeros(0, bool)
    others, homogeneous = (_thin(np.flatnonzero(kind)) for kind in (~best, best))

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator

        axes.scatter(before[others], after[others], s=5, color=SOFT, alpha=0.45, linewidths=0, label="other windows")
        axes.scatter(
            before[homogeneous], after[homogeneous], s=9, color=RESTORED, alpha=0.8, linewidths=0, label="homogeneous"
        )
        axes.set(xscale="log", yscale="log", xlabel="ENL of the original", ylabel="ENL of the restored")
        ends = [min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])]
        axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle="--", label="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ends[1] < 100 * ends[0] else (1,)))
            plain_numbers(axis)
        _legend_above(axes, markerscale=2.0)

    if not before.size:
        return '<p class="soft">No window of 15 × 15 valid pixels has speckle in both images.</p>', 0
    return svg(draw, f"{name}: ENL of windows, restored over original"), others.size + homogeneous.size


def spectrum(pair: Pair, name: str) -> str:
    """Draw the radially averaged power spectra of both images and of their difference."""
    if min(pair.valid.shape) < 16:
        return '<p class="soft">The image is too small for a spectrum.</p>'
    if np.ptp(pair.original[pair.valid]) == 0:
        return '<p class="soft">The original is constant: it has no spectrum.</p>'
    images = {
        "original": (pair.original, ORIGINAL, "-"),
        "restored": (pair.restored, RESTORED, "-"),
        "error": (pair.restored - pair.original, ERROR, "--"),
    }

    def draw(axes: Axes) -> None:
        for label, (image, colour, style) in images.items():
            frequency, power = radial_spectrum(image, pair.valid)
            axes.plot(frequency[power > 0], power[power > 0], color=colour, linestyle=style, label=label)
        axes.set(yscale="log", xlim=(0, 0.5), xlabel="frequency (cycles per pixel)", ylabel="power (dB²)")
        plain_numbers(axes.yaxis)
        _legend_above(axes)

    return svg(draw, f"{name}: radially averaged power spectra of original, restored and error")


def class_errors(rows: list[classes.Row], name: str) -> str:
    """Draw the error of every class of brightness that has pixels, and that of all pixels, the last row."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(rows))
        heights = np.nan_to_num([row.rmse_db for row in rows])
        axes.bar(places, heights, width=0.62, color=[RESTORED] * (len(rows) - 1) + [SOFT], alpha=0.8)
        for place, row in zip(places, rows, strict=True):
            text = "none" if np.isnan(row.rmse_db) else f"{row.rmse_db:.2f}"
            axes.annotate(text, (place, heights[place]), (0, 3), textcoords="offset points", ha="center", color=INK)
        axes.set_xticks(places, [row.name.replace(" ", "\n") for row in rows])
        axes.set(ylabel="RMSE (dB)", ylim=(0, 1.1 * max(heights.max(), 1e-3)))
        axes.grid(visible=False, axis="x")

    return svg(draw, f"{name}: root mean square error by class of brightness")


def radial_spectrum(image: FloatArray, valid: Mask) -> tuple[FloatVector, FloatVector]:
    """Average the power spectrum of an image in dB over rings of equal frequency.

    Parameters
    ----------
    image : ndarray of float32
        (H, W) in dB.
    valid : ndarray of bool
        (H, W); invalid pixels take the mean of the valid ones, of which there must be one.

    Returns
    -------
    frequency, power : ndarray of float64
        Centres of the rings in cycles per pixel up to 0.5, and the mean power in dB²; white noise of variance σ² has
        the power σ² at every frequency. A Hann window keeps the image borders from leaking into all frequencies.
    """
    hann = np.outer(*(np.hanning(side + 2)[1:-1] for side in image.shape)).astype(np.float32) * valid
    centred = np.where(valid, image - image[valid].mean(dtype=np.float64), 0.0).astype(np.float32)
    power = np.abs(scipy.fft.fft2(centred * hann)) ** 2 / np.sum(hann**2, dtype=np.float64)
    rows, columns = (np.fft.fftfreq(side) for side in image.shape)
    rings = min(min(image.shape) // 2, 128)
    ring = (np.hypot(rows[:, None], columns) * (2 * rings)).astype(np.int32).ravel()
    total, count = (np.bincount(ring, weights=w, minlength=rings)[:rings] for w in (power.ravel(), None))
    return (np.arange(rings) + 0.5) / (2 * rings), total / np.maximum(count, 1)


def _window_looks(db: FloatArray, valid: Mask) -> FloatVector:
    """Return the ENL of the windows of :func:`looks.enl_ratio` that are all valid."""
    size = metric_looks.ENL_WINDOW
    found = []
    for top in range(0, db.shape[0] - size + 1, size):
        for left in range(0, db.shape[1] - size + 1, size):
            area = np.s_[top : top + size, left : left + size]
            if valid[area].all():
                found.append(metric_looks.enl(10.0 ** (db[area].astype(np.float64) / 10.0)))
    return np.array(found, np.float64)


def _thin(index: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    return index[:: -(-max(index.size, 1) // MAX_POINTS)]


def _legend_above(axes: Axes, markerscale: float = 1.0) -> None:
    """Put the legend over the axes, where it can hide no data."""
    above: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(**above, ncols=3, handlelength=1.4, columnspacing=1.2, markerscale=markerscale)
