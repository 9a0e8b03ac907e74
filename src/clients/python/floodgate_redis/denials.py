"""The denials that a limiter remembers, so that it need not ask Redis again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from . import forks
from .decision import Decision, Source

LONGEST_MS = 1000
"""The longest time for which a denial is remembered."""


class Denials:
    """The denials of one limiter, each until its retry time, at most LONGEST_MS. The same key and limits
    at an equal or higher cost are denied again without asking.

    So units that an operator or a refund has freed may be denied for up to 1 s more. RL.TOP, RL.STATS and
    alerts do not count a denial from memory.
    """

    def __init__(self, most: int = 10_000, clock: Callable[[], float] = time.monotonic):
        self.most = most
        self._clock = clock
        self._known: OrderedDict[tuple[str, str | None], tuple[int, float, Decision]] = OrderedDict()
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._lock = threading.Lock()

    def recall(self, key: str, limits: str | None, cost: int) -> Decision | None:
        """The denial that still holds, with the times that are left of it; None where there is none."""
        with self._lock:
            known = self._known.get((key, limits))
            if known is None or cost < known[0]:
                return None
            _, until, decision = known
            left_ms = int((until - self._clock()) * 1000)
            if left_ms <= 0:
                del self._known[key, limits]
                return None
        passed = min(decision.retry_after_ms, LONGEST_MS) - left_ms
        return replace(
            decision,
            source=Source.MEMORY,
            retry_after_ms=max(1, decision.retry_after_ms - passed),
            # -1 of a credit, which has no reset.
            reset_after_ms=max(min(0, decision.reset_after_ms), decision.reset_after_ms - passed),
        )

    def learn(self, key: str, limits: str | None, cost: int, decision: Decision) -> None:
        """Remembers a denial. A grant forgets the denial before it."""
        with self._lock:
            self._known.pop((key, limits), None)
            if decision.granted or decision.retry_after_ms <= 0 or not decision.from_redis:
                return
            until = self._clock() + min(decision.retry_after_ms, LONGEST_MS) / 1000
            self._known[key, limits] = (cost, until, decision)
            if len(self._known) > self.most:
                self._known.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forgets the denials of a key, after a refund through this process."""
        with self._lock:
            for known in [known for known in self._known if known[0] == key]:
                del self._known[known]
