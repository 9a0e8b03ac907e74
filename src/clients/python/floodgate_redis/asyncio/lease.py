"""Units taken ahead and spent without asking."""

import asyncio
import time
import uuid
from contextvars import Context

from redis.exceptions import RedisError

from .. import arguments
from ..decision import Decision
from ..lease import Asked, Book, Held
from ..outage import Away, Misconfigured
from ..telemetry import decisions
from .limiter import Limiter


class Lease:
    """Takes units of one key ahead, and spends them without a round trip.

        async with Lease(limiter, "api", "100000/m", processes=4) as lease:
            decision = await lease.acquire()

    It promises what `floodgate_redis.Lease` does. It belongs to one event loop, and to the
    process that made it.
    """

    def __init__(
        self, limiter: Limiter, key: str, limits: str | None = None, *, processes: int, interval: float = 0.1
    ):
        arguments.with_asyncio(limiter=limiter)
        self.limiter = limiter
        self._words = Asked(key, limits)
        self._book = Book(processes, interval)
        self._waking = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def acquire(self, cost: int = 1) -> Decision:
        """Takes `cost` units, or none: of what is on lease, else of the server's."""
        now = time.monotonic()
        spent = self._book.spend(cost, now)
        if not self._closed and self._book.is_due(now):
            self._waking.set()
            if self._worker is None:
                # It works for all requests, so it must not keep the context of the first one.
                self._worker = asyncio.create_task(self._work(), name="floodgate lease", context=Context())
        if spent is not None:
            decisions("leased")
            return spent
        decision = await self.limiter.acquire(self._words.key, self._words.limits, cost)
        self._book.learn(decision)
        return decision

    async def close(self) -> None:
        """Gives back what is left. From then on each request asks the server."""
        self._closed = True
        self._waking.set()
        if self._worker is not None:
            await asyncio.wait([self._worker])
        await self._settle(None)

    async def __aenter__(self) -> "Lease":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _work(self) -> None:
        book = self._book
        while True:
            try:
                await asyncio.wait_for(self._waking.wait(), book.interval)
            except TimeoutError:
                pass
            self._waking.clear()
            if self._closed or book.is_idle:
                self._worker = None
                return
            now = time.monotonic()
            if book.is_due(now):
                want = book.want(now)
                await self._settle(await self._taken(want) if want else None)

    async def _taken(self, want: int) -> Held | None:
        server, id = self.limiter.server, uuid.uuid4().hex
        try:
            look = self._words.look(time.monotonic())
            if look is not None:
                self._words.saw(await server.ask(*look), time.monotonic())
            if not self._words.may_lease():
                return None
            until = time.monotonic() + self._book.longest
            answer = await server.take(
                self._words.reserve(id, want, self._book.ttl), lambda answer: self._words.undo(id, answer)
            )
        except (Away, Misconfigured):
            return None
        except RedisError as error:
            self._words.refused(error)
            return None
        held, decision = self._words.held(answer, until)
        self._book.learn(decision)
        return held

    async def _settle(self, following: Held | None) -> None:
        before = self._book.take(following)
        if before is not None:
            await self.limiter.server.finish(*self._words.commit(before))
