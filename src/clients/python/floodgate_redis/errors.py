"""Errors that say why work was not done."""

import operator
import re
from typing import Any

from .decision import Decision, retry_after

RETRY_AFTER = re.compile(r"retry after (\d+) ms$")


def _told(message: str) -> int:
    """The retry time that a message ends with; -1 where there is none."""
    found = RETRY_AFTER.search(message)
    return int(found[1]) if found else -1


class Denied(Exception):
    """A limit denied the work: nothing was reserved. Celery makes this error of its own message, where
    results are JSON. Its decision then has the retry time alone."""

    def __init__(self, decision: Decision | str):
        if isinstance(decision, str):
            decision = Decision(0, 0, 0, _told(decision), 0, 0)
        retry_after_ms = decision.retry_after_ms
        super().__init__("denied: it never fits" if retry_after_ms < 0 else f"denied, retry after {retry_after_ms} ms")
        self.decision = decision

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.decision,), self.__dict__  # copied by what it is made of

    @property
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After; none where it never fits."""
        return self.decision.retry_after


class CircuitOpen(Exception):
    """The breaker is open: the call was not made. Celery makes this error of its own message, where
    results are JSON."""

    def __init__(self, retry_after_ms: int | str):
        if isinstance(retry_after_ms, str):
            retry_after_ms = _told(retry_after_ms)
        until = "with no retry time" if retry_after_ms < 0 else f"retry after {retry_after_ms} ms"
        super().__init__(f"the circuit is open, {until}")
        self.retry_after_ms = retry_after_ms

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.retry_after_ms,), self.__dict__

    @property
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After; none where it was forced open with no end."""
        return retry_after(self.retry_after_ms)


class Spending:
    """The cost of reserved work so far. `units` is None until the work says what it cost."""

    MOST = 10**12
    """What RL.COMMIT takes."""

    units: int | None = None

    def add(self, units: int) -> None:
        """Adds whole units, 0 or more, to what the work has cost."""
        try:
            added = operator.index(units)
        except TypeError:
            raise TypeError(f"units is {units!r}: it must be a whole number") from None
        total = (self.units or 0) + added
        if added < 0 or total > self.MOST:
            raise ValueError(f"units is {units}: it must be 0 or more, and {self.MOST} at most in all")
        self.units = total
