"""The commands, as the words that are sent."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Words = tuple[str | int, ...]


FIRST_KEY = {"RL.RESERVE": 2, "RL.BATCH": 3, "RL.COMMIT": 3, "RL.RELEASE": 3, "RL.RENEW": 5}
"""Which word of a command is its first key; of the others it is the one after the name."""


def key_of(command: Words) -> object:
    """The first key of a command, by which a cluster is asked; none where there is none."""
    return next(iter(command[FIRST_KEY.get(str(command[0]), 1) :]), None)


TAKES = frozenset(("RL.ACQUIRE", "RL.BATCH", "RL.CHARGE", "RL.RESERVE", "CB.ACQUIRE", "SET"))
"""What a server refuses that is short of memory, or may not write."""


def take_something(commands: Sequence[Words]) -> bool:
    """Says whether one of the commands takes something. Others look, or give back."""
    return any(command[0] in TAKES for command in commands)


def of_floodgate(commands: Sequence[Words]) -> bool:
    """Says whether all commands are Floodgate's. A Redis without the module knows none of those."""
    return all(str(command[0]).startswith(("RL.", "CB.", "CL.")) for command in commands)


def ms(seconds: float) -> str:
    """Writes a duration with its unit."""
    return f"{max(1, round(seconds * 1000))}ms"


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch: `cost` units of `limits`, or of those that the server has for the
    key."""

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


def batch(items: Sequence[BatchItem], together: bool) -> Words:
    asked = [word for item in items for word in (item.key, item.limits, item.cost)]
    return ("RL.BATCH", "ALL" if together else "EACH", len(items), *asked)


def charge(key: str, limits: str | None, cost: int, track: bool) -> Words:
    words: Words = ("RL.CHARGE", key) if limits is None else ("RL.CHARGE", key, limits)
    return (*words, "COST", cost, *(["TRACK"] if track else []))


def refund(key: str, units: int, limits: str | None) -> Words:
    words: Words = ("RL.REFUND", key, units)
    return words if limits is None else (*words, limits)


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


def admit(breaker: str, rule: str, key: str, limits: str | None, cost: int) -> Words:
    """A breaker and a limit, decided together."""
    return ("CB.ACQUIRE", breaker, rule, "LIMIT", key, "*" if limits is None else limits, "COST", cost)


def record(
    key: str, outcome: str, seconds: float | None = None, spend: object = None, cached: bool = False
) -> Words:
    words: Words = ("RL.RECORD", key, outcome, *(["CACHED"] if cached else []))
    words = words if spend is None else (*words, "SPEND", str(spend))
    return words if seconds is None else (*words, "DUR", f"{round(seconds * 1000)}ms")


LONGEST_WAIT = 30.0
"""The most seconds that a server lets wait in line, unless told (setting `wait-max`)."""

BEAT = 0.05
"""Seconds between two looks at what another process makes."""


LONGEST_MS = 10**15
"""Longer than anybody waits; a server refuses a time that ends beyond its own numbers."""


def keep(name: str, text: str, ttl: float | None) -> Words:
    if ttl is None or ttl == math.inf:
        return ("SET", name, text)
    return ("SET", name, text, "PX", max(1, round(min(ttl * 1000, LONGEST_MS))))


def literal(text: str) -> str:
    """The pattern that only this text matches."""
    return re.sub(r"([\\*?\[\]^])", r"\\\1", text)


def walk(cursor: int, namespace: str, pattern: str) -> Words:
    """A step over the values of a namespace. Places are of another type."""
    return ("SCAN", cursor, "MATCH", f"{literal(namespace)}:{pattern}", "COUNT", 1000, "TYPE", "string")


def place(namespace: str, key: str) -> str:
    """Where one holder stands who makes a value."""
    return f"{namespace}!{key}"


def seconds_left(ms: int) -> float | None:
    """Reads the reply to PTTL: infinity where the value has no end, none where there is no value."""
    return ms / 1000 if ms >= 0 else math.inf if ms == -1 else None


def answer_of(function: Callable[..., Any]) -> Callable[..., str]:
    """Makes the names under which the answers of a function are cached: its own name, and a hash of
    all arguments."""
    name = f"{function.__module__}.{function.__qualname__}"

    def cached_as(*args: Any, **kwargs: Any) -> str:
        try:
            told = json.dumps([args, kwargs], sort_keys=True)
        except (TypeError, ValueError) as error:
            raise TypeError(f"the arguments of {name} are not JSON: give cached_as=") from error
        return f"{name}:{hashlib.sha256(told.encode()).hexdigest()}"

    return cached_as
