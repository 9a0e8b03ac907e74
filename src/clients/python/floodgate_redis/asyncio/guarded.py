"""What services do that call paid APIs, as one decorator."""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from .. import arguments, decorated, words
from ..admission import Admission
from ..memory import MISSING
from ..outage import Away
from ..outcome import Outcome
from ..telemetry import calls
from .breaker import Breaker
from .cache import Cache
from .limiter import Limiter

P = ParamSpec("P")
R = TypeVar("R")


class Guard(Protocol):
    """Guards a function."""

    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


def guarded(
    limiter: Limiter,
    breaker: Breaker,
    *,
    key: str | Callable[..., str],
    limits: str | None = None,
    cost: int | Callable[..., int] = 1,
    cache: Cache | None = None,
    ttl: float | None = None,
    cached_as: Callable[..., str] | None = None,
    spend: Callable[[Any], object] | None = None,
) -> Guard:
    """Guards a function that calls what costs money:

    1. With a cache, what it has is the answer, and takes no quota. Of those that miss
       the same, one makes the call and the others wait for its answer.
    2. Breaker and limit are asked in one step: raises CircuitOpen, which uses up no
       quota, or Denied, which changes nothing of the breaker.
    3. The call is made, and its result reported: to the breaker, and as usage of `key`
       (RL.STATS, RL.USAGE), with how long it took and what it cost by `spend`, in money.
       Where `spend` raises, that is logged. An exception of the call is a failure; a call that is
       cancelled, and a program that ends, say nothing.
    4. The answer is cached for `ttl` seconds, if JSON can hold it and Redis keeps it.

    `key`, `cost` and `cached_as` may ask the call's own arguments; without `cached_as`
    the function and all its arguments, as JSON, name an answer. On a cluster `key` and
    the breaker's key belong in one slot. While Redis is away the limiter's fallback
    decides, and each process caches by itself.
    """
    arguments.with_asyncio(limiter=limiter, breaker=breaker, cache=cache)
    return Guarding(limiter, breaker, key, limits, cost, cache, ttl, cached_as, spend)


@dataclass(frozen=True, slots=True)
class Guarding:
    """Guards functions by what `guarded` was given."""

    limiter: Limiter
    breaker: Breaker
    key: str | Callable[..., str]
    limits: str | None
    cost: int | Callable[..., int]
    cache: Cache | None
    ttl: float | None
    cached_as: Callable[..., str] | None
    spend: Callable[[Any], object] | None

    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Callable[P, Coroutine[Any, Any, R]]:
        decorated.asynchronous(function)

        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            async def makes() -> R:
                return await decorated.awaitable(function, function(*args, **kwargs))

            name = self.key if isinstance(self.key, str) else self.key(*args, **kwargs)
            units = self.cost if isinstance(self.cost, int) else self.cost(*args, **kwargs)
            breaker = self.breaker
            asks = Admission(breaker.key, breaker.rule, name, self.limits, units, self.limiter.fallback)
            if self.cache is None:
                return await self._paid(asks, makes)
            answer = (self.cached_as or words.answer_of(function))(*args, **kwargs)
            return await self._cached(self.cache, answer, asks, makes)

        return call

    async def _cached(self, cache: Cache, answer: str, asks: Admission, makes: Callable[[], Awaitable[R]]) -> R:
        """The answer of the cache, or else one that is paid and kept."""
        async with cache.making(answer) as known:
            if known is not MISSING:
                calls("cached")
                await self.limiter.server.finish(*words.record(asks.key, "OK", cached=True))
                return known  # type: ignore[no-any-return]
            value = await self._paid(asks, makes)
            await cache.keep(answer, value, self.ttl)
            return value

    async def _paid(self, asks: Admission, makes: Callable[[], Awaitable[R]]) -> R:
        """The answer of the call, which is admitted before and reported after."""
        token, outcome = await self._admitted(asks), Outcome()
        try:
            with outcome:
                value = await makes()
            outcome.costs(self.spend, value)
            return value
        finally:
            await self.limiter.server.finish_all(outcome.reports(asks.breaker, token, asks.key))

    async def _admitted(self, asks: Admission) -> str | None:
        """The token to report with; none while Redis is away."""
        try:
            return asks.token(await self.limiter.server.take(asks.ask(), asks.undo))
        except Away:
            pass
        asks.alone()
        return None
