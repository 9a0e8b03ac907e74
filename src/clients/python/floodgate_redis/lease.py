"""Units taken ahead and spent without asking."""

import math
import threading
import time
import uuid
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from . import arguments, forks, words
from .decision import Decision, Source, pairs
from .limiter import Limiter
from .outage import Away, Misconfigured, log
from .starts import started
from .telemetry import decisions

LEAST = 5
"""Units below which a lease saves nothing: it costs two round trips itself."""

SEEN = 1.0
"""Seconds for which the limits of a key are taken for those that were seen last."""


@dataclass(slots=True)
class Held:
    """Units of one reservation. `until` is by the process's own clock, from before it
    asked, and earlier than the reservation's end."""

    id: str
    granted: int
    left: int
    until: float

    @property
    def used(self) -> int:
        return self.granted - self.left


class Book:
    """What a process holds on lease, and what it wants next. It knows no clock and no
    server, and no threads."""

    def __init__(self, processes: int, interval: float):
        if processes < 1:
            raise ValueError(f"processes is {processes}: it must be at least 1")
        if not interval > 0:
            raise ValueError(f"interval is {interval}: it must be above 0 s")
        self.processes = processes
        self.interval = interval
        self.held: Held | None = None
        self._latest: Decision | None = None
        self._asked = 0
        """Units that were asked for since `_since`."""
        self._since: float | None = None

    @property
    def longest(self) -> float:
        """Seconds for which units are spent after they were asked for, at most."""
        return 2 * self.interval

    @property
    def ttl(self) -> float:
        return self.longest + 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked for in a whole interval."""
        return self._since is None

    def spend(self, cost: int, now: float) -> Decision | None:
        """Spends of what is held; none where that is not enough."""
        self._since = now if self._since is None else self._since
        self._asked += cost
        held, latest = self.held, self._latest
        if held is None or latest is None or now >= held.until or held.left < cost:
            return None
        held.left -= cost
        index = max(0, latest.index)
        return Decision(cost, latest.limit, latest.remaining, 0, latest.reset_after_ms, index, Source.LEASE)

    def learn(self, decision: Decision) -> None:
        """What the server said last of the limit."""
        if decision.from_redis:
            self._latest = decision

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask for the next: an interval is over, or what is held
        runs out before it is."""
        if self._since is None:
            return False
        passed = now - self._since
        if passed < self.interval / 4:
            return False
        left = 0 if self.held is None else self.held.left
        return passed >= self.interval or left * passed <= self._asked * (self.interval - passed)

    def want(self, now: float) -> int:
        """Units to ask for: as many as an interval of the recent rate needs, at most the
        remaining / (2 * processes). 0 where that is too little to be worth it. From now on
        the rate is counted anew."""
        passed = self.interval if self._since is None else max(self.interval / 4, now - self._since)
        need = math.ceil(self._asked * self.interval / passed)
        self._asked, self._since = 0, now if need else None
        latest = self._latest
        if latest is None:
            return 0
        want = need if latest.remaining < 0 else min(need, latest.remaining // (2 * self.processes))
        return want if want >= LEAST else 0

    def take(self, held: Held | None) -> Held | None:
        """Spends of `held` from now on; gives what was held before, to be settled."""
        before, self.held = self.held, held
        return before


class Asked:
    """What a lease asks, in words."""

    def __init__(self, key: str, limits: str | None):
        text = (limits or "").lower()
        for wrong, why in (("concurrent", "holds places"), ("per=call", "counts calls, which a lease does not make")):
            if wrong in text:
                raise ValueError(f"{wrong} in {limits!r} {why}: it cannot be leased, use Limiter.acquire")
        self.key = key
        self.limits = limits
        self._was_refused = False
        self._looked = -math.inf
        self._counts_calls = False

    def look(self, now: float) -> words.Words | None:
        """Asks for the limits that hold, by a policy or a pin too; none if that was asked lately."""
        return (*words.quota(self.key, self.limits or "*"), "HEADERS") if now - self._looked >= SEEN else None

    def saw(self, answer: Any, now: float) -> None:
        self._looked = now
        self._counts_calls = 'qu="requests"' in pairs(answer or []).get("RateLimit-Policy", "")

    def may_lease(self) -> bool:
        if self._counts_calls:
            self.refused(ValueError("a limit with per=call counts calls, which a lease does not make"))
        return not self._counts_calls

    def refused(self, error: Exception) -> None:
        """Requests go on to ask by themselves; said once, for it happens each interval."""
        if not self._was_refused:
            self._was_refused = True
            log.warning("no lease on %s, each request asks: %s", self.key, error)

    def reserve(self, id: str, want: int, ttl: float) -> words.Words:
        return (*words.reserve({self.key: self.limits or "*"}, want, ttl, id), "PARTIAL")

    def commit(self, held: Held) -> words.Words:
        return words.settled("RL.COMMIT", held.id, [self.key], held.used)

    def undo(self, id: str, answer: Any) -> list[words.Words]:
        return [words.settled("RL.RELEASE", id, [self.key])] if answer[0] else []

    @staticmethod
    def held(answer: Any, until: float) -> tuple[Held | None, Decision]:
        id, sixes = answer
        decision = Decision(*sixes[0])
        if id is None or not decision.granted:
            return None, decision
        return Held(str(id), decision.granted, decision.granted, until), decision


class Lease:
    """Takes units of one key ahead, and spends them without a round trip.

        with Lease(limiter, "api", "100000/m", processes=4) as lease:
            decision = lease.acquire()

    What it promises:

    - The server grants no more than without leases: units are charged before they are
      spent (S1 holds of grants).
    - So in any period at most `count` units are spent, and besides at most what all
      processes had out on lease when the period began.
    - It asks for what `interval` seconds of the recent rate need, and for no more than what
      remained, by the server's last answer, / (2 * processes). What is not spent goes back
      after about an interval; no unit is spent later than two intervals after it was asked
      for.
    - Of a process that dies what it had taken stays charged.

    `processes` is how many of them lease on this key. Asking and giving back are done in
    the background. A request that finds too little asks the server by itself, as
    Limiter.acquire does. So leases suit limits of thousands, on keys that are asked many
    times a second; below five units an interval it asks each time. `concurrent` and
    `per=call` cannot be leased: where the server has a limit with `per=call` for the key, as it
    is asked at most once a second, each request asks. Units on lease count as used in RL.QUOTA, RL.TOP and
    RL.STATS, until they go back. Threads may share it.
    """

    def __init__(
        self, limiter: Limiter, key: str, limits: str | None = None, *, processes: int, interval: float = 0.1
    ):
        arguments.without_asyncio(limiter=limiter)
        self.limiter = limiter
        self._words = Asked(key, limits)
        self._processes, self._interval = processes, interval
        forks.begin(self)

    def _begin(self) -> None:
        """See forks: what is on lease is the parent's."""
        self._book = Book(self._processes, self._interval)
        self._lock = threading.Lock()
        self._waking = threading.Condition(self._lock)
        self._worker: threading.Thread | None = None
        self._closed = False

    def acquire(self, cost: int = 1) -> Decision:
        """Takes `cost` units, or none: of what is on lease, else of the server's."""
        with self._lock:
            now = time.monotonic()
            spent = self._book.spend(cost, now)
            if not self._closed and self._book.is_due(now):
                self._wake()
        if spent is not None:
            decisions("leased")
            return spent
        decision = self.limiter.acquire(self._words.key, self._words.limits, cost)
        with self._lock:
            self._book.learn(decision)
        return decision

    def close(self) -> None:
        """Gives back what is left. From then on each request asks the server."""
        with self._lock:
            self._closed = True
            worker = self._worker
            self._waking.notify()
        if worker is not None:
            worker.join()
        self._settle(None)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        if self._worker is None:
            # Without a thread each request asks, until one can start.
            # It works for all requests, so it must not keep the context of the first one.
            self._worker = started(self._work, "floodgate lease", Context())
        else:
            self._waking.notify()

    def _work(self) -> None:
        book = self._book
        while True:
            with self._lock:
                self._waking.wait_for(lambda: self._closed or book.is_due(time.monotonic()), book.interval)
                now = time.monotonic()
                if self._closed or book.is_idle:
                    self._worker = None
                    return
                if not book.is_due(now):
                    continue
                want = book.want(now)
            self._settle(self._taken(want) if want else None)

    def _taken(self, want: int) -> Held | None:
        server, id = self.limiter.server, uuid.uuid4().hex
        try:
            look = self._words.look(time.monotonic())
            if look is not None:
                self._words.saw(server.ask(*look), time.monotonic())
            if not self._words.may_lease():
                return None
            until = time.monotonic() + self._book.longest
            answer = server.take(
                self._words.reserve(id, want, self._book.ttl), lambda answer: self._words.undo(id, answer)
            )
        except (Away, Misconfigured):
            return None
        except RedisError as error:
            self._words.refused(error)
            return None
        held, decision = self._words.held(answer, until)
        with self._lock:
            self._book.learn(decision)
        return held

    def _settle(self, following: Held | None) -> None:
        with self._lock:
            before = self._book.take(following)
        if before is not None:
            self.limiter.server.finish(*self._words.commit(before))
