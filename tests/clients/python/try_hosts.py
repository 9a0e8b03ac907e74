"""Tries the plug-ins for pyrate-limiter, Django, WSGI and Celery, with their real hosts
on a real server: python try_hosts.py PORT PLAIN. Talks as try_recipes.py does."""

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import floodgate_redis.asyncio as aio
from floodgate_redis import CircuitOpen, Decision, Denied, FailClosed, Limiter, Server
from floodgate_redis.flask import RateLimit
from floodgate_redis.pyrate import AsyncFloodgateBucket, FloodgateBucket, FloodgateBuckets
from outage import URL, admin, eventually, four_processes, please
from pyrate_limiter import Duration, FixedWindow, Rate, RateItem, TokenBucket
from pyrate_limiter import Limiter as Pyrate
from uvicorned import Preforked, Response

HERE = os.path.dirname(os.path.abspath(__file__))
SECOND, HOUR = Duration.SECOND, Duration.HOUR


def used(key: str, limits: str) -> int:
    return int(Limiter(Server(URL, patience=20), FailClosed()).quota(key, limits).limits[0].used)


# Of four processes.
IMPORTS = """
import sys, threading, time
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis.pyrate import FloodgateBuckets
from pyrate_limiter import Duration, Rate
from pyrate_limiter import Limiter as Pyrate
"""
PYRATE = """
limiter = Pyrate(FloodgateBuckets(Limiter(Server(sys.argv[1], patience=20), FailClosed()), [Rate(90, Duration.HOUR)]))
def take():
    time.sleep(0.02)
    return limiter.try_acquire("four", blocking=False)
"""


def pyrate() -> None:
    server = Server(URL, patience=20)
    limiter = Limiter(server, FailClosed())
    rates = [Rate(5, HOUR), Rate(3, 5 * SECOND)]
    by_name = Pyrate(FloodgateBuckets(limiter, rates))
    assert [by_name.try_acquire("a", blocking=False) for _ in range(4)] == [True] * 3 + [False]
    assert by_name.try_acquire("b", blocking=False), "each name has its own"
    assert by_name.try_acquire("a", weight=0)
    start = time.monotonic()
    assert by_name.try_acquire("a", timeout=30) and time.monotonic() - start > 0.3, "it waits for the five seconds"
    assert by_name.try_acquire("a", timeout=30)
    assert not by_name.try_acquire("a", timeout=0.1), "the hour is full"
    assert not by_name.try_acquire("c", weight=4), "it never fits, so that it does not wait"
    threads = Pyrate(FloodgateBuckets(limiter, [Rate(20, HOUR)]))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: threads.try_acquire("t", timeout=30), range(20)))
    assert not threads.try_acquire("t", blocking=False)

    # A bucket alone is one for all names, as with the host's own.
    bucket = FloodgateBucket([Rate(3, HOUR)], limiter, "alone")
    alone = Pyrate(bucket)
    assert [alone.try_acquire(name, blocking=False) for name in "abcd"] == [True] * 3 + [False]
    assert bucket.failing_rate is bucket.rates[0] and bucket.count() == 3 and bucket.peek(0) is None
    wait = bucket.waiting(RateItem("a", 0))
    assert 3_590_000 < bucket.waiting(RateItem("a", 0, weight=2)) <= 3_600_000 and wait != -1
    assert not bucket.put(RateItem("a", 0, weight=4)) and bucket.waiting(RateItem("a", 0, weight=4)) == -1
    assert bucket.waiting(RateItem("a", 0)) > 3_590_000, "one would fit"
    bucket.flush()
    assert bucket.failing_rate is None and bucket.count() == 0 and bucket.put(RateItem("a", 0))
    admin.execute_command("RL.BLOCK", "alone", "FOR", "1h")
    assert not alone.try_acquire("a", blocking=False)
    alone.close()

    # The host's algorithms.
    tokens = FloodgateBucket([Rate(10, HOUR, burst=3)], limiter, "tokens", TokenBucket())
    assert [tokens.put(RateItem("a", 0)) for _ in range(4)] == [True] * 3 + [False]
    assert 0 < tokens.waiting(RateItem("a", 0)) <= 360_000
    windows = FloodgateBucket([Rate(2, HOUR)], limiter, "windows", FixedWindow())
    assert windows.put(RateItem("a", 0, weight=2)) and not windows.put(RateItem("a", 0))
    assert admin.execute_command("RL.QUOTA", "windows")[0][3] == "fixed"
    for wrong in ([Rate(10 + n, n * 1000) for n in range(1, 10)], [Rate(1, 367 * 86_400_000)]):
        try:
            FloodgateBuckets(limiter, wrong)
            raise AssertionError(wrong)
        except ValueError:
            pass

    async def asynchronous() -> None:
        async with aio.Server(URL, patience=20) as lone:
            factory = FloodgateBuckets(aio.Limiter(lone, aio.FailClosed()), [Rate(10, HOUR), Rate(6, SECOND)], "aio")
            shared = Pyrate(factory)
            start = time.monotonic()
            taken = await asyncio.gather(*(shared.try_acquire_async("a", timeout=30) for _ in range(12)))
            assert sum(taken) == 10 and time.monotonic() - start > 0.9, taken
            bucket = AsyncFloodgateBucket([Rate(3, HOUR)], aio.Limiter(lone, aio.FailClosed()), "aio:alone")
            assert await bucket.put(RateItem("a", 0, weight=3)) and not await bucket.put(RateItem("a", 0))
            assert await bucket.count() == 3 and await bucket.waiting(RateItem("a", 0, weight=2)) > 3_590_000
            await bucket.flush()
            assert await bucket.count() == 0

    asyncio.run(asynchronous())
    passed = four_processes("rl.acquire", IMPORTS, PYRATE)
    # Counted and not heard of are those under way when it was killed: one a process.
    assert 90 - 4 <= passed <= 90 == used("pyrate:four", "90/3600000ms"), passed
    server.close()


def status(responses: list[Response]) -> list[int]:
    return [response.status for response in responses]


def django_and_wsgi() -> None:
    django: dict[str, Any] = {"workers": 4, "interface": "wsgi", "probe": "/free", "REDIS_URL": URL}
    web = Preforked("django_app:app", **django, REDIS_PATIENCE="20")
    # As the host reads a rate: of `5/month` the m.
    month = [web.get("/rest/month") for _ in range(6)]
    assert status(month) == [200] * 5 + [429]
    assert 30 <= int(month[5].headers["Retry-After"]) <= 60 and "throttled" in month[5].json()["detail"]
    uploads = [web.get("/rest/uploads") for _ in range(3)]
    assert status(uploads) == [200, 200, 429] and int(uploads[2].headers["Retry-After"]) > 86_000
    assert status([web.get("/rest/pages") for _ in range(3)]) == [200] * 3, "it has no scope"
    own = [web.get("/rest/own", **headers) for headers in ({"X-Tenant": "a"}, {"X-Tenant": "a"}, {"X-Tenant": "b"}, {}, {})]
    assert status(own) == [200, 429, 200, 200, 200]
    # `7/10` is 7 in 10 seconds.
    seven = [web.get("/ninja/seven") for _ in range(8)]
    assert status(seven) == [200] * 7 + [429] and 1 <= int(seven[7].headers["Retry-After"]) <= 10, seven[7]
    assert status([web.get("/ninja/asynchronous") for _ in range(4)]) == [200] * 3 + [429]

    pages = [web.get("/wsgi/page", caller="127.0.0.3") for _ in range(2)]
    assert pages[1].headers["RateLimit"].startswith('"60/h";r=58;t=') and pages[1].body == b"page"
    assert web.get("/wsgi/own", caller="127.0.0.3").headers.get_all("RateLimit") == ["mine"], "the route's own stands"
    assert status([web.get("/wsgi/page?tea", **{"X-User": user}) for user in "aab"]) == [200, 418, 200]

    # Four processes are one limit, with the server killed and frozen in between. They wait for
    # less long than it is frozen.
    web.stop()
    web = Preforked("django_app:app", **django, REDIS_PATIENCE="2")
    paths = ["/rest/anon", "/ninja/anon", "/wsgi/page"]
    for what, back, caller in [("down", "up", "127.0.0.4"), ("freeze", "thaw", "127.0.0.5")]:
        granted, undecided = dict.fromkeys(paths, 0), dict.fromkeys(paths, 0)
        counting = threading.Lock()

        def ask(path: str) -> int:
            response = web.get(path, caller=caller)
            assert response.status in (200, 429), response
            seconds = int(response.headers["Retry-After"] or 0)
            with counting:
                granted[path] += response.status == 200
                # While Redis is away it denies for a second at a time, else for an hour.
                undecided[path] += response.status == 429 and seconds <= 60
            return seconds

        over = threading.Event()

        def keep_asking() -> None:
            for path in itertools.cycle(paths):
                if over.wait(0.02):
                    return
                ask(path)

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(keep_asking) for _ in range(8)]
            try:
                eventually("some pass", lambda granted=granted: sum(granted.values()) > 30)
                please(what)
                eventually("it is away", lambda undecided=undecided: all(undecided.values()))
                please(back)
            finally:
                over.set()
            for one in asking:
                one.result()
        for path in paths:
            eventually("it asks again", lambda path=path: all(ask(path) > 60 for _ in range(6)))
            # Those under way, eight at a time, may have been asked twice.
            assert 60 - undecided[path] - 8 <= granted[path] <= 60, (what, path, granted, undecided)
    denied = web.request("HEAD", "/wsgi/page", caller=caller)
    assert (denied.status, denied.body, denied.headers["Content-Type"]) == (429, b"", "application/json")
    web.stop()
    told: list[Any] = []
    limited = RateLimit(lambda environ, start: [b"page"], Limiter(Server(URL, patience=20), FailClosed()), "1/h")
    for method, body in [("HEAD", [b"page"]), ("HEAD", [b""]), ("GET", [b'{"error":"too many requests"}'])]:
        assert limited({"REQUEST_METHOD": method}, lambda *said: told.append(said)) == body, method
    assert [said[0] for said in told] == ["429 Too Many Requests"] * 2 and dict(told[0][1])["Content-Length"] == "29"


def settings_that_a_test_overrides() -> None:
    os.environ.update(REDIS_URL=URL, REDIS_PATIENCE="20")
    import django_app  # noqa: F401
    from django.test import override_settings  # type: ignore[import-untyped]
    from floodgate_redis.django import project_limiter

    before = project_limiter().server
    with override_settings(FLOODGATE_LIMITER=Limiter(Server(URL), FailClosed())):
        assert project_limiter().server is not before
    assert project_limiter().server is before


def limiters_for_asyncio() -> None:
    """Plug-ins without asyncio refuse them, and the other way round."""
    from floodgate_redis.celery import limited

    plain, other = Limiter(Server(URL), FailClosed()), aio.Limiter(aio.Server(URL), FailClosed())
    rates = [Rate(1, HOUR)]
    given: list[tuple[str, Callable[[Any], object], Any]] = [
        ("floodgate_redis", lambda limiter: RateLimit(lambda environ, start: [], limiter, "1/h"), other),
        ("floodgate_redis", lambda limiter: limited(limiter, "1/h"), other),
        ("floodgate_redis", lambda limiter: FloodgateBucket(rates, limiter, "other"), other),
        ("floodgate_redis.asyncio", lambda limiter: AsyncFloodgateBucket(rates, limiter, "other"), plain),
    ]
    for package, does, limiter in given:
        try:
            does(limiter)
            raise AssertionError(limiter)
        except TypeError as error:
            assert str(error).endswith(f": take the Limiter of {package}"), error


def what_comes_of_a_task() -> None:
    """Who asked for its result catches what was raised, also where the host keeps it as JSON."""
    from celery import Celery  # type: ignore[import-untyped]
    from celery.backends.base import Backend  # type: ignore[import-untyped]

    backend = Backend(app=Celery("mail"), serializer="json")
    never, soon = (Denied(Decision(0, 5, 0, retry_ms, 1000, 0)) for retry_ms in (-1, 300))
    for error in (never, soon, CircuitOpen(-1), CircuitOpen(500)):
        copied = backend.exception_to_python(json.loads(json.dumps(backend.prepare_exception(error))))
        assert (type(copied), str(copied)) == (type(error), str(error)), copied
        assert copied.retry_after == error.retry_after
    assert copied.retry_after_ms == 500


@contextlib.contextmanager
def workers(folder: str) -> Iterator[None]:
    """Four processes of Celery."""
    for name in ("queue", "control"):
        os.mkdir(f"{folder}/{name}")
    command = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", "celery", "-A", "celery_app"]
    command += ["worker", "-c", "4", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "critical"]
    environment = os.environ | {"FOLDER": folder, "REDIS_URL": URL}
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def celery() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(FOLDER=folder, REDIS_URL=URL)
        import celery_app
        from floodgate_redis.celery import countdown_of

        # Never later than half of what the broker waits, however long it takes.
        assert all(0.05 <= countdown_of(0.001, {}) <= 0.1 for _ in range(99))
        assert all(10 <= countdown_of(10, {}) <= 20 for _ in range(99))
        assert all(1500 < countdown_of(86_400, {}) <= 1800 for _ in range(99))
        assert all(0.8 < countdown_of(86_400, {"visibility_timeout": 2}) <= 1 for _ in range(99))

        def told(what: str) -> list[list[str]]:
            with contextlib.suppress(FileNotFoundError), open(f"{folder}/told") as lines:
                return [line.split() for line in lines if line.startswith(what)]
            return []

        with workers(folder):
            for letter in range(12):
                celery_app.send.delay("ann", letter)
            celery_app.send.delay("bob", 99)
            celery_app.fails.delay()
            celery_app.never.delay()
            eventually("five and one are sent", lambda: len(told("sent")) >= 6, seconds=300)
            please("down")
            time.sleep(1)
            please("up")
            # Those that wait have come back more often than the host retries by itself.
            time.sleep(5)
            assert len(told("sent")) == 6, told("sent")
            # A busy machine has few turns, and the seven that wait take most of them.
            eventually("what fails is retried", lambda: len(told("tried")) >= 4, seconds=300)
            assert [line[1] for line in told("tried")] == ["0", "1", "2", "3"], "its own failures have their retries"
            assert not told("never")
            for already in (11, 13):
                admin.execute_command("RL.RESET", "mail:ann")
                eventually("the next are sent", lambda already=already: len(told("sent")) == already, seconds=300)
            letters = sorted(int(line[1]) for line in told("sent"))
            assert letters == [*range(12), 99], "each once"
            assert {line[2] for line in told("sent")} == {"0"}, "waiting is no retry"
            assert len({line[3] for line in told("sent")}) > 1, "several processes"

        # Where tasks run at once, they wait at once.
        celery_app.app.conf.task_always_eager = True
        for _ in range(5):
            celery_app.soon.delay()
        at = [float(line[1]) for line in told("soon")]
        assert len(at) == 5 and 0.55 < at[4] - at[0] < 30, at
        celery_app.soon()  # as a function it is not limited
        assert celery_app.never.delay().failed()


def main() -> None:
    pyrate()
    limiters_for_asyncio()
    settings_that_a_test_overrides()
    what_comes_of_a_task()
    django_and_wsgi()
    celery()
    print("done", flush=True)


main()
