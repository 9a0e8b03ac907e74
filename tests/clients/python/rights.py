"""Does what a plug-in does, as a user who may no more than README says: python
rights.py PLUG-IN URL"""

import asyncio
import logging
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import floodgate_redis.asyncio as aio
from floodgate_redis import BatchItem, Breaker, Cache, FailClosed, Lease, Limiter, Server, guarded, reserve

PLUGIN, URL = sys.argv[1:]


class Refused(logging.Handler):
    """What could not be told is only logged."""

    said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


logging.getLogger("floodgate_redis").addHandler(Refused())


def limiter() -> Limiter:
    server = Server(URL, patience=20)
    server.check()
    return Limiter(server, FailClosed())


async def lone() -> aio.Limiter:
    server = aio.Server(URL, patience=20)
    await server.check()
    return aio.Limiter(server, aio.FailClosed())


def core() -> None:
    floodgate = limiter()
    assert floodgate.acquire("user:1", "9/h", cost=2).granted and floodgate.acquire("user:1", "9/h", wait=1).granted
    assert floodgate.acquire_with_headers("user:1", "9/h")[0].granted and floodgate.quota("user:1").limits
    assert floodgate.charge("user:1", 1, "9/h").from_redis
    assert floodgate.batch([BatchItem("user:1", "9/h")])[0].granted and floodgate.refund("user:1", 1) == 1


def leases() -> None:
    with Lease(limiter(), "user:1", "100000/h", processes=1) as lease:
        deadline = time.monotonic() + 60
        while lease._book.held is None:
            assert lease.acquire().granted and time.monotonic() < deadline


def breakers() -> None:
    floodgate = limiter()
    with Breaker(floodgate.server, "user:pay", "3").guard(), reserve(floodgate, {"user:llm": "9/h"}, ttl=0.3):
        floodgate.server.ask("RL.RENEW", "none", "TTL", "1s", 1, "user:llm")


def paid() -> None:
    floodgate = limiter()
    cache = Cache(floodgate.server, "NAMESPACE")
    call = guarded(
        floodgate, Breaker(floodgate.server, "user:api", "3"), key="user:1", limits="9/h", cache=cache,
        ttl=9, cached_as=lambda: "x", spend=lambda value: "0.1",
    )(lambda: 1)  # fmt: skip
    assert [call(), call()] == [1, 1] and cache.exists("x") and cache.ttl("x") is not None
    assert cache.clear() == 1 and cache.delete("x") == 0 and floodgate.refund("user:1", 1, "9/h") == 1


def of_limits() -> None:
    import floodgate_redis.limits  # noqa: F401
    import limits
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

    storage: Any = storage_from_string(URL.replace("redis://", "floodgate://"))
    assert storage.check()
    for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter):
        taker = strategy(storage)
        assert taker.hit(limits.parse("2/hour"), "a") and taker.get_window_stats(limits.parse("2/hour"), "a").remaining == 1
        taker.clear(limits.parse("2/hour"), "a")
    storage.reset()


def asgi() -> None:
    from fastapi import FastAPI
    from floodgate_redis.asgi import RateLimit

    async def asked() -> None:
        assert await answered(RateLimit(FastAPI(), await lone(), "9/h")) == 404

    asyncio.run(asked())


def of_fastapi() -> None:
    from fastapi import Depends, FastAPI
    from floodgate_redis.fastapi import rate_limit

    async def asked() -> None:
        app = FastAPI()

        @app.get("/", dependencies=[Depends(rate_limit("1/h", limiter=await lone()))])
        async def page() -> str:
            return "page"

        assert [await answered(app), await answered(app)] == [200, 429]

    asyncio.run(asked())


async def answered(app: Any) -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "client": ("::1", 1)}
    await app(scope, receive, send)
    return int(sent[0]["status"])


def wsgi() -> None:
    from floodgate_redis.flask import RateLimit

    said: list[str] = []
    app = RateLimit(lambda environ, start: start("200 OK", []) or [b""], limiter(), "1/h")
    for _ in range(2):
        app({"REMOTE_ADDR": "::1"}, lambda status, headers: said.append(status))
    assert said == ["200 OK", "429 Too Many Requests"], said


def of_django() -> None:
    os.environ |= {"REDIS_URL": URL, "REDIS_PATIENCE": "20"}
    import django_app
    from django.test import RequestFactory  # type: ignore[import-untyped]
    from floodgate_redis.django.rest_framework import AnonRateThrottle

    request: Any = RequestFactory().get("/")
    request.user = None
    django_app.server.check()
    throttle = AnonRateThrottle()
    throttle.num_requests = 1
    assert throttle.allow_request(request, None) and not throttle.allow_request(request, None)
    assert (throttle.wait() or 0) > 3000


def of_pyrate() -> None:
    from floodgate_redis.pyrate import FloodgateBucket, FloodgateBuckets
    from pyrate_limiter import Limiter as Pyrate
    from pyrate_limiter import Rate

    floodgate = limiter()
    assert Pyrate(FloodgateBuckets(floodgate, [Rate(1, 3_600_000)])).try_acquire("a", blocking=False)
    bucket = FloodgateBucket([Rate(1, 3_600_000)], floodgate, "pyrate:a")
    assert bucket.count() == 1
    bucket.flush()


def of_celery() -> None:
    from celery import Celery  # type: ignore[import-untyped]
    from floodgate_redis.celery import limited

    app = Celery("a", broker="memory://")
    app.conf.task_always_eager = True

    @app.task(base=limited(limiter(), "1/h"), name="a")  # type: ignore[untyped-decorator]
    def task() -> int:
        return 1

    assert task.delay().result == 1


def of_the_page() -> None:
    from floodgate_redis.service.page import look

    async def looked() -> None:
        asking = await lone()
        shown = await look(asking.server.ask)
        denied = {row["key"]: row for row in shown["top_denied"]}
        assert denied["other"]["limits"] and shown["policies"] and shown["breakers"][0]["calls"] == 1, shown

    asyncio.run(looked())


def of_litellm() -> None:
    from floodgate_redis.litellm import TokenLimits

    async def requests() -> None:
        tokens = TokenLimits(await lone(), {"key": "5000/h,concurrent:1"})
        for failed in (True, False):
            data: dict[str, Any] = {}
            await tokens.async_pre_call_hook(SimpleNamespace(token="a"), None, data, "completion")
            if failed:
                await tokens.async_post_call_failure_hook(data, ValueError(), None)
            else:
                await tokens.async_log_success_event(data, {"usage": {"total_tokens": 1}}, None, None)

    asyncio.run(requests())


{
    "`Limiter`": core,
    "`Lease`": leases,
    "`Breaker`, `reserve`": breakers,
    "`guarded`, `Cache`": paid,
    "`.limits` (Flask-Limiter, slowapi)": of_limits,
    "`.asgi`": asgi,
    "`.fastapi`": of_fastapi,
    "`.flask`": wsgi,
    "`.django`": of_django,
    "`.pyrate`": of_pyrate,
    "`.celery`": of_celery,
    "`.litellm`": of_litellm,
    "the service's `/page`": of_the_page,
}[PLUGIN]()
assert not Refused.said, Refused.said
