"""Tries the plug-ins for pyrate-limiter, Django, WSGI, Celery and LiteLLM, with their
real hosts (for LiteLLM what stands for it) on a real server: python try_hosts.py PORT
PLAIN. Talks as try_it.py does."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import floodgate_redis.asyncio as aio
import redis
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis.flask import RateLimit
from floodgate_redis.pyrate import AsyncFloodgateBucket, FloodgateBucket, FloodgateBuckets
from pyrate_limiter import Duration, FixedWindow, Rate, RateItem, TokenBucket
from pyrate_limiter import Limiter as Pyrate
from uvicorned import Response, Uvicorn

HERE = os.path.dirname(os.path.abspath(__file__))
URL = f"redis://127.0.0.1:{sys.argv[1]}"
admin: Any = redis.Redis(port=int(sys.argv[1]), decode_responses=True, protocol=2)
SECOND, HOUR = Duration.SECOND, Duration.HOUR


def please(what: str) -> None:
    print(what, flush=True)
    sys.stdin.readline()


def eventually(what: str, holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def used(key: str, limits: str) -> int:
    return int(Limiter(Server(URL, patience=5), FailClosed()).quota(key, limits)[0].used)


# Four processes of it, each as long as its standard input is open; it says how many passed.
PYRATE = """
import sys, threading, time
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis.pyrate import FloodgateBuckets
from pyrate_limiter import Duration, Rate
from pyrate_limiter import Limiter as Pyrate
limiter = Pyrate(FloodgateBuckets(Limiter(Server(sys.argv[1], patience=0.5), FailClosed()), [Rate(90, Duration.HOUR)]))
def take():
    time.sleep(0.02)
    return limiter.try_acquire("four", blocking=False)
"""
LITELLM = """
import asyncio, sys, threading, time
from types import SimpleNamespace
import floodgate_redis.asyncio as aio
from fastapi import HTTPException
from floodgate_redis.litellm import TokenLimits
loop = asyncio.new_event_loop()
async def made():
    return TokenLimits(aio.Limiter(aio.Server(sys.argv[1], patience=0.5), aio.FailClosed()), {"key": "90/h"}, estimate=lambda _: 2)
tokens = loop.run_until_complete(made())
async def request():
    data = {"model": "m"}
    try:
        await tokens.async_pre_call_hook(SimpleNamespace(token="four"), None, data, "completion")
    except HTTPException:
        return False
    await tokens.async_log_success_event({"litellm_params": data}, {"usage": {"total_tokens": 1}}, None, None)
    return True
def take():
    time.sleep(0.02)
    return loop.run_until_complete(request())
"""
AS_LONG = """
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
passed = 0
while not ended.is_set():
    passed += bool(take())
print(passed)
"""


def four_processes(what: str, program: str) -> int:
    """What passes in all, with the server gone in between."""
    command = [sys.executable, "-B", "-c", program + AS_LONG, URL]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    before = int(admin.info("commandstats").get(f"cmdstat_{what}", {"calls": 0})["calls"])
    eventually("they begin", lambda: int(admin.info("commandstats").get(f"cmdstat_{what}", {"calls": 0})["calls"]) > before + 20)
    please("down")
    time.sleep(0.3)
    please("up")
    eventually("they go on", lambda: int(admin.info("commandstats").get(f"cmdstat_{what}", {"calls": 0})["calls"]) > 150)
    return sum(int(process.communicate(timeout=60)[0]) for process in processes)


def pyrate() -> None:
    server = Server(URL, patience=5)
    limiter = Limiter(server, FailClosed())
    rates = [Rate(5, HOUR), Rate(3, SECOND)]
    by_name = Pyrate(FloodgateBuckets(limiter, rates))
    assert [by_name.try_acquire("a", blocking=False) for _ in range(4)] == [True] * 3 + [False]
    assert by_name.try_acquire("b", blocking=False), "each name has its own"
    assert by_name.try_acquire("a", weight=0)
    start = time.monotonic()
    assert by_name.try_acquire("a", timeout=5) and 0.3 < time.monotonic() - start < 4, "it waits for the second"
    assert by_name.try_acquire("a", timeout=5)
    assert not by_name.try_acquire("a", timeout=0.1), "the hour is full"
    assert not by_name.try_acquire("c", weight=4), "it never fits, so that it does not wait"
    threads = Pyrate(FloodgateBuckets(limiter, [Rate(20, HOUR)]))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: threads.try_acquire("t", timeout=10), range(20)))
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
    tokens = FloodgateBucket([Rate(10, SECOND, burst=3)], limiter, "tokens", TokenBucket())
    assert [tokens.put(RateItem("a", 0)) for _ in range(4)] == [True] * 3 + [False]
    assert 0 < tokens.waiting(RateItem("a", 0)) <= 100
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
        async with aio.Server(URL, patience=5) as lone:
            factory = FloodgateBuckets(aio.Limiter(lone, aio.FailClosed()), [Rate(10, HOUR), Rate(6, SECOND)], "aio")
            shared = Pyrate(factory)
            start = time.monotonic()
            taken = await asyncio.gather(*(shared.try_acquire_async("a", timeout=3) for _ in range(12)))
            assert sum(taken) == 10 and time.monotonic() - start > 0.9, taken
            bucket = AsyncFloodgateBucket([Rate(3, HOUR)], aio.Limiter(lone, aio.FailClosed()), "aio:alone")
            assert await bucket.put(RateItem("a", 0, weight=3)) and not await bucket.put(RateItem("a", 0))
            assert await bucket.count() == 3 and await bucket.waiting(RateItem("a", 0, weight=2)) > 3_590_000
            await bucket.flush()
            assert await bucket.count() == 0

    asyncio.run(asynchronous())
    passed = four_processes("rl.acquire", PYRATE)
    # Counted and not heard of are those under way when it was killed: one a process.
    assert 90 - 4 <= passed <= 90 == used("pyrate:four", "90/3600000ms"), passed
    server.close()


def status(responses: list[Response]) -> list[int]:
    return [response.status for response in responses]


def django_and_wsgi() -> None:
    web = Uvicorn("django_app:app", workers=4, interface="wsgi", probe="/free", REDIS_URL=URL)
    # As the host reads a rate: of `5/month` the m.
    month = [web.get("/rest/month") for _ in range(6)]
    assert status(month) == [200] * 5 + [429]
    assert 55 <= int(month[5].headers["Retry-After"]) <= 60 and "throttled" in month[5].json()["detail"]
    uploads = [web.get("/rest/uploads") for _ in range(3)]
    assert status(uploads) == [200, 200, 429] and int(uploads[2].headers["Retry-After"]) > 86_000
    assert status([web.get("/rest/pages") for _ in range(3)]) == [200] * 3, "it has no scope"
    own = [web.get("/rest/own", **headers) for headers in ({"X-Tenant": "a"}, {"X-Tenant": "a"}, {"X-Tenant": "b"}, {}, {})]
    assert status(own) == [200, 429, 200, 200, 200]
    # `7/10` is 7 in 10 seconds.
    seven = [web.get("/ninja/seven") for _ in range(8)]
    assert status(seven) == [200] * 7 + [429] and 5 <= int(seven[7].headers["Retry-After"]) <= 10, seven[7]
    assert status([web.get("/ninja/asynchronous") for _ in range(4)]) == [200] * 3 + [429]

    pages = [web.get("/wsgi/page", caller="127.0.0.3") for _ in range(2)]
    assert pages[1].headers["RateLimit"].startswith('"60/h";r=58;t=') and pages[1].body == b"page"
    assert web.get("/wsgi/own", caller="127.0.0.3").headers.get_all("RateLimit") == ["mine"], "the route's own stands"
    assert status([web.get("/wsgi/page?tea", **{"X-User": user}) for user in "aab"]) == [200, 418, 200]

    # Four processes are one limit, with the server killed and frozen in between.
    paths = ["/rest/anon", "/ninja/anon", "/wsgi/page"]
    for what, back, caller in [("down", "up", "127.0.0.4"), ("freeze", "thaw", "127.0.0.5")]:
        granted = dict.fromkeys(paths, 0)
        counting = threading.Lock()

        def ask(path: str) -> int:
            response = web.get(path, caller=caller)
            with counting:
                granted[path] += response.status == 200
            assert response.status in (200, 429), response
            return int(response.headers["Retry-After"] or 0)

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, path) for _ in range(30) for path in paths]
            asked[45].result()
            please(what)
            time.sleep(0.8)
            please(back)
            for one in asked:
                one.result()
        # It denied for a second at a time while Redis was away, and for an hour since.
        for path in paths:
            eventually("it asks again", lambda path=path: all(ask(path) > 60 for _ in range(6)))
        # Counted and not heard of are at most those under way.
        assert all(60 - 8 <= of <= 60 for of in granted.values()), (what, granted)
    denied = web.request("HEAD", "/wsgi/page", caller=caller)
    assert (denied.status, denied.body, denied.headers["Content-Type"]) == (429, b"", "application/json")
    web.stop()
    told: list[Any] = []
    limited = RateLimit(lambda environ, start: [b"page"], Limiter(Server(URL, patience=5), FailClosed()), "1/h")
    for method, body in [("HEAD", [b"page"]), ("HEAD", [b""]), ("GET", [b'{"error":"too many requests"}'])]:
        assert limited({"REQUEST_METHOD": method}, lambda *said: told.append(said)) == body, method
    assert [said[0] for said in told] == ["429 Too Many Requests"] * 2 and dict(told[0][1])["Content-Length"] == "29"


@contextlib.contextmanager
def workers(folder: str) -> Iterator[None]:
    """Four processes of Celery."""
    for name in ("queue", "control"):
        os.mkdir(f"{folder}/{name}")
    command = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-B", "-m", "celery", "-A", "celery_app"]
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
            eventually("five and one are sent", lambda: len(told("sent")) >= 6)
            please("down")
            time.sleep(1)
            please("up")
            # Those that wait have come back more often than the host retries by itself.
            time.sleep(5)
            assert len(told("sent")) == 6, told("sent")
            assert [line[1] for line in told("tried")] == ["0", "1", "2", "3"], "its own failures have their retries"
            assert not told("never")
            for already in (11, 13):
                admin.execute_command("RL.RESET", "mail:ann")
                eventually("the next are sent", lambda already=already: len(told("sent")) == already)
            letters = sorted(int(line[1]) for line in told("sent"))
            assert letters == [*range(12), 99], "each once"
            assert {line[2] for line in told("sent")} == {"0"}, "waiting is no retry"
            assert len({line[3] for line in told("sent")}) > 1, "several processes"

        # Where tasks run at once, they wait at once.
        celery_app.app.conf.task_always_eager = True
        for _ in range(5):
            celery_app.soon.delay()
        at = [float(line[1]) for line in told("soon")]
        assert len(at) == 5 and 0.55 < at[4] - at[0] < 5, at
        celery_app.soon()  # as a function it is not limited
        assert celery_app.never.delay().failed()


def litellm() -> None:
    from types import SimpleNamespace

    from fastapi import HTTPException
    from floodgate_redis.litellm import TokenLimits, TokensDenied, estimated
    from litellm.exceptions import RateLimitError  # type: ignore[import-not-found]

    assert estimated({"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 50}) in range(150, 170)
    assert estimated({"prompt": "x" * 40, "n": 3}) == 3010 and estimated({}) == 1000

    async def proxy() -> None:
        server = aio.Server(URL, patience=5)
        limiter = aio.Limiter(server, aio.FailClosed())
        limits = {"key": "1000/h,concurrent:2", "team": "1500/h", "organization": "100000/h"}
        tokens = TokenLimits(limiter, limits, estimate=lambda request: int(request["cost"]), ttl=60)

        async def left(key: str) -> tuple[int, int]:
            """Units used, places held."""
            rows = await limiter.quota(key)
            return rows[0].used, rows[1].used if len(rows) > 1 else 0

        def who(key: str) -> Any:
            return SimpleNamespace(token=key, team_id="t", org_id="o")

        async def begins(key: str, cost: int, **more: Any) -> dict[str, Any]:
            data: dict[str, Any] = {"model": "m", "cost": cost, **more}
            await tokens.async_pre_call_hook(who(key), None, data, "completion")
            return data

        async def ends(data: dict[str, Any], total: int | None, **more: Any) -> None:
            usage = {} if total is None else {"usage": {"total_tokens": total}}
            await tokens.async_log_success_event({"litellm_params": data, **more}, usage, None, None)

        async def denied(key: str, cost: int) -> HTTPException:
            try:
                await begins(key, cost)
            except HTTPException as error:
                assert error.status_code == 429
                return error
            raise AssertionError("it was let through")

        first, second = await begins("a", 300), await begins("a", 300)
        assert await left("llm:key:a") == (600, 2) and await left("llm:team:t") == (600, 0)
        assert (await denied("a", 1)).headers is not None, "both places are taken"
        # What it cost is known at the end, and told once however often it is said.
        await ends(first, 120)
        await ends(first, 999)
        assert await left("llm:key:a") == (420, 1) and await left("llm:organization:o") == (420, 0)
        # The hook of one attempt gives nothing back: others may follow.
        await tokens.async_post_call_failure_deployment_hook(second, ValueError(), "completion")
        await tokens.async_pre_call_deployment_hook(second, "completion")
        assert await left("llm:key:a") == (420, 1)
        await tokens.async_post_call_failure_hook(second, ValueError(), who("a"))
        await ends(second, 5)
        assert await left("llm:key:a") == (120, 0)
        # A stream: its usage is known at its end; more than was reserved is charged, too.
        stream = await begins("a", 100)
        await ends(stream, 250, stream=True, standard_logging_object={"total_tokens": 250})
        assert await left("llm:key:a") == (370, 0)
        await ends(await begins("a", 30), None)  # unknown: the estimate stands
        await ends(await begins("a", 100), 77, cache_hit=True)
        assert await left("llm:key:a") == (400, 0)
        # An estimate above the capacity is cut to it.
        whole = await begins("b", 1_000_000)
        assert await left("llm:key:b") == (1000, 1) and await left("llm:team:t") == (1400, 0)
        headers = (await denied("b", 1)).headers
        assert headers is not None and int(headers["Retry-After"]) > 3000
        await ends(whole, 10)
        # Nobody settles what another reserved, by naming it, or after his own.
        mine = await begins("a", 10)
        forged = await begins("a", 10, metadata={"floodgate_reservation": mine["metadata"]["floodgate_reservation"]})
        assert forged["metadata"] != mine["metadata"]
        await ends(forged, 1)
        await ends(mine, 1)
        shared = {"team": "x"}
        one, two = await begins("a", 10, metadata=shared), await begins("a", 10, metadata=shared)
        await ends(two, 2)
        await ends(one, 1)
        assert await left("llm:key:a") == (405, 0) and shared == {"team": "x"}
        await ends({"model": "m"}, 50)  # unknown to it, as after a restart
        own = await begins("a", 10, litellm_metadata={})
        assert "floodgate_reservation" in own["litellm_metadata"] and "metadata" not in own
        await tokens.async_post_call_failure_hook(own, ValueError(), who("a"))
        assert await left("llm:key:a") == (405, 0)
        assert not tokens._open, "all is settled, and forgotten"

        # Without the proxy: each attempt for itself.
        alone = TokenLimits(limiter, {"model": "100/h", "user": "60/h"}, estimate=lambda request: 40)
        attempt: dict[str, Any] = {"model": "gpt", "user": "ann"}
        await alone.async_pre_call_deployment_hook(attempt, "acompletion")
        assert await left("llm:model:gpt") == (40, 0)
        await alone.async_post_call_failure_deployment_hook(attempt, ValueError(), "acompletion")
        again = dict(attempt)
        await alone.async_pre_call_deployment_hook(again, "acompletion")
        try:
            await alone.async_pre_call_deployment_hook({"model": "other", "user": "ann"}, "acompletion")
            raise AssertionError("ann has 20 left")
        except TokensDenied as error:  # which no deployment is to blame for
            assert (error.scope, error.status_code) == ("user", 400) and error.retry_after, error
        await alone.async_pre_call_deployment_hook(more := {"model": "gpt", "user": "bob"}, "acompletion")
        try:
            await alone.async_pre_call_deployment_hook({"model": "gpt", "user": "cid"}, "acompletion")
            raise AssertionError("gpt has 20 left")
        except RateLimitError as error:
            assert error.model == "gpt"
        await alone.async_post_call_failure_deployment_hook(more, ValueError(), "acompletion")
        await alone.async_log_success_event({"litellm_params": again}, SimpleNamespace(usage=SimpleNamespace(total_tokens=7)), 0, 0)
        assert await left("llm:model:gpt") == (7, 0) and await left("llm:user:ann") == (7, 0)
        # Calls that share their metadata are told apart.
        both = [{"model": "gpt", "metadata": shared}, {"model": "gpt", "metadata": shared}]
        for call in both:
            await alone.async_pre_call_deployment_hook(call, "acompletion")
        await alone.async_log_success_event({"litellm_params": both[0]}, {"usage": {"total_tokens": 1}}, 0, 0)
        await alone.async_post_call_failure_deployment_hook(both[1], ValueError(), "acompletion")
        assert await left("llm:model:gpt") == (8, 0) and shared == {"team": "x"} and not alone._open
        try:
            TokenLimits(limiter, {"orgs": "1/h"})
            raise AssertionError("there is no such scope")
        except ValueError:
            pass
        await server.close()

    asyncio.run(proxy())
    passed = four_processes("rl.reserve", LITELLM)
    # Of each that was under way when it was killed an estimate of 2 may stand.
    assert 90 - 4 * 4 - 1 <= passed <= 90, passed


def main() -> None:
    litellm()
    pyrate()
    django_and_wsgi()
    celery()
    print("done", flush=True)


main()
