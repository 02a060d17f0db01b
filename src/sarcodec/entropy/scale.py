"""The scale of quality: step indices, quantisation steps in dB, and qualities of 1 to 100.

A step index i is a step of 2^(i/256) / 64 dB. A point of quality is 0.08 octaves; 50 is a step of 2 dB.
"""

from __future__ import annotations

from sarcodec import errors

STEPS_PER_OCTAVE = 256
STEPS = range(1, 13 * STEPS_PER_OCTAVE + 1)
"""Step indices; the last is 128 dB."""

QUALITIES = 1, 100
DEFAULT_STEP = 7 * STEPS_PER_OCTAVE
"""2 dB, quality 50: an error of some 0.7 dB."""

SPECKLE_STEP = 1988
"""3.4 dB, quality 40; from there on the ENL ratio is above some 1.35."""


def step_db(index: int) -> float:
    """Return the quantisation step Δ in dB of a step index: 2^(index / 256) / 64."""
    return float(2.0 ** (index / STEPS_PER_OCTAVE) / 64)


def check(index: int) -> None:
    """Raise InputError for a step index out of range."""
    if index not in STEPS:
        raise errors.InputError(f"step: got index {index}; pass 1 to {STEPS[-1]}, or a quality of 1 to 100")


def step_of_quality(quality: float) -> int:
    """Step index of a quality of 1 to 100: 2 dB at 50, 0.125 dB at 100."""
    low, high = QUALITIES
    if not low <= quality <= high:
        raise errors.InputError(f"quality: got {quality}; pass {low} (smallest) to {high} (best)")
    return round(STEPS_PER_OCTAVE * (11 - 0.08 * quality))


def quality_of_step(index: int) -> float:
    """Inverse of :func:`step_of_quality`, unrounded; below 1 for the coarsest steps, above 100 for the finest."""
    return (11 - index / STEPS_PER_OCTAVE) / 0.08
