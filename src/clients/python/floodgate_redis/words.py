"""The commands, as the words that are sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Words = tuple[str | int, ...]


def ms(seconds: float) -> str:
    """A duration, with its unit."""
    return f"{max(1, round(seconds * 1000))}ms"


@dataclass(frozen=True, slots=True)
class Request:
    """One of a batch."""

    key: str
    limits: str = "*"
    cost: int = 1


def acquire(key: str, limits: str | None, cost: int, critical: bool = False, track: bool = False) -> Words:
    words: Words = ("RL.ACQUIRE", key) if limits is None else ("RL.ACQUIRE", key, limits)
    words = (*words, "COST", cost) if cost != 1 else words
    return (*words, *(["CRITICAL"] if critical else []), *(["TRACK"] if track else []))


def quota(key: str, limits: str | None, cost: int = 1) -> Words:
    words: Words = ("RL.QUOTA", key) if limits is None else ("RL.QUOTA", key, limits)
    return (*words, "COST", cost) if cost != 1 else words


def batch(requests: Sequence[Request], together: bool) -> Words:
    items = [word for request in requests for word in (request.key, request.limits, request.cost)]
    return ("RL.BATCH", "ALL" if together else "EACH", len(requests), *items)


def reserve(limits: Mapping[str, str], cost: int, ttl: float, id: str) -> Words:
    pairs = [word for pair in limits.items() for word in pair]
    return ("RL.RESERVE", len(limits), *pairs, "COST", cost, "TTL", ms(ttl), "ID", id)


def settled(command: str, id: str, keys: Sequence[str], cost: int | None = None) -> Words:
    words: Words = (command, id, len(keys), *keys)
    return words if cost is None else (*words, "COST", cost)


def renew(id: str, ttl: float, keys: Sequence[str]) -> Words:
    return ("RL.RENEW", id, "TTL", ms(ttl), len(keys), *keys)


def report(key: str, outcome: str, token: str, seconds: float | None = None) -> Words:
    words: Words = ("CB.REPORT", key, outcome, "TOKEN", token)
    return words if seconds is None else (*words, "DUR", f"{round(seconds * 1000)}ms")
