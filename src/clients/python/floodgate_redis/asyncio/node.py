"""One Redis server, asked with little patience."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from redis import exceptions

from ..node import UNLIMITED
from ..outage import OUTAGE, Away, Health
from ..places import Address
from ..words import Words, of_floodgate, take_something
from .loops import OfLoop
from .patience import Patience


class Node:
    """One Redis server. `connect` makes a client of it, with more of redis-py's options. A
    command has `patience` seconds from when it is sent. `keep` runs what nobody waits for."""

    LATEST = 60.0
    """Seconds for which the answer to a command that takes something may still come."""

    MOST = 50
    """Requests that ask at a time, unless the URL says `max_connections`."""

    def __init__(
        self,
        connect: Callable[..., Any],
        patience: float,
        health: Health,
        keep: Callable[[Coroutine[Any, Any, Any]], object],
        address: Address = ("", 0),
    ):
        self.health = health
        self.address = address
        self._patience = patience
        self._keep = keep
        self._connect = connect
        self._own = OfLoop(self._connected)

    async def ask(self, command: Words, asking: bool = False) -> Any:
        """The answer. Raises Away, Misconfigured, or the server's own error. With `asking` the
        key is on its way to this node."""
        return await self._answer((command,), lambda: self._told(command, asking))

    async def slots(self) -> Any:
        """CLUSTER SLOTS, which a node answers also where it can decide nothing."""
        return await self._answer((), lambda: self._told(("CLUSTER", "SLOTS"), False))

    async def ask_at_once(self, commands: Sequence[Words]) -> list[Any]:
        """The answers of one transaction, in one round trip."""

        async def together() -> Any:
            client, _ = self._own()
            async with client.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return await pipe.execute()

        return list(await self._answer(commands, together))

    async def take(self, command: Words, late: Callable[[Any], Awaitable[None]], asking: bool = False) -> Any:
        """The same as `ask`. Redis may obey although its caller waits no more, being cancelled
        or out of patience: `late` then gets the answer."""
        asked: asyncio.Task[Any] | None = None

        def ask() -> Awaitable[Any]:
            nonlocal asked
            asked = asyncio.create_task(self._told(command, asking))
            return asyncio.shield(asked)

        async def answered(asked: asyncio.Task[Any]) -> None:
            try:
                answer = await asyncio.wait_for(asked, self.LATEST)
            except (*OUTAGE, exceptions.RedisError):
                return  # leases and TTLs settle it
            self.health.awake()
            await late(answer)

        try:
            return await self._answer((command,), ask)
        except (asyncio.CancelledError, Away):
            if asked is not None:
                self._keep(answered(asked))
            raise

    async def wait(self, seconds: float, command: Words, undo: Words | None, asking: bool = False) -> Any:
        """The answer of a command that waits in line. Who stops waiting for it (cancels)
        leaves the line. Where it is lost, `undo` gives back what the command took."""
        command = (*command, "WAIT", f"{int(seconds * 1000)}ms")
        asked = False

        def ask() -> Awaitable[Any]:
            nonlocal asked
            asked = True
            return self._told(command, asking)

        try:
            return await self._answer((command,), ask, seconds + self._patience, nullcontext())
        except (asyncio.CancelledError, Away):
            if asked and undo is not None:
                self._keep(self._give_back(undo))
            raise

    async def close(self) -> None:
        """Ends the connections of this event loop."""
        client, _ = self._own()
        await client.aclose()

    def _connected(self) -> tuple[Any, asyncio.Semaphore]:
        """A client, and its lanes. Who has none waits for one. That is no sign that Redis is
        away: each of those that ask has its answer soon, or finds out."""
        client = self._connect(max_connections=self.MOST)
        lanes = asyncio.Semaphore(client.connection_pool.max_connections)
        client.connection_pool.max_connections = UNLIMITED  # for those in line, and those whose answer is late
        return client, lanes

    async def _told(self, command: Words, asking: bool) -> Any:
        client, _ = self._own()
        if not asking:
            return await client.execute_command(*command)
        async with client.pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")
            pipe.execute_command(*command)
            return (await pipe.execute())[1]

    async def _give_back(self, undo: Words) -> None:
        """Gives back what a command took whose answer is lost. Redis is asked even while
        it rests: one that hangs does it when it goes on."""
        try:
            if not await asyncio.wait_for(self._told(undo, False), self.LATEST):
                # It may find later that the connection is closed, and have granted the
                # request in between.
                await asyncio.sleep(self._patience)
                await asyncio.wait_for(self._told(undo, False), self.LATEST)
        except (*OUTAGE, exceptions.RedisError):
            pass  # its TTL settles it

    async def _answer(
        self,
        commands: Sequence[Words],
        question: Callable[[], Awaitable[Any]],
        seconds: float | None = None,
        lane: AbstractAsyncContextManager[None] | None = None,
    ) -> Any:
        """The answer to the question, which sends these commands: without any, it does not say
        that the server can decide."""
        takes, ours = take_something(commands), of_floodgate(commands)
        self.health.look()
        _, lanes = self._own()
        async with lanes if lane is None else lane:
            since = self.health.turn(takes, ours) if commands else time.monotonic()
            try:
                answer = await Patience(self._patience if seconds is None else seconds).wait(question)
            except Exception as error:
                told = self.health.failed(error, since, ours)
                if told is error:
                    raise
                raise told from error
            if commands:
                self.health.answered(takes, ours)
            return answer
