"""Tries the recipes on a real server: python try_recipes.py PORT PLAIN

PLAIN is the port of a server without the module.

Prints `down` when the server is to be killed, `up` when it is to be started
again, `freeze` and `thaw` when it is to be stopped and to go on, and goes on
itself when a line comes in."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from floodgate_redis.asgi import Caller, by_address, by_network
from floodgate_redis.asyncio import (
    Away,
    Breaker,
    CircuitOpen,
    Decision,
    Denied,
    FailClosed,
    FailOpen,
    Limiter,
    LocalBucket,
    Misconfigured,
    Server,
    Spending,
    guarded,
    reserve,
)
from faulty_proxies import LossyWay
from log_capture import LogCapture
from uvicorned import Uvicorn

# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0
# Nothing that ends takes so long; what takes longer hangs.
HANGS = 30.0
URL = f"redis://127.0.0.1:{sys.argv[1]}"
PLAIN = f"redis://127.0.0.1:{sys.argv[2]}"
LLM = "1000/h,concurrent:2"


async def please(what: str) -> None:
    print(what, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


said = LogCapture()


async def eventually(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 60
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def clock_stands_still(server: Server) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    """Of the server: no slow machine ends a window. It can be advanced, by seconds."""
    await server.ask("RL.DEBUG", "CLOCK", "SET", int(time.time() * 1_000_000))
    yield lambda seconds: server.ask("RL.DEBUG", "CLOCK", "ADVANCE", seconds * 1_000_000)
    await server.ask("RL.DEBUG", "CLOCK", "REAL")


async def times(n: int, does: Callable[[], Awaitable[Decision]]) -> list[Decision]:
    return [await does() for _ in range(n)]


def granted(decisions: list[Decision]) -> list[int]:
    return [decision.granted for decision in decisions]


async def used(server: Server, key: str) -> int:
    """Units counted on the first limit of a key."""
    first = (await server.ask("RL.QUOTA", key))[0]
    return int(dict(zip(first[::2], first[1::2]))["used"])


async def waiting(server: Server, key: str) -> int:
    return int((await server.ask("RL.QUEUE", key))[0])


def the_first_request() -> None:
    first = [sys.executable, os.path.join(os.path.dirname(__file__), "first.py")]
    said = subprocess.run(first, env=os.environ | {"REDIS_URL": URL}, capture_output=True, text=True, check=True)
    assert said.stdout == "9 left\n", said


async def a_limit_by_key(limiter: Limiter) -> None:
    assert granted(await times(4, lambda: limiter.acquire("user:1", "3/h"))) == [1, 1, 1, 0]
    assert (await limiter.acquire("user:2", "3/h")).remaining == 2
    denied = await limiter.acquire("user:1", "3/h")
    assert 0 < denied.retry_after_ms <= 3_600_000 and denied.from_redis, denied
    try:
        await limiter.acquire("user:1", "3/")
        raise AssertionError("malformed limits are no outage")
    except Exception as error:
        assert "invalid limit '3/'" in str(error), error


async def three_limits_at_once(limiter: Limiter) -> None:
    """The tightest binds, and a denial takes from none."""
    three = await times(3, lambda: limiter.acquire("user:3", "100/s,5/h,1000/d", cost=2))
    assert granted(three) == [2, 2, 0] and three[2].index == 1, three
    assert (await limiter.acquire("user:3", "100/s,5/h,1000/d")).remaining == 0


async def charged_whatever_is_left(limiter: Limiter) -> None:
    charged = await limiter.charge("user:4", 7, "5/h")
    assert (charged.granted, charged.remaining) == (7, 0) and charged.from_redis, charged
    assert not (await limiter.acquire("user:4", "5/h")).granted
    assert await limiter.refund("user:4", 3, "5/h") == 3
    assert (await limiter.acquire("user:4", "5/h")).granted


async def standing_in_line(limiter: Limiter) -> None:
    # Longer than the patience of what does not wait.
    server = Server(URL, patience=5.0)
    impatient = Limiter(server, FailClosed())
    start = time.monotonic()
    served = await asyncio.gather(*(impatient.acquire("line", "2/6s", wait=25) for _ in range(3)))
    assert granted(list(served)) == [1, 1, 1] and all(d.from_redis for d in served), served
    assert time.monotonic() - start > 5.5
    await server.close()

    # Who goes leaves the line.
    server = limiter.server
    await limiter.acquire("slow", "1/h")
    waiter = asyncio.create_task(limiter.acquire("slow", "1/h", wait=20))

    async def stands() -> bool:
        return await waiting(server, "slow") == 1

    async def stands_no_more() -> bool:
        return await waiting(server, "slow") == 0

    await eventually("it stands in line", stands)
    # Past the most that may wait in a process one is denied at once.
    server._free_waiters, before = threading.Semaphore(0), server._free_waiters
    overtaking = await limiter.acquire("slow", "1/h", wait=20)
    assert (overtaking.granted, overtaking.index) == (0, -2), overtaking
    server._free_waiters = before
    waiter.cancel()
    await eventually("it left the line", stands_no_more)


async def a_breaker_round_a_call(server: Server) -> None:
    breaker = Breaker(server, "mail", "2:open=1h")

    async def call(fails: bool) -> int:
        async with breaker.guard():
            if fails:
                raise ValueError("no answer")
            return 42

    assert await call(False) == 42
    for _ in range(2):
        try:
            await call(True)
            raise AssertionError("the error is the caller's")
        except ValueError:
            pass
    try:
        await call(False)
        raise AssertionError("it is open")
    except CircuitOpen as error:
        assert 3_500_000 < error.retry_after_ms <= 3_600_000, error

    # A program that ends says nothing of the callee.
    for ends in (SystemExit, KeyboardInterrupt):
        alone = Breaker(server, f"ends:{ends.__name__}", "1:open=1h")
        call_of = guarded(Limiter(server, FailClosed()), alone, key="ends", limits="9/h")

        @call_of
        async def paid(ends: type[BaseException] = ends) -> None:
            raise ends

        for _ in range(2):
            try:
                async with alone.guard():
                    raise ends
            except ends:
                pass
            try:
                await paid()
            except ends:
                pass

    # A trial that its caller cancels is given back: neither lost nor a failure.
    flaky = Breaker(server, "flaky", "1:open=100ms:lease=1h")

    called = asyncio.Event()

    async def attempt(seconds: float, timeout: float = 9.0) -> None:
        async with flaky.guard(), asyncio.timeout(timeout):
            called.set()
            await asyncio.sleep(seconds)

    try:
        await attempt(9, timeout=0.01)
        raise AssertionError("the time was up")
    except TimeoutError:
        pass
    await asyncio.sleep(0.15)
    called.clear()
    trial = asyncio.create_task(attempt(9))
    await called.wait()
    trial.cancel()
    await asyncio.wait([trial])
    assert trial.cancelled()
    await attempt(0)
    assert (await server.ask("CB.ACQUIRE", "flaky", "1:open=100ms:lease=1h"))[1] == "closed"


async def cancelled_while_it_is_asked(limiter: Limiter) -> None:
    """Or out of patience: what was taken meanwhile is given back."""
    server, rule, place = limiter.server, "1:open=100ms:lease=1h", {"place": "concurrent:1"}
    impatient = Server(URL, patience=3.0)
    breakers = {key: Breaker(server, key, rule) for key in ("trial:cancelled", "trial:late")}
    for breaker in breakers.values():
        try:
            async with breaker.guard():
                raise ValueError("no answer")
        except ValueError:
            pass
    await asyncio.sleep(0.15)

    async def calls(breaker: Breaker) -> None:
        async with breaker.guard():
            await asyncio.sleep(0)

    async def holds() -> None:
        async with reserve(limiter, place, estimate=1, ttl=3600):
            raise AssertionError("it was cancelled")

    await limiter.acquire("user:1", "3/h")
    async with Breaker(impatient, "trial:first", rule).guard():
        pass  # it has connected
    await please("freeze")
    asking = [asyncio.create_task(calls(breakers["trial:cancelled"])), asyncio.create_task(holds())]
    late = asyncio.create_task(calls(Breaker(impatient, "trial:late", rule)))
    await asyncio.sleep(0.05)
    for task in asking:
        task.cancel()
    await asyncio.wait([*asking, late])
    assert [task.cancelled() for task in asking] == [True, True] and late.exception() is None
    assert "Redis is away, the fallback decides: no answer within 3 s" in said()
    await please("thaw")

    async def free() -> bool:
        try:
            for breaker in breakers.values():
                await calls(breaker)
            async with reserve(limiter, place, estimate=1):
                return True
        except (CircuitOpen, Denied):
            return False

    await eventually("the trials and the place are given back", free)
    await impatient.close()


async def who_waits_no_more_holds_nothing(server: Server) -> None:
    """Whatever is granted meanwhile, or later."""

    async def held(key: str) -> int:
        return len(await server.ask("RL.RESERVATIONS", key))

    async def released() -> int:
        return int((await server.ask("INFO", "commandstats")).get("cmdstat_rl.release", {"calls": 0})["calls"])

    async def loses(what: str, wait: int) -> None:
        way = LossyWay(int(sys.argv[1]))
        # It is the first who asks there: nobody has found out that it is away.
        lossy = Server(way.url, patience=5.0, rest=0.2)
        await server.ask("RL.RESERVE", 1, what, "concurrent:1", "TTL", "1h", "ID", "holder")

        async def waits() -> None:
            async with reserve(Limiter(lossy, FailClosed()), {what: "concurrent:1"}, ttl=3600, wait=wait):
                raise AssertionError("nobody knows that it was granted")

        async def stands() -> bool:
            return await waiting(server, what) == 1

        task = asyncio.create_task(waits())
        await eventually("it stands in line", stands)
        before = await released()
        goes = task.cancel if what.startswith("cancelled") else way.cut
        if what.endswith("before"):
            goes()

            async def wants_nothing() -> bool:
                return await released() > before

            await eventually("it wants nothing", wants_nothing)
        await server.ask("RL.RELEASE", "holder", 1, what)
        assert await held(what) == 1, what
        if what in ("lost", "cancelled"):
            goes()
        await asyncio.wait([task])
        assert task.cancelled() or isinstance(task.exception(), Denied), what

        async def is_released() -> bool:
            return await held(what) == 0

        await eventually(f"{what}: it is released", is_released)
        await lossy.close()

    for what, wait in [("lost", 25), ("late", 4), ("lost before", 25), ("cancelled", 25), ("cancelled before", 25)]:
        await loses(what, wait)


async def tokens_of_a_language_model(limiter: Limiter) -> None:
    server = limiter.server

    spent = asyncio.Event()

    async def work(spends: int | None, fails: bool = False, lasts: float = 0.0) -> None:
        async with reserve(limiter, {"llm:1": LLM}, estimate=100) as spending:
            assert len(await server.ask("RL.RESERVATIONS", "llm:1")) == 1
            if spends is not None:
                spending.add(spends)
                spent.set()
            await asyncio.sleep(lasts)
            if fails:
                raise ValueError("no answer")

    async def costs(charged: int, work: Awaitable[None]) -> None:
        before = await used(server, "llm:1")
        try:
            await work
        except (ValueError, asyncio.CancelledError):
            pass
        assert await used(server, "llm:1") - before == charged, charged
        assert await server.ask("RL.RESERVATIONS", "llm:1") == []

    await server.ask("RL.ACQUIRE", "llm:1", "1000/h")
    await costs(30, work(spends=30))  # less than the estimate
    await costs(150, work(spends=150))  # more
    await costs(100, work(spends=None))  # never said: the estimate stands
    await costs(0, work(spends=None, fails=True))  # released
    await costs(7, work(spends=7, fails=True))  # spent before it failed

    async def is_cancelled() -> None:
        spent.clear()
        task = asyncio.create_task(work(spends=5, lasts=9))
        await spent.wait()
        task.cancel()
        await asyncio.wait([task])

    await costs(5, is_cancelled())

    # Work that takes longer than its TTL keeps what it holds.
    async with clock_stands_still(server) as advance:
        async with reserve(limiter, {"llm:long": LLM}, estimate=100, ttl=3):

            async def renewed() -> bool:
                ((_id, _cost, _age, left_ms),) = await server.ask("RL.RESERVATIONS", "llm:long")
                return bool(left_ms == 3000)

            for _ in range(3):
                await eventually("it is renewed", renewed)
                await advance(2)
        assert await server.ask("RL.RESERVATIONS", "llm:long") == []

    for key, limits, estimate, never in [("llm:2", LLM, 1001, True), ("llm:3", "concurrent:1", 1, False)]:
        try:
            async with reserve(limiter, {key: limits}, estimate), reserve(limiter, {key: limits}, estimate):
                raise AssertionError("too much")
        except Denied as denied:
            assert (denied.decision.retry_after_ms == -1) is never, denied.decision


def hello_over_http(web: Uvicorn) -> None:
    """While the clock of the server stands still."""
    responses = [web.get("/hello", caller="127.0.0.2") for _ in range(12)]
    assert {r.status for r in responses[:10]} == {200}
    first, last = responses[0].headers, responses[-1].headers
    assert first["RateLimit-Policy"] == '"10/s";q=10;w=1, "1000/h";q=1000;w=3600, "10000/d";q=10000;w=86400'
    assert first["RateLimit"].startswith('"10/s";r=9;t=1, "1000/h";r=999;t='), first
    assert (first["X-RateLimit-Limit"], first["X-RateLimit-Remaining"]) == ("10", "9")
    assert {r.status for r in responses[10:]} == {429}
    assert last["Retry-After"] == "1" and last["RateLimit"].startswith('"10/s";r=0;t=1'), last
    assert responses[-1].json() == {"error": "too many requests"}
    assert web.get("/hello", caller="127.0.0.3").status == 200
    assert all("Retry-After" not in r.headers for r in responses if r.status == 200)


def over_http(web: Uvicorn) -> None:
    logins = [web.request("POST", "/login/joe", caller="127.0.0.3") for _ in range(6)]
    assert [r.status for r in logins] == [200] * 5 + [429]
    assert 0 < int(logins[-1].headers["Retry-After"]) <= 60

    start = time.monotonic()
    assert {web.get("/report", caller="127.0.0.4").status for _ in range(3)} == {200}
    assert time.monotonic() - start > 0.5

    calls = [web.request("POST", f"/pay?cents={cents}", caller="127.0.0.5") for cents in [7, 13, 13, 13, 7]]
    assert [r.status for r in calls] == [200, 502, 502, 502, 503]
    assert 10 <= int(calls[-1].headers["Retry-After"]) <= 30


async def a_stream_over_http(web: Uvicorn, server: Server) -> None:
    answer = await asyncio.to_thread(web.request, "POST", "/ask?length=20")
    assert (answer.status, answer.body) == (200, b"word " * 20)
    assert await used(server, "llm") == 20

    # Who hangs up half way is charged for half.
    def hang_up() -> None:
        connection = web.connect()
        connection.request("POST", "/ask?length=100000")
        assert connection.getresponse().read(50) == b"word " * 10
        connection.close()

    await asyncio.to_thread(hang_up)

    async def settled() -> bool:
        return not await server.ask("RL.RESERVATIONS", "llm")

    await eventually("the hung up answer is settled", settled)
    assert 30 <= await used(server, "llm") < 1020

    # An estimate that never fits: no Retry-After.
    await server.ask("RL.PIN", "llm", "1000/m")
    never = await asyncio.to_thread(web.request, "POST", "/ask?length=20")
    assert (never.status, never.headers["Retry-After"]) == (429, None)
    await server.ask("RL.UNPIN", "llm")

    # Denied before the first byte.
    holders = [f"held-{i}" for i in range(5)]
    for holder in holders:
        await server.ask("RL.RESERVE", 1, "llm", "100000/m,concurrent:5", "TTL", "30s", "ID", holder)
    denied = await asyncio.to_thread(web.request, "POST", "/ask?length=20")
    assert denied.status == 429 and 0 < int(denied.headers["Retry-After"]) <= 30
    for holder in holders:
        await server.ask("RL.RELEASE", holder, 1, "llm")


@contextlib.asynccontextmanager
async def in_flight(limiter: Limiter) -> AsyncIterator[None]:
    """All that may be under way when the server goes, and must end well."""
    decisions: list[Decision] = []
    shared = [0]
    slowest = 0.0
    gone = asyncio.Event()

    async def requests() -> None:
        nonlocal slowest
        while not gone.is_set() or decisions[-1].from_redis:
            start = time.monotonic()
            decisions.append(await limiter.acquire("flight", "1000000/h"))
            shared[0] += decisions[-1].from_redis
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.001)

    async def call() -> None:
        async with Breaker(limiter.server, "flight:mail", "1").guard():
            await gone.wait()

    async def stream() -> Spending:
        async with reserve(limiter, {"flight:llm": LLM}, estimate=100) as spending:
            await gone.wait()
            spending.add(1)
            return spending

    await limiter.acquire("flight:line", "1/h")
    tasks = [asyncio.create_task(task()) for task in [requests, requests, requests, call, stream]]
    waiter = asyncio.create_task(limiter.acquire("flight:line", "1/h", wait=25))

    async def under_way() -> bool:
        stands = await waiting(limiter.server, "flight:line") == 1
        holds = len(await limiter.server.ask("RL.RESERVATIONS", "flight:llm")) == 1
        return stands and holds and shared[0] > 100

    await eventually("all is under way", under_way)
    yield
    gone.set()
    async with asyncio.timeout(HANGS):
        await asyncio.gather(*tasks)
    assert {decision.from_redis for decision in decisions} == {True, False}
    assert slowest < HANGS, slowest
    alone = await waiter
    assert (alone.granted, alone.from_redis) == (1, False), alone


async def misconfigured_at_the_start() -> None:
    server = Server(URL, patience=PATIENCE)
    await server.ask("CONFIG", "SET", "requirepass", "secret")
    for url, what in [
        (URL.replace("//", "//:wrong@"), "refuses the credentials"),
        (URL, "refuses the credentials"),
        (PLAIN, "has no Floodgate"),
    ]:
        wrong = Server(url, patience=PATIENCE)
        limiter = Limiter(wrong, FailOpen())
        for attempt in (wrong.check, lambda: limiter.acquire("a", "1/s"), lambda: limiter.acquire_with_headers("a", "1/s")):
            try:
                await attempt()
                raise AssertionError(f"{url}: nothing was raised")
            except Misconfigured as error:
                assert what in str(error), error
        await wrong.close()
    await server.ask("CONFIG", "SET", "requirepass", "")
    await server.close()
    # A server that is away is none: it is logged.
    away = Server("redis://127.0.0.1:1")
    await away.check()
    await away.close()
    lines = said()
    assert len(lines) == 1 and lines[0].startswith("Redis is away, the fallback decides: "), lines


async def it_cannot_write() -> None:
    """It answers, and decides nothing: that is an outage like others, logged once."""
    admin, server = Server(URL, patience=PATIENCE), Server(URL, patience=PATIENCE, rest=0.01)
    limiter = Limiter(server, FailOpen())
    await server.check()

    async def fails_to_save() -> None:
        """As when the disk is full."""
        await admin.ask("CONFIG", "SET", "save", "3600 1")
        await admin.ask("CONFIG", "SET", "rdb-key-save-delay", 10_000_000)
        await admin.ask("BGSAVE")
        pid = (await admin.ask("INFO", "server"))["process_id"]

        async def children() -> list[int]:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                return [int(child) for child in file.read().split()]

        for child in await children():
            os.kill(child, signal.SIGKILL)

        async def failed() -> bool:
            return bool((await admin.ask("INFO", "persistence"))["rdb_last_bgsave_status"] == "err")

        await eventually("it fails to save", failed)

    async def sets(*words: str | int) -> None:
        await admin.ask("CONFIG", "SET", *words)

    async def replica(host: str, port: str) -> None:
        await admin.ask("REPLICAOF", host, port)

    Changes = Callable[[], Awaitable[None]]
    table: list[tuple[str, Changes, Changes]] = [
        ("OOM", lambda: sets("maxmemory", 1), lambda: sets("maxmemory", 0)),
        ("NOREPLICAS", lambda: sets("min-replicas-to-write", 1), lambda: sets("min-replicas-to-write", 0)),
        ("READONLY", lambda: replica("127.0.0.1", "1"), lambda: replica("NO", "ONE")),
        ("MISCONF", fails_to_save, lambda: sets("save", "")),
    ]
    for what, breaks, mends in table:
        said()
        await breaks()
        for _ in range(5):
            assert not (await limiter.acquire("user:9", "1000/h")).from_redis, what
            await asyncio.sleep(0.02)
            decision, headers = await limiter.acquire_with_headers("user:9", "1000/h")
            assert (decision.granted, decision.from_redis, headers) == (1, False, {}), what
            async with Breaker(server, "none:yet", "1").guard():
                await asyncio.sleep(0.02)
            with contextlib.suppress(Away):  # what only looks is answered
                await limiter.quota("user:9", "1000/h")
        await asyncio.sleep(0.02)
        await mends()
        await asks_again(limiter)
        lost, found = said()
        assert lost.startswith("Redis is away, the fallback decides: ") and found == "Redis is back", (what, lost)
    # The password changes: that is an outage too once it has worked.
    await admin.ask("CONFIG", "SET", "requirepass", "secret")
    await admin.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for _ in range(5):
        assert not (await limiter.acquire("user:9", "1000/h")).from_redis
        await asyncio.sleep(0.02)
    await admin.ask("CONFIG", "SET", "requirepass", "")
    await asks_again(limiter)
    lost, found = said()
    assert "refuses the credentials" in lost, lost
    await server.close()
    await admin.close()


def callers_by_address() -> None:
    def caller(host: str | None, of: Caller = by_address) -> str:
        return of({"type": "http", "client": (host, 1234) if host is not None else None})

    for host, key in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, "unknown"),
    ]:
        assert caller(host) == key, (host, caller(host))
    assert caller("2001:db8:1:2::1", by_network(56)) == "2001:db8:1::/56"
    assert caller("2001:db8:1:2::1", by_network(128)) == "2001:db8:1:2::1/128"


async def redis_is_away(limiters: list[Limiter]) -> None:
    for limiter, least, most in zip(limiters, [20, 0, 5], [20, 0, 5]):
        start = time.monotonic()
        decisions = await times(20, lambda: limiter.acquire("user:1", "3/h"))
        took = time.monotonic() - start
        # The bucket refills meanwhile.
        most += int(took) + 1 if 0 < most < 20 else 0
        assert least <= sum(granted(decisions)) <= most, (limiter.fallback, decisions)
        assert not any(d.from_redis for d in decisions)
        assert took < HANGS, took
    async with Breaker(limiters[0].server, "mail", "2:open=1h").guard():
        pass
    async with reserve(limiters[0], {"llm:1": LLM}, estimate=100) as spending:
        spending.add(1)
    try:
        async with reserve(limiters[1], {"llm:1": LLM}, estimate=100):
            raise AssertionError("fail-closed")
    except Denied:
        pass


async def one_asks_for_all() -> None:
    """Of a crowd that meets a server which hangs, one pays the timeout."""
    server = Server(URL, patience=1.0, rest=2.0)
    limiter = Limiter(server, FailOpen())

    async def took() -> float:
        start = time.monotonic()
        assert not (await limiter.acquire("user:1", "3/h")).from_redis
        return time.monotonic() - start

    await took()
    await asyncio.sleep(3.1)  # the longest rest
    slow = [seconds for seconds in await asyncio.gather(*(took() for _ in range(20))) if seconds > 0.9]
    assert len(slow) == 1, slow
    await server.close()


def several_event_loops() -> None:
    """One after another, as with `asyncio.run` twice, and at the same time, as in views under WSGI."""
    server = Server(URL, patience=PATIENCE)
    limiter = Limiter(server, FailClosed(), remember_denials=False)

    async def crowd() -> int:
        """More than may ask at a time."""
        decisions = await asyncio.gather(*(limiter.acquire("loops", "1000/h") for _ in range(150)))
        async with reserve(limiter, {"loops": "1000/h,concurrent:9"}, wait=20), Breaker(server, "loops:api", "1").guard():
            return sum(decision.granted for decision in decisions)

    assert [asyncio.run(crowd()) for _ in range(2)] == [150, 150]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: asyncio.run(crowd()), range(3))) == [150] * 3
    asyncio.run(server.close())
    assert asyncio.run(crowd()) == 150
    away = Limiter(Server("redis://127.0.0.1:1", rest=60), FailClosed())
    assert [asyncio.run(away.acquire("loops", "1000/h")).from_redis for _ in range(2)] == [False, False]
    assert len(said()) == 1, "the second loop knows of the outage"


async def asks_again(limiter: Limiter) -> None:
    async def asks() -> bool:
        return (await limiter.acquire("user:9", "1000/h")).from_redis

    await eventually("it asks again", asks)


async def main() -> None:
    callers_by_address()
    the_first_request()
    await misconfigured_at_the_start()
    server = Server(URL, patience=PATIENCE, rest=0.2)
    limiters = [Limiter(server, fallback) for fallback in (FailOpen(), FailClosed(), LocalBucket(rate=1, burst=5))]
    limiter = limiters[2]
    web = Uvicorn("web:app", REDIS_URL=URL, REDIS_PATIENCE=str(PATIENCE))
    await a_limit_by_key(limiter)
    await three_limits_at_once(limiter)
    await charged_whatever_is_left(limiter)
    await standing_in_line(limiter)
    await a_breaker_round_a_call(server)
    await cancelled_while_it_is_asked(limiter)
    await who_waits_no_more_holds_nothing(server)
    await tokens_of_a_language_model(limiter)
    async with clock_stands_still(server):
        await asyncio.to_thread(hello_over_http, web)
    await asyncio.to_thread(over_http, web)
    await a_stream_over_http(web, server)

    async with in_flight(limiter):
        await please("down")
    await redis_is_away(limiters)
    answers = [await asyncio.to_thread(web.get, "/hello", "127.0.0.6") for _ in range(3)]
    assert [(a.status, a.headers["RateLimit"]) for a in answers] == [(200, None)] * 3
    assert (await asyncio.to_thread(web.request, "POST", "/login/ann")).status == 429
    assert (await asyncio.to_thread(web.request, "POST", "/pay?cents=7")).status == 200
    assert (await asyncio.to_thread(web.request, "POST", "/ask?length=3")).body == b"word word word "

    await please("up")
    await asks_again(limiter)
    # What was granted before stands.
    assert (await limiter.acquire("user:1", "3/h")).granted == 0

    await please("freeze")
    await one_asks_for_all()
    await please("thaw")
    await asks_again(limiter)
    await it_cannot_write()

    web.stop()
    await server.close()
    print("done", flush=True)


several_event_loops()
asyncio.run(main())
