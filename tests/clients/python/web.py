"""A web service with FastAPI that uses all of it.

    REDIS_URL=redis://localhost:6379 uvicorn web:app
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse

from floodgate_redis.asgi import RateLimit
from floodgate_redis.asyncio import Breaker, CircuitOpen, Denied, FailClosed, Limiter, LocalBucket, Server, reserve

server = Server(
    os.environ.get("REDIS_URL", "redis://localhost:6379"),
    patience=float(os.environ.get("REDIS_PATIENCE", "0.25")),
)
limiter = Limiter(server, LocalBucket(rate=20))
logins = Limiter(server, FailClosed())
words = Limiter(server, LocalBucket(rate=500, burst=5_000))  # its units are not requests
payments = Breaker(server, "payments", "3:open=30s")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await server.check()  # wrong credentials or no Floodgate: it does not start
    yield
    await server.close()


app = FastAPI(lifespan=lifespan)

# Three limits at once, for each caller.
app.add_middleware(RateLimit, limiter=limiter, limits="10/s,1000/h,10000/d")


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


@app.post("/login/{user}")
async def login(user: str) -> dict[str, str]:
    """A limit by key. While Redis is away nobody logs in."""
    decision = await logins.acquire(f"login:{user}", "5/m")
    if not decision.granted:
        raise HTTPException(429, "too many attempts", decision.retry_after)
    return {"hello": user}


@app.get("/report")
async def report() -> dict[str, str]:
    """Waiting: two at a time pass each second, the others stand in line."""
    decision = await limiter.acquire("report", "2/s", wait=5)
    if not decision.granted:
        raise HTTPException(503, "too many wait", decision.retry_after)
    return {"report": "ready"}


@app.post("/pay")
async def pay(cents: int) -> dict[str, int]:
    """A breaker round a call, with the call's own timeout inside."""
    async with payments.guard(), asyncio.timeout(2):
        return {"paid": await charge(cents)}


@app.post("/ask")
async def ask(length: int) -> StreamingResponse:
    """The tokens of a language model: an estimate is reserved, what was streamed
    is charged, also when the caller hangs up half way."""

    async def tokens() -> AsyncIterator[str]:
        async with reserve(words, {"llm": "100000/m,concurrent:5"}, estimate=1500, ttl=3) as spending:
            async for word in model(length):
                spending.add(1)
                yield word

    stream = tokens()
    first = await anext(stream)  # reserved by now, or denied before the answer begins

    async def answer() -> AsyncIterator[str]:
        yield first
        async for word in stream:
            yield word

    return StreamingResponse(answer(), media_type="text/plain")


@app.exception_handler(Denied)
async def denied(_: Request, error: Denied) -> JSONResponse:
    return JSONResponse({"error": "too many tokens"}, status_code=429, headers=error.retry_after)


@app.exception_handler(CircuitOpen)
async def circuit_open(_: Request, error: CircuitOpen) -> JSONResponse:
    return JSONResponse({"error": "payments are down"}, status_code=503, headers=error.retry_after)


# What stands for the services of others.


async def charge(cents: int) -> int:
    if cents == 13:
        raise HTTPException(502, "no answer")
    return cents


async def model(length: int) -> AsyncIterator[str]:
    for _ in range(length):
        await asyncio.sleep(0.01)
        yield "word "
