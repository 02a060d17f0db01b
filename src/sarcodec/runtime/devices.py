"""Which torch device there is, and what it computes in."""

from __future__ import annotations

import torch

from sarcodec import errors


def open_device(name: str) -> torch.device:
    """Return the torch device called ``name``; InputError when there is none that works."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        reason = str(cause).splitlines()[0]
        raise errors.InputError(f"device: got {name!r}; pass cpu, or cuda where there is a GPU ({reason})") from cause
    return device


def has_bfloat16(device: str | torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or a GPU that can)."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def uses_bfloat16(precision: str, device: str | torch.device) -> bool:
    """Tell whether ``precision`` (auto, float32 or bfloat16) means bfloat16 there; InputError for any other."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise errors.InputError(f"precision: got {precision!r}; pass auto, float32 or bfloat16")
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
