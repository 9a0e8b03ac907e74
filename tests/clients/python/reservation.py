"""Take now, settle later: for the tokens of a language model, whose number is
known afterwards. Copy it with floodgate.py.

    async with reserve(limiter, {f"llm:{user}": "100000/m,concurrent:5"}, estimate=1500) as spending:
        async for chunk in model.stream(prompt):
            spending.add(chunk.tokens)
"""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from floodgate import Away, Decision, Limiter, Server, Words


class Denied(Exception):
    """Nothing was reserved."""

    def __init__(self, decision: Decision):
        super().__init__(f"denied, retry after {decision.retry_after_ms} ms")
        self.decision = decision


class Spending:
    """What the work has cost so far; none when it was never said."""

    units: int | None = None

    def add(self, units: int) -> None:
        self.units = (self.units or 0) + units


@asynccontextmanager
async def reserve(
    limiter: Limiter, limits: dict[str, str], estimate: int, ttl: float = 30.0
) -> AsyncIterator[Spending]:
    """Reserves the estimate on every key, or raises Denied. Keeps it for as long
    as the work takes, however long that is, then commits what was spent: also of
    work that failed half way. What fails before it spent anything is released.
    Of a process that dies, places are free after `ttl` seconds."""
    server, keys, lasts = limiter.server, list(limits), f"{int(ttl * 1000)}ms"
    spending = Spending()
    reservation = uuid.uuid4().hex  # ours, so that asking twice reserves once
    settled: Words = (reservation, len(keys), *keys)
    try:
        await _take(server, limits, ("COST", estimate, "TTL", lasts, "ID", reservation), settled)
    except Away:
        alone = limiter.fallback.acquire(keys[-1], estimate)
        if not alone.granted:
            raise Denied(alone) from None
        yield spending
        return
    renewing = asyncio.create_task(_renew(server, ttl, "RL.RENEW", reservation, "TTL", lasts, len(keys), *keys))
    failed = True
    try:
        yield spending
        failed = False
    finally:
        renewing.cancel()
        if spending.units is not None:
            await server.finish("RL.COMMIT", *settled, "COST", spending.units)
        else:
            await server.finish("RL.RELEASE" if failed else "RL.COMMIT", *settled)


async def _take(server: Server, limits: dict[str, str], options: Words, settled: Words) -> None:
    words = [word for pair in limits.items() for word in pair]
    taken, answers = await server.take(
        ("RL.RESERVE", len(limits), *words, *options), undo=lambda answer: ("RL.RELEASE", *settled) if answer[0] else None
    )
    if taken is None:
        raise Denied(max((Decision(*six) for six in answers), key=_how_long))


def _how_long(decision: Decision) -> float:
    return math.inf if decision.retry_after_ms < 0 else decision.retry_after_ms


async def _renew(server: Server, ttl: float, *command: str | int) -> None:
    while True:
        await asyncio.sleep(ttl / 3)
        await server.finish(*command)
