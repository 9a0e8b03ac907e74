"""What services do that call paid APIs, as one decorator."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
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
from .server import Server

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
       Where `spend` raises, that is logged. An exception of the call is a failure; a cancelled call, and a
       program that ends, say nothing.
    4. The answer is cached for `ttl` seconds, if JSON can hold it and Redis keeps it.

    `key`, `cost` and `cached_as` may ask the call's own arguments; without `cached_as`
    the function and all its arguments, as JSON, name an answer. On a cluster `key` and
    the breaker's key belong in one slot. While Redis is away the limiter's fallback
    decides, and each process caches by itself.
    """

    arguments.with_asyncio(limiter=limiter, breaker=breaker, cache=cache)

    def guards(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        decorated.asynchronous(function)

        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            name = key if isinstance(key, str) else key(*args, **kwargs)
            units = cost if isinstance(cost, int) else cost(*args, **kwargs)
            asks = Admission(breaker.key, breaker.rule, name, limits, units, limiter.fallback)

            async def paid() -> R:
                token, outcome = await _admitted(limiter.server, asks), Outcome()
                try:
                    with outcome:
                        value = await decorated.awaitable(function, function(*args, **kwargs))
                    outcome.costs(spend, value)
                    return value
                finally:
                    told = outcome.reports(breaker.key, token, name)
                    await asyncio.gather(*(limiter.server.finish(*one, instead=instead) for one, instead in told))

            if cache is None:
                return await paid()
            answer = (cached_as or words.answer_of(function))(*args, **kwargs)
            async with cache.making(answer) as known:
                if known is not MISSING:
                    calls("cached")
                    await limiter.server.finish(*words.record(name, "OK", cached=True))
                    return known  # type: ignore[no-any-return]
                value = await paid()
                await cache.keep(answer, value, ttl)
                return value

        return call

    return guards


async def _admitted(server: Server, asks: Admission) -> str | None:
    """The token to report with; none while Redis is away."""
    try:
        return asks.token(await server.take(asks.ask(), asks.undo))
    except Away:
        pass
    asks.alone()
    return None
