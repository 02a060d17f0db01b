"""A decoder by docs/format.md alone: archive, header, masks and symbols, in plain Python and NumPy.

It shares no code with the package. What symbols become is in ``plain_pixels`` and ``plain_speckle``.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "format.md"
WORD = 2**64


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def preset_dictionary() -> bytes:
    """Return the dictionary as the page prints it: the lines of the block below its heading, joined."""
    (block,) = re.findall(r"^### Preset dictionary\n.*?^```\n(.*?)^```", page(), re.MULTILINE | re.DOTALL)
    return block.replace("\n", "").encode("ascii")


class File:
    """A ``.sarc`` file: header, and entries by name."""

    def __init__(self, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            self.entries = {name: archive.read(name) for name in archive.namelist()}
        if "header" in self.entries:
            inflate = zlib.decompressobj(-15, zdict=preset_dictionary())
            self.header: dict[str, Any] = json.loads(inflate.decompress(self.entries.pop("header")))
        else:
            self.header = json.loads(self.entries.pop("header.json"))
        assert self.header["format"] == "sarcodec"
        assert self.header["version"] in (1, 2)
        lines = sorted(f"{name} {len(entry)} {zlib.crc32(entry)}\n" for name, entry in self.entries.items())
        assert hashlib.sha256("".join(lines).encode()).hexdigest()[:16] == self.header["digest"]
        self.architecture = self.header["model"][1]
        self.stride = self.header["model"][2]
        raster = self.header["raster"]
        self.shape = raster["count"], raster["height"], raster["width"]

    def tiles(self) -> list[tuple[int, int, slice, slice]]:
        """Row and column of every tile, and the pixels it covers."""
        (_, height, width), side = self.shape, self.header["tile"]
        return [
            (r // side, c // side, slice(r, min(r + side, height)), slice(c, min(c + side, width)))
            for r in range(0, height, side)
            for c in range(0, width, side)
        ]

    def mask(self, band: int, row: int, column: int, shape: tuple[int, int]) -> np.ndarray:
        """Codes of a tile's pixels, (h, w)."""
        entry = self.entries.get(f"{band}/{row}.{column}m")
        if entry is None:
            return np.zeros(shape, np.uint8)
        count, pixels = entry[0], shape[0] * shape[1]
        planes = np.frombuffer(entry[1 + count :], np.uint8).reshape((count - 1).bit_length(), -(-pixels // 8))
        index = np.zeros(shape, int)
        for bit, plane in enumerate(planes):
            bits = np.unpackbits(plane)[:pixels].reshape(shape)
            index |= np.bitwise_xor.accumulate(bits, axis=0).astype(int) << bit
        return np.frombuffer(entry[1 : 1 + count], np.uint8)[index]

    def entry(self, band: int, row: int, column: int) -> tuple[bytes, bytes] | None:
        """Record of lost speckle, which may be empty, and symbols; None for a tile without."""
        entry = self.entries.get(f"{band}/{row}.{column}")
        if entry is None or "seed" not in self.header:
            return None if entry is None else (b"", entry)
        end = 2 + int.from_bytes(entry[:2], "little")
        return entry[2:end], entry[end:]


class RangeDecoder:
    """Indices of symbols from words, by the cumulative frequencies of tables."""

    def __init__(self, data: bytes) -> None:
        self.words = (int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4))
        self.lower, self.range = 0, WORD - 1
        self.point = self.word() << 32 | self.word()

    def word(self) -> int:
        return next(self.words, 0)

    def symbol(self, cumulative: list[int]) -> int:
        scale = self.range >> 24
        quantile = (self.point - self.lower) % WORD // scale
        assert quantile < 2**24, "damaged"
        index = bisect.bisect_right(cumulative, quantile) - 1
        self.renew(scale, cumulative[index], cumulative[index + 1] - cumulative[index])
        return index

    def uniform(self, bits: int) -> int:
        """Symbol of a uniform table of 2^bits symbols."""
        scale = self.range >> 24
        index = (self.point - self.lower) % WORD // scale >> (24 - bits)
        self.renew(scale, index << (24 - bits), 1 << (24 - bits))
        return index

    def renew(self, scale: int, below: int, frequency: int) -> None:
        self.lower = (self.lower + scale * below) % WORD
        self.range = scale * frequency
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % WORD, self.range * 2**32 % WORD
            self.point = (self.point * 2**32 + self.word()) % WORD

    def values(self, count: int, minimum: int, cumulative: list[int]) -> list[int]:
        """Integers of a static table, whose last index is the escape."""
        indices = [self.symbol(cumulative) for _ in range(count)]
        found = []
        for index in indices:
            value = minimum + index
            if index == len(cumulative) - 2:
                r = self.uniform(16) << 16 | self.uniform(16)
                value = -(r + 1) // 2 if r % 2 else r // 2
            found.append(value)
        return found


def tables_of(arrays: dict[str, np.ndarray], prefix: str) -> list[tuple[int, list[int]]]:
    """Minimum and cumulative frequencies of the static tables of a model."""
    split = np.split(arrays[prefix + "frequencies"], np.cumsum(arrays[prefix + "size"])[:-1])
    minima = arrays[prefix + "minimum"].tolist()
    return [(m, [0, *np.cumsum(f, dtype=np.int64).tolist()]) for m, f in zip(minima, split, strict=True)]


def version_1(data: bytes, size: tuple[int, int], tables: list[tuple[int, list[int]]]) -> np.ndarray:
    """Symbols (C, h, w), C the number of tables."""
    coder = RangeDecoder(data)
    return np.array([coder.values(size[0] * size[1], *t) for t in tables], np.int64).reshape(-1, *size)


class Lapped:
    """Symbols (64, 64, h, w) of a tile of the lapped codec, and the index of the table that coded each."""

    PLACES = (
        ((1, 0), (0, 1)),
        ((1, 1), (2, 0), (0, 2)),
        ((2, -1), (2, 1), (1, 2), (3, 0), (0, 3)),
    )

    def __init__(self, arrays: dict[str, np.ndarray], step: int, size: tuple[int, int]) -> None:
        self.layers = [
            [arrays[f"coder.network.{kind}.{n}"].astype(np.int64) for kind in ("weight", "bias")] for n in range(3)
        ]
        spread = arrays["coder.network.spread"].astype(np.int64)
        self.prior = np.clip((spread - 8 * (step - 1536)) >> 8, 0, 255)
        self.tables = tables_of(arrays, "coder.")
        self.size = size
        self.symbols = np.zeros((64, 64, *size), np.int64)
        self.index = np.zeros(self.symbols.shape, int)

    def decode(self, data: bytes) -> None:
        coder, state = RangeDecoder(data[1:]), np.zeros(self.symbols.shape, int)
        for d in range(data[0]):
            u = np.arange(max(0, d - 63), min(d, 63) + 1)
            v = d - u
            if d:
                before = np.where(v > 0, u, u - 1), np.maximum(v - 1, 0)
                s, k = state[before], self.symbols[before]
                state[u, v] = (s >> 1) ^ (18 * (s & 1)) ^ (4 * (k & 1))
            t = self.levels(u, v)
            shift = np.maximum(0, -((83 - t) // 8))
            index = np.clip(t - 8 * shift, 12, 83) - 12 + 72 * (state[u, v] & 1)
            values = np.zeros(index.size, np.int64)
            for table in np.unique(index):
                there = np.flatnonzero(index.ravel() == table)
                values[there] = coder.values(there.size, *self.tables[table])
            for bits in np.unique(shift[shift > 0]).tolist():
                for place in np.flatnonzero(shift.ravel() == bits).tolist():
                    values[place] = values[place] << bits | coder.uniform(bits)
            self.symbols[u, v], self.index[u, v] = values.reshape(index.shape), index

    def levels(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Level t of a diagonal's symbols, (n, h, w)."""
        sums, counts = [], []
        for places in self.PLACES:
            total, count = np.zeros((u.size, *self.size), np.int64), np.zeros((u.size, 1, 1), np.int64)
            for a, b in places:
                inside = ((u >= a) & (v >= b) & (v - b < 64))[:, None, None]
                magnitude = np.minimum(np.abs(self.symbols[(u - a) % 64, (v - b) % 64]), 2**14)
                total, count = total + inside * magnitude, count + inside
            sums.append(total)
            counts.append(np.maximum(count, 1))
        near, n = sums[0] + sums[1], counts[0] + counts[1]
        wide = np.pad(near, [(0, 0), (1, 1), (1, 1)], mode="edge")
        around = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
        total = near.sum(axis=(1, 2), keepdims=True)
        means = [64 * s // c for s, c in zip(sums, counts, strict=True)]
        means += [16 * around // n, 64 * total // (n * self.size[0] * self.size[1])]
        inputs = [logarithm(mean) for mean in means]
        inputs += [values[:, None, None] for values in (self.prior[u, v], 2 * u, 2 * v)]
        y = np.stack(np.broadcast_arrays(*inputs)).reshape(8, -1)
        for weight, bias in self.layers:
            y = np.clip((weight @ y + bias[:, None]) // 64, 0, 255)
        return y.reshape(near.shape)


class Variable:
    """Symbols (n, h, w) of a tile of the variable-rate autoencoder, and the index of the table that coded each."""

    def __init__(self, arrays: dict[str, np.ndarray], step: int, size: tuple[int, int]) -> None:
        names = "coder.contexts.{}.{}.{}".format
        self.layers = [
            [[arrays[names(p, kind, n)].astype(np.int64) for kind in ("weight", "bias")] for n in range(3)]
            for p in range(4)
        ]
        spread = arrays["coder.contexts.spread"].astype(np.int64)
        self.prior = np.clip((spread - 8 * (step - 1536)) >> 8, 0, 255)
        self.parents = arrays["coder.contexts.parents"].tolist()
        self.tables = tables_of(arrays, "coder.")
        self.size = size
        self.symbols = np.zeros((spread.size, *size), np.int64)
        self.index = np.zeros(self.symbols.shape, int)

    def decode(self, data: bytes) -> None:
        coder, state = RangeDecoder(data[1:]), np.zeros(self.size, int)
        for number in range(data[0]):
            if number:
                state = (state >> 1) ^ (18 * (state & 1)) ^ (4 * (self.symbols[number - 1] & 1))
            for turn, (first_y, first_x) in enumerate(((0, 0), (1, 1), (0, 1), (1, 0))):
                blocks = [(y, x) for y in range(first_y, self.size[0], 2) for x in range(first_x, self.size[1], 2)]
                levels = [self.level(number, turn, y, x, blocks) for y, x in blocks]
                index = {}
                for (y, x), t in zip(blocks, levels, strict=True):
                    shift = max(0, -((83 - t) // 8))
                    index[y, x] = min(max(t - 8 * shift, 12), 83) - 12 + 72 * int(state[y, x] & 1)
                    self.index[number, y, x] = index[y, x]
                for table in sorted(set(index.values())):
                    there = [block for block in blocks if index[block] == table]
                    for (y, x), value in zip(there, coder.values(len(there), *self.tables[table]), strict=True):
                        self.symbols[number, y, x] = value
                shifts = [max(0, -((83 - t) // 8)) for t in levels]
                for bits in sorted({shift for shift in shifts if shift}):
                    for (y, x), shift in zip(blocks, shifts, strict=True):
                        if shift == bits:
                            self.symbols[number, y, x] = self.symbols[number, y, x] << bits | coder.uniform(bits)

    def level(self, number: int, turn: int, y: int, x: int, blocks: list[tuple[int, int]]) -> int:
        height, width = self.size
        m = np.minimum(np.abs(self.symbols), 2**14)
        sides = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        corners = [(y + a, x + b) for a in (-1, 1) for b in (-1, 1)]
        sides, corners = ([(a, b) for a, b in p if 0 <= a < height and 0 <= b < width] for p in (sides, corners))
        near, far = ([p for p in part if p >= 0] for part in (self.parents[number][:3], self.parents[number][3:]))
        recent = list(range(max(0, number - 8), number))
        own = [(number, a, b) for a in range(height) for b in range(width)]
        kinds = (a % 2 * 2 + b % 2 for _, a, b in own)
        earlier = [place for place, kind in zip(own, kinds, strict=True) if kind in (0, 3, 1, 2)[:turn]]
        places = [
            [(number, a, b) for a, b in sides] if turn >= 2 else [],
            [(number, a, b) for a, b in corners] if turn % 2 else [],
            [(p, y, x) for p in near],
            [(p, y, x) for p in far],
            [(p, y, x) for p in recent],
            [(p, a, b) for p in near for a, b in sides],
            [(p, a, b) for p in recent for a, b in sides],
            earlier if turn else [(p, a, b) for p in near for a, b in blocks],
        ]
        means = [64 * sum(int(m[place]) for place in group) // max(len(group), 1) for group in places]
        values = np.array([*logarithm(np.array(means)).tolist(), int(self.prior[number]), min(number, 255)])
        for weight, bias in self.layers[turn]:
            values = np.clip((weight @ values + bias) // 64, 0, 255)
        return int(values[0])


def logarithm(x: np.ndarray) -> np.ndarray:
    e = np.frexp((x + 3).astype(float))[1] - 1
    i = ((x + 3) << 8 >> e) - 256
    return np.minimum(255, 8 * e + np.rint(8 * np.log2(1 + i / 256)).astype(np.int64))


class Bounded:
    """Units (h, w) of a tile of a guaranteed error; ``valid`` tells which are coded: in a file, all."""

    GROUPS = (
        ((1, 1), (1, 3), (3, 1), (3, 3)),
        ((0, 1), (1, 0), (1, 2), (2, 1), (0, 3), (3, 0)),
        ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (0, 3), (3, 0), (1, 3), (3, 1)),
    )
    FIXED = ((36, -2, -2, 0), (36, 36, -2, -2, 0, 0), (40, 40, -8, 0, 0, 0, 0, 0, 0))
    PARITIES = ((1, 1), (0, 1), (1, 0))

    def __init__(self, data: bytes, valid: np.ndarray) -> None:
        flags, at = data[0], 1 + (data[0] >> 7)
        self.step = 2 * data[1] + 1 if flags >> 7 else 1
        self.offset = 0
        if flags >> 6 & 1:
            self.offset, at = int.from_bytes(data[at : at + 4], "little", signed=True), at + 4
        self.weights: list[Any] = []
        for spacing in range(3):
            kind = flags >> 2 * spacing & 3
            if kind == 2:
                w = np.frombuffer(data[at : at + 19], np.int8).tolist()
                at += 19
            self.weights.append([None, self.FIXED, kind == 2 and (w[:4], w[4:10], w[10:])][kind])
        self.coder, self.counts = RangeDecoder(data[at:]), {}
        self.levels = min(6, min(valid.shape).bit_length() - 1)
        self.valid = np.pad(valid, [(0, -n % 2**self.levels) for n in valid.shape])
        self.shape = valid.shape
        self.value, self.change = np.zeros(self.valid.shape, np.int64), np.zeros(self.valid.shape, np.int64)

    def decode(self) -> np.ndarray:
        first = np.ix_(*(np.arange(0, n, 2**self.levels) for n in self.valid.shape))
        zero = np.zeros(self.valid[first].shape, np.int64)
        self.visit(first, zero, zero, zero + 17, zero + 1)
        for level in reversed(range(self.levels)):
            spacing = min(level, 2)
            if level < 2:
                self.inherit(1 + 2 * spacing)
                self.inherit(2 + 2 * spacing)
            for number, parity in enumerate(self.PARITIES):
                self.visit_pass(2**level, spacing, number, parity)
        return self.value[: self.shape[0], : self.shape[1]] + self.offset

    def visit_pass(self, t: int, spacing: int, number: int, parity: tuple[int, int]) -> None:
        axes = [np.arange(p * t, n, 2 * t) for p, n in zip(parity, self.valid.shape, strict=True)]
        groups = []
        for dy, dx in self.GROUPS[number]:
            mirrored = itertools.product(sorted({-dy, dy}), sorted({-dx, dx}))
            groups.append([np.ix_(*self.moved(axes, offset, t)) for offset in mirrored])
        places = [place for group in groups for place in group]
        p = rest = np.zeros([axis.size for axis in axes], np.int64)
        if self.weights[spacing] is not None:
            total = p + 64
            for weight, group in zip(self.weights[spacing][number], groups, strict=True):
                total = total + weight * sum(self.value[place] for place in group)
            p, rest = np.clip(total >> 7, -(2**21), 2**21), total % 128 - 64
        m = (sum(self.value[place] for place in places[:4]) + 2) >> 2
        a = sum(abs(self.value[place] - m) + self.change[place] for place in places[:4])
        n = (16 * a + 8 * sum(self.change[place] for place in places[4:12])) // self.step
        e = np.frexp(n.astype(float))[1] - 1
        bucket = np.where(n == 0, 0, np.minimum(49, 1 + 2 * e + (2 * n >= 3 << np.maximum(e, 0))))
        d, margin = (rest, 22) if self.step == 1 else (m - p, self.step // 5)
        side = np.where(d < -margin, 0, np.where(d > margin, 2, 1))
        self.visit(np.ix_(*axes), p, np.full(p.shape, 1 + 2 * spacing + (number > 0)), bucket, side)

    def moved(self, axes: list[np.ndarray], offset: tuple[int, int], t: int) -> list[np.ndarray]:
        """Rows and columns of a neighbour, those beyond the padded tile moved inwards by multiples of 2t."""
        found = []
        for axis, o, size in zip(axes, offset, self.valid.shape, strict=True):
            first = (axis[0] // t + o) % 2 * t
            found.append(np.clip(axis + o * t, first, size - 2 * t + first))
        return found

    def visit(self, at: Any, p: np.ndarray, kind: np.ndarray, bucket: np.ndarray, side: np.ndarray) -> None:
        """Decode the symbols of a pass."""
        q = np.zeros(p.shape, np.int64)
        contexts: dict[tuple[int, int, int], list[int]] = {}
        keys = zip(kind.ravel().tolist(), bucket.ravel().tolist(), side.ravel().tolist(), strict=True)
        for place, (key, coded) in enumerate(zip(keys, self.valid[at].ravel().tolist(), strict=True)):
            if coded:
                contexts.setdefault(key, []).append(place)
        for key in sorted(contexts):
            left = contexts[key]
            while left:
                size = min(len(left), max(32, sum(self.of(key)) // 64))
                q.ravel()[left[:size]] = self.run(key, size)
                left = left[size:]
        self.value[at], self.change[at] = p + q * self.step, np.abs(q * self.step)

    def run(self, key: tuple[int, int, int], size: int) -> list[int]:
        counts = self.of(key)
        frequencies = [1 + count * (2**24 - 82) // sum(counts) for count in counts]
        frequencies[frequencies.index(max(frequencies))] += 2**24 - sum(frequencies)
        cumulative = [0, *itertools.accumulate(frequencies)]
        indices = [self.coder.symbol(cumulative) for _ in range(size)]
        high = [
            i - 40 if i < 81 else self.coder.uniform(12) * 2**12 + self.coder.uniform(12) - 2**23 for i in indices
        ]
        shift = low_bits(key[1])
        for i in indices:
            counts[i] += 64
        return [(h << shift) + (self.coder.uniform(shift) if shift else 0) for h in high]

    def of(self, key: tuple[int, int, int]) -> list[int]:
        if key not in self.counts:
            self.counts[key] = imagined(key[1])
        return self.counts[key]

    def inherit(self, kind: int) -> None:
        for bucket, side in itertools.product(range(50), range(3)):
            above = self.of((kind + 2, bucket, side))
            self.counts[kind, bucket, side] = [count * 1024 // sum(above) for count in above]


def low_bits(bucket: int) -> int:
    return min(max((bucket - 13) // 2 - 3, 0), 12)


def imagined(bucket: int) -> list[int]:
    """Counts of a context before its first symbol."""
    octaves, half = divmod(bucket - 13, 2)
    m = max(((181 if half else 128) << (octaves + 8)) >> 8, 8) >> low_bits(bucket)
    w = [2**30]
    for _ in range(41):
        w.append(w[-1] * (m * (256 + m)) // (2 * 256 * 256 + 2 * 256 * m + m * m))
    both = [*w[40:0:-1], *w[:41], w[41]]
    return [1 + 48 * 64 * x // sum(both) for x in both]
