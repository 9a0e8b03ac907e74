"""Tries each first command on a server without the module: python try_without.py PORT PLAIN.
It raises Misconfigured until Floodgate has answered once, and is an outage from then on."""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import floodgate_redis.asyncio as aio
from floodgate_redis import Away, BatchItem, Breaker, Cache, FailOpen, Limiter, Misconfigured, Server, guarded, reserve
from faulty_proxies import TurnedWay
from log_capture import LogCapture

PORT, PLAIN = int(sys.argv[1]), int(sys.argv[2])
PATIENCE = 5.0
REST = 0.2
COMMANDS = (
    "acquire", "acquire_with_headers", "acquire with wait", "batch", "charge", "refund", "quota", "breaker",
    "reserve", "guarded", "cache",
)  # fmt: skip
LOUD = COMMANDS[:-1]
"""Those that raise. A cache that is only looked into asks nothing of Floodgate."""


def by(server: Server, what: str) -> Any:
    """Whether Redis decided, where the answer says it."""
    limiter = Limiter(server, FailOpen())
    if what == "breaker":
        with Breaker(server, "b", "3:open=1s").guard():
            return None
    if what == "reserve":
        with reserve(limiter, {"r": "999/m"}):
            return None
    if what == "guarded":
        cached = guarded(
            limiter, Breaker(server, "b", "3:open=1s"), key="g", limits="999/m",
            cache=Cache(server, "g"), ttl=0.001, cached_as=lambda: "1",
        )  # fmt: skip
        cached(lambda: 1)()
        return None
    asks: dict[str, Callable[[], Any]] = {
        "acquire": lambda: limiter.acquire("a", "999/m").from_redis,
        "acquire_with_headers": lambda: limiter.acquire_with_headers("a", "999/m")[0].from_redis,
        "acquire with wait": lambda: limiter.acquire("a", "999/m", wait=0.1).from_redis,
        "batch": lambda: limiter.batch([BatchItem("a", "999/m")])[0].from_redis,
        "charge": lambda: limiter.charge("a", 1, "999/m").from_redis,
        "refund": lambda: limiter.refund("a", 1) and None,
        "quota": lambda: limiter.quota("a", "999/m") and None,
        "cache": lambda: Cache(server, "c").get("none"),
    }
    return asks[what]()


async def by_asyncio(server: aio.Server, what: str) -> Any:
    limiter = aio.Limiter(server, aio.FailOpen())
    if what == "breaker":
        async with aio.Breaker(server, "b", "3:open=1s").guard():
            return None
    if what == "reserve":
        async with aio.reserve(limiter, {"r": "999/m"}):
            return None
    if what == "guarded":

        async def made() -> int:
            return 1

        await aio.guarded(
            limiter, aio.Breaker(server, "b", "3:open=1s"), key="g", limits="999/m",
            cache=aio.Cache(server, "g"), ttl=0.001, cached_as=lambda: "1",
        )(made)()  # fmt: skip
        return None
    if what == "acquire":
        return (await limiter.acquire("a", "999/m")).from_redis
    if what == "acquire_with_headers":
        return (await limiter.acquire_with_headers("a", "999/m"))[0].from_redis
    if what == "acquire with wait":
        return (await limiter.acquire("a", "999/m", wait=0.1)).from_redis
    if what == "batch":
        return (await limiter.batch([aio.BatchItem("a", "999/m")]))[0].from_redis
    if what == "charge":
        return (await limiter.charge("a", 1, "999/m")).from_redis
    if what == "cache":
        return await aio.Cache(server, "c").get("none")
    if what == "refund":
        await limiter.refund("a", 1)
    else:
        await limiter.quota("a", "999/m")
    return None


class Synchronous:
    def __init__(self, url: str):
        self.server = Server(url, patience=PATIENCE, rest=REST)

    def does(self, what: str) -> Any:
        return by(self.server, what)


class WithAsyncio:
    """In one event loop, as a program has it."""

    def __init__(self, url: str):
        self.server, self.loop = aio.Server(url, patience=PATIENCE, rest=REST), asyncio.new_event_loop()

    def does(self, what: str) -> Any:
        return self.loop.run_until_complete(by_asyncio(self.server, what))


Side = Callable[[str], Synchronous | WithAsyncio]


def at_the_start(side: Side) -> None:
    for first in COMMANDS:
        one = side(f"redis://127.0.0.1:{PLAIN}")
        for what in (first, *LOUD):
            try:
                one.does(what)
                assert what == "cache", f"{what} after {first}: nothing was raised"
            except Misconfigured as error:
                assert "has no Floodgate" in str(error), error


def after_the_first_answer(side: Side, said: LogCapture) -> None:
    way = TurnedWay(PORT)
    one = side(way.url)
    for what in LOUD:
        assert one.does(what) in (True, None), what
    for what in COMMANDS:
        way.turn(PLAIN)
        for turn in range(2):
            # Redis answers who looks into the cache, and is not back for that.
            assert one.does("cache") is None
            try:
                assert one.does(what) in (False, None), (what, turn)
            except Away as away:  # no fallback knows a quota
                assert what == "quota", (what, away)
            assert one.does("acquire") is False, (what, turn)
            time.sleep(2 * REST)
        lines = said()
        assert len(lines) == 1 and lines[0].startswith("Redis is away, the fallback decides: Redis has no Floodgate"), lines
        way.turn(PORT)
        time.sleep(2 * REST)
        assert one.does("acquire") is True and said() == ["Redis is back"], what


said = LogCapture()
sides: tuple[Side, ...] = (Synchronous, WithAsyncio)
for side in sides:
    at_the_start(side)
    assert said() == [], "nothing is away"
    after_the_first_answer(side, said)
print("done", flush=True)
