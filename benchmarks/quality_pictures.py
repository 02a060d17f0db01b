"""Pictures of a simulated scene at several qualities, as coded and with speckle rendered, for docs/quality.md.

python benchmarks/quality_pictures.py -o docs/figures/qualities.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from sarcodec.entropy import scale
from sarcodec.metrics import summary
from sarcodec.scene import arrays
from sarcodec.simulate import scenes

QUALITIES = (70, 50, 35, 20)
SIDE, CROP = 512, slice(150, 342)


def main() -> None:
    """Compress, restore, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    sigma0 = scenes.scene(SIDE, SIDE, seed=4, nodata_border=False).sigma0[0]
    original = 10 * np.log10(sigma0)
    valid = np.isfinite(original)
    shown: list[tuple[str, npt.NDArray[np.float32]]] = [("original", original)]
    for quality in QUALITIES:
        data = arrays.compress(sigma0, quantity="intensity", step=scale.step_of_quality(quality))
        restored = 10 * np.log10(arrays.decompress(data))
        shown.append((title(f"quality {quality}", data, original, restored, valid), restored))
    rendered = 10 * np.log10(arrays.decompress(data, speckle=True))
    shown.append((title(f"quality {quality}, speckle rendered", data, original, rendered, valid), rendered))
    low, high = np.percentile(original[CROP, CROP], [1, 99.5])
    figure, axes = plt.subplots(2, 3, figsize=(11, 7.9), layout="constrained")
    for axis, (text, image) in zip(axes.flat, shown, strict=True):
        axis.imshow(image[CROP, CROP], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(text, fontsize=10)
        axis.set_axis_off()
    figure.savefig(arguments.output, dpi=110)


def title(
    name: str,
    data: bytes,
    original: npt.NDArray[np.float32],
    restored: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
) -> str:
    """Name, rate and quality in two lines."""
    found = summary.evaluate(original, restored, valid)
    rate = 8 * len(data) / original.size
    return f"{name}: {rate:.2f} bits per pixel\nPSNR {found.psnr_db:.1f} dB, ENL ratio {found.enl_ratio:.2f}"


if __name__ == "__main__":
    main()
