"""LiteLLM's proxy while Redis is killed, frozen and back; four processes of clients, and two
of the proxy, on one limit."""

import multiprocessing
import multiprocessing.synchronize
import time
from collections.abc import Callable

import pytest
from auth import OPEN
from running import Caller, Proxy, Redis, eventually, user


def client(caller: Caller, ended: multiprocessing.synchronize.Event, passed: "multiprocessing.Queue[int]") -> None:
    answered = 0
    while not ended.is_set():
        answer = caller.chat(max_tokens=40)
        assert answer.status in (200, 429), answer
        answered += answer.status == 200
        time.sleep(0.01)
    passed.put(answered)


def away(caller: Caller) -> bool:
    answer = caller.chat()
    return answer.status == 429 and b"Redis is away" in answer.body and answer.retry_after == 1


def decides_again(proxy: Proxy) -> None:
    """In both processes."""
    eventually("Redis decides again", lambda: all(proxy.caller().chat().status == 200 for _ in range(8)))


def test_four_processes_pass_no_more_than_the_limit_through_outages(proxy: Proxy, redis: Redis, caller: Caller) -> None:
    ended, passed = multiprocessing.Event(), multiprocessing.Queue()
    clients = [multiprocessing.Process(target=client, args=(caller, ended, passed), daemon=True) for _ in range(4)]
    for each in clients:
        each.start()
    outages: list[tuple[Callable[[], None], Callable[[], None]]] = [(redis.kill, redis.start_again), (redis.freeze, redis.thaw)]
    for part, (goes, back) in enumerate(outages, 1):
        eventually("they go on", lambda part=part: redis.used(caller.keys[0])[:1] > [part * 2000])
        goes()
        eventually("the fallback decides", lambda: away(proxy.caller()))
        time.sleep(0.5)
        back()
    eventually("the limit is full", lambda: caller.used()[1] > 10_000 - 50, 90)
    time.sleep(0.5)  # and they go on
    ended.set()
    for each in clients:
        each.join(60)
        assert each.exitcode == 0
    tokens = 33 * sum(passed.get(timeout=5) for _ in clients)
    decides_again(proxy)
    eventually("all is settled", lambda: caller.used()[0] == 0)
    # What ended in an outage is told, and what began unheard is given back. The last find no
    # room for their estimate of 50.
    assert 9_900 <= tokens == caller.used()[1] <= 10_000, (tokens, caller.used())
    assert caller.chat(max_tokens=200).retry_after > 60


def test_the_fallback_is_asked_once_a_request(proxy: Proxy, redis: Redis, caller: Caller) -> None:
    open_caller = Caller(proxy, OPEN)
    redis.kill()
    try:
        eventually("the fallback decides", lambda: away(caller))
        # Its bucket holds one estimate in each process, and both have to notice.
        answers = [open_caller.chat(max_tokens=900) for _ in range(12)]
    finally:
        redis.start_again()
    assert {answer.status for answer in answers} == {200, 429}, answers
    assert sum(answer.status == 200 for answer in answers) in (1, 2)
    decides_again(proxy)


def test_what_a_frozen_redis_takes_late_is_given_back(proxy: Proxy, redis: Redis, caller: Caller) -> None:
    assert caller.chat().status == 200
    caller.settles(33)
    redis.freeze()
    try:
        assert caller.chat().status == 429
    finally:
        redis.thaw()
    decides_again(proxy)
    caller.settles(33)


@pytest.mark.parametrize(("goes", "back"), [(Redis.kill, Redis.start_again), (Redis.freeze, Redis.thaw)])
def test_what_ends_meanwhile_is_settled_later(
    proxy: Proxy, redis: Redis, caller: Caller, goes: Callable[[Redis], None], back: Callable[[Redis], None]
) -> None:
    with caller.while_it_answers("/v1/chat/completions", {"model": "chat", "messages": user("SLOW")}) as asking:
        eventually("it is reserved", lambda: caller.used()[0] == 1)
        goes(redis)
        asking.join()
        time.sleep(1)
        back(redis)
    # By the next request of the same process.
    decides_again(proxy)
    caller.settles(33)
