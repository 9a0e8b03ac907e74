"""Breaker and limit of a call that costs money, asked in one step."""

from dataclasses import dataclass
from typing import Any

from . import words
from .decision import Decision
from .errors import CircuitOpen, Denied
from .fallback import Fallback
from .telemetry import calls, decisions
from .words import Words


@dataclass(frozen=True, slots=True)
class Admission:
    """What is asked, and what the answer says."""

    breaker: str
    rule: str
    key: str
    limits: str | None
    units: int
    fallback: Fallback

    def ask(self) -> Words:
        return words.admit(self.breaker, self.rule, self.key, self.limits, self.units)

    def undo(self, answer: Any) -> list[Words]:
        """Admitted and gone before it knew, a call hands its token and its units back: on the
        limits that it asked for: others may have taken from the key by other limits since."""
        if not answer[0]:
            return []
        return [
            words.report(self.breaker, "IGNORE", answer[2]),
            words.refund(self.key, self.units, self.limits or "*"),
        ]

    def token(self, answer: Any) -> str:
        """To report with. Raises CircuitOpen or Denied."""
        allowed, _state, token, retry_after_ms, six = answer
        if allowed:
            decisions("granted")
            return str(token)
        decision = None if six is None else Decision(*six)
        if decision is None or decision.granted:  # by the limit; the breaker lets nobody pass
            calls("open")
            raise CircuitOpen(retry_after_ms)
        decisions("denied")
        raise Denied(decision)

    def alone(self) -> None:
        """While Redis is away: there is no token. Raises Denied."""
        decisions("fallback")
        decision = self.fallback.acquire(self.key, self.units)
        if not decision.granted:
            raise Denied(decision)
