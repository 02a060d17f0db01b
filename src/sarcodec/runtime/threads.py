"""How many threads to take, and keeping linear algebra to one while tiles are coded in threads of their own."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl

_lock, _users, _limits = threading.Lock(), 0, None


def count() -> int:
    """Return the threads to work with: what PyTorch takes where loaded, else ``OMP_NUM_THREADS`` or the cores."""
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if said.isdigit() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_each() -> Iterator[None]:
    """Let every product of matrices run in the thread that asks for it, in the whole process, until the block ends.

    Products of the size that tiles have are faster so, and two threads that both ask a library for all threads wait
    for each other. Blocks may overlap in any order: the last to end restores what was before the first.
    """
    global _users, _limits
    with _lock:
        if _users == 0:
            _limits = threadpoolctl.threadpool_limits(1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limits is not None:
                _limits.restore_original_limits()
                _limits = None
