"""Buckets for pyrate-limiter.

    limiter = pyrate_limiter.Limiter(FloodgateBuckets(limiter, [Rate(5, Duration.SECOND)]))
    limiter.try_acquire("user:42")

`FloodgateBuckets` gives each name a key of its own. A single `FloodgateBucket` has one key for all
names, as every bucket of pyrate-limiter.

All rates of a bucket are decided by one command and by the server's clock. `SlidingWindowLog` becomes
sliding windows, `FixedWindow` fixed windows, `TokenBucket` and `GCRA` token buckets with `burst`. A
bucket sends RL.ACQUIRE, `waiting` and `count` send RL.QUOTA, and `flush` sends RL.RESET. Floodgate keeps no list of
items: `peek` finds none, and `leak` removes none.
"""

import time
from collections.abc import Sequence
from typing import Any

from pyrate_limiter import (
    AbstractBucket,
    Algorithm,
    BucketFactory,
    FixedWindow,
    Rate,
    RateItem,
    SlidingWindowLog,
    StateAlgorithm,
)
from pyrate_limiter import Decision as Verdict

from . import arguments
from .asyncio.limiter import Limiter as AsyncLimiter
from .decision import Decision, LimitStatus
from .limiter import Limiter

MOST_RATES = 8
"""The most limits that a key has."""

LONGEST_MS = 366 * 86_400_000
"""The longest period of a limit."""


class _Bucket(AbstractBucket):
    """The part that both buckets share. More than MOST_RATES rates, an interval above LONGEST_MS and an
    unknown algorithm raise ValueError."""

    def __init__(self, rates: Sequence[Rate], name: str, algorithm: Algorithm | None = None):
        if len(rates) > MOST_RATES:
            raise ValueError(f"{len(rates)} rates: a key has at most {MOST_RATES}")
        for rate in rates:
            if rate.interval > LONGEST_MS:
                raise ValueError(f"an interval of {rate.interval} ms is above 366 days, the longest that Floodgate has")
        self.rates = list(rates)  # The host sorts and checks them.
        self.name = name
        self._never_fits: int | None = None
        self.limits = ",".join(_limit(rate, algorithm or SlidingWindowLog()) for rate in self.rates)

    def leak(self, current_timestamp: int | None = None) -> int:
        return 0

    def peek(self, index: int) -> RateItem | None:
        return None

    def _learn(self, item: RateItem, decision: Decision) -> bool:
        if decision.granted:
            return bool(self._record(item, Verdict()))
        # Where an operator's block denies, no rate fails: the longest rate stands for the block.
        failing = self.rates[decision.index] if 0 <= decision.index < len(self.rates) else self.rates[-1]
        never = decision.retry_after_ms < 0
        self._never_fits = item.weight if never else None
        return bool(self._record(item, Verdict(failing, None if never else decision.retry_after_ms)))

    def _forget(self) -> None:
        self.failing_rate = None
        self._last_wait = None

    def _known_wait(self, item: RateItem) -> int | None:
        """The milliseconds until the item fits, by the latest denial: 0 where there was none, -1 where the
        item never fits, None where the denied item had another weight."""
        if self.failing_rate is None:
            return 0
        return -1 if item.weight == self._never_fits else self._recorded_wait(item)


class FloodgateBucket(_Bucket):
    """A bucket whose usage is kept under the key `name`. A limiter for asyncio raises TypeError."""

    is_async = False

    def __init__(self, rates: Sequence[Rate], limiter: Limiter, name: str, algorithm: Algorithm | None = None):
        arguments.without_asyncio(limiter=limiter)
        super().__init__(rates, name, algorithm)
        self.limiter = limiter.without_memory()

    def put(self, item: RateItem) -> bool:
        if item.weight == 0:
            return True
        return self._learn(item, self.limiter.acquire(self.name, self.limits, item.weight))

    def waiting(self, item: RateItem) -> int:
        known = self._known_wait(item)
        return _longest(self.limiter.quota(self.name, self.limits, item.weight).limits) if known is None else known

    def count(self) -> int:
        return _used(self.limiter.quota(self.name, self.limits).limits)

    def flush(self) -> None:
        self._forget()
        self.limiter.server.ask("RL.RESET", self.name)


class AsyncFloodgateBucket(_Bucket):
    """A bucket for asyncio, whose usage is kept under the key `name`. A limiter without asyncio raises
    TypeError."""

    is_async = True

    def __init__(self, rates: Sequence[Rate], limiter: AsyncLimiter, name: str, algorithm: Algorithm | None = None):
        arguments.with_asyncio(limiter=limiter)
        super().__init__(rates, name, algorithm)
        self.limiter = limiter.without_memory()

    async def put(self, item: RateItem) -> bool:
        if item.weight == 0:
            return True
        return self._learn(item, await self.limiter.acquire(self.name, self.limits, item.weight))

    async def waiting(self, item: RateItem) -> int:
        known = self._known_wait(item)
        return _longest((await self.limiter.quota(self.name, self.limits, item.weight)).limits) if known is None else known

    async def count(self) -> int:
        return _used((await self.limiter.quota(self.name, self.limits)).limits)

    async def flush(self) -> None:
        self._forget()
        await self.limiter.server.ask("RL.RESET", self.name)


class FloodgateBuckets(BucketFactory):
    """A factory that gives each name the bucket with the key `PREFIX:NAME`. With a limiter of
    `floodgate_redis.asyncio` its buckets are for `try_acquire_async`. Rates that no bucket takes raise
    ValueError here, not at the first request."""

    def __init__(
        self,
        limiter: Limiter | AsyncLimiter,
        rates: Sequence[Rate],
        prefix: str = "pyrate",
        algorithm: Algorithm | None = None,
    ):
        self.limiter = limiter
        self.rates = rates
        self.prefix = prefix
        self.algorithm = algorithm
        self.get(RateItem("", 0))  # It raises where the rates are wrong.

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, time.monotonic_ns() // 1_000_000, weight=weight)

    def get(self, item: RateItem) -> AbstractBucket:
        """A new bucket for each item, because a bucket remembers the latest denial, which is this caller's
        alone."""
        key = f"{self.prefix}:{item.name}"
        if isinstance(self.limiter, AsyncLimiter):
            return AsyncFloodgateBucket(self.rates, self.limiter, key, self.algorithm)
        return FloodgateBucket(self.rates, self.limiter, key, self.algorithm)


def _limit(rate: Rate, algorithm: Any) -> str:
    plain = f"{rate.limit}/{rate.interval}ms"
    if isinstance(algorithm, StateAlgorithm):
        return f"bucket:{plain}:burst={rate.burst}"
    if isinstance(algorithm, FixedWindow):
        return f"fixed:{plain}"
    if isinstance(algorithm, SlidingWindowLog):
        return plain
    raise ValueError(f"{type(algorithm).__name__} is none of SlidingWindowLog, FixedWindow, TokenBucket, GCRA")


def _longest(rows: Sequence[LimitStatus]) -> int:
    waits = [row.retry_after_ms for row in rows]
    return -1 if -1 in waits else max(waits, default=0)


def _used(rows: Sequence[LimitStatus]) -> int:
    return rows[-1].used if rows else 0


__all__ = ["AsyncFloodgateBucket", "FloodgateBucket", "FloodgateBuckets"]
