"""What a process keeps itself while Redis is away."""

import fnmatch
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Final

from . import forks


class Missing(Enum):
    """There is no value; not the same as the value None."""

    MISSING = 0


MISSING: Final = Missing.MISSING


class Memory:
    """At most `most` texts, each until its time is over; the oldest makes room."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic):
        self.most = most
        self._clock = clock
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        with self._lock:
            return self._found(key)

    def set(self, key: str, text: str, ttl: float | None) -> None:
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (text, math.inf if ttl is None else self._clock() + ttl)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)

    def ttl(self, key: str) -> float | None:
        with self._lock:
            return None if self._found(key) is None else self._kept[key][1] - self._clock()

    def empty(self) -> None:
        """Redis is back: what was kept meanwhile is not what it has."""
        if self._kept:
            with self._lock:
                self._kept.clear()

    def delete(self, *keys: str) -> int:
        with self._lock:
            found = [key for key in dict.fromkeys(keys) if self._found(key) is not None]
            for key in found:
                del self._kept[key]
            return len(found)

    def clear(self, pattern: str) -> int:
        with self._lock:
            keys = list(self._kept)
        return self.delete(*(key for key in keys if fnmatch.fnmatchcase(key, pattern)))

    def _found(self, key: str) -> str | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept[1] <= self._clock():
            del self._kept[key]
            return None
        return kept[0]
