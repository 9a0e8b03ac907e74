"""Redis, asked with little patience: a limiter must not be what is slow."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..outage import OUTAGE, Away, Health, Misconfigured, log
from ..words import Words

Told = TypeVar("Told")


class Server:
    """A Redis server with Floodgate, by its URL (`redis://`, `rediss://`, `unix://`).

    A command has `patience` seconds. After a failure Redis is not asked for `rest`
    seconds, and then by one request for all. At most `waiters` commands wait in line
    at a time, each on a connection of its own: those of limits, of reservations and of
    caches together.
    """

    LATEST = 60.0
    """Seconds for which the answer to a command that takes something may still come."""

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
        self._finishing: set[asyncio.Task[Any]] = set()

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
        """The answer of a command that takes what has to be given back. Redis may obey it
        although its caller waits no more, being cancelled or out of patience. `undo` then
        makes, of the late answer, the commands that give back what was taken."""
        asked: asyncio.Task[Any] | None = None

        def ask() -> Awaitable[Any]:
            nonlocal asked
            asked = asyncio.create_task(self._taking.execute_command(*command))
            return _within(self._patience, asyncio.shield(asked))

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
        return await self._in_line(seconds, command, None)

    async def take_in_line(self, seconds: float, command: Words, undo: Words) -> Any:
        """The same for a command that takes what has to be given back. Where its answer
        is lost, `undo` gives back what it took; the reply to `undo` is 0 where it took
        nothing."""
        if self._free_waiters == 0:
            return await self.take(command, lambda answer: [undo] if answer[0] else [])
        return await self._in_line(seconds, command, undo)

    async def finish(self, *command: str | int) -> bool:
        """Reports the result of the work, even when the caller is being cancelled. It
        raises nothing, because the work counts more than the report. Says whether Redis
        was there to hear it."""
        return await asyncio.shield(self._keep(self._tell(*command)))

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

    async def _in_line(self, seconds: float, command: Words, undo: Words | None) -> Any:
        command = (*command, "WAIT", f"{int(seconds * 1000)}ms")
        asked = False

        def ask() -> Awaitable[Any]:
            nonlocal asked
            asked = True
            return _within(seconds + self._patience, self._waiting.execute_command(*command))

        self._free_waiters -= 1
        try:
            return await self._answer(ask)
        except (asyncio.CancelledError, Away):
            if asked and undo is not None:
                self._keep(self._give_back_lost(undo))
            raise
        finally:
            self._free_waiters += 1

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

    async def _tell(self, *command: str | int) -> bool:
        try:
            await self.ask(*command)
        except (Away, Misconfigured):
            return False  # leases and TTLs settle it
        except exceptions.RedisError as error:
            log.warning("%s failed: %s", command[0], error)
        return True

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

    async def _give_back_lost(self, undo: Words) -> None:
        """Gives back what a command took whose answer is lost. Redis is asked even while
        it rests: one that hangs does it when it goes on."""
        try:
            if not await self._taking.execute_command(*undo):
                # It may find later that the connection is closed, and have granted the
                # request in between.
                await asyncio.sleep(self._patience)
                await self._taking.execute_command(*undo)
        except (*OUTAGE, exceptions.RedisError):
            pass  # its TTL settles it

    def _keep(self, work: Coroutine[Any, Any, Told]) -> asyncio.Task[Told]:
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task


async def _within(seconds: float, answer: Awaitable[Any]) -> Any:
    try:
        return await asyncio.wait_for(answer, seconds)
    except asyncio.TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error
