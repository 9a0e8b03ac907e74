"""A rate limiter for others, over HTTP: each request is one command of
Floodgate. The service itself keeps nothing, so any number of workers and
machines give the same answers, and a restart forgets nothing.

    REDIS_URL=redis://localhost:6379 python -m floodgate_redis.service --workers 2

It says 503 while Redis is away: who asks knows best what holds then. Give it a
server, or a database, of its own, and let only those who may configure reach
the POST requests.
"""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.exceptions import ResponseError

from .asyncio.server import Server
from .decision import Decision
from .outage import Away, Misconfigured

server = Server(
    os.environ.get("REDIS_URL", "redis://localhost:6379"),
    patience=float(os.environ.get("REDIS_PATIENCE", "0.25")),
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await server.check()  # wrong credentials or no Floodgate: it does not start
    yield
    await server.close()


app = FastAPI(title="Rate limiter", lifespan=lifespan)


@app.get("/check/{key:path}")
async def check(key: str, response: Response, cost: int = 1) -> dict[str, Any]:
    """Takes `cost` units: 200, or 429 with the seconds after which to try again."""
    decision = Decision(*await server.ask("RL.ACQUIRE", key, "COST", cost, "TRACK"))
    response.headers["X-RateLimit-Limit"] = str(decision.limit)
    response.headers["X-RateLimit-Remaining"] = str(decision.remaining)
    if not decision.granted:
        response.status_code = 429
        response.headers.update(decision.retry_after)
    return {
        "allowed": decision.granted > 0,
        "limit": decision.limit,
        "remaining": decision.remaining,
        "retry_after_ms": decision.retry_after_ms,
        "reset_after_ms": decision.reset_after_ms,
    }


class KeyLimits(BaseModel):
    """Limits of one key."""

    key: str
    limits: str


class PolicyLimits(BaseModel):
    """Limits of all keys that begin alike; those of the longest prefix hold."""

    policy: str
    prefix: str
    limits: str


@app.post("/configure")
async def configure(wanted: KeyLimits | PolicyLimits) -> dict[str, bool]:
    """Holds from the next request on, in every worker."""
    if isinstance(wanted, KeyLimits):
        await server.ask("RL.PIN", wanted.key, wanted.limits)
    else:
        await server.ask("RL.POLICY", "SET", wanted.policy, wanted.limits, "PREFIX", wanted.prefix)
    return {"configured": True}


class Outcome(BaseModel):
    """What came of work, for the statistics."""

    outcome: Literal["OK", "FAIL"]
    cached: bool = False
    spend: str | None = None
    duration_ms: int | None = None


@app.post("/record/{key:path}")
async def record(key: str, of: Outcome) -> dict[str, bool]:
    known = ["CACHED"] if of.cached else []
    if of.spend is not None:
        known += ["SPEND", of.spend]
    if of.duration_ms is not None:  # one that is not known is not 0
        known += ["DUR", f"{of.duration_ms}ms"]
    await server.ask("RL.RECORD", key, of.outcome, *known)
    return {"recorded": True}


@app.get("/stats/{key:path}")
async def stats(key: str, hours: int = 24, days: int = 30) -> dict[str, Any]:
    """What happened on a key: in all, today, by hour and by day."""
    found = await server.ask("RL.STATS", key, "HOURS", hours, "DAYS", days)
    if found is None:
        raise HTTPException(404, "nothing happened on this key")
    return named(found, 3)


@app.get("/health")
async def health() -> dict[str, Any]:
    """Whether limits can be decided on; and by which worker you were told."""
    metrics = named(await server.ask("RL.METRICS"))
    shown = ("version", "tracked_keys", "waiting_now", "alerts_active")
    return {"status": "ok", "worker": os.getpid()} | {name: metrics[name] for name in shown}


# Monitoring. Pages as of SCAN: ask again with the cursor until it is "0".


@app.get("/monitoring/usage")
async def usage(match: str = "*", cursor: str = "0") -> dict[str, Any]:
    """The keys in use, each with the figures of today."""
    following, found = await server.ask("RL.USAGE", cursor, "MATCH", match, "COUNT", 1000)
    return {"cursor": following, "keys": named(found, 2)}


@app.get("/monitoring/cache")
async def cache(match: str = "*", cursor: str = "0") -> dict[str, Any]:
    """How much of today's work was answered from a cache."""
    following, found = await server.ask("RL.USAGE", cursor, "MATCH", match, "COUNT", 1000)
    shown = ("ok", "fail", "cached", "cache_hit_rate")
    keys = {key: {name: of[name] for name in shown} for key, of in named(found, 2).items()}
    return {"cursor": following, "keys": keys}


@app.get("/monitoring/rate-limits")
async def policies() -> dict[str, Any]:
    """The limits of all keys that begin alike."""
    found = named(await server.ask("RL.POLICY", "LIST"))
    return found | {"policies": [named(policy) for policy in found["policies"]]}


@app.get("/monitoring/rate-limits/{key:path}")
async def rate_limits(key: str) -> list[dict[str, Any]]:
    """How a key stands, limit by limit, without taking."""
    return [named(limit, 2) for limit in await server.ask("RL.QUOTA", key) or []]


class Clear(BaseModel):
    """Which usage to forget: of one key, or of all that match a pattern and are
    not configured by key."""

    key: str | None = None
    match: str | None = None
    cursor: str = "0"


@app.post("/monitoring/clear")
async def clear(which: Clear) -> dict[str, Any]:
    if which.key is not None:
        return {"cursor": "0", "cleared": await server.ask("RL.RESET", which.key)}
    if which.match is None:
        raise HTTPException(422, "give key or match")
    following, cleared = await server.ask("RL.CLEAR", which.cursor, "MATCH", which.match, "COUNT", 1000)
    return {"cursor": following, "cleared": cleared}


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


def main() -> None:
    """Serves with uvicorn."""
    import argparse

    import uvicorn

    parser = argparse.ArgumentParser(prog="floodgate_redis.service", description="A rate limiter over HTTP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    uvicorn.run("floodgate_redis.service:app", host=asked.host, port=asked.port, workers=asked.workers)


if __name__ == "__main__":
    main()
