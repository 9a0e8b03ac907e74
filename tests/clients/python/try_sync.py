"""Tries what programs without asyncio use, on a real server: python try_sync.py
PORT PLAIN. Talks as try_recipes.py does."""

import asyncio
import copy
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, is_dataclass
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

counted = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([counted]))

from floodgate_redis import (  # noqa: E402
    Away,
    BatchItem,
    Blocked,
    Breaker,
    Cache,
    CircuitOpen,
    Decision,
    Denied,
    FailClosed,
    FailOpen,
    Limiter,
    LimitStatus,
    LocalBucket,
    Misconfigured,
    Quota,
    Server,
    Spending,
    denials,
    reserve,
)
from floodgate_redis import asyncio as aio  # noqa: E402
from floodgate_redis.decision import pairs  # noqa: E402
import floodgate_redis.limits  # noqa: E402
from floodgate_redis.fastapi import RateLimited  # noqa: E402
from limits.storage import storage_from_string  # noqa: E402
from faulty_proxies import LossyWay, SlowWay  # noqa: E402
from outage import eventually, interrupted, please  # noqa: E402
from log_capture import LogCapture  # noqa: E402

URL = f"redis://127.0.0.1:{sys.argv[1]}"
PLAIN = f"redis://127.0.0.1:{sys.argv[2]}"
# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0
# Nothing that ends takes so long; what takes longer hangs.
HANGS = 30.0


def asked(server: Server) -> int:
    """How often RL.ACQUIRE has reached the server."""
    stats = server.ask("INFO", "commandstats")
    row = stats.get("cmdstat_rl.acquire") or stats.get("cmdstat_RL.ACQUIRE") or {"calls": 0}
    return int(row["calls"])


def outcomes() -> "Counter[str]":
    """How many decisions had which outcome, as OpenTelemetry is told."""
    data = counted.get_metrics_data()
    return Counter(
        {
            str(point.attributes["outcome"]): int(point.value)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "floodgate.decisions"
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint) and point.attributes
        }
    )


def since(before: "Counter[str]") -> dict[str, int]:
    return dict(outcomes() - before)


async def a_batch_in_asyncio() -> None:
    async with aio.Server(URL, patience=PATIENCE) as server:
        requests = [BatchItem("b:3", "2/h"), BatchItem("b:3", "2/h", 2), BatchItem("b:4", "1/h")]
        limiter = aio.Limiter(server, FailClosed())
        assert [decision.granted for decision in await limiter.batch(requests)] == [1, 0, 1]
        assert await limiter.batch([]) == [] and await limiter.batch([], together=True) == []


async def by_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        SlowWay(int(sys.argv[1]), 0, path)
        for url in (f"unix://{path}", f"unix://{path}?db=1", f"floodgate+unix://{path}"):
            with Server(url, patience=PATIENCE) as server:
                assert Limiter(server, FailClosed()).acquire("unix", "100/h").from_redis, url
            async with aio.Server(url, patience=PATIENCE) as other:
                assert (await aio.Limiter(other, FailClosed()).acquire("unix", "100/h")).from_redis, url
        storages: list[Any] = [storage_from_string(f"{kind}floodgate+unix://{path}", socket_timeout=20) for kind in ("", "async+")]
        assert (storages[0].incr("unix", 3600), await storages[1].incr("unix", 3600)) == (1, 2)
        await storages[1].client.aclose()


def says(error: type[Exception], what: str, does: Callable[[], object]) -> None:
    try:
        does()
    except error as told:
        assert str(told) == what, told
    else:
        raise AssertionError(what)


async def wrong_arguments(server: Server) -> None:
    """Are named, with what they must be."""
    limiter = Limiter(server, FailClosed())
    async with aio.Server(URL, patience=PATIENCE) as other:
        asking = aio.Limiter(other, FailClosed())

        def holds(wait: Any) -> None:
            with reserve(limiter, {"wrong": "1/h"}, wait=wait):
                raise AssertionError(wait)

        async def holds_in_asyncio(wait: Any) -> None:
            async with aio.reserve(asking, {"wrong": "1/h"}, wait=wait):
                raise AssertionError(wait)

        waits: list[tuple[Any, type[Exception], str]] = [("5s", TypeError, "a number of s")]
        waits += [(wrong, ValueError, "at least 0 s, and finite") for wrong in (-1, float("nan"), float("inf"))]
        for wrong, error, what in waits:
            for does in (lambda wait: limiter.acquire("wrong", "1/h", wait=wait), holds):
                says(error, f"wait is {wrong!r}: it must be {what}", lambda does=does, wrong=wrong: does(wrong))  # type: ignore[misc]
            for asks in (lambda wait: asking.acquire("wrong", "1/h", wait=wait), holds_in_asyncio):
                try:
                    await asks(wrong)
                    raise AssertionError(wrong)
                except error as told:
                    assert str(told) == f"wait is {wrong!r}: it must be {what}", told
        for kind in (Server, aio.Server):
            says(ValueError, "patience is 0: it must be above 0 s, and finite", lambda kind=kind: kind(URL, patience=0))  # type: ignore[misc]
            says(ValueError, "rest is -1: it must be at least 0 s, and finite", lambda kind=kind: kind(URL, rest=-1))  # type: ignore[misc]
            says(ValueError, "waiters is -1: it must be at least 0 requests, and finite", lambda kind=kind: kind(URL, waiters=-1))  # type: ignore[misc]
        for burst in (0, -1, 0.5):
            says(ValueError, f"burst is {burst}: it must be at least 1 units, and finite", lambda burst=burst: LocalBucket(5, burst))  # type: ignore[misc]
        for rate in (0, -1, float("inf"), float("nan")):
            says(ValueError, f"rate is {rate}: it must be above 0 units a second, and finite", lambda rate=rate: LocalBucket(rate))  # type: ignore[misc]
        says(TypeError, "rate is '5/s': it must be a number of units a second", lambda: LocalBucket("5/s"))  # type: ignore[arg-type]

        # What is of the other kind.
        of_other: Any
        for package, own, of_server, of_limiter in (
            ("floodgate_redis", aio, server, limiter),
            ("floodgate_redis.asyncio", floodgate_redis, other, asking),
        ):
            wrongs = f"take the Server of {own.__name__}"
            for of_other in (
                lambda: own.Limiter(of_server, FailOpen()),  # noqa: B023
                lambda: own.Breaker(of_server, "wrong", "1"),  # noqa: B023
                lambda: own.Cache(of_server, "wrong"),  # noqa: B023
            ):
                says(TypeError, f"server is a {package}.Server: {wrongs}", of_other)
            says(
                TypeError,
                f"limiter is a {package}.Limiter: take the Limiter of {own.__name__}",
                lambda: own.Lease(of_limiter, "wrong", processes=1),  # noqa: B023
            )
            says(
                TypeError,
                f"limiter is a {package}.Limiter: take the Limiter of {own.__name__}",
                lambda: own.guarded(of_limiter, None, key="wrong"),  # noqa: B023
            )
        says(
            TypeError,
            "limiter is a floodgate_redis.asyncio.Limiter: take the Limiter of floodgate_redis",
            lambda: reserve(asking, {"wrong": "1/h"}).__enter__(),  # type: ignore[arg-type]
        )


def limits_and_looks(server: Server) -> None:
    limiter = Limiter(server, FailClosed())
    assert [limiter.acquire("s:1", "3/h").granted for _ in range(4)] == [1, 1, 1, 0]
    assert limiter.acquire("s:2", "100/s,5/h", cost=5).remaining == 0
    assert limiter.refund("s:2", 2) == 2
    (second, hour) = limiter.quota("s:2", "100/s,5/h").limits
    assert (second.limit, hour.algorithm, hour.used, hour.remaining, hour.source) == (100, "sliding", 3, 2, "call")
    assert limiter.quota("s:none") == Quota([], None)
    assert limiter.refund("s:2", 2, "5/h") == 2 and [row.used for row in limiter.quota("s:2", "100/s,5/h").limits][1] == 1
    limiter.acquire("s:2", "100/s,5/h", cost=2)
    assert limiter.quota("s:2").blocked is None
    server.ask("RL.BLOCK", "s:2", "FOR", "10s", "REASON", "scraper")
    stands = limiter.quota("s:2")
    assert len(stands.limits) == 2 and stands.blocked and stands.blocked.reason == "scraper", stands
    assert 0 < stands.blocked.until_ms / 1000 - time.time() <= 11, stands
    server.ask("RL.BLOCK", "s:none", "FOREVER")
    assert limiter.quota("s:none") == Quota([], Blocked(-1, ""))
    server.ask("RL.UNBLOCK", "s:none")
    decision, headers = limiter.acquire_with_headers("s:3", "1/h")
    assert decision.granted and headers["RateLimit-Policy"] == '"1/h";q=1;w=3600' and "Retry-After" not in headers
    decision, headers = limiter.acquire_with_headers("s:3", "1/h")
    assert not decision.granted and 3500 <= int(headers["Retry-After"]) <= 3600, headers
    assert limiter.acquire("s:4", "5/h", cost=6).retry_after == {}, "it never fits"
    assert str(Denied(limiter.acquire("s:4", "5/h", cost=6))) == "denied: it never fits"
    before = outcomes()
    each = limiter.batch([BatchItem("b:1", "2/h"), BatchItem("b:1", "2/h", 2), BatchItem("b:2", "1/h")])
    assert [decision.granted for decision in each] == [1, 0, 1]
    assert since(before) == {"granted": 2, "denied": 1}
    both = limiter.batch([BatchItem("b:1", "2/h"), BatchItem("b:2", "1/h")], together=True)
    assert [decision.granted for decision in both] == [0, 0] and both[0].index == -3
    assert limiter.batch([]) == [] and limiter.batch([], together=True) == []
    assert since(before) == {"granted": 2, "denied": 3}
    before = outcomes()
    asyncio.run(a_batch_in_asyncio())
    assert since(before) == {"granted": 2, "denied": 1}
    server.ask("RL.POLICY", "SET", "pol", "2/h", "PREFIX", "p:")
    assert [limiter.acquire("p:1").granted for _ in range(3)] == [1, 1, 0], "the policy holds"
    assert [limiter.acquire("c:1", "2/h:keep=50%").granted for _ in range(2)] == [1, 0]
    assert limiter.acquire("c:1", "2/h:keep=50%", critical=True).granted == 1
    limiter.acquire("t:1", "2/h", track=True)
    assert server.ask("RL.STATS", "t:1") is not None
    start = time.monotonic()
    waited = [limiter.acquire("w:1", "1/500ms", wait=25).granted for _ in range(3)]
    assert waited == [1, 1, 1] and time.monotonic() - start > 0.9
    with ThreadPoolExecutor(8) as pool:  # threads share it
        assert sum(pool.map(lambda _: limiter.acquire("s:5", "20/h").granted, range(100))) == 20


def charges(server: Server) -> None:
    """What was used is used, whatever was left."""
    limiter = Limiter(server, LocalBucket(rate=1, burst=5))
    assert limiter.acquire("ch:1", "10/h", cost=8).granted == 8
    charged = limiter.charge("ch:1", 7, "10/h")
    assert (charged.granted, charged.remaining, charged.from_redis) == (7, 0, True), charged
    assert limiter.quota("ch:1").limits[0].used == 15 and not limiter.acquire("ch:1", "10/h").granted
    assert limiter.refund("ch:1", 6) == 6 and limiter.acquire("ch:1", "10/h").granted, "what was denied is forgotten"
    assert limiter.charge("ch:2", 3, "10/h", track=True).remaining == 7
    assert server.ask("RL.STATS", "ch:2") is not None


def what_it_knows_it_does_not_ask(server: Server) -> None:
    limiter, forgetful = Limiter(server, FailClosed()), Limiter(server, FailClosed(), remember_denials=False)
    before, start = asked(server), time.monotonic()
    assert [limiter.acquire("d:1", "1/h").granted for _ in range(200)] == [1] + [0] * 199
    seconds = time.monotonic() - start
    assert 2 <= asked(server) - before <= 2 + seconds, "one denial a second is asked for"
    before = asked(server)
    assert [forgetful.acquire("d:2", "1/h").granted for _ in range(50)] == [1] + [0] * 49
    assert asked(server) - before == 50
    # Other limits, a lower cost, and whoever is critical, are asked.
    assert limiter.acquire("d:3", "3/h", cost=3).granted == 3
    assert limiter.acquire("d:3", "3/h", cost=2).granted == 0
    assert limiter.refund("d:3", 1) == 1
    assert limiter.acquire("d:3", "3/h", cost=2).granted == 0
    assert limiter.acquire("d:3", "3/h", cost=1).granted == 1
    # Refunded by somebody else: it is asked again within a second, not at its retry time.
    assert limiter.acquire("d:3", "3/h").granted == 0
    forgetful.refund("d:3", 1)
    eventually("it asks again", lambda: limiter.acquire("d:3", "3/h").granted == 1)


def denials_against_a_model() -> None:
    """Slow and obviously right: of each key the last denial, if nothing came since."""
    now, recalled, learned = 0.0, 0, 0
    chance = random.Random(7)
    known = denials.Denials(most=4, clock=lambda: now)
    # Of a key and its limits: cost, until when, retry time, since when, which.
    model: dict[tuple[str, str | None], tuple[int, float, int, float, int]] = {}
    for _ in range(20_000):
        now += chance.choice([0, 0, 0.001, 0.1, 0.5])
        pair, cost = (chance.choice("abcdef"), chance.choice(["1/s", None])), chance.randint(1, 3)
        expected = None
        if pair in model and cost >= model[pair][0] and now < model[pair][1]:
            expected = model[pair]
        answer = known.recall(*pair, cost)
        if answer is not None:
            recalled += 1
            assert expected is not None and answer.granted == 0, (pair, cost)
            left_ms = expected[2] - (now - expected[3]) * 1000
            assert abs(answer.retry_after_ms - left_ms) <= 1.001 or answer.retry_after_ms == 1, (answer, left_ms)
            continue
        if expected is not None:
            # Less than a millisecond is left, or four came after it.
            assert learned - expected[4] >= 4 or expected[1] - now < 0.0011, (pair, cost)
        retry = chance.choice([0, -1, 1, 300, 60_000])
        denied = retry != 0
        known.learn(*pair, cost, Decision(0 if denied else cost, 3, 0, retry, 0, 0))
        model.pop(pair, None)
        if retry > 0:
            learned += 1
            model[pair] = (cost, now + min(retry, 1000) / 1000, retry, now, learned)
    assert recalled > 1000, recalled


def a_breaker(server: Server, said: LogCapture) -> None:
    breaker = Breaker(server, "sb", "2:open=1h")

    @breaker
    def call(fails: bool) -> int:
        if fails:
            raise ValueError("no answer")
        return 42

    assert call(False) == 42
    for _ in range(2):
        try:
            call(True)
            raise AssertionError("the error is the caller's")
        except ValueError:
            pass
    try:
        call(False)
        raise AssertionError("it is open")
    except CircuitOpen as error:
        assert 3500 <= int(error.retry_after["Retry-After"]) <= 3600
    server.ask("CB.FORCE", "sb", "OPEN")
    try:
        call(False)
        raise AssertionError("it is forced open")
    except CircuitOpen as error:
        assert error.retry_after == {} and str(error) == "the circuit is open, with no retry time"

    # Out of patience: what was admitted meanwhile is given back.
    impatient = Server(URL, patience=5.0)
    with Breaker(impatient, "sb:first", "1").guard():
        pass  # it has connected
    flaky, late = (Breaker(of, "sb:late", "1:open=100ms:lease=1h") for of in (server, impatient))
    try:
        with flaky.guard():
            raise ValueError("no answer")
    except ValueError:
        pass
    time.sleep(0.15)
    please("freeze")
    with late.guard():
        pass
    please("thaw")

    def free() -> bool:
        try:
            with flaky.guard():
                return True
        except CircuitOpen:
            return False

    eventually("the trial is given back", free)
    eventually("it is found again", lambda: "Redis is back" in said.lines)
    impatient.close()


def reservations(server: Server) -> None:
    limiter = Limiter(server, LocalBucket(5))
    limits = {"sr": "1000/h,concurrent:1"}

    def used() -> int:
        return limiter.quota("sr").limits[0].used

    limiter.acquire("sr", "1000/h")
    for spends, fails, charged in [(30, False, 30), (None, False, 100), (None, True, 0), (7, True, 7)]:
        before = used()
        try:
            with reserve(limiter, limits, estimate=100) as spending:
                if spends is not None:
                    spending.add(spends)
                assert len(server.ask("RL.RESERVATIONS", "sr")) == 1
                try:
                    with reserve(limiter, limits):
                        raise AssertionError("the place is taken")
                except Denied as denied:
                    assert denied.retry_after
                if fails:
                    raise ValueError("no answer")
        except ValueError:
            pass
        assert used() - before == charged, (spends, fails)
    what_cannot_be_spent(server, limiter)
    # Work that takes longer than its TTL keeps what it holds. No slow machine ends it: the
    # server's clock stands still until it is advanced.
    server.ask("RL.DEBUG", "CLOCK", "SET", int(time.time() * 1_000_000))
    with reserve(limiter, {"sr:long": "1000/h,concurrent:1"}, ttl=3):
        for _ in range(3):
            eventually("it is renewed", lambda: server.ask("RL.RESERVATIONS", "sr:long")[0][3] == 3000)
            server.ask("RL.DEBUG", "CLOCK", "ADVANCE", 2_000_000)
    assert server.ask("RL.RESERVATIONS", "sr:long") == []
    server.ask("RL.DEBUG", "CLOCK", "REAL")
    try:
        with reserve(limiter, {"sr:2": "10/h"}, estimate=11):
            raise AssertionError("too much")
    except Denied as denied:
        assert denied.retry_after == {}


def what_cannot_be_spent(server: Server, limiter: Limiter) -> None:
    """Is refused where it is said; and a commit that is refused frees the place."""
    place, units = {"spent": "1000/h,concurrent:1"}, [1.5, float("nan"), "7", None, -1, 10**12]
    for wrong in units:
        with reserve(limiter, place, estimate=10, ttl=3600) as spending:
            spending.add(3)
            try:
                spending.add(wrong)  # type: ignore[arg-type]
                raise AssertionError(wrong)
            except (TypeError, ValueError) as error:
                assert str(error).startswith(f"units is {wrong!r}: it must be "), error
    assert limiter.quota("spent").limits[0].used == 3 * len(units)
    with reserve(limiter, place, estimate=10, ttl=3600) as spending:
        spending.units = -1
    assert server.ask("RL.RESERVATIONS", "spent") == [] and limiter.quota("spent").limits[0].used == 3 * len(units)

    async def in_asyncio() -> None:
        async with aio.Server(URL, patience=PATIENCE) as other:
            async with aio.reserve(aio.Limiter(other, FailClosed()), place, estimate=10, ttl=3600) as spending:
                spending.units = -1
            assert await other.ask("RL.RESERVATIONS", "spent") == []

    asyncio.run(in_asyncio())


def who_waits_no_more_holds_nothing(server: Server) -> None:
    """Whatever is granted meanwhile, or later."""

    def held(key: str) -> int:
        return len(server.ask("RL.RESERVATIONS", key))

    def released() -> int:
        row = server.ask("INFO", "commandstats").get("cmdstat_rl.release")
        return int(row["calls"]) if row else 0

    for what, wait in [("lost", 25), ("late", 4), ("lost before", 25)]:
        way = LossyWay(int(sys.argv[1]))
        # It is the first who asks there: nobody has found out that it is away.
        with Server(way.url, patience=5, rest=0.2) as lossy, ThreadPoolExecutor(1) as pool:
            server.ask("RL.RESERVE", 1, what, "concurrent:1", "TTL", "1h", "ID", "holder")

            def waits(what: str = what, wait: int = wait, lossy: Server = lossy) -> None:
                with reserve(Limiter(lossy, FailClosed()), {what: "concurrent:1"}, ttl=3600, wait=wait):
                    raise AssertionError("nobody knows that it was granted")

            waiting = pool.submit(waits)
            eventually("it stands in line", lambda what=what: server.ask("RL.QUEUE", what)[0] == 1)
            before = released()
            if what == "lost before":
                way.cut()
                eventually("it wants nothing", lambda before=before: released() > before)
            server.ask("RL.RELEASE", "holder", 1, what)
            assert held(what) == 1, what
            if what == "lost":
                way.cut()
            assert isinstance(waiting.exception(), Denied), what
            eventually(f"{what}: it is released", lambda what=what: held(what) == 0)


def who_is_interrupted_holds_nothing(server: Server) -> None:
    """By what a signal raises, while it is asked or stands in line."""
    limiter = Limiter(server, FailClosed())
    flaky = Breaker(server, "sb:limit", "1:open=100ms:lease=1h")
    try:
        with flaky.guard():
            raise ValueError("no answer")
    except ValueError:
        pass
    time.sleep(0.15)

    def calls() -> None:
        with flaky.guard():
            raise AssertionError("it was interrupted")

    def holds(key: str, wait: float = 0) -> None:
        with reserve(limiter, {key: "concurrent:1"}, ttl=3600, wait=wait):
            raise AssertionError("it was interrupted")

    def nothing_is_held(*keys: str) -> None:
        for key in keys:
            eventually(f"{key} is given back", lambda key=key: server.ask("RL.RESERVATIONS", key) == [])

    please("freeze")
    interrupted(calls)
    interrupted(lambda: holds("limit:asked"))
    please("thaw")
    nothing_is_held("limit:asked")
    eventually("the trial is given back", lambda: pairs(server.ask("CB.STATE", "sb:limit"))["trials_in_flight"] == 0)
    # In line nobody is left behind, whether or not the server hears of it at once.
    server.ask("RL.RESERVE", 1, "limit:line", "concurrent:1", "TTL", "1h", "ID", "holder")
    interrupted(lambda: holds("limit:line", wait=25))
    assert server.ask("RL.QUEUE", "limit:line")[0] == 0
    server.ask("RL.RELEASE", "holder", 1, "limit:line")
    brief = Limiter(Server(URL, patience=1, rest=0.01), FailClosed())
    with reserve(brief, {"limit:first": "concurrent:1"}):
        pass  # it has connected
    please("freeze")
    limiter = brief
    interrupted(lambda: holds("limit:frozen", wait=25))
    please("thaw")
    nothing_is_held("limit:line", "limit:frozen")


def no_time_of_redis_py_holds(server: Server) -> None:
    """The URL may be that of other programs, and its times are not ours."""
    for times in ("socket_timeout=0.01", "socket_connect_timeout=0.000001", "retry_on_timeout=true&socket_timeout=0.01"):
        with Server(f"{URL}?{times}", patience=PATIENCE) as other:
            limiter = Limiter(other, FailClosed())
            assert limiter.acquire("times", "1/1s", wait=20).from_redis
            waited = limiter.acquire("times", "1/1s", wait=20)
            assert waited.granted and waited.from_redis and limiter.acquire("times:next", "9/h").from_redis, times

        async def in_asyncio(times: str = times) -> None:
            async with aio.Server(f"{URL}?{times}", patience=PATIENCE) as other:
                limiter = aio.Limiter(other, FailClosed())
                waited = [await limiter.acquire("times", "1/1s", wait=20) for _ in range(2)]
                assert all(it.granted and it.from_redis for it in waited), times

        asyncio.run(in_asyncio())
    limiters = [Limiter(Server(f"{URL}?socket_timeout=60{more}", patience=1), FailClosed()) for more in ("", "&retry_on_timeout=1")]
    assert all(limiter.acquire("times:hangs", "9/h").from_redis for limiter in limiters)
    please("freeze")
    start = time.monotonic()
    assert not any(limiter.acquire("times:hangs", "9/h").from_redis for limiter in limiters)
    assert time.monotonic() - start < HANGS
    please("thaw")
    looks = Limiter(server, FailClosed())
    eventually("they arrive", lambda: looks.quota("times:hangs", "9/h").limits[0].used >= 4)
    time.sleep(0.2)
    assert looks.quota("times:hangs", "9/h").limits[0].used == 4, "each was sent once"


def in_a_child(does: Callable[[], object]) -> int:
    """Its process. It ends with 0 where that holds, and is killed where it hangs."""
    child = os.fork()
    if not child:
        signal.alarm(int(HANGS))
        try:
            held = does()
        except BaseException:
            traceback.print_exc()
            held = False
        os._exit(0 if held else 1)
    return child


def a_forked_child_begins_anew(server: Server) -> None:
    """Whatever the threads of its parent hold while it is made."""
    with Server(URL, patience=PATIENCE, waiters=1) as one, ThreadPoolExecutor(1) as pool:
        limiter, cache, bucket = Limiter(one, FailClosed()), Cache(one, "forked"), LocalBucket(1)
        assert limiter.acquire("fork:1", "1/h").granted and limiter.acquire("fork:2", "1/h").granted
        waits = pool.submit(limiter.acquire, "fork:1", "1/h", wait=25)
        eventually("the parent stands in line", lambda: server.ask("RL.QUEUE", "fork:1")[0] == 1)
        child = in_a_child(lambda: limiter.acquire("fork:2", "1/h", wait=25))
        eventually("the child does, too", lambda: server.ask("RL.QUEUE", "fork:2")[0] == 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        server.ask("RL.RESET", "fork:1")
        assert waits.result().granted
        assert limiter._denials is not None
        with limiter._denials._lock, one._nodes.of(None).health._lock, cache._memory._lock, bucket._lock:
            child = in_a_child(
                lambda: limiter.acquire("fork:3", "1/h").granted and bucket.acquire("a", 1).granted and cache._memory.get("a") is None
            )
        assert os.waitpid(child, 0)[1] == 0, "what another thread held is held for ever"


def redis_is_away(server: Server) -> None:
    for fallback, least, most in [(FailOpen(), 20, 20), (FailClosed(), 0, 0), (LocalBucket(1, burst=5), 5, 5)]:
        start = time.monotonic()
        limiter = Limiter(server, fallback)  # type: ignore[arg-type]
        decisions = [limiter.acquire("away", "3/h") for _ in range(20)]
        seconds = time.monotonic() - start
        gained = seconds if most == 5 else 0
        assert least <= sum(decision.granted for decision in decisions) <= most + gained
        assert not any(decision.from_redis for decision in decisions) and seconds < HANGS
    assert Limiter(server, FailOpen()).acquire_with_headers("away", "3/h")[1] == {}
    alone = Limiter(server, LocalBucket(rate=0.001, burst=5))
    assert [alone.charge("away", cost).granted for cost in (4, 4)] == [4, 0], "it has five"
    some = Limiter(server, LocalBucket(1, burst=2)).batch([BatchItem("x"), BatchItem("x", "*", 5)], together=True)
    assert [decision.granted for decision in some] == [0, 0]
    with Breaker(server, "sb", "1").guard():
        pass
    with reserve(Limiter(server, FailOpen()), {"sr": "1/h"}):
        pass
    try:
        with reserve(Limiter(server, FailClosed()), {"sr": "1/h"}):
            raise AssertionError("fail-closed")
    except Denied:
        pass


DENIED = Decision(0, 1, 0, 500, 1000, 0)


def raises(error: Exception) -> None:
    raise error


def made_of(value: Any) -> tuple[object, ...]:
    told = str(value) if isinstance(value, Exception) else ""
    return type(value), told, asdict(value) if is_dataclass(value) else vars(value)  # type: ignore[arg-type]


def copies() -> None:
    """What is raised or returned comes through a queue, and out of another process."""
    spent = Spending()
    spent.add(7)
    limited = RateLimited(DENIED, {"Retry-After": "1"})
    errors = [Denied(DENIED), CircuitOpen(500), CircuitOpen(-1), Away("it rests"), Misconfigured("no module"), limited]
    for error in errors:
        error.add_note("seen")
    status = LimitStatus("a", "sliding", 3, 1, 2, 1000, 0, 5, 6, False, "call")
    with ProcessPoolExecutor(1) as pool:
        for value in (*errors, DENIED, status, BatchItem("a", "1/s"), spent, FailOpen(), FailClosed()):
            copied = [pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)]
            if isinstance(value, Exception):
                copied.append(pool.submit(raises, value).exception())
            for one in copied:
                assert made_of(one) == made_of(value), (one, value)
        assert pool.submit(len, "it goes on").result() == 10


def main() -> None:
    copies()
    denials_against_a_model()
    said = LogCapture()
    for url, what in [(PLAIN, "has no Floodgate")]:
        wrong = Server(url, patience=PATIENCE)
        for attempt in (wrong.check, lambda: Limiter(wrong, FailOpen()).acquire("a", "1/s")):
            try:
                attempt()
                raise AssertionError("nothing was raised")
            except Misconfigured as error:
                assert what in str(error)
    with Server(URL, patience=PATIENCE, rest=0.2) as server:
        asyncio.run(by_a_unix_socket())
        asyncio.run(wrong_arguments(server))
        limits_and_looks(server)
        charges(server)
        what_it_knows_it_does_not_ask(server)
        a_forked_child_begins_anew(server)
        a_breaker(server, said)
        reservations(server)
        said.lines, before = [], said.lines
        who_waits_no_more_holds_nothing(server)
        who_is_interrupted_holds_nothing(server)
        no_time_of_redis_py_holds(server)
        said.lines = before
        late = ["Redis is away, the fallback decides: no answer within 5 s", "Redis is back"]
        assert said.lines == late + 2 * ["RL.COMMIT failed: COST must be a whole number from 0 to 1000000000000"], said.lines
        said.lines.clear()

        limiter = Limiter(server, FailOpen())
        limiter.acquire("line", "1/h")
        waited: list[Decision] = []
        waiter = threading.Thread(target=lambda: waited.append(limiter.acquire("line", "1/h", wait=20)))
        waiter.start()
        eventually("it stands in line", lambda: server.ask("RL.QUEUE", "line")[0] == 1)
        please("down")
        waiter.join(HANGS)
        assert [decision.from_redis for decision in waited] == [False]
        redis_is_away(server)
        please("up")
        eventually("it asks again", lambda: limiter.acquire("back", "9/h").from_redis)
        assert Limiter(server, FailOpen()).acquire("s:1", "3/h").granted == 0, "it forgot"
        assert len(said.lines) == 2 and said.lines[1] == "Redis is back", said.lines

    data = counted.get_metrics_data()
    assert data is not None
    found = {
        (metric.name, point.attributes["outcome"])
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if point.attributes is not None
    }
    assert found >= {("floodgate.decisions", it) for it in ("granted", "denied", "remembered", "fallback")}, found
    assert found >= {("floodgate.calls", it) for it in ("ok", "fail", "open")}, found
    print("done", flush=True)


if __name__ == "__main__":
    main()
