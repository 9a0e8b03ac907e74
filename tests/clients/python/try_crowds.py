"""Tries many requests at once, answers that are late, and a loop that is blocked: python
try_crowds.py PORT PLAIN. Talks as try_recipes.py does."""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import DataError

from floodgate_redis import Away, Decision, FailClosed, FailOpen, Limiter, Misconfigured, Server, reserve
from floodgate_redis import asyncio as aio
from floodgate_redis.outage import Health
from faulty_proxies import SlowWay
from outage import please
from log_capture import LogCapture

PORT = int(sys.argv[1])
URL, PLAIN = f"redis://127.0.0.1:{PORT}", f"redis://127.0.0.1:{sys.argv[2]}"
# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0


said = LogCapture()


def crowd(size: int, does: Callable[[], Any]) -> list[Any]:
    """What so many threads get."""
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(does())) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def decided(decisions: list[Decision], granted: int) -> None:
    """By Redis, all of them."""
    assert all(decision.from_redis for decision in decisions), sum(not it.from_redis for it in decisions)
    assert sum(decision.granted for decision in decisions) == granted
    assert said.lines == [], said.lines


def threads_wait_for_a_connection() -> None:
    """Longer than the patience, which is for the answer."""
    with Server(SlowWay(PORT, 0.25).url, patience=2) as slow:
        limiter = Limiter(slow, FailOpen(), remember_denials=False)
        decided(crowd(600, lambda: limiter.acquire("crowd:threads", "100/h")), 100)

        def reserves() -> bool:
            with reserve(limiter, {"crowd:reserves": "1000/h"}):
                return True

        assert crowd(300, reserves) == [True] * 300 and said.lines == [], said.lines
        assert limiter.quota("crowd:reserves").limits[0].used == 300


async def tasks_wait_for_a_connection() -> None:
    async with aio.Server(SlowWay(PORT, 0.1).url, patience=2) as slow:
        limiter = aio.Limiter(slow, FailOpen(), remember_denials=False)
        decided(await asyncio.gather(*(limiter.acquire("crowd:tasks", "100/h") for _ in range(2000))), 100)
    # A loop that is busy with the crowd itself.
    async with aio.Server(URL, patience=2) as server:
        limiter = aio.Limiter(server, FailOpen(), remember_denials=False)
        decided(await asyncio.gather(*(limiter.acquire("crowd:5000", "100/h") for _ in range(5000))), 100)


def as_many_as_the_url_says() -> None:
    with Server(f"{URL}?max_connections=2", patience=PATIENCE) as two:
        limiter = Limiter(two, FailOpen(), remember_denials=False)
        decided(crowd(50, lambda: limiter.acquire("crowd:two", "100/h")), 50)
        pool = two._nodes.of(None)._redis.connection_pool
        assert len(pool._available_connections) <= 2


async def one_late_answer_puts_nobody_to_rest() -> None:
    way = SlowWay(PORT, 0)
    with Server(way.url, patience=1, rest=60) as server:
        limiter, ended = Limiter(server, FailOpen()), threading.Event()
        lost: list[Decision] = []

        def loses() -> None:
            lost.append(limiter.acquire("lost", "1/h"))
            ended.set()

        threading.Thread(target=loses).start()
        while not ended.wait(0.05):
            assert limiter.acquire("late", "1000/h").from_redis
        assert not lost[0].from_redis and limiter.acquire("late", "1000/h").from_redis
    async with aio.Server(way.url, patience=1, rest=60) as others:
        asking = aio.Limiter(others, FailOpen())
        losing = asyncio.create_task(asking.acquire("lost", "1/h"))
        while not losing.done():
            assert (await asking.acquire("late", "1000/h")).from_redis
            await asyncio.sleep(0.05)
        assert not losing.result().from_redis and (await asking.acquire("late", "1000/h")).from_redis
    assert said.lines == [], said.lines


async def nobody_waits_for_a_server_that_hangs() -> None:
    """However many there are: no more than the patience."""
    server, other = Server(URL, patience=3, rest=60), aio.Server(URL, patience=3, rest=60)
    limiter, asking = Limiter(server, FailOpen()), aio.Limiter(other, FailOpen())
    assert limiter.acquire("hangs", "1000000/h").from_redis and (await asking.acquire("hangs", "1000000/h")).from_redis
    please("freeze")
    start = time.monotonic()
    alone = crowd(400, lambda: limiter.acquire("hangs", "1000000/h"))
    alone += await asyncio.gather(*(asking.acquire("hangs", "1000000/h") for _ in range(2000)))
    assert not any(decision.from_redis for decision in alone)
    assert time.monotonic() - start < 15, "twice the patience, on a busy machine"
    please("thaw")
    await other.close()
    said.lines.clear()


async def a_blocked_loop_reads_what_lies_there() -> None:
    """The answer has come meanwhile: Redis is not away."""
    async with aio.Server(URL, patience=3) as server:
        limiter = aio.Limiter(server, FailClosed())

        async def takes() -> object:
            return (await limiter.acquire("blocked", "1000/h")).from_redis

        async def reserves() -> object:
            async with aio.reserve(limiter, {"blocked:llm": "1000/h"}):
                return True

        async def calls() -> object:
            async with aio.Breaker(server, "blocked:api", "1").guard():
                return True

        async def line() -> object:
            return (await limiter.acquire("blocked:line", "1000/h", wait=0.1)).from_redis

        async def made() -> object:
            return True

        pays = aio.guarded(limiter, aio.Breaker(server, "{blocked}api", "1"), key="{blocked}", limits="1000/h")(made)

        async def blocks(steps: int) -> object:
            for _ in range(steps):
                await asyncio.sleep(0)
            time.sleep(4)
            return True

        asking: list[Callable[[], Awaitable[object]]] = [takes, reserves, calls, line, pays]
        for steps in (4, 8):
            got = await asyncio.gather(*(ask() for ask in asking), blocks(steps))
            assert got == [True] * 6 and said.lines == [], (got, said.lines)


def what_cannot_be_sent_is_no_answer() -> None:
    words: tuple[Any, ...] = (None, "k\ud800")

    def is_refused(limiter: Limiter, key: Any) -> None:
        try:
            limiter.acquire(key, "1/h")
            raise AssertionError(f"{key!r} was sent")
        except (DataError, UnicodeEncodeError):
            pass

    for word in words:
        plain = Limiter(Server(PLAIN, patience=PATIENCE), FailOpen())
        is_refused(plain, word)
        try:
            plain.acquire("a", "1/h")
            raise AssertionError("it has no Floodgate")
        except Misconfigured:
            pass
    # Nor is it one of a server that is away; and the next request asks for all.
    health = Health(rest=0.001)
    health.failed(ConnectionError(), health.turn())
    time.sleep(0.01)
    health.rest = 3600
    assert isinstance(health.failed(DataError(), health.turn()), DataError)
    assert isinstance(health.failed(ConnectionError(), health.turn()), Away)
    try:
        health.turn()
        raise AssertionError("it rests")
    except Away:
        pass
    health.awake()
    health.answered()
    assert said.lines == ["Redis is away, the fallback decides: ConnectionError", "Redis is back"], said.lines
    said.lines.clear()


def main() -> None:
    threads_wait_for_a_connection()
    asyncio.run(tasks_wait_for_a_connection())
    as_many_as_the_url_says()
    asyncio.run(one_late_answer_puts_nobody_to_rest())
    asyncio.run(a_blocked_loop_reads_what_lies_there())
    asyncio.run(nobody_waits_for_a_server_that_hangs())
    what_cannot_be_sent_is_no_answer()
    print("done", flush=True)


main()
