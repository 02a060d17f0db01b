"""Speed and memory of an autoencoder's compress and decompress, against the same network run naively, in one run.

    python benchmarks/speed.py [-o docs/results/speed.json]

Encodes and decodes a simulated 2048² band, our way and the naive way (float32, contiguous, batch norm unfolded, one
window at a time) in turn; the share of time in network, entropy coding and input/output; and the peak memory of
compressing and restoring 2048² and 8192² pixels, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sarcodec import tiling
from sarcodec.autoencoder import checkpoint, inference
from sarcodec.codec import codec, encoding
from sarcodec.container import archive
from sarcodec.raster import geotiff
from sarcodec.raster import info as raster_info
from sarcodec.runtime import devices
from sarcodec.scene import decision, files, model_store
from sarcodec.simulate import scenes

SIDE, LARGE = 2048, 8192
# VmHWM, not ru_maxrss: the latter starts from what the parent held when it forked.
CHILD = """
import re, sys
import sarcodec
if sys.argv[1] == "compress":
    sarcodec.compress_file(sys.argv[2], sys.argv[3], sarcodec.open_codec(sys.argv[4]), overwrite=True)
else:
    sarcodec.decompress_file(sys.argv[3], sys.argv[2] + ".back.tif", model=sys.argv[4], overwrite=True)
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""


class Naive(inference.Transform):
    """The network as written: float32, contiguous, batch norm not folded."""

    def __init__(self, model: checkpoint.Checkpoint) -> None:
        super().__init__(model.build(), precision="float32")
        self._model = model.build()

    def _run(self, network: Any, batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return getattr(self._model, network.__name__)(torch.from_numpy(batch)).numpy()


class Timed:
    """Counts the time spent in some methods of an object."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, owner: Any, method: str, label: str) -> None:
        """Replace a method of ``owner`` by one that counts its time under ``label``."""
        inner = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - begun

        object.__setattr__(owner, method, timed)


def write_mosaic(path: Path, block: np.ndarray, side: int) -> None:
    """Write a raster of ``side``² pixels made of copies of ``block``."""
    step = block.shape[0]
    info = raster_info.RasterInfo(1, side, side, "float32", tags={"UNITS": "sigma0 intensity"})
    with geotiff.create_raster(path, info) as raster:
        for top in range(0, side, step):
            for left in range(0, side, step):
                raster.write(0, tiling.Window(top, top + step, left, left + step), block)


def seconds_of(action: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def compare(model: checkpoint.Checkpoint, source: Path, folder: Path, runs: int) -> dict[str, Any]:
    """Time ours and naive in turn; medians in Mpx/s and of the ratios pair by pair."""
    ours, naive = model_store.codec_of(model), model_store.codec_of(model)
    naive.engine.transform = Naive(model)  # type: ignore[attr-defined]
    times: dict[str, list[float]] = {name: [] for name in ("encode", "naive encode", "decode", "naive decode")}
    packed, back = folder / "speed.sarc", folder / "speed.tif"

    def compress(by: codec.Codec) -> None:
        files.compress_file(source, packed, by, overwrite=True)

    def decompress(by: codec.Codec) -> None:
        with archive.Reader(packed) as reader:
            info = raster_info.RasterInfo.from_dict(reader.header.raster)
            with geotiff.create_raster(back, info, overwrite=True) as raster:
                by.decompress(reader, raster)

    for turn in range(runs + 1):
        for name, action, by in (
            ("encode", compress, ours),
            ("naive encode", compress, naive),
            ("decode", decompress, ours),
            ("naive decode", decompress, naive),
        ):
            elapsed = seconds_of(lambda action=action, by=by: action(by))  # type: ignore[misc]
            if turn:  # the first one warms up
                times[name].append(elapsed)
    megapixels = SIDE * SIDE / 1e6
    return {f"{name} Mpx/s": megapixels / statistics.median(values) for name, values in times.items()} | {
        f"{name} speed-up": statistics.median(
            slow / fast for slow, fast in zip(times[f"naive {name}"], times[name], strict=True)
        )
        for name in ("encode", "decode")
    }


def shares(model: checkpoint.Checkpoint, source: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Share of time by what it was spent on, encoding and decoding."""
    coder, found = model_store.codec_of(model), {}
    packed, back = folder / "share.sarc", folder / "share.tif"
    for direction in ("encode", "decode"):
        timed = Timed()
        timed.wrap(coder.engine.transform, direction, "network")
        timed.wrap(coder.engine.coder, direction, "entropy coding")
        begun = time.perf_counter()
        if direction == "encode":
            with geotiff.open_raster(source) as raster, archive.Writer(packed) as writer:
                timed.wrap(raster, "read", "input and output")
                timed.wrap(writer, "add", "input and output")
                coder.compress(raster, decision.layout_of(raster, None), writer, encoding.Options())
        else:
            with archive.Reader(packed) as reader:
                info = raster_info.RasterInfo.from_dict(reader.header.raster)
                with geotiff.create_raster(back, info, overwrite=True) as raster:
                    timed.wrap(raster, "write", "input and output")
                    timed.wrap(reader, "read", "input and output")
                    coder.decompress(reader, raster)
        total = time.perf_counter() - begun
        rest = {"radiometry, blending, masks": total - sum(timed.seconds.values())}
        found[direction] = {name: value / total for name, value in (timed.seconds | rest).items()}
    return found


def peaks(model: str, folder: Path, block: np.ndarray) -> dict[str, float]:
    """Peak resident memory in MiB of processes that compress and restore."""
    measured = {}
    for side in (SIDE, LARGE):
        source, packed = folder / f"{side}.tif", folder / f"{side}.sarc"
        write_mosaic(source, block, side)
        for direction in ("compress", "decompress"):
            command = [sys.executable, "-c", CHILD, direction, str(source), str(packed), model]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured[f"{direction} {side}² peak MiB"] = float(output)
    return measured


def main() -> None:
    """Measure, print and optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="residual16", help="a checkpoint or shipped autoencoder")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    model = model_store.load_model(arguments.model)
    block = scenes.scene(SIDE, SIDE, seed=5, polarisations=("VV",), nodata_border=False).sigma0[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.tif"
        write_mosaic(source, block, SIDE)
        result: dict[str, Any] = {
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "bfloat16": devices.has_bfloat16("cpu"),
            "runs": arguments.runs,
        }
        result |= compare(model, source, folder, arguments.runs)
        result |= peaks(arguments.model, folder, block)
        result |= {f"{direction} shares": values for direction, values in shares(model, source, folder).items()}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
