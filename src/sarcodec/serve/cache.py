"""What was made last, for whoever asks again; what several ask for at once is made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent import futures
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Values by key, shared by threads; those that were not asked for the longest go first.

    Parameters
    ----------
    most : int
        What all values may weigh together; the last one is kept, whatever it weighs.
    weight : callable
        What a value weighs, in bytes or as one of so many.
    """

    def __init__(self, most: int, weight: Callable[[Value], int]) -> None:
        self._most, self._weight, self._held = most, weight, 0
        self._values: OrderedDict[Hashable, futures.Future[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, or make it; what making it raises is raised to all who wait, and not kept."""
        with self._lock:
            promise = self._values.get(key)
            mine = promise is None
            if promise is None:
                promise = self._values[key] = futures.Future()
            self._values.move_to_end(key)
        if mine:
            try:
                value = make()
            except BaseException as problem:
                with self._lock:
                    del self._values[key]
                promise.set_exception(problem)
                raise
            promise.set_result(value)
            self._account(value)
        return promise.result()

    def _account(self, value: Value) -> None:
        """Count a value that is new, and forget what is too much."""
        with self._lock:
            self._held += self._weight(value)
            done = [key for key, promise in self._values.items() if promise.done()]
            for key in done[:-1]:
                if self._held <= self._most:
                    break
                self._held -= self._weight(self._values.pop(key).result())
