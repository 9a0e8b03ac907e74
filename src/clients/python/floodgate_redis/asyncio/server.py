"""Redis, asked with little patience: a limiter must not be what is slow."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..outage import OUTAGE, Away, Health, Misconfigured, log
from ..words import Words


class Server:
    """A Redis server with Floodgate, by its URL (`redis://`, `rediss://`, `unix://`).

    A command has `patience` seconds. After a failure Redis is not asked for `rest`
    seconds, and then by one request for all. At most `waiters` commands wait in line
    at a time, each on a connection of its own.
    """

    LATEST = 60.0
    """Seconds after which the answer to what took something comes no more."""

    def __init__(self, url: str, *, patience: float = 0.25, rest: float = 1.0, waiters: int = 64):
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
        self._health = Health(rest)
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

    async def take(self, command: Words, undo: Callable[[Any], Sequence[Words]]) -> Any:
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

    async def finish_at_once(self, *commands: Words) -> None:
        """The same for several commands, in one round trip."""
        await asyncio.shield(self._keep(self._tell_at_once(commands)))

    async def close(self) -> None:
        """Ends the connections, once what is under way is told."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=2 * self._patience)
        for task in self._finishing:
            task.cancel()
        for connections in (self._redis, self._taking, self._waiting):
            await connections.aclose()

    async def __aenter__(self) -> "Server":
        await self.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, question: Callable[[], Awaitable[Any]]) -> Any:
        self._health.turn()
        try:
            answer = await question()
        except Exception as error:
            told = self._health.failed(error)
            if told is error:
                raise
            raise told from error
        self._health.answered()
        return answer

    async def _tell(self, *command: str | int) -> None:
        try:
            await self.ask(*command)
        except (Away, Misconfigured):
            pass  # leases and TTLs settle it
        except exceptions.RedisError as error:
            log.warning("%s: %s", command[0], error)

    async def _tell_at_once(self, commands: Sequence[Words]) -> None:
        async def pipeline() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                await pipe.execute()

        try:
            await self._answer(pipeline)
        except (Away, Misconfigured):
            pass  # as above
        except exceptions.RedisError as error:
            log.warning("could not report the result of the work: %s", error)

    async def _give_back(self, asked: asyncio.Task[Any], undo: Callable[[Any], Sequence[Words]]) -> None:
        try:
            commands = undo(await asyncio.wait_for(asked, self.LATEST))
        except (*OUTAGE, exceptions.RedisError):
            return  # leases and TTLs settle it
        for command in commands:
            self._health.awake()
            await self._tell(*command)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task
