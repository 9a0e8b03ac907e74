"""What a limit answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Decision:
    """The six integers of RL.ACQUIRE, and whether Redis gave them."""

    granted: int
    limit: int
    remaining: int
    retry_after_ms: int
    reset_after_ms: int
    index: int
    from_redis: bool = True

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


def pairs(reply: Any) -> dict[Any, Any]:
    """A reply that is a map: in RESP2 names and values in turn, and in bytes where nobody has
    decoded it."""
    found = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
    return {_text(name): _text(value) for name, value in found}


def _text(word: Any) -> Any:
    return word.decode() if isinstance(word, bytes) else word
