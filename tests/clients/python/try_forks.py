"""Tries processes that fork while their threads ask: python try_forks.py PORT NODES SENTINELS, the
last two as host:port,host:port."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import floodgate_redis.limits  # noqa: F401
import limits
import redis
from floodgate_redis import FailClosed, Lease, Limiter, Server, reserve
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

SINGLE, CLUSTER, SENTINEL = (
    f"redis://127.0.0.1:{sys.argv[1]}",
    f"floodgate+cluster://{sys.argv[2]}",
    f"floodgate+sentinel://{sys.argv[3]}/floodgate",
)
# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0
HUNG_S = 60
_cluster: Any = redis.RedisCluster


@contextmanager
def locked() -> Iterator[None]:
    """Other threads hold the locks of redis-py, as each does for a moment when it asks."""
    gc.collect()  # of what nobody has any more nobody holds the lock
    held, ended = threading.Event(), threading.Event()

    def holds() -> None:
        with ExitStack() as stack:
            for lock in [it._lock for it in gc.get_objects() if isinstance(it, (redis.ConnectionPool, _cluster))]:
                if lock.acquire(blocking=False):  # that of a parent's pool is held for ever
                    stack.callback(lock.release)
            held.set()
            ended.wait()

    thread = threading.Thread(target=holds)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def child(does: Callable[[], object]) -> None:
    """Does it in a forked child; says how that ended."""
    with locked():
        process = os.fork()
        if not process:
            signal.alarm(HUNG_S)
            try:
                does()
                gc.collect()  # what the parent had is dropped
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(process, 0)[1]
    assert status == 0, f"the child ended with {status}; {signal.SIGALRM} where it hung"


def children_of_a_server() -> None:
    for url in (SINGLE, CLUSTER, SENTINEL):
        server = Server(url, patience=PATIENCE)
        limiter = Limiter(server, FailClosed())

        def asks(key: str = url, limiter: Limiter = limiter) -> None:
            assert limiter.acquire(f"{{fork}}{key}", "100/h").from_redis
            assert limiter.acquire(f"{{fork}}{key}", "100/h", wait=1).from_redis
            with reserve(limiter, {f"{{fork}}{key}:llm": "100/h"}):
                pass

        asks()
        child(asks)
        child(partial(child, asks))
        asks()
        assert limiter.quota(f"{{fork}}{url}").limits[0].used == 8, "each asks twice"
        server.close()


def children_of_storages() -> None:
    for url in (SINGLE.replace("redis", "floodgate"), CLUSTER, SENTINEL):
        storage: Any = storage_from_string(url, socket_timeout=PATIENCE)
        taker, limit = MovingWindowRateLimiter(storage), limits.parse("3/hour")

        def asks(taker: Any = taker, limit: Any = limit, key: str = url) -> None:
            assert taker.hit(limit, key)

        asks()
        child(asks)
        asks()
        assert not taker.hit(limit, url)


def a_child_leases_for_itself() -> None:
    server = Server(SINGLE, patience=PATIENCE)
    with server, Lease(Limiter(server, FailClosed()), "fork:lease", "1000000/h", processes=2) as lease:

        def asks() -> None:
            while lease.acquire().source != "lease":
                pass

        asks()
        child(asks)
        asks()


def main() -> None:
    children_of_a_server()
    children_of_storages()
    a_child_leases_for_itself()


main()
