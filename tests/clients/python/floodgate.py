"""Limits for a service in Python, and what holds while Redis is away. Copy it;
it needs nothing but redis-py.

    limiter = Limiter(Server("redis://localhost:6379"), LocalBucket(rate=5))
    decision = await limiter.acquire(f"user:{user}", "10/s,1000/h,20000/d")
    if not decision.granted:
        ...  # 429, Retry-After: decision.retry_after_s
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

log = logging.getLogger(__name__)


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
    def retry_after_s(self) -> int:
        """For the header Retry-After: whole seconds, at least one."""
        return max(1, math.ceil(self.retry_after_ms / 1000))


# What holds while Redis is away: choose for each limiter.


class Fallback(Protocol):
    def acquire(self, key: str, cost: int) -> Decision: ...


class FailOpen:
    """Everything passes: right where an outage costs more than a flood."""

    def acquire(self, key: str, cost: int) -> Decision:
        return Decision(cost, -1, -1, 0, 0, 0, from_redis=False)


class FailClosed:
    """Nothing passes: right where a flood costs more, as with logins."""

    def acquire(self, key: str, cost: int) -> Decision:
        return Decision(0, 0, 0, 1000, 0, 0, from_redis=False)


class LocalBucket:
    """Each process limits on its own, `rate` a second and `burst` at once: right
    in between. N processes let up to N times that pass in all."""

    MOST_KEYS = 10_000

    def __init__(self, rate: float, burst: float | None = None):
        self.rate = rate
        self.burst = max(1.0, rate) if burst is None else burst
        self._levels: dict[str, tuple[float, float]] = {}

    def acquire(self, key: str, cost: int) -> Decision:
        now = time.monotonic()
        level, since = self._levels.pop(key, (self.burst, now))
        level = min(self.burst, level + (now - since) * self.rate)
        granted = cost if cost <= level else 0
        self._levels[key] = (level - granted, now)
        if len(self._levels) > self.MOST_KEYS:  # forget the one not used for longest
            del self._levels[next(iter(self._levels))]
        if granted:
            retry_after_ms = 0
        elif cost <= self.burst:
            retry_after_ms = math.ceil((cost - level) / self.rate * 1000)
        else:
            retry_after_ms = -1
        return Decision(granted, int(self.burst), int(level - granted), retry_after_ms, 0, 0, from_redis=False)


class Away(Exception):
    """Redis cannot decide: it does not answer, or only that it cannot write."""


OUTAGE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,  # a replica by now
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)


class Server:
    """Redis, asked with little patience: a limiter must not be what is slow.

    After a failure it is not asked for `rest` seconds, and then by one request
    for all: an outage costs one request its timeout, not each of them.
    """

    def __init__(self, url: str, patience: float = 0.25, rest: float = 1.0, waiters: int = 64):
        # A second attempt where a connection was lost, at once; none after a
        # timeout. Should both arrive, the limit has counted too much, never too
        # little.
        retry = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
        options: dict[str, Any] = {
            "protocol": 2,  # the default differs between versions of redis-py
            "decode_responses": True,
            "socket_connect_timeout": patience,
            "retry": retry,
        }
        pool = BlockingConnectionPool.from_url(
            url, max_connections=50, timeout=patience, socket_timeout=patience, **options
        )
        # Any: redis-py types its own commands, not those of modules.
        self._redis: Any = Redis(connection_pool=pool)
        # A command that waits keeps its connection, for longer than the others'
        # timeout: these have none, `wait` limits each command instead.
        self._waiting: Any = Redis.from_url(url, socket_timeout=None, **options)
        self._free_waiters = waiters
        self._patience = patience
        self._rest = rest
        self._asleep_until: float | None = None
        self._finishing: set[asyncio.Task[None]] = set()

    async def ask(self, *command: str | int) -> Any:
        """The answer. Raises Away, or the server's own error."""
        return await self._answer(lambda: self._redis.execute_command(*command))

    async def ask_at_once(self, *commands: tuple[str | int, ...]) -> list[Any]:
        """The answers of one transaction, in one round trip."""

        async def transaction() -> Any:
            async with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return await pipe.execute()

        return list(await self._answer(transaction))

    async def wait(self, seconds: float, *command: str | int) -> Any:
        """The answer of a command that waits. Who stops waiting for it (cancels)
        leaves the line. Past `waiters` at a time it does not wait."""
        if self._free_waiters == 0:
            return await self.ask(*command)
        self._free_waiters -= 1
        try:
            command = (*command, "WAIT", f"{int(seconds * 1000)}ms")
            return await self._answer(
                lambda: asyncio.wait_for(self._waiting.execute_command(*command), seconds + self._patience)
            )
        finally:
            self._free_waiters += 1

    async def finish(self, *command: str | int) -> None:
        """Tells what came of the work, even when the caller is being cancelled.
        Raises nothing: the work counts more."""

        async def tell() -> None:
            try:
                await self.ask(*command)
            except Away:
                pass  # leases and TTLs settle it
            except exceptions.RedisError as error:
                log.warning("%s: %s", command[0], error)

        task = asyncio.create_task(tell())
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        await asyncio.gather(*self._finishing)
        await self._redis.aclose()
        await self._waiting.aclose()

    async def _answer(self, question: Callable[[], Awaitable[Any]]) -> Any:
        if self._asleep_until is not None:
            if time.monotonic() < self._asleep_until:
                raise Away
            self._sleep()  # the others: this one asks for them
        try:
            answer = await question()
        except (*OUTAGE, TimeoutError, asyncio.TimeoutError) as error:
            self._sleep()
            raise Away(str(error)) from error
        except exceptions.ResponseError as error:
            if str(error).startswith("UNBLOCKED"):  # it waited on what is a replica now
                raise Away(str(error)) from error
            raise
        self._asleep_until = None
        return answer

    def _sleep(self) -> None:
        # Not all processes at the same moment.
        self._asleep_until = time.monotonic() + self._rest * random.uniform(0.5, 1.5)


class Limiter:
    """Takes units from limits that all processes share."""

    def __init__(self, server: Server, fallback: Fallback):
        self.server = server
        self.fallback = fallback

    async def acquire(self, key: str, limits: str, cost: int = 1, wait: float = 0.0) -> Decision:
        """Takes `cost` units from every limit, or from none. With `wait` it
        stands in line for so many seconds."""
        command = ("RL.ACQUIRE", key, limits, "COST", cost)
        try:
            answer = await (self.server.wait(wait, *command) if wait else self.server.ask(*command))
        except Away:
            return self.fallback.acquire(key, cost)
        return Decision(*answer)

    async def acquire_with_headers(self, key: str, limits: str) -> tuple[Decision, dict[str, str]]:
        """One unit, and the headers for the HTTP response."""
        try:
            six, flat = await self.server.ask_at_once(
                ("RL.ACQUIRE", key, limits), ("RL.QUOTA", key, limits, "HEADERS")
            )
            decision, headers = Decision(*six), dict(zip(flat[::2], flat[1::2]))
        except Away:
            decision, headers = self.fallback.acquire(key, 1), {}
        # RL.QUOTA speaks of the next request.
        headers.pop("Retry-After", None)
        if not decision.granted and decision.retry_after_ms >= 0:
            headers["Retry-After"] = str(decision.retry_after_s)
        return decision, headers
