"""Which torch device there is, and what it computes in. PyTorch, an extra, is loaded when a function is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sarcodec import errors

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def require_torch() -> None:
    """Raise MissingExtra where PyTorch is not installed."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as cause:
        raise errors.MissingExtra("PyTorch", "train") from cause


def open_device(name: str) -> torch.device:
    """Return the torch device called ``name``; InputError when there is none that works."""
    require_torch()
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        reason = str(cause).splitlines()[0]
        raise errors.InputError(f"device: got {name!r}; pass cpu, or cuda where there is a GPU ({reason})") from cause
    return device


def has_bfloat16(device: str | torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware (AVX-512 BF16, AMX, or a GPU that can)."""
    import torch

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def check_precision(precision: str) -> None:
    """Raise InputError for none of :data:`PRECISIONS`."""
    if precision not in PRECISIONS:
        raise errors.InputError(f"precision: got {precision!r}; pass auto, float32 or bfloat16")


def uses_bfloat16(precision: str, device: str | torch.device) -> bool:
    """Tell whether ``precision`` (auto, float32 or bfloat16) means bfloat16 there; InputError for any other."""
    check_precision(precision)
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
