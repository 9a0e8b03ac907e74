"""Take now, settle later: for work whose cost is known afterwards."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from .. import arguments, words
from ..decision import Decision, longest
from ..errors import Denied, Spending
from ..outage import Away
from .limiter import Limiter
from .renewing import renewing


@asynccontextmanager
async def reserve(
    limiter: Limiter, limits: Mapping[str, str], estimate: int = 1, ttl: float = 30.0, *, wait: float = 0.0
) -> AsyncIterator[Spending]:
    """Reserves the estimate on every key, or raises Denied. Keeps it for as long as the
    work takes, then commits what was spent, also by work that failed half way. Work that
    fails before it spent anything releases the reservation, and so does a commit that the
    server refuses. When a process dies, its places are free after `ttl` seconds. With
    `wait`, and one key, it stands in line for so many seconds; Redis refuses a wait that is
    longer than its `wait-max` (30 s)."""
    arguments.with_asyncio(limiter=limiter)
    arguments.wait(wait)
    server, keys = limiter.server, list(limits)
    spending = Spending()
    id = uuid.uuid4().hex  # chosen here, so that asking twice reserves once
    release = words.settled("RL.RELEASE", id, keys)
    command = words.reserve(limits, estimate, ttl, id)
    try:
        taken, answers = (
            await server.take_in_line(wait, command, release)
            if wait
            else await server.take(command, undo=lambda answer: [release] if answer[0] else [])
        )
    except Away:
        alone = limiter.fallback.acquire(keys[-1], estimate)
        if not alone.granted:
            raise Denied(alone) from None
        yield spending
        return
    if taken is None:
        raise Denied(longest([Decision(*six) for six in answers]))
    failed = True
    try:
        with renewing(server, keys, ttl, words.renew(id, ttl, keys)):
            yield spending
        failed = False
    finally:
        if failed and spending.units is None:
            await server.finish(*release)
        else:
            await server.finish(*words.settled("RL.COMMIT", id, keys, spending.units), instead=release)
