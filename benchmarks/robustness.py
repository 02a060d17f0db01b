"""Damaged and hostile files, products, studies and runs: what reading them comes to, and what hardships leave.

    python benchmarks/robustness.py [--cases 24000] [--kills 70] [--trainings 40] [--seed 1]
        [-o docs/results/robustness.md]

Every case changes one sound file, reads the result, and is one of: *error*, one of the package's own, in one
printable line that quotes little; *identical*, the content of the sound file, or of the other one that it was spliced
with; *other*, other content that no checksum or digest forbids; *wrong*, other content though one would have told;
*crashed*, any other exception, an error that is no clear line, or the end of the process. There must be none of the
last two. The same cases come from the same seed.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import logging
import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hostile import files, folders, hardship

from sarcodec import errors

CHUNK = 100
SHARES = {
    "damaged .sarc": 8,
    "forged .sarc": 7,
    "damaged TIFF": 3,
    "damaged checkpoint": 2,
    "damaged SAFE folder": 2,
    "damaged SAFE zip": 2,
    "forged SAFE folder": 1,
    "damaged study": 3,
    "damaged run": 2,
}
"""Kinds of cases, and their parts of the whole."""
WORDS = {
    "cases": "one sound file changed, and what it belongs to read",
    "error": "one of the package's own errors, in one printable line",
    "identical": "the content of the sound file all the same",
    "other": "other content, of which nothing in the file or beside it tells",
    "wrong": "other content, though a checksum or digest tells of it",
    "crashed": "any other exception, an error that is no clear line, or the end of the process",
    "slowest, s": "the slowest case",
    "most memory, MiB": "the most that a case took beyond what its process had",
    "through": "ran to the end: the target is whole, a training's files are those of an undisturbed one",
    "error in a line": "exit status 2 and one line on stderr",
    "half-written": "targets, checkpoints or histories that are not whole",
    "left behind": "other files than the target",
    "other end": "any other exit, or a training that cannot be resumed",
}
"""What the columns mean."""
LONGEST = 600
"""Most characters of a message: 200 of foreign text, some of paths, and our own words."""


@dataclass
class Tally:
    """What the cases of one kind came to."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest_s: float = 0.0
    most_mib: float = 0.0
    bad: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.outcomes += other.outcomes
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.most_mib = max(self.most_mib, other.most_mib)
        self.bad += other.bad


def main() -> None:
    """Run all cases and hardships, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=24000)
    parser.add_argument("--kills", type=int, default=70, help="of compress and decompress")
    parser.add_argument("--trainings", type=int, default=40, help="kills of training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    tallies = cases(asked.cases, asked.seed, asked.workers)
    with tempfile.TemporaryDirectory() as name:
        work = hardship.Work(Path(name))
        ends = list(hardship.all_of(work, asked.kills, asked.trainings, asked.seed))
    meanings = "".join(f"* *{name}*: {text}\n" for name, text in WORDS.items())
    text = f"{table(tallies)}\n{hardship.table(ends)}\n{meanings}"
    print(text)
    for line in (line for tally in tallies.values() for line in tally.bad):
        print(line, file=sys.stderr)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")
    sys.exit(any(tally.bad for tally in tallies.values()) or any(each.is_bad for each in ends))


def cases(count: int, seed: int, workers: int | None) -> dict[str, Tally]:
    """Run cases in processes of their own; a process that ends is a crash of its chunk."""
    chunks = []
    for kind, share in SHARES.items():
        numbers = list(range(round(count * share / sum(SHARES.values()))))
        chunks += [(kind, seed, tuple(numbers[i : i + CHUNK])) for i in range(0, len(numbers), CHUNK)]
    found = {kind: Tally() for kind in SHARES}
    while chunks:
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            futures = {pool.submit(run, *chunk): chunk for chunk in chunks}
            chunks = []
            for future in concurrent.futures.as_completed(futures):
                chunk = futures[future]
                try:
                    found[chunk[0]].add(future.result())
                except concurrent.futures.process.BrokenProcessPool:
                    half = len(chunk[2]) // 2
                    if half:
                        chunks += [(*chunk[:2], chunk[2][:half]), (*chunk[:2], chunk[2][half:])]
                    else:
                        ended = Tally(collections.Counter(crashed=1), bad=[f"{chunk}: the process ended"])
                        found[chunk[0]].add(ended)
    return found


def run(kind: str, seed: int, numbers: tuple[int, ...]) -> Tally:
    """Run some cases of a kind in this process."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        make = files.Files if kind in files.KINDS else folders.make
        source = make(kind, Path(name))
        for number in numbers:
            case = source.case(random.Random(f"{seed} {kind} {number}"))
            before, start = _reset_peak(), time.perf_counter()
            outcome, said = _read(source, case)
            tally.slowest_s = max(tally.slowest_s, time.perf_counter() - start)
            tally.most_mib = max(tally.most_mib, _peak() - before)
            tally.outcomes[outcome] += 1
            if outcome in ("wrong", "crashed"):
                tally.bad.append(f"{kind} {number}, {case.change}: {outcome}, {said}")
    return tally


def _read(source: files.Files | folders.Product | folders.Study | folders.Run, case: files.Case) -> tuple[str, str]:
    try:
        content = source.read(case)
    except errors.SarcodecError as problem:
        said = str(problem)
        clear = said.isprintable() and len(said) < LONGEST and "x" * 201 not in said
        return ("error", "") if clear else ("crashed", f"message of {len(said)} characters: {said[:300]!r}")
    except Exception as problem:
        return "crashed", repr(problem)[:300]
    if content in case.contents:
        return "identical", ""
    return ("wrong" if case.is_told else "other"), "other content"


def _reset_peak() -> float:
    """Begin to measure the most memory anew, and return what is in use, in MiB; Linux alone."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def table(tallies: dict[str, Tally]) -> str:
    """Lay the tallies out as a table of Markdown."""
    head = ("kind", "cases", "error", "identical", "other", "wrong", "crashed", "slowest, s", "most memory, MiB")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for kind, tally in tallies.items():
        counts = [f"{tally.outcomes[name]:,}" for name in head[2:7]]
        cells = [kind, f"{tally.outcomes.total():,}", *counts, f"{tally.slowest_s:.2f}", f"{tally.most_mib:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    np.seterr(all="ignore")
    logging.disable(logging.CRITICAL)
    main()
