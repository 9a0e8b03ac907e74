"""What a process keeps itself while Redis is away."""

import fnmatch
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from . import forks
from .outage import Health


class Missing(Enum):
    """There is no value; not the same as the value None."""

    MISSING = 0


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Kept:
    """Since and until these times."""

    text: str
    since: float
    until: float


class Memory:
    """At most `most` texts, each until its time is over, or the server that has its key can decide
    again: what was kept meanwhile is not what that has. The oldest makes room. `health` is of that
    server."""

    def __init__(self, most: int, health: Callable[[str], Health]):
        self.most = most
        self._health = health
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        with self._lock:
            found = self._found(key)
            return None if found is None else found.text

    def set(self, key: str, text: str, ttl: float | None) -> None:
        with self._lock:
            now = time.monotonic()
            self._kept.pop(key, None)
            self._kept[key] = Kept(text, now, math.inf if ttl is None else now + ttl)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)

    def ttl(self, key: str) -> float | None:
        with self._lock:
            found = self._found(key)
            return None if found is None else found.until - time.monotonic()

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

    def _found(self, key: str) -> Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= time.monotonic() or kept.since <= self._health(key).answered_at:
            del self._kept[key]
            return None
        return kept
