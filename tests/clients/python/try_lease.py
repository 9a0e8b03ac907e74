"""Tries Lease, against an exact model and on a real server: python try_lease.py PORT
PLAIN. Talks as try_recipes.py does."""

import asyncio
import heapq
import itertools
import math
import os
import random
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import floodgate_redis.asyncio as aio
import redis
from floodgate_redis import Decision, FailClosed, Lease, Limiter, LocalBucket, Server
from floodgate_redis.lease import LEAST, Book, Held

from log_capture import LogCapture
from outage import FOUR, eventually, please
URL = f"redis://127.0.0.1:{sys.argv[1]}"
admin: Any = redis.Redis(port=int(sys.argv[1]), decode_responses=True, protocol=2)


class Exact:
    """A sliding limit, slow and obviously right: every unit with its time."""

    def __init__(self, count: int, period: float):
        self.count = count
        self.period = period
        self.granted: deque[tuple[float, str]] = deque()

    def remaining(self, now: float) -> int:
        while self.granted and self.granted[0][0] <= now - self.period:
            self.granted.popleft()
        return self.count - len(self.granted)

    def take(self, now: float, units: int, who: str, partial: bool) -> Decision:
        free = self.remaining(now)
        units = min(units, free) if partial else units if units <= free else 0
        self.granted.extend([(now, who)] * units)
        return Decision(units, self.count, free - units, 0 if units else 1, 1, 0)

    def give_back(self, who: str, units: int) -> None:
        """The last of its units go first."""
        for at in reversed(range(len(self.granted))):
            if units and self.granted[at][1] == who:
                del self.granted[at]
                units -= 1


class World:
    """Processes that lease, a server, and answers that take their time, or are lost with
    the process that waited for them."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)
        self.processes = self.chance.choice([1, 2, 4])
        self.interval = self.chance.choice([0.1, 0.5])
        self.server = Exact(self.chance.choice([40, 500, 2000, 8000]), self.chance.choice([1.0, 3.0]))
        self.books = [Book(self.processes, self.interval) for _ in range(self.processes)]
        self.asking = [False] * self.processes
        self.now = 0.0
        self.order = itertools.count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.out = 0
        """Units that the server has granted to leases, neither spent nor given back."""
        self.spent: list[tuple[float, int]] = []
        self.outs: list[tuple[float, int]] = [(0.0, 0)]
        self.trips = self.asked = self.leased = 0

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), what))

    def latency(self) -> float:
        return self.chance.choice([0.0005, 0.002, self.interval / 2, 1.5 * self.interval])

    def demand(self, process: int) -> None:
        book, cost = self.books[process], self.chance.choice([1, 1, 1, 3])
        self.asked += 1
        self.outs.append((self.now, self.out))
        held = book.held
        if book.spend(cost, self.now) is not None:
            assert held is not None and held.left >= 0 and self.now < held.until
            self.leased += 1
            self.out -= cost
            self.spent.append((self.now, cost))
        else:
            self.trips += 1
            decision = self.server.take(self.now, cost, "direct", partial=False)
            book.learn(decision)
            if decision.granted:
                self.spent.append((self.now, cost))
        self.look(process)

    def look(self, process: int) -> None:
        """As the worker does."""
        book = self.books[process]
        if self.asking[process] or not book.is_due(self.now):
            return
        latest, asked, since = book._latest, book._asked, book._since
        want = book.want(self.now)
        if want:
            assert latest is not None and since is not None
            assert LEAST <= want <= latest.remaining / (2 * self.processes), (want, latest)
            assert want <= math.ceil(asked * self.interval / max(self.interval / 4, self.now - since))
            self.asking[process] = True
            self.later(self.latency(), lambda: self.reserve(process, book, want, self.now + book.longest))
        else:
            self.settle(book.take(None))

    def reserve(self, process: int, book: Book, want: int, until: float) -> None:
        self.trips += 1
        id = f"lease {next(self.order)}"
        decision = self.server.take(self.now, want, id, partial=True)
        self.out += decision.granted
        self.outs.append((self.now, self.out))
        held = Held(id, decision.granted, decision.granted, until) if decision.granted else None
        self.later(self.latency(), lambda: self.answered(process, book, held, decision))

    def answered(self, process: int, book: Book, held: Held | None, decision: Decision) -> None:
        self.asking[process] = False
        if book is not self.books[process]:  # it died meanwhile: the units stay charged
            return
        book.learn(decision)
        self.settle(book.take(held))

    def settle(self, held: Held | None) -> None:
        if held is None:
            return
        assert 0 <= held.used <= held.granted
        unspent = held.left

        def commit() -> None:
            self.trips += 1
            assert held.left == unspent, "it was spent after it was settled"
            self.server.give_back(held.id, unspent)
            self.out -= unspent

        self.later(self.latency(), commit)

    def die(self, process: int) -> None:
        """What it had on lease stays out for ever: nobody spends it."""
        held = self.books[process].held
        self.out -= held.left if held else 0
        self.books[process] = Book(self.processes, self.interval)
        self.asking[process] = False

    def run(self, seconds: float) -> None:
        rates = [self.chance.choice([5, 100, 400]) for _ in range(self.processes)]
        for process in range(self.processes):
            moment = 0.0
            while moment < seconds:
                moment += self.chance.expovariate(rates[process]) if self.chance.random() < 0.999 else 2 * self.interval
                self.later(moment, lambda process=process: self.demand(process))  # type: ignore[misc]
            for tick in range(int(seconds / self.interval * 4)):
                self.later(tick * self.interval / 4, lambda process=process: self.look(process))  # type: ignore[misc]
            if self.chance.random() < 0.3:
                self.later(seconds / 2, lambda process=process: self.die(process))  # type: ignore[misc]
        while self.events:
            self.now, _, happens = heapq.heappop(self.events)
            happens()

    def check(self) -> None:
        """In any period at most `count`, and what was out when it began."""
        period, count = self.server.period, self.server.count
        moments = [at for at, _ in self.spent]
        spent_before = list(itertools.accumulate((units for _, units in self.spent), initial=0))
        for begin, out in self.outs:
            first, end = (bisect_left(moments, at) for at in (begin, begin + period))
            used = spent_before[end] - spent_before[first]
            assert used <= count + out, (begin, used, count, out)


def against_the_model() -> None:
    trips = asked = beyond = 0
    for seed in range(60):
        world = World(seed)
        world.run(3.0)
        world.check()
        asked += world.asked
        trips += world.trips
        beyond += world.leased
    assert beyond > asked / 5, (beyond, asked)
    assert trips < asked, (trips, asked)
    # One key, asked often, and a limit that is wide: nearly no round trips.
    book, server, trips = Book(4, 0.1), Exact(100_000, 60), 0
    for number in range(10_000):
        now = number / 2000
        if book.spend(1, now) is None:
            trips += 1
            book.learn(server.take(now, 1, "direct", partial=False))
        if book.is_due(now):
            want, trips = book.want(now), trips + 2
            decision = server.take(now, want, str(now), partial=True)
            book.learn(decision)
            before = book.take(Held(str(now), decision.granted, decision.granted, now + book.longest))
            if before is not None:
                server.give_back(before.id, before.left)
    assert trips < 10_000 / 20, trips
    # Nothing asked for: it lies idle, and what is held goes back.
    assert book.is_due(now + 1) and book.want(now + 1) > 0 and book.want(now + 2) == 0 and book.is_idle


def leases(lease: Lease) -> None:
    """Asks it often, until it has a lease."""
    eventually("it has a lease", lambda: [lease.acquire() for _ in range(20)] != [] and lease._book.held is not None)


def granted(lease: Lease, requests: int) -> int:
    total = 0
    for _ in range(requests):
        total += lease.acquire().granted
        time.sleep(0.0003)
    return total


def calls(*commands: str) -> int:
    stats = admin.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]) for command in commands)


def used(key: str) -> int:
    rows = admin.execute_command("RL.QUOTA", key)
    return int(rows[0][rows[0].index("used") + 1]) if rows else 0


TRIPS = ("rl.acquire", "rl.reserve", "rl.commit", "rl.release")

# One of four processes that take as much as they get, until their input is closed.
IMPORTS = """
import sys, threading, time
from floodgate_redis import FailClosed, Lease, Limiter, Server
"""
TAKES = """
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
passed = asked = 0
with Server(sys.argv[1], patience=2) as server, Lease(Limiter(server, FailClosed()), "four", "20000/h", processes=4) as lease:
    while not ended.is_set():
        passed += lease.acquire().granted
        asked += 1
        time.sleep(0.001)
os.write(1, f"{passed} {asked}\\n".encode())  # at once, for others write there, too
for child in children:
    os.waitpid(child, 0)
"""


def trips_are_saved_and_the_rest_goes_back(limiter: Limiter) -> None:
    before = calls(*TRIPS)
    # Longer than a round trip takes on a busy machine: what comes later cannot be spent.
    with Lease(limiter, "l:1", "1000000/h", processes=1, interval=0.4) as lease:
        for _ in range(3000):
            assert lease.acquire().granted
            time.sleep(0.0003)
        assert used("l:1") > 3000, "units are on lease"
    trips = calls(*TRIPS) - before
    assert trips < 3000 / 5, f"{trips} round trips for 3000 requests"
    assert used("l:1") == 3000, "what was not spent went back"
    assert not admin.execute_command("RL.RESERVATIONS", "l:1")
    assert lease.acquire().granted and used("l:1") == 3001, "closed, it asks"


def left_alone_it_gives_back(limiter: Limiter) -> None:
    with Lease(limiter, "l:2", "1000000/h", processes=1, interval=0.05) as lease, ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: lease.acquire(2).granted, range(2000))) == 4000
        eventually("it gives back what nobody asks for", lambda: used("l:2") == 4000)
        eventually("its thread ends", lambda: lease._worker is None)
        assert lease.acquire().granted


def a_child_takes_its_own(limiter: Limiter) -> None:
    with Lease(limiter, "l:3", "1000000/h", processes=1) as lease:
        leases(lease)
        child = os.fork()
        if child == 0:
            os._exit(0 if lease._book.held is None and lease._worker is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def what_is_not_worth_a_lease_or_cannot_have_one(limiter: Limiter) -> None:
    before = calls("rl.reserve")
    with Lease(limiter, "l:4", "30/h", processes=4) as lease:
        assert sum(lease.acquire().granted for _ in range(100)) == 30
    assert calls("rl.reserve") == before and used("l:4") == 30
    for wrong in ({"limits": "concurrent:5"}, {"limits": "9/m,9/m:per=call"}, {"processes": 0}, {"interval": 0.0}):
        try:
            Lease(limiter, "l:5", **{"processes": 1, **wrong})  # type: ignore[arg-type]
            raise AssertionError(wrong)
        except ValueError:
            pass


def who_may_not_reserve_asks_each_time() -> None:
    """And is told once."""
    said = LogCapture()
    admin.execute_command("ACL", "SETUSER", "few", "on", ">secret", "~*", "+rl.acquire", "+rl.quota", "+rl.help")
    few = Limiter(Server(URL.replace("//", "//few:secret@"), patience=20), FailClosed())
    with few.server, Lease(few, "l:6", "100000/h", processes=1, interval=0.4) as lease:

        def is_refused_often() -> bool:
            assert all(lease.acquire().granted for _ in range(20))
            return int(admin.info("commandstats")["cmdstat_rl.reserve"]["rejected_calls"]) >= 3

        eventually("it is refused", is_refused_often)
    told = said()
    assert len(told) == 1 and told[0].startswith("no lease on l:6, each request asks: "), told


def limits_that_count_calls_are_not_leased(limiter: Limiter) -> None:
    """Whoever has set them, and when."""
    admin.execute_command("RL.POLICY", "SET", "calls", "500/h:per=call", "PREFIX", "lc:")
    before = calls("rl.reserve")
    for key, limits in [("lc:1", None), ("l:7", "@calls")]:
        with Lease(limiter, key, limits, processes=1) as lease:
            assert granted(lease, 1000) == 500, key
    assert calls("rl.reserve") == before
    with Lease(limiter, "l:8", "1000000/h", processes=1) as lease:
        leases(lease)
        admin.execute_command("RL.PIN", "l:8", "500/h:per=call")
        eventually("it leases no more", lambda: not lease.acquire().granted or not lease._words.may_lease())
        assert granted(lease, 1000) <= 500


def a_policy_and_a_block_hold(limiter: Limiter) -> None:
    admin.execute_command("RL.POLICY", "SET", "leased", "100000/h", "PREFIX", "lp:")
    with Lease(limiter, "lp:1", processes=2) as lease:
        leases(lease)
        admin.execute_command("RL.BLOCK", "lp:1", "FOR", "1h")
        eventually("it is denied", lambda: not lease.acquire().granted)


def on_a_server() -> None:
    with Server(URL, patience=20) as server:
        limiter = Limiter(server, FailClosed())
        trips_are_saved_and_the_rest_goes_back(limiter)
        left_alone_it_gives_back(limiter)
        a_child_takes_its_own(limiter)
        what_is_not_worth_a_lease_or_cannot_have_one(limiter)
        who_may_not_reserve_asks_each_time()
        limits_that_count_calls_are_not_leased(limiter)
        a_policy_and_a_block_hold(limiter)


async def by_asyncio() -> None:
    async with aio.Server(URL, patience=20) as server:
        limiter = aio.Limiter(server, aio.FailClosed())
        before = calls(*TRIPS)
        async with aio.Lease(limiter, "a:1", "1000000/h", processes=1, interval=0.4) as lease:
            for _ in range(1500):
                assert (await lease.acquire()).granted
                await asyncio.sleep(0.0005)
        trips = calls(*TRIPS) - before
        assert trips < 1500 / 5 and used("a:1") == 1500, trips
        passed, before = 0, calls("rl.reserve")
        async with aio.Lease(limiter, "lc:2", processes=1) as lease:
            for _ in range(1000):
                passed += (await lease.acquire()).granted
                await asyncio.sleep(0.0003)
        assert passed == 500 and calls("rl.reserve") == before, passed
        async with aio.Lease(limiter, "a:2", "1000000/h", processes=1, interval=0.05) as lease:
            await asyncio.gather(*(lease.acquire() for _ in range(500)))
            for _ in range(100):
                await lease.acquire()
                await asyncio.sleep(0.001)
            deadline = time.monotonic() + 60
            while used("a:2") != 600 or lease._worker is not None:
                assert time.monotonic() < deadline, "it gives back what nobody asks for"
                await asyncio.sleep(0.02)


def four_processes() -> None:
    """Together they get what the limit has, with the server killed and frozen in between."""
    command = [sys.executable, "-c", IMPORTS + FOUR + TAKES, URL]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = subprocess.Popen(command, **pipes)
    eventually("they lease", lambda: used("four") > 1500)
    for what, back, least in [("down", "up", 4000), ("freeze", "thaw", 7000)]:
        please(what)
        time.sleep(1)
        please(back)
        eventually("they go on", lambda least=least: used("four") > least)
    told = [line.split() for line in processes.communicate(timeout=60)[0].splitlines()]
    assert len(told) == 4, told
    passed = sum(int(one) for one, _ in told)
    # What was granted and not heard of stays charged, or came back: never the other way round.
    assert 5000 < passed <= used("four") <= 20_000, (passed, used("four"))


def while_redis_is_away() -> None:
    with Server(URL, patience=20, rest=0.2) as server:
        lease = Lease(Limiter(server, LocalBucket(rate=0.001, burst=3)), "away", "100000/h", processes=1)
        leases(lease)
        please("down")
        time.sleep(2 * lease._book.longest)
        asked = [lease.acquire() for _ in range(50)]
        assert sum(decision.granted for decision in asked) == 3, "nothing is spent late: the fallback decides"
        please("up")
        leases(lease)
        lease.close()
    assert threading.active_count() < 10


def main() -> None:
    against_the_model()
    on_a_server()
    asyncio.run(by_asyncio())
    four_processes()
    while_redis_is_away()
    print("done", flush=True)


main()
