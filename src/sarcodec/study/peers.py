"""What other codecs, and two bounds, reach on the test images of a study: measured once, kept in ``peers.json``.

Every row has the form of :class:`roundtrip.Row`. The ``step`` of a codec's row is the budget in thousandths of a
bit per pixel; its bytes are those used. ``lapped64``, the default codec, and ``residual64`` are the models of the
package that code at all rates. Three names are bounds:

* ``gaussian``: the rate-distortion curve of a Gaussian source with the image's block spectrum. It has a rate, an
  RMSE and a PSNR, no other figure.
* ``klt16``: the 16×16 KLT fitted on training chips, ``step`` coefficients kept a block at unlimited precision.
  It has all figures of quality and no rate: its bytes are 0 and its bits per pixel infinite.
* ``lapped``: the same of the 64-point lapped transform, as many of every 256 coefficients, which overlaps.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import baselines, errors
from sarcodec.codec import codec
from sarcodec.evaluation import bounds, chips, roundtrip
from sarcodec.files import atomic
from sarcodec.metrics import error, summary
from sarcodec.scene import model_store
from sarcodec.study import fields, linear_bounds, rows

FILE = "peers.json"
BPPS = (0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
DEFAULT = "lapped64"
OWN = DEFAULT, "residual64"
"""Shipped models that code at all rates."""
GAUSSIAN = "gaussian"
BOUNDS = (*linear_bounds.NAMES, GAUSSIAN)


@dataclass(frozen=True)
class Measured:
    """What ``peers.json`` holds.

    ``missing`` and ``skipped`` give reasons; ``sources`` are digests of the pixels of every image and band and of the
    bounds and the own models, so that what changed is measured again.
    """

    rows: tuple[roundtrip.Row, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    skipped: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()


class _Remembered:
    """A peer that remembers the streams of one image: budgets share most of the levels they try."""

    def __init__(self, peer: baselines.Peer) -> None:
        self._peer = peer
        self._streams: dict[float, bytes] = {}
        self.name, self.levels = peer.name, peer.levels

    def require(self) -> None:
        self._peer.require()

    def encode(self, db: npt.NDArray[np.floating[Any]], level: float) -> bytes:
        if level not in self._streams:
            self._streams[level] = self._peer.encode(db, level)
        return self._streams[level]

    def decode(self, data: bytes) -> npt.NDArray[np.float32]:
        return self._peer.decode(data)


def measure_peers(
    images: Sequence[Path],
    folder: Path,
    peers: Sequence[str] | None = None,
    bpps: Sequence[float] = BPPS,
    *,
    linear: Mapping[str, tuple[linear_bounds.Linear, str]] | None = None,
) -> Iterator[roundtrip.Row]:
    """Measure every available peer, the own models and the bounds; run the iterator to its end.

    Parameters
    ----------
    images : sequence of paths
        The test images, or folders of them.
    folder : path
        The study. What its ``peers.json`` holds already is yielded and not measured again; the file is written
        whole after every codec of every image, so an interrupted run continues.
    peers : sequence of str, optional
        Names in :data:`baselines.PEERS` or :data:`OWN`; all by default. Those that cannot be used here are named
        with the reason.
    bpps : sequence of float
        Budgets in bits per pixel. A budget below the least a codec needs is noted as skipped.
    linear : mapping, optional
        From :func:`sarcodec.study.linear.fit`; without it the linear bounds are named as missing.

    Yields
    ------
    Row
        By image, band, codec and budget.

    Raises
    ------
    InputError
        For the name of a peer that does not exist, or unusable images.
    """
    asked = (*baselines.PEERS, *OWN) if peers is None else tuple(peers)
    if unknown := set(asked) - {*baselines.PEERS, *OWN}:
        raise errors.InputError(f"peers: got {', '.join(sorted(unknown))}; pass some of {', '.join(baselines.PEERS)}")
    reasons = {**baselines.available(), **dict.fromkeys(OWN)}
    missing = {name: reason for name in asked if (reason := reasons[name]) is not None}
    linear = linear or {}
    missing |= {
        name: "no training images were named to fit it on" for name in linear_bounds.NAMES if name not in linear
    }
    own = {name: model_store.open_codec(name) for name in OWN if name in asked}
    versions = {name: digest for name, (_, digest) in linear.items()}
    versions |= {name: coder.engine.identity for name, coder in own.items()}
    kept = read(folder)
    sources = dict(kept.sources)
    fresh = {name for name, version in versions.items() if sources.get(name) != version}
    known = {(r.image, r.band, r.codec, r.step): r for r in kept.rows if r.codec not in fresh}
    sources |= versions
    missing = {name: reason for name, reason in missing.items() if name not in {key[2] for key in known}}
    skipped = dict.fromkeys(kept.skipped)
    wanted = [name for name in asked if reasons[name] is None] + [GAUSSIAN, *linear]
    for chip in chips.read(images):
        digest = linear_bounds.digest(chip.db)
        if sources.get(chip.name) != digest:
            known = {key: row for key, row in known.items() if key[:2] != (chip.image, chip.band)}
            skipped = {note: None for note in skipped if not note.endswith(f" for {chip.name}")}
        sources[chip.name] = digest
        for name in wanted:
            steps = linear_bounds.KEPT if name in linear_bounds.NAMES else tuple(round(1000 * bpp) for bpp in bpps)
            todo = [s for s in steps if (chip.image, chip.band, name, s) not in known]
            todo = [s for s in todo if _skip_note(chip, name, s) not in skipped]
            for step, row in _measure(chip, name, todo, linear[name][0] if name in linear else own.get(name)):
                if row is None:
                    skipped[_skip_note(chip, name, step)] = None
                else:
                    known[chip.image, chip.band, name, step] = row
            if todo:
                write(folder, _measured(known, missing, skipped, sources))
            for step in steps:
                if (chip.image, chip.band, name, step) in known:
                    yield known[chip.image, chip.band, name, step]
    write(folder, _measured(known, missing, skipped, sources))


def _measured(
    known: Mapping[tuple[str, str, str, int], roundtrip.Row],
    missing: Mapping[str, str],
    skipped: Iterable[str],
    sources: Mapping[str, str],
) -> Measured:
    return Measured(tuple(known.values()), tuple(missing.items()), tuple(skipped), tuple(sources.items()))


def read(folder: Path) -> Measured:
    """Read ``peers.json`` of a study; nothing when there is none yet, FormatError when it is damaged."""
    path = folder / FILE
    if not path.exists():
        return Measured()
    record = fields.read_record(path)
    with fields.reading(path):
        missing, sources = fields.mapping(record, "missing"), fields.mapping(record, "sources")
        return Measured(
            tuple(map(rows.from_dict, record["rows"])),
            tuple((name, fields.text(missing, name)) for name in missing),
            fields.texts(record, "skipped"),
            tuple((name, fields.text(sources, name)) for name in sources),
        )


def write(folder: Path, measured: Measured) -> None:
    """Write ``peers.json``, which :func:`read` reads."""
    record = {
        "missing": dict(measured.missing),
        "skipped": list(measured.skipped),
        "sources": dict(measured.sources),
        "rows": [row.to_dict() for row in measured.rows],
    }
    atomic.write_bytes(folder / FILE, (json.dumps(record, indent=1) + "\n").encode(), overwrite=True)


def _skip_note(chip: chips.Chip, name: str, step: int) -> str:
    return f"{name} needs more than {step / 1000:g} bit per pixel for {chip.name}"


def _measure(
    chip: chips.Chip, name: str, steps: Sequence[int], by: linear_bounds.Linear | codec.Codec | None
) -> Iterator[tuple[int, roundtrip.Row | None]]:
    """Measure one codec or bound on one chip; None for a budget below what the codec needs."""
    if name == GAUSSIAN:
        yield from _gaussian(chip, steps)
        return
    peer = _Remembered(baselines.PEERS[name]) if name in baselines.PEERS else None
    for step in steps:
        restored_db: npt.NDArray[Any]
        used = 0
        try:
            if isinstance(by, codec.Codec) and peer is None:
                restored_db, used = chips.restore_at(chip, by, step / 1000)
            elif peer is not None:
                restored_db, used = baselines.restore(peer, chip.db, chip.valid, int(step * chip.db.size / 8000))
            else:
                restored_db = by.approximate(chip.db, step, chip.valid)  # type: ignore[union-attr]
        except errors.InputError:
            yield step, None
            continue
        rate = 8 * used / chip.db.size if used else math.inf
        quality = summary.evaluate(chip.db, restored_db, chip.valid)
        yield step, roundtrip.Row(chip.image, chip.band, name, step, used, rate, quality)


def _gaussian(chip: chips.Chip, steps: Sequence[int]) -> Iterator[tuple[int, roundtrip.Row]]:
    if not steps:
        return
    rates, psnr = bounds.gaussian_rate_distortion(chip.db, chip.valid, psnr=np.arange(5.0, 60.0, 0.25))
    positive = rates > 0
    nothing = summary.Metrics(int(chip.valid.sum()), *[math.nan] * (len(dataclasses.fields(summary.Metrics)) - 1))
    for step in steps:
        bpp = step / 1000
        reached = float(np.interp(bpp, rates[positive], psnr[positive]))
        quality = replace(nothing, psnr_db=reached, rmse_db=error.rmse_of(reached))
        used = math.ceil(bpp * chip.db.size / 8)
        yield step, roundtrip.Row(chip.image, chip.band, GAUSSIAN, step, used, bpp, quality)
