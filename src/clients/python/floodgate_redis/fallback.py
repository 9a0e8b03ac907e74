"""What holds while Redis is away: choose for each limiter."""

import math
import threading
import time
from typing import Protocol

from . import arguments, forks
from .decision import Decision, Source


class Fallback(Protocol):
    """Decides while Redis is away."""

    def acquire(self, key: str, cost: int) -> Decision:
        """Takes `cost` units, or none. Called by any thread."""


class FailOpen:
    """This fallback lets everything pass. It is right where an outage costs more than a flood."""

    def acquire(self, key: str, cost: int) -> Decision:
        return Decision(cost, -1, -1, 0, 0, 0, source=Source.FALLBACK)


class FailClosed:
    """This fallback lets nothing pass. It is right where a flood costs more, as with logins."""

    def acquire(self, key: str, cost: int) -> Decision:
        return Decision(0, 0, 0, 1000, 0, 0, source=Source.FALLBACK)


class LocalBucket:
    """This fallback limits each process on its own: `rate` units a second, and `burst` at once.
    N processes let up to N times that pass in all."""

    MOST_KEYS = 10_000

    def __init__(self, rate: float, burst: float | None = None):
        arguments.number("rate", rate, 0, "units a second", above=True)
        self.rate = rate
        self.burst = max(1.0, rate) if burst is None else burst
        arguments.number("burst", self.burst, 1, "units")
        self._levels: dict[str, tuple[float, float]] = {}
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._lock = threading.Lock()

    def acquire(self, key: str, cost: int) -> Decision:
        with self._lock:
            now = time.monotonic()
            level, since = self._levels.pop(key, (self.burst, now))
            level = min(self.burst, level + (now - since) * self.rate)
            granted = cost if cost <= level else 0
            self._levels[key] = (level - granted, now)
            if len(self._levels) > self.MOST_KEYS:  # forget the one not used for longest
                del self._levels[next(iter(self._levels))]
        if granted:
            retry_after_ms = 0
        elif cost <= self.burst:
            retry_after_ms = math.ceil((cost - level) / self.rate * 1000)
        else:
            retry_after_ms = -1
        return Decision(granted, int(self.burst), int(level - granted), retry_after_ms, 0, 0, source=Source.FALLBACK)
