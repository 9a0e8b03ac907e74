"""A circuit breaker that all processes share. Copy it with floodgate.py.

    payments = Breaker(server, "payments", "50%/60s:open=30s")
    async with payments.guard():
        await charge(card)
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from floodgate import Away, Server, retry_after


class CircuitOpen(Exception):
    """The call was not made."""

    def __init__(self, retry_after_ms: int):
        super().__init__(f"circuit open, retry after {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms

    @property
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After; none where it was forced open with no end."""
        return retry_after(self.retry_after_ms)


class Breaker:
    """While Redis is away calls go through: a breaker protects the callee, and
    without it things are as they were before there was one."""

    def __init__(self, server: Server, key: str, rule: str):
        self.server = server
        self.key = key
        self.rule = rule

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Round a call, whose own timeout belongs inside. An exception is a
        failure of the callee; a cancelled call says nothing of it."""
        token = await self._admitted()
        start = time.monotonic()
        outcome = "FAIL"
        try:
            yield
            outcome = "OK"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "IGNORE"
            raise
        finally:
            if token is not None:
                ms = int((time.monotonic() - start) * 1000)
                await self.server.finish("CB.REPORT", self.key, outcome, "TOKEN", token, "DUR", f"{ms}ms")

    async def _admitted(self) -> str | None:
        """The token to report with; none while Redis is away."""
        try:
            # Admitted and cancelled before it knew, a call hands its token back:
            # a trial that nobody reports closes the door for its whole lease.
            allowed, _state, token, retry_after_ms = await self.server.take(
                ("CB.ACQUIRE", self.key, self.rule),
                undo=lambda answer: ("CB.REPORT", self.key, "IGNORE", "TOKEN", answer[2]) if answer[0] else None,
            )
        except Away:
            return None
        if not allowed:
            raise CircuitOpen(retry_after_ms)
        return str(token)
