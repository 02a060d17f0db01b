"""What is asked of a file in the words that people type: how good or how small, and what of the source is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

from sarcodec import errors
from sarcodec.codec import encoding
from sarcodec.entropy import scale
from sarcodec.scene import rate_control

GOALS = ("quality", "bpp", "ratio", "psnr", "rmse", "max_error", "step")
"""At most one of these may be asked for."""


class Asked(TypedDict, total=False):
    """Keywords of :func:`arrays.compress` and :func:`files.compress_file`, as the command line's options.

    ``quality`` is 1 (smallest) to 100 (best); ``bpp`` bits per pixel; ``ratio`` true ratio to 16 bit; ``psnr`` in dB
    (peak 30 dB); ``rmse`` in dB; ``max_error`` in dB, which no valid pixel exceeds; ``step`` the model's own. At most
    one of them. ``nodata`` is the value of pixels that hold nothing, where the source does not declare it;
    ``accept_loss`` compresses also where many valid pixels are what the quantity cannot hold, or where files of a
    product have not the checksums that its manifest says. ``goal`` is one of
    :mod:`sarcodec.scene.rate_control` that is made already.
    """

    quality: float | None
    bpp: float | None
    ratio: float | None
    psnr: float | None
    rmse: float | None
    max_error: float | None
    step: int | None
    nodata: float | None
    accept_loss: bool
    goal: rate_control.Goal | None


def resolve(
    asked: Asked, options: encoding.Options | None = None
) -> tuple[encoding.Options, rate_control.Goal | None]:
    """Complete options and goal by what is asked for; InputError for two wishes, or keywords that there are not."""
    if unknown := set(asked) - set(Asked.__annotations__):
        raise errors.InputError(
            f"compress: got {', '.join(sorted(unknown))}; allowed are {', '.join(sorted(Asked.__annotations__))}"
        )
    options, goal = options or encoding.Options(), asked.get("goal")
    found_step, found_goal = step_or_goal({name: asked.get(name) for name in GOALS})  # type: ignore[misc]
    if found_goal is not None and goal is not None:
        raise errors.InputError("goal: got one, and a keyword that sets another; pass one of them")
    if found_step is not None:
        options = replace(options, step=found_step)
    accept = bool(asked.get("accept_loss")) or options.accept_loss
    return replace(options, accept_loss=accept), goal or found_goal


def step_or_goal(asked: Mapping[str, float | None]) -> tuple[int | None, rate_control.Goal | None]:
    """Turn the one wish that says how good or small, by its name in :data:`GOALS`, into a step or a goal.

    InputError for two.
    """
    wishes = {name: value for name, value in asked.items() if value is not None}
    if len(wishes) > 1:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in wishes)
        raise errors.InputError(f"options: got {options}; pass one of them")
    for name, value in wishes.items():
        if name == "quality":
            return scale.step_of_quality(value), None
        if name == "step":
            return int(value), None
        return None, getattr(rate_control.Goal, name)(value)
    return None, None
