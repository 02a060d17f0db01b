"""The default codec beside its peers on real images, every byte counted.

    python benchmarks/codec.py [--images ../shared/data/test] [--rates] [--speckle] [--max-error] [--tables]
    python benchmarks/codec.py --speed

Without a part, everything but the speed is measured. Writes into docs/results:

* rates: codec_test.csv, real files of every band from about 0.08 to 2.3 bits per pixel, with JPEG 2000, JPEG XL and
  HEVC intra on the same images; peers are measured once and kept in ``--peers``.
* speckle: what rendering lost speckle does to looks, bias and spectrum at low rates.
* max-error: bytes at a guaranteed error against LERC and SZ3, and whether every pixel keeps it.
* speed: codec_speed.json, encoding and decoding a simulated 2048² band beside OpenJPEG at equal bytes, in turn; and
  decoding at qualities where the network restores, with it and without.

codec_test.json and .md gather all but the speed and are made again after every part, with codec_test.png;
``--tables`` makes them from what was measured before.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import codec_tables
import imagecodecs
import numpy as np
import torch

from sarcodec import baselines, radiometry, tiling
from sarcodec.baselines import peer as peer_search
from sarcodec.baselines import scaling
from sarcodec.codec import codec
from sarcodec.container import archive
from sarcodec.entropy import scale
from sarcodec.evaluation import chips, roundtrip
from sarcodec.metrics import error, summary
from sarcodec.raster import find, geotiff
from sarcodec.runtime import devices
from sarcodec.scene import arrays, files, model_store, rate_control
from sarcodec.simulate import scenes
from sarcodec.study import peers
from sarcodec.text import jsontext

STEPS = range(1024, 3073, 96)
"""Step indices to try, fine to coarse, 1 dB to 64 dB; those within `BPPS` are kept, some 12 an image."""
BPPS = 0.08, 2.6
SPECKLE_BPPS = 0.1, 0.15, 0.25
MAX_ERRORS_DB = 0.5, 1.0, 2.0
BOUNDED_PEERS = "lerc", "sz3"
STUDY_PEERS = Path("runs/study") / peers.FILE
SIDE, SPEED_BPP = 2048, 0.45
DECODED_QUALITIES = 50, 57, 65


def measure_rates(coder: codec.Codec, images: Sequence[Path], cache: Path) -> Iterator[roundtrip.Row]:
    """Measure ours on real files of every band, then peers and the Gaussian bound at their budgets."""
    for chip in chips.read(images):
        begun, count = time.perf_counter(), 0
        for row in our_rows(coder, chip):
            count += 1
            yield row
        print(f"{chip.name}: {count} rates in {time.perf_counter() - begun:.0f} s", flush=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    if STUDY_PEERS.exists() and not cache.exists():
        shutil.copyfile(STUDY_PEERS, cache)
    yield from peers.measure_peers(images, cache.parent, codec_tables.PEERS)


def our_rows(coder: codec.Codec, chip: chips.Chip) -> Iterator[roundtrip.Row]:
    """Go from fine to coarse steps until the rate is below all of interest."""
    for step in STEPS:
        restored, used = chips.restore(chip, coder, step)
        bpp = 8 * used / chip.db.size
        if bpp <= BPPS[1]:
            quality = summary.evaluate(chip.db, restored, chip.valid)
            yield roundtrip.Row(chip.image, chip.band, codec_tables.OURS, step, used, bpp, quality)
        if bpp < BPPS[0]:
            return


def measure_speckle(coder: codec.Codec, images: Sequence[Path]) -> dict[str, Any]:
    """Compare decoded images with and without rendered speckle at low rates, the record counted."""
    found = []
    for chip in chips.read(images):
        for bpp in SPECKLE_BPPS:
            step, rendered, used = restore_at(coder, chip, bpp)
            plain, without = chips.restore(chip, coder, step, speckle=False)
            found.append(
                {
                    "image": chip.name,
                    "budget": bpp,
                    "step_db": scale.step_db(step),
                    "bits_per_pixel": 8 * used / chip.db.size,
                    "record_bytes": used - without,
                    "as decoded": looks_like(chip, plain),
                    "speckle rendered": looks_like(chip, rendered),
                }
            )
        print(f"{chip.name}: speckle", flush=True)
    groups = [[r for r in found if r["budget"] == bpp] for bpp in SPECKLE_BPPS]
    return {"means": [mean_record(group) for group in groups], "images": found}


def restore_at(coder: codec.Codec, chip: chips.Chip, bpp: float) -> tuple[int, np.ndarray, int]:
    """Find the step whose file has a rate; returns step, image (H, W) in dB with speckle rendered, and bytes."""
    tried: dict[int, tuple[np.ndarray, int]] = {}

    def measure(step: int) -> float:
        if step not in tried:
            tried[step] = chips.restore(chip, coder, step, speckle=True)
        return math.log(8 * tried[step][1] / chip.db.size)

    step, _ = rate_control.find_step(
        measure, scale.STEPS, scale.DEFAULT_STEP, math.log(bpp), math.log1p(rate_control.RATE_TOLERANCE)
    )
    return step, *tried[step]


def looks_like(chip: chips.Chip, restored: np.ndarray) -> dict[str, float]:
    """Return the figures that speckle decides."""
    quality = summary.evaluate(chip.db, restored, chip.valid)
    before, after = (radial_spectrum(image, chip.valid) for image in (chip.db, restored))
    return {
        "psnr_db": quality.psnr_db,
        "enl_ratio": quality.enl_ratio,
        "bias_median_abs_db": quality.bias_median_abs_db,
        "bias_db": quality.bias_db,
        "spectrum_difference_db": float(np.abs(10 * np.log10(after / before)).max()),
    }


def radial_spectrum(db: np.ndarray, valid: np.ndarray, size: int = 64) -> np.ndarray:
    """Average the power of valid size² patches by radial frequency, 1 to size / 2 cycles a patch.

    Hann windows that overlap by half, their means taken off; NaN without a patch whose pixels are all valid.
    """
    taper = np.outer(*[np.hanning(size + 2)[1:-1]] * 2)
    cut = [np.lib.stride_tricks.sliding_window_view(a, (size, size))[:: size // 2, :: size // 2] for a in (db, valid)]
    patches = cut[0][cut[1].all(axis=(2, 3))].astype(np.float64)
    patches -= patches.mean(axis=(1, 2), keepdims=True)
    if not len(patches):
        return np.full(size // 2, np.nan)
    power = (np.abs(np.fft.fft2(patches * taper)) ** 2).mean(axis=0)
    cycles = np.fft.fftfreq(size, 1 / size)
    radius = np.rint(np.hypot(cycles[:, None], cycles)).astype(int).ravel()
    return (np.bincount(radius, power.ravel()) / np.bincount(radius))[1 : size // 2 + 1]


def mean_record(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average the numbers of records of one form, nested ones too."""
    first = group[0]
    return {
        key: mean_record([record[key] for record in group])
        if isinstance(value, dict)
        else float(np.mean([record[key] for record in group]))
        for key, value in first.items()
        if not isinstance(value, str)
    }


def measure_max_error(coder: codec.Codec, images: Sequence[Path]) -> dict[str, Any]:
    """Compress with a guaranteed error, restore and look for the pixel that is farthest off; so too LERC and SZ3."""
    found: list[dict[str, Any]] = []
    for chip in chips.read(images):
        for bound in MAX_ERRORS_DB:
            used, worst = {}, {}
            used["sarcodec"], worst["sarcodec"] = bounded(coder, chip, bound)
            image = baselines.fill(chip.db, chip.valid)
            for name in BOUNDED_PEERS:
                data = baselines.PEERS[name].encode(image, bound)
                used[name] = len(data)
                worst[name] = largest_error(image, baselines.PEERS[name].decode(data), chip.valid)
            bpp = {name: 8 * count / chip.db.size for name, count in used.items()}
            more = {name: 100 * (used["sarcodec"] / used[name] - 1) for name in BOUNDED_PEERS}
            record = {"image": chip.name, "bound_db": bound, "bits_per_pixel": bpp, "bytes_percent": more}
            found.append(record | {"largest_error_db": worst, "kept": worst["sarcodec"] <= bound})
        print(f"{chip.name}: guaranteed errors", flush=True)
    means = []
    for bound in MAX_ERRORS_DB:
        group = [record for record in found if record["bound_db"] == bound]
        most = {name: max(r["largest_error_db"][name] for r in group) for name in ("sarcodec", *BOUNDED_PEERS)}
        kept = {"kept": sum(r["kept"] for r in group), "images": len(group), "largest_error_db": most}
        means.append(mean_record(group) | kept)
    return {"means": means, "images": found}


def bounded(coder: codec.Codec, chip: chips.Chip, bound: float) -> tuple[int, float]:
    """Compress a chip to a file with a guaranteed error and restore the raster; returns bytes and largest error."""
    with tempfile.TemporaryDirectory() as name:
        source, packed, back = (Path(name) / part for part in ("band.tif", "band.sarc", "back.tif"))
        with geotiff.create_raster(source, chip.info) as writer:
            writer.write(0, tiling.Window(0, chip.info.height, 0, chip.info.width), chip.pixels)
        goal = rate_control.Goal.max_error(bound)
        size = files.compress_file(source, packed, coder, quantity=chip.quantity, goal=goal)
        files.decompress_file(packed, back)
        restored = next(chips.read([back]))
    if not np.array_equal(restored.valid, chip.valid):
        return size.bytes, math.inf
    return size.bytes, largest_error(chip.db, radiometry.to_db(restored.pixels, chip.quantity), chip.valid)


def largest_error(original_db: np.ndarray, restored_db: np.ndarray, valid: np.ndarray) -> float:
    """Return the largest error in dB of a valid pixel."""
    return float(np.abs(original_db[valid].astype(np.float64) - restored_db[valid].astype(np.float64)).max())


def measure_speed(model: str, runs: int) -> dict[str, Any]:
    """Time ours and OpenJPEG in turn, dB in memory to bytes and back, with the same number of threads."""
    coder, threads = model_store.open_codec(model), torch.get_num_threads()
    sigma0 = scenes.scene(SIDE, SIDE, seed=5, polarisations=("VV",), nodata_border=False).sigma0[0]
    db = (10 * np.log10(sigma0)).astype(np.float32)
    ours = arrays.compress(db, quantity="db", model=coder, goal=rate_control.Goal.bpp(SPEED_BPP))
    with archive.Reader(BytesIO(ours)) as reader:
        step = reader.header.step
    level = level_of(db, len(ours), threads)
    theirs = jpeg2000_encode(db, level, threads)
    actions: dict[str, Callable[[], Any]] = {
        "encode": lambda: arrays.compress(db, quantity="db", model=coder, step=step),
        "OpenJPEG encode": lambda: jpeg2000_encode(db, level, threads),
        "decode": lambda: arrays.decompress(ours, model=coder),
        "OpenJPEG decode": lambda: jpeg2000_decode(theirs, threads),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(runs + 1):
        for name, action in actions.items():
            begun = time.perf_counter()
            action()
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - begun)
    valid = np.ones(db.shape, bool)
    return {
        "machine": f"{platform.machine()}, {threads} threads, torch {torch.__version__}",
        "OpenJPEG": imagecodecs.jpeg2k_version(),
        "bfloat16": devices.has_bfloat16("cpu"),
        "runs": runs,
        "image": f"simulated band of {SIDE} x {SIDE} pixels, float32 dB in memory",
        "step_db": scale.step_db(step),
        "bits_per_pixel": 8 * len(ours) / db.size,
        "OpenJPEG bits_per_pixel": 8 * len(theirs) / db.size,
        "psnr_db": error.psnr(db, arrays.decompress(ours, model=coder), valid),
        "OpenJPEG psnr_db": error.psnr(db, jpeg2000_decode(theirs, threads), valid),
    } | speeds(times, db.size / 1e6)


def measure_decoding(model: str, runs: int) -> list[dict[str, Any]]:
    """Time decoding at qualities where the network restores, and without it, beside OpenJPEG at equal bytes."""
    coders = {"": model_store.open_codec(model), " without network": model_store.open_codec(model, restorer=False)}
    threads = torch.get_num_threads()
    sigma0 = scenes.scene(SIDE, SIDE, seed=5, polarisations=("VV",), nodata_border=False).sigma0[0]
    db = (10 * np.log10(sigma0)).astype(np.float32)
    found = []
    for quality in DECODED_QUALITIES:
        ours = arrays.compress(db, quantity="db", model=coders[""], quality=quality)
        theirs = jpeg2000_encode(db, level_of(db, len(ours), threads), threads)
        times: dict[str, list[float]] = {}
        for turn in range(runs + 1):
            for name, coder in {**coders, "OpenJPEG": None}.items():
                begun = time.perf_counter()
                if coder is None:
                    jpeg2000_decode(theirs, threads)
                else:
                    arrays.decompress(ours, model=coder)
                if turn:  # the first one warms up
                    times.setdefault(name, []).append(time.perf_counter() - begun)
        record: dict[str, Any] = {"quality": quality, "bits_per_pixel": 8 * len(ours) / db.size}
        for name in coders:
            pairs = zip(times["OpenJPEG"], times[name], strict=True)
            record[f"decode{name} Mpx/s"] = db.size / 1e6 / statistics.median(times[name])
            record[f"decode{name} over OpenJPEG"] = statistics.median(b / a for b, a in pairs)
        found.append(record)
    return found


def speeds(times: dict[str, list[float]], megapixels: float) -> dict[str, float]:
    """Return medians in Mpx/s, and the medians of ours over OpenJPEG's pair by pair."""
    found = {f"{name} Mpx/s": megapixels / statistics.median(values) for name, values in times.items()}
    for name in ("encode", "decode"):
        pairs = zip(times[f"OpenJPEG {name}"], times[name], strict=True)
        found[f"{name} over OpenJPEG"] = statistics.median(theirs / ours for theirs, ours in pairs)
    return found


def level_of(db: np.ndarray, budget: int, threads: int) -> float:
    """Find the level at which OpenJPEG uses a budget of bytes."""
    levels: dict[bytes, float] = {}

    def encode(level: float) -> bytes:
        data = jpeg2000_encode(db, level, threads)
        levels[data] = level
        return data

    return levels[peer_search.largest_within(encode, baselines.Jpeg2000(), budget)]


def jpeg2000_encode(db: np.ndarray, level: float, threads: int) -> bytes:
    """Encode as :class:`baselines.Jpeg2000`, with any number of threads."""
    codes, limits = scaling.pack(db, 65535)
    options: dict[str, Any] = {"level": level, "codecformat": "j2k", "reversible": False, "numthreads": threads}
    return limits + bytes(imagecodecs.jpeg2k_encode(codes, **options))


def jpeg2000_decode(data: bytes, threads: int) -> np.ndarray:
    """Inverse of :func:`jpeg2000_encode`."""
    codes = imagecodecs.jpeg2k_decode(data[scaling.SIDE_BYTES :], numthreads=threads)
    return scaling.unpack(np.asarray(codes, dtype=np.uint16), data, 65535)


def write(folder: Path, changes: dict[str, Any]) -> None:
    """Enter what was measured into codec_test.json, and make table and figure from all of it."""
    table, rows_file = folder / "codec_test.json", folder / "codec_test.csv"
    known = json.loads(table.read_text(encoding="utf-8")) if table.exists() else {}
    record = known | changes | {"models": known.get("models", {}) | changes.get("models", {})}
    if rows_file.exists():
        measured = codec_tables.read_rows(rows_file)
        record |= codec_tables.summary(measured)
        codec_tables.draw(folder / "codec_test.png", measured)
    table.write_text(jsontext.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = codec_tables.markdown(record)
    (folder / "codec_test.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=model_store.DEFAULT_MODEL)
    parser.add_argument("--images", nargs="+", type=Path, default=[Path("../shared/data/test")])
    parser.add_argument("--peers", type=Path, default=Path("runs/codec") / peers.FILE)
    parser.add_argument("--folder", type=Path, default=Path("docs/results"))
    parser.add_argument("--runs", type=int, default=5)
    for part in ("rates", "speckle", "max-error", "speed", "tables"):
        parser.add_argument(f"--{part}", action="store_true")
    arguments = parser.parse_args()
    if arguments.peers.name != peers.FILE:
        parser.error(f"--peers: got {arguments.peers}; pass the path of a file named {peers.FILE}")
    chosen = {part for part in ("rates", "speckle", "max_error", "speed", "tables") if getattr(arguments, part)}
    chosen = chosen or {"rates", "speckle", "max_error"}
    if "speed" in chosen:
        record = measure_speed(arguments.model, arguments.runs)
        record["at qualities"] = measure_decoding(arguments.model, arguments.runs)
        text = jsontext.dumps(record, indent=1)
        (arguments.folder / "codec_speed.json").write_text(text + "\n", encoding="utf-8")
        print(text)
    if chosen == {"speed"}:
        return
    changes: dict[str, Any] = {}
    if chosen & {"rates", "speckle", "max_error"}:
        coder, images = model_store.open_codec(arguments.model), find.find_images(arguments.images)
        changes["models"] = dict.fromkeys(sorted(chosen & {"rates", "speckle"}), coder.engine.identity)
        if "rates" in chosen:
            measured = list(measure_rates(coder, images, arguments.peers))
            codec_tables.write_rows(arguments.folder / "codec_test.csv", measured)
        if "speckle" in chosen:
            changes["speckle"] = measure_speckle(coder, images)
        if "max_error" in chosen:
            changes["max_error"] = measure_max_error(coder, images)
    write(arguments.folder, changes)


if __name__ == "__main__":
    main()
