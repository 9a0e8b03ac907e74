"""Redis, asked with little patience: a limiter must not be what is slow."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from redis import exceptions

from .. import arguments, forks
from ..outage import Away, Health, Misconfigured, log, may_not_look, redirection
from ..words import Words, key_of
from .cluster import nodes
from .node import Node

Told = TypeVar("Told")


class Server:
    """Redis with Floodgate, by its URL: a server (`redis://`, `rediss://`, `unix://`), a
    cluster (`floodgate+cluster://host:port,host:port`), or the master that Sentinels name
    (`floodgate+sentinel://host:port,host:port/service`); with TLS `floodgates+`.

    A command has `patience` seconds from when it is sent. So many are sent at a time as
    there are connections (50; the URL's `max_connections`); the others wait for one, for as
    long as Redis answers. After a failure Redis, or that node of the cluster, is not asked
    for `rest` seconds, and then by one request for all. At most `waiters` commands wait in
    line at a time, each on a connection of its own: those of limits, of reservations and of
    caches together.

    Each event loop has connections of its own, as with `asyncio.run` twice, or Django's views
    under WSGI. What is known of an outage is known to all. `close` ends those of its own loop.
    """

    REDIRECTIONS = 5
    """How often a command goes to another node of a cluster."""

    def __init__(self, url: str, *, patience: float = 0.25, rest: float = 1.0, waiters: int = 64):
        arguments.number("patience", patience, 0, "s", above=True)
        arguments.number("rest", rest, 0, "s")
        arguments.number("waiters", waiters, 0, "requests")
        self._nodes = nodes(url, patience, rest, self._keep)
        self._waiters = waiters
        self._patience = patience
        self._finishing: set[asyncio.Task[Any]] = set()
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._free_waiters = threading.Semaphore(self._waiters)

    async def check(self) -> None:
        """For the start of a program: raises Misconfigured where Redis refuses the
        credentials or has no Floodgate, and NoPermissionError where the user may not do what
        redis-py does to connect (SELECT, for a database). That Redis is away it only logs."""
        with suppress(Away):
            for ask in await self.each():
                with suppress(Away):
                    await _looked(ask)

    async def ask(self, *command: str | int) -> Any:
        """The answer. Raises Away, Misconfigured, or the server's own error."""
        return await self._at(command, lambda node, asking: node.ask(command, asking))

    async def ask_at_once(self, *commands: Words) -> list[Any]:
        """Sends the commands as one transaction, in one round trip. Gives their answers."""
        return await self._at(commands[0], partial(_together, commands))  # type: ignore[no-any-return]

    async def take(self, command: Words, undo: Callable[[Any], Sequence[Words]]) -> Any:
        """The answer of a command that takes what has to be given back. Redis may obey it
        although its caller waits no more, being cancelled or out of patience. `undo` then
        makes, of the late answer, the commands that give back what was taken."""

        async def late(answer: Any) -> None:
            for told in undo(answer):
                await self._tell(*told)

        return await self._at(command, lambda node, asking: node.take(command, late, asking))

    async def wait(self, seconds: float, *command: str | int) -> Any:
        """The answer of a command that waits. Who stops waiting for it (cancels)
        leaves the line. Past `waiters` at a time it does not wait."""
        if not self._free_waiters.acquire(blocking=False):
            return await self.ask(*command)
        return await self._in_line(seconds, command, None)

    async def take_in_line(self, seconds: float, command: Words, undo: Words) -> Any:
        """The same for a command that takes what has to be given back. Where its answer
        is lost, `undo` gives back what it took; the reply to `undo` is 0 where it took
        nothing."""
        if not self._free_waiters.acquire(blocking=False):
            return await self.take(command, lambda answer: [undo] if answer[0] else [])
        return await self._in_line(seconds, command, undo)

    def finish(self, *command: str | int, instead: Words | None = None) -> "asyncio.Future[bool]":
        """Reports the result of the work, even when the caller is being cancelled. It
        raises nothing, because the work counts more than the report. Where the server refuses
        it, it is told `instead`. Says whether Redis was there to hear it."""
        return asyncio.shield(self._keep(self._tell(*command, instead=instead)))

    async def finish_all(self, reports: Sequence[tuple[Words, Words | None]]) -> None:
        """Reports several, at once. Each comes with what is told instead where the server refuses
        it."""
        await asyncio.gather(*(self.finish(*told, instead=instead) for told, instead in reports))

    def health(self, key: str) -> Health:
        """The health of the server that has the key."""
        return self._nodes.health(key)

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        """Groups keys by what one command may name: all, but on a cluster those of one slot."""
        return self._nodes.by_slot(keys)

    async def each(self) -> list[Callable[..., Awaitable[Any]]]:
        """`ask` of each server that has keys: of a cluster its masters."""
        return [lambda *command, node=node: node.ask(command) for node in await self._nodes.all()]

    async def close(self) -> None:
        """Ends the connections of this event loop, once what is under way is told."""
        loop = asyncio.get_running_loop()
        finishing = [task for task in list(self._finishing) if task.get_loop() is loop]
        if finishing:
            await asyncio.wait(finishing, timeout=2 * self._patience)
        for task in finishing:
            task.cancel()
        await self._nodes.close()

    async def __aenter__(self) -> "Server":
        await self.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _in_line(self, seconds: float, command: Words, undo: Words | None) -> Any:
        try:
            return await self._at(command, lambda node, asking: node.wait(seconds, command, undo, asking))
        finally:
            self._free_waiters.release()

    async def _at(self, command: Words, does: Callable[[Node, bool], Awaitable[Any]]) -> Any:
        """Does it at the node that has the command's key, wherever that has gone."""
        node, asking = await self._nodes.of(key_of(command)), False
        for _ in range(self.REDIRECTIONS):
            try:
                return await does(node, asking)
            except exceptions.ResponseError as error:
                to = redirection(error)
                if to is None:
                    raise
                node, asking = self._nodes.redirected(to, node), not isinstance(to, exceptions.MovedError)
            except Away as away:
                if away.__cause__ is not None:  # it was asked
                    self._nodes.lost(node)
                raise
        raise Away("the nodes of the cluster send from one to the other")

    async def _tell(self, *command: str | int, instead: Words | None = None) -> bool:
        try:
            await self.ask(*command)
        except (Away, Misconfigured):
            return False  # leases and TTLs settle it
        except (exceptions.RedisError, UnicodeError) as error:
            log.warning("%s failed: %s", command[0], error)
            if instead is not None:
                return await self._tell(*instead)
        return True

    def _keep(self, work: Coroutine[Any, Any, Told]) -> asyncio.Task[Told]:
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task


async def _looked(ask: Callable[..., Awaitable[Any]]) -> None:
    try:
        await ask("RL.HELP")
    except exceptions.NoPermissionError as error:
        if not may_not_look(error):
            raise


async def _together(commands: Sequence[Words], node: Node, asking: bool) -> list[Any]:
    if asking:  # which is said before each
        return [await node.ask(command, asking) for command in commands]
    return await node.ask_at_once(commands)
