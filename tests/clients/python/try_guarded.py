"""Tries `guarded` and the cache on a real server: python try_guarded.py PORT PLAIN.
Talks as try_recipes.py does. With a third argument it is one of several processes."""

import asyncio
import contextlib
import functools
import inspect
import math
import os
import signal
import subprocess
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis.exceptions import ResponseError

import floodgate_redis
from floodgate_redis import (
    Away,
    Breaker,
    Cache,
    CircuitOpen,
    Denied,
    FailClosed,
    FailOpen,
    Limiter,
    LocalBucket,
    Server,
    guarded,
    memory,
    reserve,
)
from floodgate_redis import asyncio as aio

from outage import eventually, interrupted, please
from log_capture import LogCapture
URL = f"redis://127.0.0.1:{sys.argv[1]}"
# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0
# Nothing that ends takes so long; what takes longer hangs.
HANGS = 30.0


said = LogCapture()


def stats(server: Server, key: str) -> dict[str, Any]:
    """The totals of a key."""

    def mapped(reply: Any) -> dict[str, Any]:
        return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))

    return mapped(mapped(server.ask("RL.STATS", key))["total"])


def times(server: Server, command: str) -> int:
    """How often a command has reached the server."""
    rows = {name.lower(): row for name, row in server.ask("INFO", "commandstats").items()}
    return int(rows.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def values_that_all_share(server: Server) -> None:
    cache, other = Cache(server, "a*[b]"), Cache(server, "ab")
    assert cache.get("x") is None and cache.get("x", 7) == 7 and not cache.exists("x") and cache.ttl("x") is None
    for value in ({"list": [1, 2.5, "ü", None, True]}, None, "", 0):
        cache.set("x", value)
        assert cache.get("x", 7) == value and cache.exists("x"), value
    assert cache.ttl("x") == float("inf")
    cache.set("x", 1, ttl=100)
    left = cache.ttl("x")
    assert left is not None and 90 < left <= 100
    cache.set("brief", 1, ttl=0.05)
    eventually("it ends", lambda: not cache.exists("brief"))
    for key in ("user:1", "user:2", "team:1"):
        cache.set(key, key)
    other.set("user:1", "other")
    with cache.making("user:3"):  # a place is no value
        assert cache.clear("user:*") == 2
        assert (cache.get("user:1"), cache.get("team:1"), other.get("user:1")) == (None, "team:1", "other")
        server.ask("MSET", *[word for i in range(3000) for word in (f"a*[b]:many:{i}", "1")])
        assert cache.clear("many:*") == 3000
        assert server.ask("EXISTS", "a*[b]!user:3") == 1
    assert cache.delete("x", "team:1", "none") == 2 and cache.delete() == 0 and cache.clear() == 0
    assert other.clear() == 1
    try:
        cache.set("x", object())
        raise AssertionError("it is no JSON")
    except TypeError:
        pass


def made_once(server: Server) -> None:
    """By twenty threads of four processes; and when who makes it dies, by the next."""
    processes = [start("once") for _ in range(4)]
    for process in processes:
        assert process.wait(60) == 0
    assert server.ask("GET", "once:made") == "1"
    assert server.ask("LLEN", "once:answers") == 20
    assert set(server.ask("LRANGE", "once:answers", 0, -1)) == {"42"}

    dies = start("dies")
    eventually("it makes", lambda: server.ask("GET", "dies:made") == "1")
    dies.send_signal(signal.SIGKILL)
    dies.wait(HANGS)
    begin = time.monotonic()
    # Out of patience it would make it as well.
    assert Cache(server, "dies", hold=0.5, patience=10 * HANGS).once("x", lambda: "mine") == "mine"
    assert time.monotonic() - begin < HANGS

    # Who fails leaves it to the next.
    cache = Cache(server, "fails")
    try:
        cache.once("x", lambda: 1 // 0)
        raise AssertionError("it failed")
    except ZeroDivisionError:
        pass
    assert cache.once("x", lambda: 1) == 1
    # Rather twice than never.
    impatient = Cache(server, "slow", patience=0.2)
    with impatient.making("x") as first:
        assert first is memory.MISSING
        assert impatient.once("x", lambda: 2) == 2


def lets_wait(server: Server, longest: str) -> None:
    try:
        server.ask("CONFIG", "SET", "floodgate.wait-max", longest)
    except ResponseError:  # Redis 6.2 has no such setting; there they can stand in line
        assert server.ask("INFO", "server")["redis_version"].startswith("6.")


def without_a_place_in_line(server: Server) -> None:
    """Where the server lets nobody wait for as long as a cache is patient, one makes it
    still; what was asked for in so many words is refused."""
    patient = Cache(server, "patient", patience=3600)
    with ThreadPoolExecutor(1) as pool:
        with patient.making("x"):
            waits = pool.submit(patient.once, "x", lambda: 1)
            eventually("it stands in line", lambda: server.ask("RL.QUEUE", "patient!x")[0] == 1)
        assert waits.result() == 1
    limiter = Limiter(server, FailOpen())

    def reserved() -> None:
        with reserve(limiter, {"patient": "concurrent:1"}, wait=31):
            pass

    for asks in (reserved, lambda: limiter.acquire("patient:1", "1/h", wait=31)):
        try:
            asks()
            raise AssertionError("so long nobody may wait")
        except ResponseError as error:
            assert "setting wait-max" in str(error)

    cache, made = Cache(server, "brief"), []

    def make() -> int:
        made.append(1)
        time.sleep(0.2)
        return 42

    lets_wait(server, "50ms")
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(lambda _: cache.once("x", make), range(5))) == [42] * 5
    assert len(made) == 1
    impatient = Cache(server, "brief", patience=0.2)
    with impatient.making("z") as first:
        assert first is memory.MISSING
        assert impatient.once("z", lambda: 2) == 2
    lets_wait(server, "30s")

    # What is refused for another reason is told.
    server.ask("SET", "brief!y", "1")
    try:
        cache.once("y", make)
        raise AssertionError("the place is of another type")
    except ResponseError as error:
        assert "WRONGTYPE" in str(error)


def who_waits_shares_the_places(server: Server) -> None:
    """Callers of a cache and of a limit: the second of them does not stand in line."""
    limiter = Limiter(server, FailOpen())
    assert limiter.acquire("places", "1/h").granted
    with Server(URL, patience=PATIENCE, waiters=1) as one, ThreadPoolExecutor(1) as pool:
        with Cache(server, "places").making("x"):
            waits = pool.submit(Cache(one, "places", patience=25).once, "x", lambda: 2)
            eventually("it stands in line", lambda: server.ask("RL.QUEUE", "places!x")[0] == 1)
            assert not Limiter(one, FailOpen()).acquire("places", "1/h", wait=20).granted
            assert server.ask("RL.QUEUE", "places!x")[0] == 1
        assert waits.result() == 2


def start(part: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, __file__, *sys.argv[1:3], part])


def one_of_several(part: str) -> None:
    server = Server(URL, patience=PATIENCE)
    if part == "dies":

        def never() -> None:
            server.ask("INCR", "dies:made")
            time.sleep(60)

        Cache(server, "dies", hold=0.5).once("x", never)

    def make() -> int:
        server.ask("INCR", "once:made")
        time.sleep(0.3)
        return 42

    def ask(_: int) -> None:
        # More than may stand in line at a time: the others look again.
        server.ask("RPUSH", "once:answers", Cache(server, "once").once("answer", make))

    with Server(URL, patience=PATIENCE, waiters=2) as server, ThreadPoolExecutor(5) as pool:
        list(pool.map(ask, range(5)))


class Api:
    """What costs money."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    def answer(self, user: str, question: str) -> dict[str, Any]:
        self.calls += 1
        time.sleep(0.002)
        if self.fails:
            raise OSError("no answer")
        return {"text": f"{question}!", "cost": 0.0125}


def a_paid_call(server: Server) -> None:
    limiter, cache, api = Limiter(server, FailClosed()), Cache(server, "answers"), Api()

    @guarded(
        limiter,
        Breaker(server, "{llm}api", "2:open=1h"),
        key=lambda user, question: f"{{llm}}{user}",
        limits="3/h",
        cache=cache,
        ttl=60,
        cached_as=lambda user, question: question,
        spend=lambda answer: answer["cost"],
    )
    def ask(user: str, question: str) -> dict[str, Any]:
        return api.answer(user, question)

    assert ask.__name__ == "ask"
    before = times(server, "cb.acquire")
    for user in ("ann", "ann", "bob"):
        assert ask(user, "1+1?") == {"text": "1+1!".replace("!", "?!"), "cost": 0.0125}
    assert api.calls == 1 and times(server, "cb.acquire") - before == 1
    left = cache.ttl("1+1?")
    assert left is not None and left <= 60
    # A cached answer takes no quota.
    assert limiter.quota("{llm}ann", "3/h").limits[0].used == 1
    ann, bob = stats(server, "{llm}ann"), stats(server, "{llm}bob")
    assert (ann["ok"], ann["cached"], ann["fail"]) == (2, 1, 0), ann
    assert (bob["ok"], bob["cached"]) == (1, 1), bob
    assert float(ann["spend"]) == 0.0125, ann

    ask("ann", "2")
    ask("ann", "3")
    try:
        ask("ann", "4")
        raise AssertionError("it was granted")
    except Denied as denied:
        assert denied.decision.retry_after_ms > 0 and denied.retry_after
    assert (api.calls, ask("ann", "3")["text"]) == (3, "3!")

    api.fails = True
    for question in ("5", "6"):
        try:
            ask("joe", question)
            raise AssertionError("it failed")
        except OSError:
            pass
    try:
        ask("joe", "7")
        raise AssertionError("the circuit is open")
    except CircuitOpen as open:
        assert open.retry_after_ms > 3_500_000
    # An open breaker uses up no quota, and no failure is cached.
    assert (api.calls, limiter.quota("{llm}joe", "3/h").limits[0].used) == (5, 2)
    assert stats(server, "{llm}joe")["fail"] == 2
    assert ask("joe", "1+1?")["cost"] == 0.0125

    # Without a cache; with limits of operators, a cost, and an answer that is no JSON.
    server.ask("RL.PIN", "{llm}odd", "10/h")
    odd = guarded(limiter, Breaker(server, "{llm}odd:api", "2"), key="{llm}odd", cost=lambda n: n)(lambda n: {n})
    assert odd(4) == {4} and limiter.quota("{llm}odd").limits[0].used == 4
    odd = guarded(limiter, Breaker(server, "{llm}odd:api", "2"), key="{llm}odd", cache=cache)(lambda n: {n})
    said.lines.clear()
    assert odd(4) == {4} and odd(4) == {4}
    assert len(said.lines) == 2 and "is not cached" in said.lines[0], said.lines
    try:
        odd({4})
        raise AssertionError("its arguments are not JSON")
    except TypeError as error:
        assert "cached_as=" in str(error)
    assert guarded(limiter, Breaker(server, "{llm}odd:api", "2"), key="{llm}odd", cache=cache)(pow)(2, 5) == 32


class Asks:
    async def __call__(self) -> None: ...


async def decorators_take_work(server: Server) -> None:
    """And nothing whose call ends before it: neither its failures nor its answers would be known."""
    limiter, breaker = Limiter(server, FailClosed()), Breaker(server, "{kind}api", "1")

    async def asked() -> str:
        return "asked"

    async def walked() -> AsyncIterator[int]:
        yield 1

    def generated() -> Iterator[int]:
        yield 1

    def plain() -> str:
        return "told"

    def logged(function: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def logs() -> Any:
            return function()

        return logs

    async with aio.Server(URL, patience=PATIENCE) as other:
        of_loop = aio.Breaker(other, "{kind}aio", "9")
        asking = aio.guarded(aio.Limiter(other, FailClosed()), of_loop, key="{kind}", limits="9/h")
        for decorator in (breaker, guarded(limiter, breaker, key="{kind}", limits="9/h")):
            for wrong in (asked, functools.partial(asked), Asks(), walked, generated):
                try:
                    decorator(wrong)
                    raise AssertionError(wrong)
                except TypeError as error:
                    named = "floodgate_redis.asyncio" if wrong not in (walked, generated) else "`with breaker.guard():`"
                    assert named in str(error), error
            assert decorator(plain)() == "told"
            # Behind another decorator its answer shows what it is.
            for wrong in (asked, walked, generated):
                try:
                    decorator(logged(wrong))()
                    raise AssertionError(wrong)
                except TypeError as error:
                    named = "floodgate_redis.asyncio" if wrong is asked else "`with breaker.guard():`"
                    assert named in str(error), error
            assert decorator(functools.wraps(generated)(lambda: list(generated())))() == [1]
        for decorates in (of_loop, asking):
            for generator in (walked, generated):
                try:
                    decorates(generator)  # type: ignore[arg-type]
                    raise AssertionError(generator)
                except TypeError as error:
                    assert "`async with breaker.guard():`" in str(error), error
            try:
                await decorates(plain)()  # type: ignore[arg-type]
                raise AssertionError("it gives nothing to await")
            except TypeError as error:
                assert str(error).endswith("plain is not asynchronous: take the decorator of floodgate_redis"), error
            # What it makes is a coroutine, also to a type checker.
            assert await asyncio.create_task(decorates(asked)()) == "asked"
            assert await decorates(lambda: asyncio.create_task(asked()))() == "asked"


def others_take(*keys: str) -> None:
    """By another limit, after what a frozen server was asked and before that is given
    back: these units are none of ours. The server is thawed."""
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as other:
        other.sendall("".join(f"RL.ACQUIRE {key} 100/d:name=other\r\n" for key in keys).encode())
        please("thaw")
        told = b""
        while told.count(b"\r\n") < 7 * len(keys):
            told += other.recv(1024)
        assert told.count(b"*6\r\n:1\r\n") == len(keys), told


class Sevens:
    """Each takes a tenth of a second to make."""

    def __init__(self) -> None:
        self.made = 0

    async def make(self) -> int:
        self.made += 1
        await asyncio.sleep(0.1)
        return 7


async def a_cache_in_asyncio(server: aio.Server) -> None:
    cache = aio.Cache(server, "aio")
    await cache.set("x", [1], ttl=100)
    assert await cache.get("x") == [1] and await cache.exists("x") and 90 < (await cache.ttl("x") or 0) <= 100
    assert await cache.delete("x") == 1 and await cache.clear() == 0
    await server.ask("SET", "aio!y", "1")
    try:
        await cache.once("y", Sevens().make)
        raise AssertionError("the place is of another type")
    except ResponseError as error:
        assert "WRONGTYPE" in str(error)


async def one_of_many_makes_it_in_asyncio(server: aio.Server, check: Server) -> None:
    cache = aio.Cache(server, "aio")
    sevens = Sevens()
    assert await asyncio.gather(*(cache.once("seven", sevens.make) for _ in range(20))) == [7] * 20
    assert sevens.made == 1
    # Also where the server lets nobody wait for so long.
    patient = aio.Cache(server, "aio", patience=3600)
    async with patient.making("patient"):
        waits = asyncio.create_task(patient.once("patient", sevens.make))
        deadline = time.monotonic() + 60
        while (await server.ask("RL.QUEUE", "aio!patient"))[0] == 0:
            assert time.monotonic() < deadline, "it stands in line"
            await asyncio.sleep(0.02)
    assert await waits == 7
    lets_wait(check, "50ms")
    sevens = Sevens()
    assert await asyncio.gather(*(cache.once("brief", sevens.make) for _ in range(20))) == [7] * 20
    assert sevens.made == 1
    impatient = aio.Cache(server, "aio", patience=0.2)
    async with impatient.making("z"):
        assert await impatient.once("z", sevens.make) == 7
    lets_wait(check, "30s")


async def a_guarded_call_in_asyncio(server: aio.Server, check: Server) -> None:
    limiter = aio.Limiter(server, FailClosed())
    gone = asyncio.Event()

    @aio.guarded(
        limiter,
        aio.Breaker(server, "{aio}api", "1:open=100ms:lease=1h"),
        key="{aio}ann",
        limits="5/h",
        cache=aio.Cache(server, "aio"),
        spend=lambda _: "0.5",
    )
    async def ask(question: str) -> str:
        if question == "never":
            gone.set()
            await asyncio.sleep(60)
        if question == "bad":
            raise OSError("no answer")
        return question + "!"

    assert [await ask("1"), await ask("1")] == ["1!", "1!"]
    assert (await limiter.quota("{aio}ann", "5/h")).limits[0].used == 1
    told = stats(check, "{aio}ann")
    assert (told["ok"], told["cached"], float(told["spend"])) == (2, 1, 0.5), told
    try:
        await ask("bad")
        raise AssertionError("it failed")
    except OSError:
        pass
    await asyncio.sleep(0.15)
    # A trial that is cancelled says nothing, and is given back.
    trial = asyncio.ensure_future(ask("never"))
    await gone.wait()
    trial.cancel()
    await asyncio.wait([trial])
    assert trial.cancelled()
    assert await ask("2") == "2!"
    told = stats(check, "{aio}ann")
    assert (told["ok"], told["fail"]) == (3, 1), told


async def cancelled_while_it_is_asked(server: aio.Server) -> None:
    """Units and trial are given back."""
    limiter = aio.Limiter(server, FailClosed())
    await server.ask("RL.POLICY", "SET", "joes", "5/h", "PREFIX", "{aio}joe")
    for key, limits in (("{aio}ann", "5/h"), ("{aio}joe", None)):
        used = (await limiter.quota(key, "5/h")).limits[0].used
        lone = aio.guarded(limiter, aio.Breaker(server, "{aio}api", "1"), key=key, limits=limits)(Sevens().make)
        please("freeze")
        asking = asyncio.ensure_future(lone())
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait([asking])
        others_take(key)
        deadline = time.monotonic() + 60
        while (await limiter.quota(key, "5/h")).limits[0].used != used:
            assert time.monotonic() < deadline, f"the unit of {key} is not given back"
            await asyncio.sleep(0.02)
        assert (await limiter.quota(key, "100/d:name=other")).limits[0].used == 1


async def in_asyncio(check: Server) -> None:
    async with aio.Server(URL, patience=PATIENCE) as server:
        await a_cache_in_asyncio(server)
        await one_of_many_makes_it_in_asyncio(server, check)
        await a_guarded_call_in_asyncio(server, check)
        await cancelled_while_it_is_asked(server)


async def told(asked: Any) -> Any:
    """The answer, with asyncio or without."""
    return await asked if inspect.isawaitable(asked) else asked


class Half:
    """The package, or the same for asyncio."""

    def __init__(self, of: Any, url: str, **options: Any):
        self.of = of
        self.server: Any = of.Server(url, **{"patience": PATIENCE, **options})
        self.limiter: Any = of.Limiter(self.server, FailOpen())
        self.calls = 0

    def guarded(self, key: str, answer: Any, **options: Any) -> Callable[[], Any]:
        """A call that gives the answer, and is counted."""

        def call() -> Any:
            self.calls += 1
            return answer

        async def calls() -> Any:
            return call()

        breaker = self.of.Breaker(self.server, f"{key}api", "1:open=1h")
        decorates = self.of.guarded(self.limiter, breaker, key=key, limits="99/h", cached_as=lambda: "x", **options)
        return decorates(calls if self.of is aio else call)  # type: ignore[no-any-return]

    def made(self, answer: Any) -> Callable[[], Any]:
        """What `once` takes."""

        async def makes() -> Any:
            return answer()

        return makes if self.of is aio else answer


async def halves(url: str = URL, **options: Any) -> AsyncIterator[tuple[str, Half]]:
    for name, of in (("sync", floodgate_redis), ("aio", aio)):
        half = Half(of, url, **options)
        yield name, half
        await told(half.server.close())


async def the_answer_counts_more(check: Server) -> None:
    """Than what it cost, and whether it can be cached."""
    check.ask("ACL", "SETUSER", "setless", "reset", "on", ">secret", "~*", "+@all", "-set")
    async for name, half in halves():
        said.lines.clear()
        for i, amount in enumerate((lambda answer: answer["dollars"], lambda _: "n/a", lambda _: "\ud800", lambda _: None)):
            key, cache = f"{{cost}}{name}:{i}", half.of.Cache(half.server, f"cost:{name}:{i}")
            asks = half.guarded(key, {"text": "42"}, cache=cache, spend=amount)
            assert [await told(asks()) for _ in range(2)] == [{"text": "42"}] * 2
            total = stats(check, key)
            assert (total["ok"], total["cached"], total["fail"], float(total["spend"])) == (2, 1, 0, 0), total
        assert half.calls == 4 and len(said.lines) == 3, said.lines
        assert said.lines[0] == "what a call cost is not recorded: KeyError: 'dollars'", said.lines
        assert said.lines[1].startswith("RL.RECORD failed: "), said.lines
    for ttl, cached in ((1e16, True), (math.inf, True), (math.nan, False)):
        async for name, half in halves():
            cache = half.of.Cache(half.server, f"ttl:{name}:{ttl}")
            asks = half.guarded("{ttl}", 42, cache=cache, ttl=ttl)
            assert [await told(asks()) for _ in range(2)] == [42, 42] and half.calls == 2 - cached, (ttl, half.calls)
            assert await told(cache.exists("x")) is cached
    async for name, half in halves(URL.replace("//", "//setless:secret@")):
        said.lines.clear()
        cache = half.of.Cache(half.server, f"not:{name}")
        asks = half.guarded("{not}", 42, cache=cache)
        assert await told(asks()) == 42 and len(said.lines) == 1 and "is not cached" in said.lines[0], said.lines


async def what_is_no_json(check: Server) -> None:
    """Is made anew where it cannot be read, and returned where it cannot be kept."""
    async for name, half in halves():
        cache = half.of.Cache(half.server, f"junk:{name}")
        check.ask("SET", f"junk:{name}:text", "not json")
        check._nodes.of(None)._redis.set(f"junk:{name}:bytes", b"\xff\xfe")
        check.ask("SET", f"junk:{name}:deep", "[" * 100_000)
        for key in ("text", "bytes", "deep"):
            said.lines.clear()
            assert await told(cache.get(key, 7)) == 7, key
            assert len(said.lines) == 1 and "is no JSON" in said.lines[0], said.lines
            assert await told(cache.once(key, half.made(lambda: 42))) == 42 == await told(cache.get(key))
        for odd in ({1, 2}, object()):
            said.lines.clear()
            assert await told(cache.once("odd", half.made(lambda odd=odd: odd))) is odd
            assert len(said.lines) == 1 and "is not cached" in said.lines[0], said.lines


async def while_redis_cannot_write(check: Server) -> None:
    """It answers who looks: that does not say that it is back, and nothing is paid for twice."""
    async for name, half in halves(rest=0.02):
        limiter, space = half.of.Limiter(half.server, FailOpen()), f"full:{name}"
        cache = half.of.Cache(half.server, space, patience=1)
        await told(cache.set("old", "theirs"))
        asks = half.guarded("{full}", 42, cache=cache)
        said.lines.clear()
        check.ask("CONFIG", "SET", "maxmemory", 1)
        end, rounds = time.monotonic() + 2, 0
        await told(limiter.acquire(space, "99/h"))
        await told(cache.set("old", "mine"))
        while time.monotonic() < end or rounds < 20:
            assert await told(asks()) == 42
            await told(limiter.acquire(space, "99/h"))
            assert await told(cache.get("old")) == "mine" and await told(cache.exists("x"))
            assert await told(cache.ttl("x")) == math.inf
            await asyncio.sleep(0.005)
            rounds += 1
        assert half.calls == 1 and len(said.lines) == 1, (half.calls, rounds, said.lines)
        # Others that look are answered, after the rest.
        looks = half.of.Limiter(half.server, FailOpen())
        seen = 0
        while not seen:
            await asyncio.sleep(0.04)
            with contextlib.suppress(Away):
                seen += len((await told(looks.quota("{full}", "99/h"))).limits)
        check.ask("CONFIG", "SET", "maxmemory", 0)
        while not (await told(limiter.acquire(space, "99/h"))).from_redis:
            await asyncio.sleep(0.02)
        assert said.lines[1:] == ["Redis is back"], said.lines
        # What all share, and not what was kept meanwhile.
        assert await told(cache.get("old")) == "theirs" and not await told(cache.exists("x"))
        assert await told(cache.delete("x")) == 0


def who_is_interrupted_pays_nothing(server: Server) -> None:
    """By what a signal raises while it is asked: the unit is given back."""
    limiter = Limiter(server, FailClosed())
    asks = guarded(limiter, Breaker(server, "{limit}api", "1"), key="{limit}", limits="5/h")(lambda: 1)
    assert asks() == 1
    please("freeze")
    interrupted(asks)
    please("thaw")
    eventually("the unit is given back", lambda: limiter.quota("{limit}", "5/h").limits[0].used == 1)


def while_redis_is_away(server: Server) -> None:
    limiter, cache, api = Limiter(server, LocalBucket(rate=0.001, burst=2)), Cache(server, "answers", most=2), Api()
    breaker = Breaker(server, "{llm}api", "2:open=1h")  # open, as far as Redis knows

    @guarded(limiter, breaker, key="{llm}away", limits="3/h", cache=cache, cached_as=lambda question: question)
    def ask(question: str) -> dict[str, Any]:
        return api.answer("away", question)

    please("down")
    assert [ask("1+1?")["text"] for _ in range(3)] == ["1+1?!"] * 3
    assert api.calls == 1
    ask("2")
    try:
        ask("3")
        raise AssertionError("it was granted")
    except Denied as denied:
        assert not denied.decision.from_redis
    assert cache.exists("2") and cache.ttl("2") == float("inf") and not cache.exists("9")
    cache.set("3", 3)
    cache.set("4", 4, ttl=0.01)
    assert not cache.exists("2"), "it holds two"
    time.sleep(0.02)
    assert cache.get("4") is None and cache.get("3") == 3
    assert cache.clear("[3]") == 1 and cache.delete("3", "4") == 0
    cache.set("1+1?", "mine")
    please("up")
    eventually("it is asked again", lambda: cache.get("1+1?") != "mine")
    # What all share, and not what was kept meanwhile.
    assert cache.get("1+1?") == {"text": "1+1?!", "cost": 0.0125} and cache.get("3") is not None


def threads_of_a_frozen_server(server: Server) -> None:
    """Nobody waits for long, and one makes what the others ask for, or each."""
    brief = Server(URL, patience=3, rest=5)
    cache = Cache(brief, "frozen", patience=1)
    assert cache.get("x") is None
    limiter = Limiter(brief, FailClosed())
    server.ask("RL.POLICY", "SET", "bobs", "5/h", "PREFIX", "{frozen}bob")
    keys: dict[str, str | None] = {"{frozen}ann": "5/h", "{frozen}bob": None}
    breaker = Breaker(brief, "{frozen}api", "1")
    alone = [guarded(limiter, breaker, key=key, limits=limits)(lambda: 1) for key, limits in keys.items()]
    assert [lone() for lone in alone] == [1, 1]
    please("freeze")
    begin = time.monotonic()
    # Out of patience, it is not made; what was taken meanwhile is given back, below.
    with ThreadPoolExecutor(2) as pool:
        for asked in [pool.submit(lone) for lone in alone]:
            error = asked.exception()
            assert isinstance(error, Denied) and not error.decision.from_redis, error
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: cache.once("x", lambda: 5), range(8))) == [5] * 8
    assert time.monotonic() - begin < HANGS
    others_take(*keys)
    looking = Limiter(server, FailClosed())

    def given_back() -> bool:
        try:
            return all(looking.quota(key, "5/h").limits[0].used == 1 for key in keys)
        except Away:
            return False

    eventually("the units are given back", given_back)
    assert all(looking.quota(key, "100/d:name=other").limits[0].used == 1 for key in keys)
    assert threading.active_count() < 50


def main() -> None:
    if len(sys.argv) > 3:
        return one_of_several(sys.argv[3])
    with Server(URL, patience=PATIENCE, rest=0.2) as server:
        values_that_all_share(server)
        made_once(server)
        without_a_place_in_line(server)
        who_waits_shares_the_places(server)
        asyncio.run(decorators_take_work(server))
        a_paid_call(server)
        asyncio.run(in_asyncio(server))
        asyncio.run(the_answer_counts_more(server))
        asyncio.run(what_is_no_json(server))
        asyncio.run(while_redis_cannot_write(server))
        who_is_interrupted_pays_nothing(server)
        threads_of_a_frozen_server(server)
        eventually("it answers", lambda: server.ask("PING") is not None)
        while_redis_is_away(server)
    print("done")
    os._exit(0)  # not after threads whose answers come no more


if __name__ == "__main__":
    main()
