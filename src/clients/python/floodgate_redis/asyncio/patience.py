"""Waiting for an answer, but not for long."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any


class Patience:
    """So many seconds for an answer, from when the command is sent.

    They are counted in ticks. A loop that is blocked meanwhile reads no answer, and counts one
    tick, however long that takes: so it reads what lies there before the time is over."""

    TICKS = 10

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._of: Patience | None = None
        self.begin()

    def begin(self) -> None:
        """From now on, and so for who waits for this."""
        self._left = self.TICKS
        if self._of is not None:
            self._of.begin()

    async def wait(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """The answer. Raises TimeoutError."""
        self._of = _now.get()
        said = _now.set(self)
        try:
            async with asyncio.timeout(None) as timeout:
                self._tick(timeout)
                try:
                    return await question()
                finally:
                    self._ticking.cancel()
        except TimeoutError as error:
            if timeout.expired():
                raise TimeoutError(f"no answer within {self._seconds:g} s") from error
            raise
        finally:
            _now.reset(said)

    def _tick(self, timeout: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        if self._left > 0:
            self._left -= 1
            self._ticking = loop.call_later(self._seconds / self.TICKS, self._tick, timeout)
        else:
            timeout.reschedule(loop.time())


_now: ContextVar[Patience | None] = ContextVar("floodgate_redis_patience", default=None)


async def connected(connection: Any) -> None:
    """What redis-py calls for a new connection: the patience of who needs it begins anew, as it does
    after each answer that the server gives while redis-py introduces itself (AUTH, CLIENT SETINFO,
    SELECT). A server far away answers each of them in time, and not all of them together."""
    patience = _now.get() or Patience(0)
    answer = connection.read_response

    async def answered(*args: Any, **options: Any) -> Any:
        patience.begin()
        return await answer(*args, **options)

    patience.begin()
    connection.read_response = answered
    try:
        await connection.on_connect()
    finally:
        del connection.read_response
    patience.begin()
