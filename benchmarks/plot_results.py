"""Draw docs/results: the training curve of a run, and quality against bits per pixel from evaluated rows.

    python benchmarks/plot_results.py --history runs/residual16/history.jsonl --rows docs/results/residual16_test.csv

Writes residual16_training.csv and .png, and residual16_rate_distortion.png with
residual16_test.md, into docs/results.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

LABELS = {"sarcodec": "sarcodec residual16", "jpeg2000": "JPEG 2000", "jpegxl": "JPEG XL"}
QUALITIES = {
    "psnr_db": ("PSNR, peak 30 dB (dB)", (30, 35)),
    "ssim": ("SSIM on dB", (0.85, 0.95)),
    "enl_ratio": ("ENL ratio", (0.8, 1.2)),
    "epi": ("EPI", (0.85, 0.95)),
}


def draw_training(history: Path, folder: Path) -> None:
    """Write the validation curve as CSV and PNG."""
    records = {r["epoch"]: r for r in map(json.loads, history.read_text().splitlines())}
    rows = [records[epoch] for epoch in sorted(records)]
    with (folder / "residual16_training.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    figure = Figure(figsize=(7, 3), layout="constrained")
    for axes, (key, label) in zip(
        figure.subplots(1, 2), (("loss", "validation loss"), ("rmse_db", "validation RMSE (dB)")), strict=True
    ):
        axes.plot([row["step"] for row in rows], [row[key] for row in rows], color="#1b6ca8")
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
    figure.savefig(folder / "residual16_training.png", dpi=110)


def draw_rates(rows_file: Path, folder: Path) -> None:
    """Write mean quality against mean bits per pixel, a line a codec, a faint one an image."""
    with rows_file.open(newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (key, (label, targets)) in zip(figure.subplots(2, 2).flat, QUALITIES.items(), strict=True):
        for colour, (codec, name) in zip(("#c1440e", "#1b6ca8", "#2e7d32"), LABELS.items(), strict=True):
            for image in dict.fromkeys((row["image"], row["band"]) for row in rows):
                line = [r for r in rows if (r["image"], r["band"]) == image and r["codec"] == codec]
                mean = image[0] == "mean"
                style = {"lw": 2, "marker": "o", "ms": 4, "label": name} if mean else {"lw": 0.6, "alpha": 0.35}
                axes.plot(
                    [float(r["bits_per_pixel"]) for r in line], [float(r[key]) for r in line], color=colour, **style
                )
        limits = axes.get_ylim()
        for target in targets:
            axes.axhline(target, color="0.5", lw=0.8, ls=":")
        axes.set_ylim(limits)
        axes.set(xlabel="bits per pixel of the whole file", ylabel=label)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    figure.axes[2].set_yscale("log")
    figure.axes[2].yaxis.set_major_locator(FixedLocator([0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0]))
    figure.axes[2].yaxis.set_major_formatter(ScalarFormatter())
    figure.axes[2].yaxis.set_minor_locator(NullLocator())
    figure.savefig(folder / "residual16_rate_distortion.png", dpi=90)


def write_table(rows_file: Path, folder: Path) -> None:
    """Write the rows of step 1 and all means as a Markdown table."""
    with rows_file.open(newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    columns = {
        "bits_per_pixel": ("bpp", 3),
        "ratio": ("ratio", 1),
        "psnr_db": ("PSNR dB", 2),
        "ssim": ("SSIM", 3),
        "ms_ssim": ("MS-SSIM", 3),
        "enl_ratio": ("ENL ratio", 2),
        "epi": ("EPI", 3),
        "gradient_correlation": ("centred EPI", 3),
        "bias_median_abs_db": ("bias dB, median", 2),
        "bias_p95_abs_db": ("95 %", 2),
        "water_iou": ("water IoU", 2),
        "bright_target_error_db": ("bright dB", 1),
    }
    lines = ["| image | codec | step | " + " | ".join(label for label, _ in columns.values()) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(columns))
    for row in rows:
        if row["step"] == "1" or row["image"] == "mean":
            cells = [f"{row['image']} {row['band']}".strip(), LABELS[row["codec"]], row["step"]]
            cells += [f"{float(row[key]):.{digits}f}" for key, (_, digits) in columns.items()]
            lines.append("| " + " | ".join(cells) + " |")
    (folder / "residual16_test.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    if arguments.history:
        draw_training(arguments.history, arguments.folder)
    if arguments.rows:
        draw_rates(arguments.rows, arguments.folder)
        write_table(arguments.rows, arguments.folder)


if __name__ == "__main__":
    main()
