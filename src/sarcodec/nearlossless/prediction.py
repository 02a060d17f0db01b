"""The lattice: in what order pixels are coded, what predicts them, and the contexts of what is left.

**Order.** The field is padded with invalid pixels to multiples of 2^L, L = min(6, floor(log2(shorter side))). Pixels
at multiples of 2^L come first, predicted as 0 in one context, then for the spacings t = 2^(L−1) … 1 three passes
over the grid of spacing t, by (row, column) in units of t: (odd, odd), (even, odd), (odd, even). No pixel of a pass
looks at another of the same pass, so a pass is a handful of array operations. Beyond the rim of the padded grid
neighbours repeat the nearest pixel of the same pass.

**Prediction.** Neighbours at mirrored places are summed and share a weight in 1/128, ``p = floor((Σ w·sum + 64) /
128)``, kept within ±2^21. An invalid pixel takes its prediction. Else, with the odd ``step`` T, the symbol is
``q = floor((value − p + floor(T/2)) / T)`` and the restored value is p + q·T: off by floor(T/2) at most.

**Contexts** are integers made of restored values and symbols only, never of floats, so that every machine finds the
same: the kind of pass; an activity; and which side the value is likely on. The activity is floor((16·A + 8·B) / T),
A being the distances of the four nearest to their mean m = floor((sum + 2) / 4) and their |q·T|, B the |q·T| of the
next eight. Bucket 0 is 0; n ≥ 1 is in 1 + 2·floor(log2 n), or the next one from 1.5 times that power of two on; from
2^24 on it is 49. The side is 0 for d < −e, 2 for d > e and 1 between, where d = m − p and e = floor(T/5), but for
T = 1 d is what was rounded off p in 1/128 (−64 … 63) and e = 22.

A kind of pass is 0 for the first pixels, else 1 + 2·min(log2 t, 2), and one more for the second and third pass of a
spacing. Before spacings 2 and 1 begin, their two kinds inherit from those of the spacing above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.nearlossless import adaptive

LIMIT: Final = 1 << 20
"""Largest magnitude of a value that can be coded."""

Field = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_Item = TypeVar("_Item", bound=np.generic)
_Planes = dict[tuple[int, int], tuple[Field, Field]]

KINDS: Final = 7
"""Kinds of passes: the first pixels, then two for each of the spacings 1, 2 and wider."""

_LEVELS = 6
_PLACES = ((0, 0), (1, 1), (0, 1), (1, 0))
# Neighbours of the three passes (|dy|, |dx|) in units of t, nearest first; each stands for its mirror images.
_RINGS = (
    ((1, 1), (1, 3), (3, 1), (3, 3)),
    ((0, 1), (1, 0), (1, 2), (2, 1), (0, 3), (3, 0)),
    ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (0, 3), (3, 0), (1, 3), (3, 1)),
)
_FIXED = ((36, -2, -2, 0), (36, 36, -2, -2, 0, 0), (40, 40, -8, 0, 0, 0, 0, 0, 0))
_ENDS = (0, 4, 10, 19)
_SHIFT = 7
_RIM = 2
_MAX_REACH = 500  # Σ |w| over the neighbours of a pixel: keeps sums within 32 bits
_SAMPLE = 32768  # pixels to fit weights to
_FIRST_CONTEXT = adaptive.SIDES * (adaptive.UNIT_BUCKET + 4) + 1


class Weights:
    """Weights of the neighbours for the spacings 1, 2 and all wider ones.

    Parameters
    ----------
    kinds : sequence of int
        For each, :attr:`NONE` (predict 0), :attr:`FIXED` (those of this module) or :attr:`STORED`.
    stored : bytes, optional
        :attr:`SIZE` bytes for every one that is stored, int8 in 1/128; the encoder fits them while it goes.

    Raises
    ------
    FormatError
        For a kind there is not, or weights that are too large together.
    """

    NONE, FIXED, STORED = range(3)
    SIZE = _ENDS[-1]

    def __init__(self, kinds: Sequence[int], stored: bytes | None = None) -> None:
        self.kinds = tuple(kinds)
        places = [spacing for spacing, kind in enumerate(self.kinds) if kind == self.STORED]
        rows = np.frombuffer(stored or bytes(self.SIZE * len(places)), np.int8).reshape(len(places), self.SIZE).copy()
        self.stored = dict(zip(places, rows, strict=True))
        pairs = [(self.of(spacing, ring), ring) for spacing in places for ring in range(len(_RINGS))]
        if max(self.kinds) > self.STORED or any(_reach(weights, ring) > _MAX_REACH for weights, ring in pairs):
            raise errors.FormatError("residual: no such weights; the entry is damaged")

    def of(self, spacing: int, ring: int) -> list[int]:
        """Return the weights of a pass."""
        if self.kinds[spacing] == self.FIXED:
            return list(_FIXED[ring])
        return [int(weight) for weight in self.stored[spacing][_ENDS[ring] : _ENDS[ring + 1]]]

    def fit(self, spacing: int, ring: int, sums: Sequence[Field], target: Field) -> None:
        """Set the stored weights of a pass to those of least squares; each of `sums` and `target` (n,)."""
        thin = slice(None, None, max(1, target.size // _SAMPLE))
        columns = np.stack([group[thin] for group in sums], axis=1).astype(np.float64)
        normal = columns.T @ columns + np.eye(len(sums))
        solved = np.rint(np.linalg.solve(normal, columns.T @ target[thin]) * (1 << _SHIFT))
        weights = [int(weight) for weight in solved]
        usable = _reach(weights, ring) <= _MAX_REACH and min(weights) >= -128 and max(weights) <= 127
        self.stored[spacing][_ENDS[ring] : _ENDS[ring + 1]] = weights if usable else _FIXED[ring]

    def to_bytes(self) -> bytes:
        """Return what is stored."""
        return b"".join(row.tobytes() for row in self.stored.values())


def walk(
    valid: Mask,
    step: int,
    weights: Weights,
    port: adaptive.Encoder | adaptive.Decoder,
    target: Field | None = None,
) -> Field:
    """Go through all passes with an encoder or a decoder.

    Parameters
    ----------
    valid : ndarray of bool, shape (h, w)
        True where a value is coded.
    step : int
        T, odd and positive; 1 is lossless.
    weights : Weights
        To predict with.
    port : Encoder or Decoder
        Where symbols go to or come from.
    target : ndarray of int32, shape (h, w), optional
        What to encode, at most 2^21 in magnitude; none for a decoder.

    Returns
    -------
    ndarray of int32, shape (h, w)
        The restored values; predictions where invalid.

    Raises
    ------
    FormatError
        When a decoded value is out of range.
    """
    levels = _levels(valid.shape)
    mask = _padded(valid, levels)
    wanted = _padded(np.zeros(valid.shape, np.int32) if target is None else target, levels)

    def visit(at: tuple[slice, slice], prediction: Field, contexts: Field) -> tuple[Field, Field]:
        there = mask[at]
        if isinstance(port, adaptive.Decoder):
            symbols = port.decode(contexts[there])
        else:
            symbols = ((wanted[at] - prediction + step // 2) // step)[there]
            port.encode(symbols, contexts[there])
        change = np.zeros(there.shape, np.int32)
        change[there] = np.clip(symbols, -8 * LIMIT // step, 8 * LIMIT // step) * np.int32(step)
        values = prediction + change
        if np.abs(np.where(there, values, 0)).max(initial=0) > 2 * LIMIT + step:
            raise errors.FormatError("residual: a value is out of range; the entry is damaged")
        return values, np.abs(change)

    spacing = 1 << levels
    first = mask[::spacing, ::spacing].shape
    values, changes = visit(
        (slice(None, None, spacing),) * 2, np.zeros(first, np.int32), np.full(first, _FIRST_CONTEXT, np.int32)
    )
    for level in reversed(range(levels)):
        kept = min(level, 2)
        if level < 2:
            for ring in (0, 1):
                port.tables.inherit(_kind(kept, ring), _kind(kept + 1, ring))
        planes = {(0, 0): (_rim(values), _rim(changes))}
        for ring, place in enumerate(_PLACES[1:]):
            at = tuple(slice(p << level, None, 2 << level) for p in place)
            around = _Near(planes, place, ring)
            if target is not None and weights.kinds[kept] == Weights.STORED:
                there = mask[at]
                weights.fit(kept, ring, [total[there] for total in around.sums()], wanted[at][there])
            prediction, rest = around.predict(weights, kept, ring)
            contexts = around.contexts(prediction, rest, step) + adaptive.CONTEXTS * _kind(kept, ring)
            values, changes = visit((at[0], at[1]), prediction, contexts)
            planes[place] = (_rim(values), _rim(changes))
        values, changes = (_interleave(planes, which) for which in (0, 1))
    return values[: valid.shape[0], : valid.shape[1]]


class _Near:
    """The neighbours of one pass: planes of the grid with a rim of repeated values, and where to look."""

    def __init__(self, planes: _Planes, place: tuple[int, int], ring: int) -> None:
        self.planes, self.place, self.ring = planes, place, _RINGS[ring]
        self.shape = tuple(n - 2 * _RIM for n in planes[0, 0][0].shape)
        self.four = [self._at(0, o) for g in self.ring[:4] for o in _mirrored(g)][:4]
        self.mean = (sum(self.four[1:], self.four[0]) + np.int32(2)) >> 2

    def _at(self, which: int, offset: tuple[int, int]) -> Field:
        row, column = self.place[0] + offset[0], self.place[1] + offset[1]
        plane = self.planes[row & 1, column & 1][which]
        row, column = (row >> 1) + _RIM, (column >> 1) + _RIM
        return plane[row : row + self.shape[0], column : column + self.shape[1]]

    def _sum(self, group: tuple[int, int]) -> Field:
        first, *others = (self._at(0, offset) for offset in _mirrored(group))
        return sum(others, first)

    def sums(self) -> list[Field]:
        """Return the sums of mirrored neighbours, one array for each weight."""
        return [self._sum(group) for group in self.ring]

    def predict(self, weights: Weights, kept: int, ring: int) -> tuple[Field, Field]:
        """Return the prediction, and what was rounded off it in 1/128."""
        if weights.kinds[kept] == Weights.NONE:
            return np.zeros(self.shape, np.int32), np.zeros(self.shape, np.int32)
        total = np.full(self.shape, 1 << (_SHIFT - 1), np.int32)
        for weight, group in zip(weights.of(kept, ring), self.ring, strict=True):
            if weight:
                total += np.int32(weight) * self._sum(group)
        prediction = total >> _SHIFT
        rest = total - (prediction << _SHIFT) - np.int32(1 << (_SHIFT - 1))
        return np.clip(prediction, -2 * LIMIT, 2 * LIMIT), rest

    def contexts(self, prediction: Field, rest: Field, step: int) -> Field:
        """Return the context of every pixel of the pass, less that of the kind of pass."""
        activity = np.zeros(self.shape, np.int32)
        for value in self.four:
            activity += np.abs(value - self.mean)
        offsets = [offset for group in self.ring for offset in _mirrored(group)][:12]
        for offset in offsets[:4]:
            activity += self._at(1, offset)
        activity *= 4
        for offset in offsets[4:]:
            activity += 2 * self._at(1, offset)
        activity *= 4
        activity //= step
        # Exponent and first bit of the mantissa, two buckets an octave: exact, integers to 2^24 are floats.
        bits = np.minimum(activity, 1 << 24).astype(np.float32).view(np.int32)
        bucket = np.maximum((bits >> 22) - 253, 0)
        side, margin = (rest, 22) if step == 1 else (self.mean - prediction, step // 5)
        classes = (side >= -margin).astype(np.int32) + (side > margin)
        return np.asarray(adaptive.SIDES * bucket + classes, np.int32)


def _levels(shape: tuple[int, ...]) -> int:
    return max(0, min(_LEVELS, min(shape).bit_length() - 1))


def _padded(array: npt.NDArray[_Item], levels: int) -> npt.NDArray[_Item]:
    return np.pad(array, [(0, -n % (1 << levels)) for n in array.shape])


def _kind(spacing: int, ring: int) -> int:
    return 1 + 2 * spacing + (ring > 0)


def _reach(weights: Sequence[int], ring: int) -> int:
    return sum(abs(weight) * len(_mirrored(group)) for weight, group in zip(weights, _RINGS[ring], strict=True))


def _mirrored(group: tuple[int, int]) -> list[tuple[int, int]]:
    row, column = group
    return sorted({(r, c) for r in (-row, row) for c in (-column, column)})


def _rim(plane: Field) -> Field:
    return np.pad(plane, _RIM, mode="edge")


def _interleave(planes: _Planes, which: int) -> Field:
    inner = (slice(_RIM, -_RIM),) * 2
    height, width = planes[0, 0][which][inner].shape
    whole = np.empty((2 * height, 2 * width), np.int32)
    for (row, column), pair in planes.items():
        whole[row::2, column::2] = pair[which][inner]
    return whole
