"""Compare simulated scenes with real Sentinel-1 chips: looks, autocorrelation and histogram.

Prints a table and writes ``simulator_check.png``, which shows no real image. Only training chips are read,
so that the simulator is never tuned on test images. Homogeneous windows are the 15 x 15 windows whose
equivalent number of looks (ENL, mean²/variance of intensity) is in the top fifth of their band; as the
choice favours calm windows, their ENL lies above that of the speckle itself, and as it takes each window's
own mean off, its autocorrelations lie up to 0.05 too low. Both effects are the same for simulated and real
images.

    python benchmarks/simulator_check.py [--data ../shared/data] [--out docs/figures]
"""

import argparse
import io
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import rasterio
from PIL import Image

from sarcodec.simulate import ground
from sarcodec.simulate import scenes as simulate_scenes

WINDOW = 15
LAGS = 6
EDGES_DB = np.arange(-40, 20.5, 0.5)


def real_chips(folder: Path, pattern: str) -> Iterator[np.ndarray]:
    """Yield linear intensity (2, H, W) of each chip, NaN where invalid."""
    for path in sorted(folder.glob(pattern)):
        with rasterio.open(path) as source:
            values = source.read().astype(np.float64)
        yield 10 ** (values / 10) if path.stem.endswith("_db") else np.where(values > 0, values**2, np.nan)


def homogeneous_windows(intensity: np.ndarray) -> np.ndarray:
    """Return the (n, 15, 15) windows of one band in the top fifth by ENL."""
    rows, columns = (size // WINDOW for size in intensity.shape)
    tiles = intensity[: rows * WINDOW, : columns * WINDOW].reshape(rows, WINDOW, columns, WINDOW)
    tiles = tiles.swapaxes(1, 2).reshape(-1, WINDOW, WINDOW)
    tiles = tiles[np.isfinite(tiles).all(axis=(1, 2))]
    looks = tiles.mean(axis=(1, 2)) ** 2 / tiles.var(axis=(1, 2))
    return tiles[looks >= np.quantile(looks, 0.8)]


def autocorrelation(windows: np.ndarray, axis: int) -> list[float]:
    """Return the median autocorrelation over windows for lags 0 to 5 along an axis of the window."""
    deviation = windows - windows.mean(axis=(1, 2), keepdims=True)
    lines = np.moveaxis(deviation, axis, -1)
    variance = (deviation**2).mean(axis=(1, 2))
    return [
        float(np.median((lines[..., : WINDOW - lag] * lines[..., lag:]).mean(axis=(1, 2)) / variance))
        for lag in range(LAGS)
    ]


def measure(images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return, for VV and VH, one row per image of ENL, autocorrelations, histogram and percentiles."""
    bands = []
    for band in (0, 1):
        windows = [homogeneous_windows(image[band]) for image in images]
        in_db = [10 * np.log10(tiles) for tiles in windows]
        values = [10 * np.log10(image[band][np.isfinite(image[band])]) for image in images]
        bands.append(
            {
                "enl": np.array([np.median(t.mean(axis=(1, 2)) ** 2 / t.var(axis=(1, 2))) for t in windows], float),
                "along rows": np.array([autocorrelation(t, 2) for t in in_db]),
                "along columns": np.array([autocorrelation(t, 1) for t in in_db]),
                "histogram": np.array([np.histogram(v, EDGES_DB)[0] / v.size for v in values]),
                "percentiles": np.array([np.percentile(v, [1, 10, 50, 90, 99, 99.9]) for v in values]),
            }
        )
    return bands


def print_table(measured: dict[str, list[dict[str, np.ndarray]]]) -> None:
    for key, digits in (("enl", 2), ("along rows", 2), ("along columns", 2), ("percentiles", 1)):
        head = {"enl": "ENL of homogeneous windows", "percentiles": "dB at 1 10 50 90 99 99.9 %"}
        print(f"\n{head.get(key, f'autocorrelation of dB {key}, lags 0-5')}: median over images [least..most]")
        for name, bands in measured.items():
            if key == "percentiles" and "DN" in name:
                continue  # uncalibrated
            for polarisation, band in zip(ground.POLARISATIONS, bands, strict=True):
                rows = band[key].reshape(len(band[key]), -1)
                cells = [
                    f"{middle:.{digits}f} [{least:.{digits}f}..{most:.{digits}f}]"
                    for middle, least, most in zip(
                        np.median(rows, axis=0), rows.min(axis=0), rows.max(axis=0), strict=True
                    )
                ]
                print(f"  {name:<18}{polarisation}  " + "  ".join(cells))


def in_db(intensity: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(intensity, 1e-6))


def draw(measured: dict[str, list[dict[str, np.ndarray]]], scene: np.ndarray) -> plt.Figure:
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.6), layout="constrained")
    colours = {"simulated": "tab:blue", "real, sigma0": "tab:orange", "real, DN": "0.6"}
    for column, key in enumerate(("along rows", "along columns")):
        axis = axes[0, column]
        for name, bands in measured.items():
            rows = np.concatenate([band[key] for band in bands])
            axis.plot(np.median(rows, axis=0), "o-", ms=3, color=colours[name], label=name)
            axis.fill_between(range(LAGS), rows.min(axis=0), rows.max(axis=0), color=colours[name], alpha=0.18, lw=0)
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        axis.set(title=f"Autocorrelation of dB {key}", xlabel="lag (pixels)", ylim=(-0.15, 1.05))
    axes[0, 0].legend(frameon=False, title="median, range of images")
    centres = (EDGES_DB[1:] + EDGES_DB[:-1]) / 2
    for name in ("simulated", "real, sigma0"):
        for polarisation, style, band in zip(("VV", "VH"), ("-", "--"), measured[name], strict=True):
            label = f"{name}, {polarisation}"
            density = 200 * band["histogram"].mean(axis=0)
            axes[0, 2].plot(centres, density, style, color=colours[name], lw=1.3, label=label)
    axes[0, 2].set(title="Histogram", xlabel="sigma0 (dB)", ylabel="% per dB", xlim=(-38, 8))
    axes[0, 2].legend(frameon=False, fontsize=7)
    looks = [np.concatenate([band["enl"] for band in bands]) for bands in measured.values()]
    boxes = axes[1, 0].boxplot(looks, tick_labels=list(measured), patch_artist=True, widths=0.5)
    for box, name in zip(boxes["boxes"], measured, strict=True):
        box.set(facecolor=colours[name], alpha=0.5)
    axes[1, 0].set(title="ENL of homogeneous 15 x 15 windows", ylim=(0, None))
    for axis, band, polarisation in zip(axes[1, 1:], scene, ground.POLARISATIONS, strict=True):
        low, high = np.percentile(in_db(band), [1, 99])
        axis.imshow(in_db(band), cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
        axis.set(title=f"Simulated {polarisation}, {low:.0f} to {high:.0f} dB", xticks=[], yticks=[])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SARCODEC_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    arguments = parser.parse_args()
    chips = {
        "real, sigma0": list(real_chips(arguments.data / "train", "*_db.tif")),
        "real, DN": list(real_chips(arguments.data / "train", "*_dn.tif")),
    }
    if not all(chips.values()):
        parser.error(f"no *_db.tif and *_dn.tif chips in {arguments.data / 'train'}; name their folder by --data")
    scenes = [simulate_scenes.scene(768, 768, seed=seed).sigma0 for seed in range(8)]
    measured = {name: measure(images) for name, images in {"simulated": scenes, **chips}.items()}
    print_table(measured)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "simulator_check.png"
    buffer = io.BytesIO()
    draw(measured, scenes[1][:, -400:, 200:600]).savefig(buffer, dpi=80)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"\nwrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
