"""Tries processes that start no thread, event loops that end, and the context of what runs in the background,
with the newest redis-py and the oldest: python try_processes.py PORT PLAIN."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import redis
import redis.asyncio
from floodgate_redis import Breaker, FailClosed, Lease, Limiter, Server, guarded, reserve
from floodgate_redis import asyncio as aio
from outage import admin, eventually
from log_capture import LogCapture

URL = f"redis://127.0.0.1:{sys.argv[1]}"
# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0
said = LogCapture()


def _refuses(*_: object, **__: object) -> None:
    raise RuntimeError("can't start new thread")


def without_threads(does: Callable[[], None]) -> None:
    """As while an interpreter of 3.12 ends, or where the container has no more processes to give."""
    name = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    starts = getattr(threading, name)
    setattr(threading, name, _refuses)
    try:
        does()
    finally:
        setattr(threading, name, starts)


def work_goes_on_without_a_thread() -> None:
    with Server(URL, patience=PATIENCE) as server:
        limiter, breaker = Limiter(server, FailClosed()), Breaker(server, "{threads}api", "50%/60s:open=30s")
        pays = guarded(limiter, breaker, key="{threads}user", limits="100/h")(lambda: "paid")

        def works() -> None:
            assert limiter.acquire("threads", "100/h").from_redis
            assert limiter.acquire("threads", "100/h", wait=1).from_redis
            with breaker.guard():
                pass
            assert pays() == "paid"
            with reserve(limiter, {"threads:llm": "100/h"}, estimate=9) as spending:
                spending.add(4)
            with reserve(limiter, {"threads:llm": "100/h"}, wait=1):
                pass
            lost = Limiter(Server("redis://127.0.0.1:1"), FailClosed())
            assert not lost.acquire("threads", "100/h", wait=1).from_redis

        without_threads(works)
        assert limiter.quota("threads:llm").limits[0].used == 5
        assert admin.execute_command("RL.RESERVATIONS", "threads:llm") == []
        warned = said()
        assert sum("no thread can start that renews" in line for line in warned) == 2, warned


def a_lease_outlives_the_time_without_threads() -> None:
    server = Server(URL, patience=PATIENCE)
    with server, Lease(Limiter(server, FailClosed()), "threads:lease", "1000000/h", processes=1) as lease:

        def asks() -> None:
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                assert lease.acquire().granted

        without_threads(asks)

        def is_leased() -> bool:
            decision = lease.acquire()
            assert decision.granted
            return decision.source == "lease"

        eventually("it leases as soon as a thread can start", is_leased)


ENDS = """
import asyncio, sys
from floodgate_redis import asyncio as aio
limiter = aio.Limiter(aio.Server(sys.argv[1], patience=20), aio.FailClosed())
async def asks():
    assert (await limiter.acquire("loops", "1000/h")).from_redis
for _ in range(3):
    asyncio.run(asks())
"""


def loops_end_in_silence() -> None:
    """Though nobody has closed their connections."""
    ended = subprocess.run([sys.executable, "-c", ENDS, URL], check=False, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr


request: ContextVar[str | None] = ContextVar("request", default=None)


@contextmanager
def traced(client: Any) -> Iterator[dict[str, set[str | None]]]:
    """The requests on whose behalf commands are sent, as a tracer sees them that wraps redis-py."""
    seen: dict[str, set[str | None]] = {}
    untraced = client.execute_command

    def execute_command(self: Any, *command: Any, **options: Any) -> Any:
        seen.setdefault(command[0], set()).add(request.get())
        return untraced(self, *command, **options)

    client.execute_command = execute_command
    request.set("first")
    try:
        yield seen
    finally:
        client.execute_command = untraced
        request.set(None)


def commands_belong_to_their_request() -> None:
    """Though some are sent by another thread. Those of a lease belong to none, for it outlives each."""
    with Server(URL, patience=PATIENCE) as server, traced(redis.Redis) as seen:
        limiter, breaker = Limiter(server, FailClosed()), Breaker(server, "{context}api", "50%/60s:open=30s")
        with reserve(limiter, {"context": "100/h"}), breaker.guard():
            assert guarded(limiter, breaker, key="{context}user", limits="100/h")(lambda: "paid")() == "paid"
        with reserve(limiter, {"context": "100/h"}, ttl=0.3):
            eventually("it is renewed", lambda: "RL.RENEW" in seen)
        for command in ("RL.RESERVE", "RL.RENEW", "RL.COMMIT", "CB.ACQUIRE", "CB.REPORT"):
            assert seen[command] == {"first"}, (command, seen)
        seen.clear()
        with Lease(limiter, "context:lease", "1000000/h", processes=1) as lease:
            eventually("it leases", lambda: lease.acquire().source == "lease")
        assert seen["RL.RESERVE"] == {None}, seen


async def a_lease_for_asyncio_belongs_to_no_request() -> None:
    async with aio.Server(URL, patience=PATIENCE) as server:
        with traced(redis.asyncio.Redis) as seen:
            async with aio.Lease(aio.Limiter(server, aio.FailClosed()), "context:aio", "1000000/h", processes=1) as lease:
                while (await lease.acquire()).source != "lease":
                    await asyncio.sleep(0.001)
            assert seen["RL.ACQUIRE"] == {"first"} and seen["RL.RESERVE"] == {None}, seen


def main() -> None:
    commands_belong_to_their_request()
    asyncio.run(a_lease_for_asyncio_belongs_to_no_request())
    work_goes_on_without_a_thread()
    a_lease_outlives_the_time_without_threads()
    loops_end_in_silence()
    print("done", flush=True)


main()
