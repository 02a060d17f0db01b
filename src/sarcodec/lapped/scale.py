"""The scale of quantisation steps."""

from __future__ import annotations

STEPS_PER_OCTAVE = 256
"""Step indices per factor of two; see :func:`step_db`."""


def step_db(index: int) -> float:
    """Return the quantisation step Δ in dB of a step index: 2^(index / 256) / 64."""
    return float(2.0 ** (index / STEPS_PER_OCTAVE) / 64)
