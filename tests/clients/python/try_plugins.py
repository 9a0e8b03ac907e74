"""Tries the plug-ins with their real hosts on a real server: python try_plugins.py
PORT PLAIN. Talks as try_recipes.py does."""

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import floodgate_redis.limits  # noqa: F401
import limits
import redis
import redis.asyncio
from limits.aio.strategies import MovingWindowRateLimiter as AsyncMovingWindow
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from outage import eventually, please
from uvicorned import Preforked, Response, Uvicorn

PORT = sys.argv[1]
URI = f"floodgate://127.0.0.1:{PORT}/0"
# A busy machine may take longer than the second that is usual.
PATIENT = f"{URI}?socket_timeout=20&socket_connect_timeout=20"
admin: Any = redis.Redis(port=int(PORT), decode_responses=True, protocol=2)
STRATEGIES = (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter)

# One of several processes that take from one limit by each strategy as fast as they can.
TAKES = """
import sys, floodgate_redis.limits, limits.strategies
from limits import parse
from limits.storage import storage_from_string
storage = storage_from_string(sys.argv[1])
for name in sys.argv[2:]:
    limiter = getattr(limits.strategies, name)(storage)
    sys.stdin.readline()  # until all processes have come so far
    print(sum(limiter.hit(parse("50/hour"), "four", name) for _ in range(60)), flush=True)
"""


def four_processes_are_one() -> None:
    command = [sys.executable, "-c", TAKES, PATIENT, *(strategy.__name__ for strategy in STRATEGIES)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for strategy in STRATEGIES:
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        taken = [int(process.stdout.readline()) for process in processes]
        assert sum(taken) == 50, (strategy, taken)
    for process in processes:
        process.communicate(timeout=60)


def limits_as_it_says() -> None:
    storage: Any = storage_from_string(PATIENT)
    assert storage.check() and not storage_from_string("floodgate://127.0.0.1:1").check()
    minute = limits.parse("10/minute")
    for strategy in STRATEGIES:
        storage.reset()
        limiter = strategy(storage)
        assert limiter.hit(minute, "a", cost=0) and limiter.get_window_stats(minute, "a").remaining == 10
        assert limiter.hit(minute, "a", cost=4) and limiter.hit(minute, "a", cost=6)
        assert not limiter.test(minute, "a") and not limiter.hit(minute, "a")
        reset, remaining = limiter.get_window_stats(minute, "a")
        assert remaining == 0 and 30 < reset - time.time() <= 60.1, (strategy, reset - time.time())
        # A block of an operator holds here too.
        admin.execute_command("RL.BLOCK", f"LIMITS:{minute.key_for('b')}", "FOR", "1m")
        assert not limiter.hit(minute, "b") and not limiter.test(minute, "b"), strategy
        admin.execute_command("RL.UNBLOCK", f"LIMITS:{minute.key_for('b')}")
        limiter.clear(minute, "a")
        assert limiter.hit(minute, "a", cost=10)
        # Named by what was wrong, not by a server's error.
        for impossible in (limits.parse("1 per 2 year"), limits.parse(f"{10**12 + 1}/minute")):
            try:
                hits = limiter.hit(impossible, "c")
            except ConfigurationError:
                continue
            # Of counts as INCR does the storage is never told the limit: it counts as far as it can.
            assert hits and strategy is FixedWindowRateLimiter and impossible.amount > 10**12
            assert limiter.hit(impossible, "c", cost=10**12 - 1) and not limiter.hit(impossible, "c")
            admin.execute_command("RL.BLOCK", f"LIMITS:{impossible.key_for('d')}", "FOREVER")
            assert not limiter.hit(impossible, "d") and not limiter.test(impossible, "d")
            admin.execute_command("RL.UNBLOCK", f"LIMITS:{impossible.key_for('d')}")
    # A moving window's reset is when its oldest entry leaves.
    storage.reset()
    when_the_next_unit_is_free(storage)
    storage.reset()
    moving, two = MovingWindowRateLimiter(storage), limits.parse("2/60 second")
    assert moving.hit(two, "m")
    time.sleep(1)
    assert moving.hit(two, "m")
    assert 30 < moving.get_window_stats(two, "m").reset_time - time.time() < 59.1
    assert storage.reset() == 1 and storage.reset() == 0


async def pools_of_the_host() -> None:
    """Whatever they make of an answer; and texts and bytes without one."""
    place, minute = f"redis://127.0.0.1:{PORT}", limits.parse("10/minute")
    for options in itertools.product((2, 3), (False, True)):
        told: Any = dict(zip(("protocol", "decode_responses"), options), socket_timeout=20)
        for uri in ("floodgate://", URI):
            pool: Any = redis.ConnectionPool.from_url(place, **told)
            storage: Any = storage_from_string(uri, connection_pool=pool)
            assert storage.client.connection_pool is pool and storage.check()
            for strategy in STRATEGIES:
                limiter = strategy(storage)
                assert limiter.hit(minute, "pool", cost=4) and limiter.get_window_stats(minute, "pool").remaining == 6, told
                assert storage.reset() == 1
            other: Any = redis.asyncio.ConnectionPool.from_url(place, **told)
            asked: Any = storage_from_string(f"async+{uri}", connection_pool=other)
            assert await asked.check() and await AsyncMovingWindow(asked).hit(minute, "pool")
            assert (await AsyncMovingWindow(asked).get_window_stats(minute, "pool")).remaining == 9
            assert await asked.reset() == 1
            await other.disconnect()
    for decodes in (False, True):
        storage = storage_from_string(PATIENT, decode_responses=decodes)
        assert storage.incr("decodes", 60) == 1 and storage.get("decodes") == 1 and storage.reset() == 1


def prefixes_are_no_patterns() -> None:
    for prefix, other in (("a*b", "aZZb"), ("a?", "ay"), ("a[1]", "a1"), ("a\\b", "ab"), ("a^", "ab")):
        storages: list[Any] = [storage_from_string(PATIENT, key_prefix=it) for it in (prefix, other)]
        assert [storage.incr("key", 60) for storage in storages] == [1, 1]
        assert storages[0].reset() == 1 and [storage.get("key") for storage in storages] == [0, 1], prefix
        assert storages[1].reset() == 1


def when_the_next_unit_is_free(storage: Any) -> None:
    """The reset that a host tells, which is later than the period where the server counts by
    slots."""
    many, now = limits.parse("100/hour"), int(time.time()) // 72 * 72 + 36
    admin.execute_command("RL.DEBUG", "CLOCK", "SET", now * 1_000_000)
    waits = {}
    for strategy in (MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
        limiter, key = strategy(storage), strategy.__name__
        assert limiter.hit(many, key, cost=100) and not limiter.hit(many, key)
        waits[strategy] = limiter.get_window_stats(many, key).reset_time - time.time()
    # A slot is 72 s, and it is half over: 3636 s.
    assert 3600 < waits[MovingWindowRateLimiter] <= 3636 and 3590 < waits[SlidingWindowCounterRateLimiter] < 3600, waits
    admin.execute_command("RL.DEBUG", "CLOCK", "ADVANCE", 3_636_000_000)
    assert MovingWindowRateLimiter(storage).hit(many, "MovingWindowRateLimiter")
    admin.execute_command("RL.DEBUG", "CLOCK", "REAL")


async def limits_aio() -> None:
    storage: Any = storage_from_string(f"async+{PATIENT}")
    limiter, minute = AsyncMovingWindow(storage), limits.parse("10/minute")
    assert await storage.check()
    taken = await asyncio.gather(*(limiter.hit(minute, "aio") for _ in range(40)))
    assert sum(taken) == 10
    assert (await limiter.get_window_stats(minute, "aio")).remaining == 0
    await limiter.clear(minute, "aio")
    assert await limiter.hit(minute, "aio")
    assert await storage.reset() == 1
    await storage.client.aclose()


def status(responses: list[Response]) -> list[int]:
    return [response.status for response in responses]


def flask_limiter(web: Uvicorn) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: web.get("/"), range(40)))
    assert status(responses).count(200) == 10, status(responses)
    denied = web.get("/")
    assert denied.status == 429 and denied.headers["X-RateLimit-Remaining"] == "0"
    assert 3500 <= int(denied.headers["Retry-After"]) <= 3601, denied.headers["Retry-After"]
    assert status([web.get("/costly", caller="127.0.0.2") for _ in range(3)]) == [200, 200, 429]
    assert status([web.get("/free") for _ in range(12)]) == [200] * 12


def slowapi_and_fastapi(web: Uvicorn) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: web.get("/slow"), range(20)))
    assert status(responses).count(200) == 5, status(responses)
    assert web.get("/slow").headers["X-RateLimit-Remaining"] == "0"

    items = [web.get(f"/items/{i}") for i in range(4)]
    assert status(items) == [200, 200, 200, 429], "all items are one route"
    assert items[0].headers["RateLimit"].startswith('"3/h";r=2;t=') and items[0].headers["Retry-After"] is None
    assert 3500 <= int(items[3].headers["Retry-After"]) <= 3600 and items[3].json() == {"detail": "too many requests"}
    assert web.get("/items/1", caller="127.0.0.2").status == 200
    writes = [web.request("POST", path) for path in ("/a", "/b", "/a")]
    assert status(writes) == [200, 200, 429], "they share one name"
    own = [web.get("/own/") for _ in range(2)]
    assert status(own) == [200, 503] and 3_590_000 < own[1].json()["again_in_ms"] <= 3_600_000
    assert own[1].headers["Retry-After"] is not None

    assert web.get("/slow").headers["RateLimit-Policy"].startswith('"1000/h"')
    admin.execute_command("RL.BLOCK", "all:127.0.0.1", "FOREVER")
    assert (web.get("/slow").status, web.get("/slow").headers["Retry-After"]) == (418, None)
    admin.execute_command("RL.UNBLOCK", "all:127.0.0.1")


def four_processes_of_each_host(flask: Uvicorn, fast: Uvicorn) -> None:
    """What four processes grant together is one limit, also when the server goes away
    meanwhile: it may have counted what nobody heard of, never the other way round."""
    paths = {"/four": flask, "/four/slow": fast, "/four/route": fast, "/four/asgi/": fast}
    for what, back, caller in [("down", "up", "127.0.0.18"), ("freeze", "thaw", "127.0.0.19")]:
        granted, undecided = dict.fromkeys(paths, 0), dict.fromkeys(paths, 0)
        counting = threading.Lock()

        def ask(path: str) -> bool:
            """Whether Redis decided."""
            response = paths[path].get(path, caller)
            limit = response.headers["X-RateLimit-Limit"]
            with counting:
                if response.status == 200 and limit == "60" and response.body != b"by itself":
                    granted[path] += 1
                elif response.status != 429 or limit != "60":
                    undecided[path] += 1
                    return False
            return True

        over = threading.Event()

        def keep_asking() -> None:
            for path in itertools.cycle(paths):
                if over.wait(0.05):
                    return
                ask(path)

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(keep_asking) for _ in range(8)]
            try:
                eventually("they are granted", lambda granted=granted: sum(granted.values()) > 60)
                please(what)
                eventually("it is away", lambda undecided=undecided: any(undecided.values()))
                time.sleep(0.5)
                please(back)
            finally:
                over.set()
            for one in asking:
                one.result()
        deadline = time.monotonic() + 60
        for path in [path for _ in range(8) for path in paths]:  # whichever process answers
            while not ask(path):
                assert time.monotonic() < deadline, (path, "it never asks again")
                time.sleep(0.1)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, [path for _ in range(70) for path in paths]))
        for path in paths:
            # Of those under way, eight at a time, a host may have asked twice.
            assert 60 - undecided[path] - 8 <= granted[path] <= 60, (what, path, granted, undecided)


def main() -> None:
    limits_as_it_says()
    prefixes_are_no_patterns()
    asyncio.run(pools_of_the_host())
    asyncio.run(limits_aio())
    four_processes_are_one()

    def hosts(patience: str) -> tuple[Uvicorn, Uvicorn]:
        flask = Preforked(
            "flask_app:app", workers=4, interface="wsgi", probe="/free", STORAGE=URI, REDIS_PATIENCE=patience
        )
        uris = {"STORAGE": f"{URI}?socket_timeout={patience}&socket_connect_timeout={patience}", "REDIS_URL": f"redis://127.0.0.1:{PORT}"}
        return flask, Preforked("slowapi_app:limited", workers=4, REDIS_PATIENCE=patience, **uris)

    # Tests run on busy machines, where a server that is well may take seconds to answer.
    flask, fast = hosts("20")
    flask_limiter(flask)
    slowapi_and_fastapi(fast)
    flask.stop()
    fast.stop()
    flask, fast = hosts("2")
    four_processes_of_each_host(flask, fast)

    # The host's own fallback holds while Redis is away: two each, in each process.
    for what, back, caller in [("down", "up", "127.0.0.8"), ("freeze", "thaw", "127.0.0.9")]:
        please(what)
        alone = status([flask.get("/", caller=caller) for _ in range(24)])
        assert set(alone) == {200, 429} and alone.count(200) <= 8, alone
        assert fast.get("/items/1", caller=caller).status == 200, "it fails open"
        please(back)
        deadline = time.monotonic() + 60
        # Each of the processes finds Redis again by itself.
        while (answer := flask.get("/")).headers["X-RateLimit-Limit"] != "10":
            assert time.monotonic() < deadline, "it never asks again"
            time.sleep(0.2)
        assert answer.status == 429, "what was granted before stands"
    flask.stop()
    fast.stop()
    print("done", flush=True)


main()
