"""Values that all processes share, kept in the Redis of the limits."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.exceptions import ResponseError

from .. import arguments, values, words
from ..errors import Denied
from ..fallback import FailOpen
from ..memory import MISSING, Memory
from ..outage import Away, log
from .limiter import Limiter
from .reservation import reserve
from .server import Server


class Cache:
    """Values that all processes share, as JSON, in keys `namespace:key`.

    While Redis is away each process keeps its own, at most `most` of them: what is set
    then is got then, and forgotten when Redis is back.

    `making` and `once` let one process make a value while the others wait for it, for
    at most `patience` seconds. Of one that dies, the others take over after `hold`
    seconds. Who waits stands in line, as one of the server's `waiters`; where Redis or
    these have no place for it, it looks again every 50 ms.
    """

    def __init__(
        self, server: Server, namespace: str, *, patience: float = 30.0, hold: float = 10.0, most: int = 1000
    ):
        arguments.with_asyncio(server=server)
        self.server = server
        self.namespace = namespace
        self.patience = patience
        self.hold = hold
        self._memory = Memory(most, lambda key: server.health(self._name(key)))
        self._places = Limiter(server, FailOpen(), remember_denials=False)

    async def get(self, key: str, default: Any = None) -> Any:
        """Gives the value, or `default` where there is none."""
        try:
            text = await self._text(key)
            return default if text is None else json.loads(text)
        except values.UNREADABLE as error:
            log.warning("the value %r is none, for it is no JSON: %s", self._name(key), error)
            return default

    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keeps the value, for `ttl` seconds where that is said. Raises TypeError where
        it is none that JSON has."""
        text = json.dumps(value, separators=(",", ":"))
        try:
            await self.server.ask(*words.keep(self._name(key), text, ttl))
        except Away:
            self._memory.set(key, text, ttl)

    async def keep(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keeps what was made, if it can: where JSON cannot hold it, or the server refuses to
        keep it, that is logged, for the value counts more."""
        try:
            await self.set(key, value, ttl)
        except values.NOT_KEPT as error:
            log.warning("the value %r is not cached: %s", self._name(key), error)

    async def exists(self, key: str) -> bool:
        """Whether there is a value."""
        try:
            exists = bool(await self.server.ask("EXISTS", self._name(key)))
        except Away:
            exists = False
        return self._memory.get(key) is not None or exists

    async def ttl(self, key: str) -> float | None:
        """Seconds until the value ends: infinity where it does not, none where there is
        no value."""
        try:
            left = words.seconds_left(await self.server.ask("PTTL", self._name(key)))
        except Away:
            left = None
        kept = self._memory.ttl(key)
        return left if kept is None else kept

    async def delete(self, *keys: str) -> int:
        """Forgets values. Says how many there were."""
        if not keys:
            return 0
        deleted = self._memory.delete(*keys)
        try:
            return await self._unlink([self._name(key) for key in keys]) or deleted
        except Away:
            return deleted

    async def clear(self, pattern: str = "*") -> int:
        """Forgets the values whose keys match, as KEYS of Redis does; says how many. It
        walks over all keys of the server, or of each master of a cluster, a thousand at a time."""
        deleted, counted = self._memory.clear(pattern), 0
        try:
            for ask in await self.server.each():
                cursor, first = 0, True
                while first or cursor:
                    first = False
                    told = await ask(*words.walk(cursor, self.namespace, pattern))
                    cursor = int(told[0])
                    counted += await self._unlink(told[1])
        except Away:
            pass
        return counted or deleted

    async def once(self, key: str, make: Callable[[], Awaitable[Any]], ttl: float | None = None) -> Any:
        """The value; where there is none, that which `make` gives, in one process while
        the others wait for it."""
        async with self.making(key) as known:
            if known is not MISSING:
                return known
            value = await make()
            await self.keep(key, value, ttl)
            return value

    @asynccontextmanager
    async def making(self, key: str) -> AsyncIterator[Any]:
        """For who makes a value unless there is one: the value, or MISSING, after which
        no other process makes it until this ends."""
        known = await self.get(key, MISSING)
        if known is not MISSING:
            yield known
            return
        deadline = time.monotonic() + self.patience
        may_stand_in_line = True
        async with AsyncExitStack() as held:
            while True:
                left = max(0.0, deadline - time.monotonic())
                wait = min(left, words.LONGEST_WAIT) if may_stand_in_line else 0.0
                try:
                    place = {words.place(self.namespace, key): "concurrent:1"}
                    await held.enter_async_context(reserve(self._places, place, ttl=self.hold, wait=wait))
                    break
                except ResponseError:
                    if not may_stand_in_line:
                        raise
                    may_stand_in_line = False  # this server lets nobody wait for so long
                except Denied:
                    known = await self.get(key, MISSING)
                    if known is not MISSING or left < words.BEAT:
                        break  # rather twice than never
                    await asyncio.sleep(words.BEAT)  # it cannot stand in line, or not for longer
            yield await self.get(key, MISSING) if known is MISSING else known

    def _name(self, key: str) -> str:
        return f"{self.namespace}:{key}"

    async def _text(self, key: str) -> str | None:
        try:
            text: str | None = await self.server.ask("GET", self._name(key))
        except Away:
            text = None
        # What is kept here while Redis cannot write is newer than what it has.
        kept = self._memory.get(key)
        return text if kept is None else kept

    async def _unlink(self, names: Sequence[str]) -> int:
        return sum([int(await self.server.ask("UNLINK", *some)) for some in self.server.by_slot(names) if some])
