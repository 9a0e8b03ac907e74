"""Tries processes that start no thread, and event loops that end, with the newest redis-py and the
oldest: python try_processes.py PORT PLAIN."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from floodgate_redis import Breaker, FailClosed, Lease, Limiter, Server, guarded, reserve
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
    untyped: Any = threading
    starts, untyped._start_new_thread = untyped._start_new_thread, _refuses
    try:
        does()
    finally:
        untyped._start_new_thread = starts


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
    ended = subprocess.run([sys.executable, "-B", "-c", ENDS, URL], check=False, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr


def main() -> None:
    work_goes_on_without_a_thread()
    a_lease_outlives_the_time_without_threads()
    loops_end_in_silence()
    print("done", flush=True)


main()
