"""What services do that call paid APIs, as one decorator."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

from . import arguments, decorated, words
from .breaker import Breaker
from .cache import Cache
from .decision import Decision
from .errors import CircuitOpen, Denied
from .limiter import Limiter
from .memory import MISSING
from .outage import Away, log
from .telemetry import calls, decisions

P = ParamSpec("P")
R = TypeVar("R")


class Guard(Protocol):
    """Guards a function."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...


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
       An exception is a failure; a program that ends says nothing.
    4. The answer is cached for `ttl` seconds, if JSON can hold it.

    `key`, `cost` and `cached_as` may ask the call's own arguments; without `cached_as`
    the function and all its arguments, as JSON, name an answer. On a cluster `key` and
    the breaker's key belong in one slot. While Redis is away the limiter's fallback
    decides, and each process caches by itself.
    """

    arguments.without_asyncio(limiter=limiter, breaker=breaker, cache=cache)

    def guards(function: Callable[P, R]) -> Callable[P, R]:
        decorated.plain(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            name = key if isinstance(key, str) else key(*args, **kwargs)
            units = cost if isinstance(cost, int) else cost(*args, **kwargs)

            def paid() -> R:
                with _paid(limiter, breaker, name, limits, units) as outcome:
                    value = function(*args, **kwargs)
                    outcome.spend = None if spend is None else spend(value)
                    return value

            if cache is None:
                return paid()
            answer = (cached_as or words.answer_of(function))(*args, **kwargs)
            with cache.making(answer) as known:
                if known is not MISSING:
                    calls("cached")
                    limiter.server.finish(*words.record(name, "OK", cached=True))
                    return known  # type: ignore[no-any-return]
                value = paid()
                try:
                    cache.set(answer, value, ttl)
                except (TypeError, ValueError) as error:
                    log.warning("the answer of %s is not cached: %s", function.__qualname__, error)
                return value

        return call

    return guards


class _Outcome:
    spend: object = None


@contextmanager
def _paid(limiter: Limiter, breaker: Breaker, name: str, limits: str | None, units: int) -> Iterator[_Outcome]:
    token = _admitted(limiter, breaker, name, limits, units)
    start = time.monotonic()
    outcome, told = _Outcome(), "FAIL"
    try:
        yield outcome
        told = "OK"
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        told = "IGNORE"
        raise
    finally:
        calls(told.lower())
        took = time.monotonic() - start
        reports = [] if token is None else [words.report(breaker.key, told, token, took)]
        if told != "IGNORE":
            reports.append(words.record(name, told, took, outcome.spend))
        if reports:
            limiter.server.finish_at_once(*reports)


def _admitted(limiter: Limiter, breaker: Breaker, name: str, limits: str | None, units: int) -> str | None:
    """The token to report with; none while Redis is away."""

    # Admitted and gone before it knew, a call hands its token and its units back: on the
    # limits that it asked for: others may have taken from the key by other limits since.
    def undo(answer: Any) -> list[words.Words]:
        if not answer[0]:
            return []
        return [words.report(breaker.key, "IGNORE", answer[2]), words.refund(name, units, limits or "*")]

    try:
        allowed, _state, token, retry_after_ms, six = limiter.server.take(
            words.admit(breaker.key, breaker.rule, name, limits, units), undo
        )
    except Away:
        decisions("fallback")
        alone = limiter.fallback.acquire(name, units)
        if not alone.granted:
            raise Denied(alone) from None
        return None
    if allowed:
        decisions("granted")
        return str(token)
    if six is None:
        calls("open")
        raise CircuitOpen(retry_after_ms)
    decision = Decision(*six)
    if decision.granted:  # by the limit; the breaker lets nobody pass
        calls("open")
        raise CircuitOpen(retry_after_ms)
    decisions("denied")
    raise Denied(decision)
