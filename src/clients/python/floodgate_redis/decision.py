"""What a limit answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """Who decided about a request."""

    REDIS = "redis"
    """Redis itself."""
    MEMORY = "memory"
    """The limiter remembered a denial by Redis."""
    LEASE = "lease"
    """The process spent units that Redis had granted to its lease."""
    FALLBACK = "fallback"
    """The fallback decided, because Redis is away."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The six integers of RL.ACQUIRE, and who decided."""

    granted: int
    limit: int
    remaining: int
    retry_after_ms: int
    reset_after_ms: int
    index: int
    source: Source = Source.REDIS

    @property
    def from_redis(self) -> bool:
        """Whether Redis decided, now or a moment ago: in place of the fallback."""
        return self.source is not Source.FALLBACK

    @property
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After, in whole seconds. Empty where the request was granted, or
        never will be."""
        return {} if self.granted else retry_after(self.retry_after_ms)


def retry_after(ms: int) -> dict[str, str]:
    """The header Retry-After, in whole seconds. Empty where `ms` is -1, which is never."""
    return {} if ms < 0 else {"Retry-After": str(max(1, math.ceil(ms / 1000)))}


def longest(decisions: Sequence[Decision]) -> Decision:
    """The decision that denies for longest."""
    return max(decisions, key=lambda decision: math.inf if decision.retry_after_ms < 0 else decision.retry_after_ms)


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """How a key stands with one of its limits: a row of RL.QUOTA."""

    name: str
    algorithm: str
    limit: int
    used: int
    remaining: int
    period_ms: int
    retry_after_ms: int
    reset_after_ms: int
    reset_at_ms: int
    shadow: bool
    source: str

    @classmethod
    def read(cls, row: Any) -> "LimitStatus":
        fields = pairs(row)
        return cls(
            name=str(fields["name"]),
            algorithm=str(fields["algorithm"]),
            limit=int(fields["limit"]),
            used=int(fields["used"]),
            remaining=int(fields["remaining"]),
            period_ms=int(fields["period_ms"]),
            retry_after_ms=int(fields["retry_after_ms"]),
            reset_after_ms=int(fields["reset_after_ms"]),
            reset_at_ms=int(fields["reset_at_ms"]),
            shadow=str(fields["shadow"]).lower() in ("1", "true", "yes"),
            source=str(fields["source"]),
        )


@dataclass(frozen=True, slots=True)
class Blocked:
    """An operator blocks a key (RL.BLOCK). `until_ms` is in milliseconds since 1970, and -1 for
    ever; `reason` is what the operator said."""

    until_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Quota:
    """How a key stands: limit by limit, and whether an operator blocks it. A key without limits has
    no `limits`."""

    limits: list[LimitStatus]
    blocked: Blocked | None = None

    @classmethod
    def read(cls, reply: Any) -> "Quota":
        """The reply of RL.QUOTA."""
        rows = [pairs(row) for row in reply or []]
        blocks = [pairs(row["blocked"]) for row in rows if "blocked" in row]
        blocked = Blocked(int(blocks[0]["until"]), str(blocks[0]["reason"])) if blocks else None
        return cls([LimitStatus.read(row) for row in rows if "name" in row], blocked)


def pairs(reply: Any) -> dict[Any, Any]:
    """A reply that is a map: in RESP2 names and values in turn, and in bytes where nobody has
    decoded it."""
    found = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
    return {_text(name): _text(value) for name, value in found}


def _text(word: Any) -> Any:
    return word.decode() if isinstance(word, bytes) else word
