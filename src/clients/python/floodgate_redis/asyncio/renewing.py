"""Keeping a reservation for as long as the work takes."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..words import Words
from .server import Server


@contextmanager
def renewing(server: Server, keys: Sequence[str], ttl: float, command: Words) -> Iterator[None]:
    """Renews the reservation of the keys by the command, in a task of its own."""
    task = asyncio.create_task(_renew(server, ttl, command), name="floodgate RL.RENEW")
    try:
        yield
    finally:
        task.cancel()


async def _renew(server: Server, ttl: float, command: Words) -> None:
    while True:
        await asyncio.sleep(ttl / 3)
        await server.finish(*command)
