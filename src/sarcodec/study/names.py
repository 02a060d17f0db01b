"""How codecs and figures are called on the page of a study."""

from __future__ import annotations

from sarcodec import baselines
from sarcodec.pages import figures
from sarcodec.study import linear_bounds, peers

_CODECS = {
    peers.DEFAULT: "lapped64, the default codec",
    "residual64": "residual64, variable rate",
    "lerc": "LERC",
    peers.GAUSSIAN: "Gaussian rate–distortion",
    linear_bounds.KLT: "KLT, 16 × 16",
    linear_bounds.OVERLAPPING: "lapped transform, linear",
}


def codec(name: str) -> str:
    """Return what a peer or bound is called, by itself if nothing else is said here; a model has its own name."""
    if name in _CODECS:
        return _CODECS[name]
    return baselines.PEERS[name].name if name in baselines.PEERS else name


def figure(name: str) -> figures.Figure:
    """Return how a figure is written, or the rate."""
    return figures.RATE if name == "bits_per_pixel" else figures.FIGURES[name]
