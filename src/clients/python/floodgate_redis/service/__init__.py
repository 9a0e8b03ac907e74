"""A rate limiter for others, over HTTP: each request is one command of
Floodgate. The service itself keeps nothing, so any number of workers and
machines give the same answers, and a restart forgets nothing.

    REDIS_URL=redis://localhost:6379 python -m floodgate_redis.service --workers 2

`/openapi.json` describes all of it, `/docs` and `/redoc` show that to people. It says 503 while Redis is away: who asks knows best what holds then. Give it a
server, or a database, of its own, and let only those who may configure reach
the POST requests. With FLOODGATE_TOKEN set, `/page` shows what happens to whoever has
that token.
"""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, model_validator
from redis.exceptions import ResponseError

from .. import __version__
from ..asyncio.server import Server
from ..decision import Decision
from ..outage import Away, Misconfigured
from .answers import (
    CacheUsage,
    Cleared,
    Configured,
    Decided,
    LimitNow,
    NotFound,
    Policies,
    Problem,
    Recorded,
    ServiceHealth,
    Stats,
    Usage,
)
from .page import page

server = Server(
    os.environ.get("REDIS_URL", "redis://localhost:6379"),
    patience=float(os.environ.get("REDIS_PATIENCE", "0.25")),
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await server.check()  # wrong credentials or no Floodgate: it does not start
    yield
    await server.close()


RETRY_AFTER = {"Retry-After": {"description": "seconds; none where it never fits", "schema": {"type": "integer"}}}
STANDS = {
    name: {"description": description, "schema": {"type": "integer"}}
    for name, description in [
        ("X-RateLimit-Limit", "capacity of the limit that binds"),
        ("X-RateLimit-Remaining", "units left on it"),
    ]
}
NOTHING_HAPPENED: dict[int | str, dict[str, Any]] = {
    404: {"model": NotFound, "description": "nothing happened on this key"},
}

app = FastAPI(
    title="Rate limiter",
    summary="Limits that all who ask share, decided inside Redis by Floodgate.",
    version=__version__,
    lifespan=lifespan,
    openapi_tags=[
        {"name": "limits", "description": "Taking, and what may be taken."},
        {"name": "usage", "description": "What came of the work, and what happened."},
        {"name": "monitoring", "description": "For people. Pages as of SCAN: ask again with the cursor until it is `0`."},
    ],
    responses={
        400: {"model": Problem, "description": "the server refuses the words: malformed limits, no limits for a key"},
        503: {"model": Problem, "description": "Redis is away", "headers": RETRY_AFTER},
    },
    generate_unique_id_function=lambda route: route.name,
)
app.include_router(page(server.ask))


@app.get(
    "/check/{key:path}",
    tags=["limits"],
    response_model=Decided,
    responses={
        200: {"description": "taken", "headers": STANDS},
        429: {"model": Decided, "description": "denied: nothing is taken", "headers": STANDS | RETRY_AFTER},
    },
)
async def check(key: str, response: Response, cost: int = 1) -> Decided:
    """Takes `cost` units: 200, or 429 with the seconds after which to try again."""
    decision = Decision(*await server.ask("RL.ACQUIRE", key, "COST", cost, "TRACK"))
    response.headers["X-RateLimit-Limit"] = str(decision.limit)
    response.headers["X-RateLimit-Remaining"] = str(decision.remaining)
    if not decision.granted:
        response.status_code = 429
        response.headers.update(decision.retry_after)
    return Decided.by(decision)


class KeyLimits(BaseModel):
    """Limits of one key."""

    key: str
    limits: str


class PolicyLimits(BaseModel):
    """Limits of all keys that begin alike; those of the longest prefix hold."""

    policy: str
    prefix: str
    limits: str


@app.post("/configure", tags=["limits"])
async def configure(wanted: KeyLimits | PolicyLimits) -> Configured:
    """Holds from the next request on, in every worker."""
    if isinstance(wanted, KeyLimits):
        await server.ask("RL.PIN", wanted.key, wanted.limits)
    else:
        await server.ask("RL.POLICY", "SET", wanted.policy, wanted.limits, "PREFIX", wanted.prefix)
    return Configured()


class WorkOutcome(BaseModel):
    """What came of work, for the statistics."""

    outcome: Literal["OK", "FAIL"]
    cached: bool = False
    spend: str | None = None
    duration_ms: int | None = None


@app.post("/record/{key:path}", tags=["usage"])
async def record(key: str, of: WorkOutcome) -> Recorded:
    """Counts what came of work on a key."""
    known = ["CACHED"] if of.cached else []
    if of.spend is not None:
        known += ["SPEND", of.spend]
    if of.duration_ms is not None:  # one that is not known is not 0
        known += ["DUR", f"{of.duration_ms}ms"]
    await server.ask("RL.RECORD", key, of.outcome, *known)
    return Recorded()


@app.get("/stats/{key:path}", tags=["usage"], response_model_exclude_unset=True, responses=NOTHING_HAPPENED)
async def stats(key: str, hours: int = 24, days: int = 30) -> Stats:
    """What happened on a key: in all, today, by hour and by day."""
    found = await server.ask("RL.STATS", key, "HOURS", hours, "DAYS", days)
    if found is None:
        raise HTTPException(404, "nothing happened on this key")
    return Stats.model_validate(named(found, 3))


@app.get("/health", tags=["monitoring"])
async def health() -> ServiceHealth:
    """Whether limits can be decided on; and by which worker you were told."""
    metrics = named(await server.ask("RL.METRICS"))
    shown = ("version", "tracked_keys", "waiting_now", "alerts_active")
    return ServiceHealth(worker=os.getpid(), **{name: metrics[name] for name in shown})


@app.get("/monitoring/usage", tags=["monitoring"], response_model_exclude_unset=True)
async def usage(match: str = "*", cursor: str = "0") -> Usage:
    """The keys in use, each with the figures of today."""
    following, found = await server.ask("RL.USAGE", cursor, "MATCH", match, "COUNT", 1000)
    return Usage(cursor=following, keys=named(found, 2))


@app.get("/monitoring/cache", tags=["monitoring"])
async def cache(match: str = "*", cursor: str = "0") -> CacheUsage:
    """How much of today's work was answered from a cache."""
    following, found = await server.ask("RL.USAGE", cursor, "MATCH", match, "COUNT", 1000)
    shown = ("ok", "fail", "cached", "cache_hit_rate")
    keys = {key: {name: of[name] for name in shown} for key, of in named(found, 2).items()}
    return CacheUsage.model_validate({"cursor": following, "keys": keys})


@app.get("/monitoring/rate-limits", tags=["monitoring"], response_model_exclude_unset=True)
async def policies() -> Policies:
    """The limits of all keys that begin alike."""
    found = named(await server.ask("RL.POLICY", "LIST"))
    return Policies.model_validate(found | {"policies": [named(policy) for policy in found["policies"]]})


@app.get("/monitoring/rate-limits/{key:path}", tags=["monitoring"], response_model_exclude_unset=True)
async def rate_limits(key: str) -> list[LimitNow]:
    """How a key stands, limit by limit, without taking."""
    return [LimitNow(**named(limit, 2)) for limit in await server.ask("RL.QUOTA", key) or []]


class Clear(BaseModel):
    """Which usage to forget: of one key, or of all that match a pattern and are
    not configured by key."""

    key: str | None = None
    match: str | None = None
    cursor: str = "0"

    @model_validator(mode="after")
    def says_which(self) -> "Clear":
        if self.key is None and self.match is None:
            raise ValueError("name what to clear: a key, or a match")
        return self


@app.post("/monitoring/clear", tags=["monitoring"])
async def clear(which: Clear) -> Cleared:
    """Forgets usage; limits stay."""
    if which.key is not None:
        return Cleared(cursor="0", cleared=await server.ask("RL.RESET", which.key))
    pattern = which.match or ""
    following, cleared = await server.ask("RL.CLEAR", which.cursor, "MATCH", pattern, "COUNT", 1000)
    return Cleared(cursor=following, cleared=cleared)


@app.exception_handler(Away)
async def away(_: Request, __: Away) -> JSONResponse:
    return JSONResponse({"error": "Redis is away"}, status_code=503, headers={"Retry-After": "1"})


@app.exception_handler(ResponseError)
async def refused(_: Request, error: ResponseError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


@app.exception_handler(Misconfigured)
async def misconfigured(_: Request, error: Misconfigured) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=503)


def named(flat: Iterable[Any], depth: int = 1) -> dict[str, Any]:
    """A reply that is a map: in RESP2 names and values in turn, so deep."""
    words = iter(flat)
    pairs = zip(words, words)
    return {name: named(value, depth - 1) if depth > 1 and isinstance(value, list) else value for name, value in pairs}
