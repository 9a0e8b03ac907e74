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
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
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
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After, in whole seconds; none where the request was
        granted, or never will be."""
        return {} if self.granted else retry_after(self.retry_after_ms)


def retry_after(ms: int) -> dict[str, str]:
    """The header Retry-After, in whole seconds; none where ms is -1: never."""
    return {} if ms < 0 else {"Retry-After": str(max(1, math.ceil(ms / 1000)))}


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


Words = tuple[str | int, ...]


class Away(Exception):
    """Redis cannot decide: it does not answer, or only that it cannot write."""


class Misconfigured(Exception):
    """Redis refuses the credentials, or has no Floodgate. Raised until it has
    answered for the first time; afterwards that is an outage like others."""


OUTAGE = (
    OSError,  # TimeoutError too
    asyncio.TimeoutError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,  # a replica by now
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
# What redis-py has no class for.
CANNOT = re.compile(r"(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED)\b")
NO_MODULE = re.compile(r"unknown command\W+(RL\.(ACQUIRE|HELP|RESERVE)|CB\.ACQUIRE)\b", re.IGNORECASE)


def misconfiguration(error: Exception) -> str | None:
    """What a person has to put right before anything can be decided."""
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return f"Redis refuses the credentials: {error}"
    if isinstance(error, exceptions.ResponseError) and NO_MODULE.search(str(error)):
        return "Redis has no Floodgate: load the module (loadmodule libfloodgate.so)"
    return None


def is_outage(error: Exception) -> bool:
    # In a transaction redis-py puts words of its own before those of Redis.
    said = str(error).rpartition("caused error: ")[2].lstrip("('\"")
    return isinstance(error, OUTAGE) or (isinstance(error, exceptions.ResponseError) and bool(CANNOT.match(said)))


class Server:
    """Redis, asked with little patience: a limiter must not be what is slow.

    After a failure it is not asked for `rest` seconds, and then by one request
    for all: an outage costs one request its timeout, not each of them. That it is
    lost, and that it is found again, is logged once each.
    """

    LATEST = 60.0
    """Seconds after which the answer to what took something comes no more."""

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

        # Any: redis-py types its own commands, not those of modules.
        def connections(longest: float) -> Any:
            most = {"max_connections": 50, "timeout": patience, "socket_timeout": longest}
            return Redis(connection_pool=BlockingConnectionPool.from_url(url, **most, **options))

        self._redis = connections(patience)
        # For what has to be given back, should its answer be late.
        self._taking = connections(self.LATEST)
        # A command that waits keeps its connection, for longer than the others'
        # timeout: these have none, `wait` limits each command instead.
        self._waiting: Any = Redis.from_url(url, socket_timeout=None, **options)
        self._free_waiters = waiters
        self._patience = patience
        self._rest = rest
        self._asleep_until: float | None = None
        self._has_answered = False
        self._lost = False
        self._finishing: set[asyncio.Task[None]] = set()

    async def check(self) -> None:
        """For the start of a program: raises Misconfigured where Redis refuses the
        credentials or has no Floodgate. That Redis is away it only logs."""
        try:
            await self.ask("RL.HELP")
        except (Away, exceptions.NoPermissionError):
            pass

    async def ask(self, *command: str | int) -> Any:
        """The answer. Raises Away, Misconfigured, or the server's own error."""
        return await self._answer(lambda: self._redis.execute_command(*command))

    async def ask_at_once(self, *commands: Words) -> list[Any]:
        """The answers of one transaction, in one round trip."""

        async def transaction() -> Any:
            async with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return await pipe.execute()

        return list(await self._answer(transaction))

    async def take(self, command: Words, undo: Callable[[Any], Words | None]) -> Any:
        """The answer of a command that takes what has to be given back. It may be
        obeyed although nobody waits for the answer any more, who was cancelled or
        out of patience: `undo` then says how what was taken is given back."""
        asked: asyncio.Task[Any] | None = None

        def ask() -> Awaitable[Any]:
            nonlocal asked
            asked = asyncio.create_task(self._taking.execute_command(*command))
            return asyncio.wait_for(asyncio.shield(asked), self._patience)

        try:
            return await self._answer(ask)
        except (asyncio.CancelledError, Away):
            if asked is not None:
                self._keep(self._give_back(asked, undo))
            raise

    async def _give_back(self, asked: asyncio.Task[Any], undo: Callable[[Any], Words | None]) -> None:
        try:
            command = undo(await asyncio.wait_for(asked, self.LATEST))
        except (*OUTAGE, exceptions.RedisError):
            return  # leases and TTLs settle it
        if command is not None:
            self._asleep_until = None  # it answers
            await self._tell(*command)

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
        await asyncio.shield(self._keep(self._tell(*command)))

    async def _tell(self, *command: str | int) -> None:
        try:
            await self.ask(*command)
        except (Away, Misconfigured):
            pass  # leases and TTLs settle it
        except exceptions.RedisError as error:
            log.warning("%s: %s", command[0], error)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task

    async def close(self) -> None:
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=2 * self._patience)
        for task in self._finishing:
            task.cancel()
        for connections in (self._redis, self._taking, self._waiting):
            await connections.aclose()

    async def _answer(self, question: Callable[[], Awaitable[Any]]) -> Any:
        if self._asleep_until is not None:
            if time.monotonic() < self._asleep_until:
                raise Away
            self._sleep()  # the others: this one asks for them
        try:
            answer = await question()
        except Exception as error:
            wrong = misconfiguration(error)
            if wrong and not self._has_answered:
                raise Misconfigured(wrong) from error
            if not wrong and not is_outage(error):
                self._found()  # it refuses: malformed limits, a wrong type, missing rights
                raise
            if not self._lost:
                self._lost = True
                log.warning("Redis is lost, fallbacks hold: %s", wrong or error or type(error).__name__)
            self._sleep()
            raise Away(str(error)) from error
        self._found()
        return answer

    def _found(self) -> None:
        self._asleep_until = None
        self._has_answered = True
        if self._lost:
            self._lost = False
            log.warning("Redis is found again")

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
        return decision, headers | decision.retry_after
