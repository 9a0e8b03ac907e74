"""Floodgate for a service in Python: limits, a breaker round a call, and what
happens when Redis is away. Copy it; it needs nothing but redis-py.

    redis = connect("redis://localhost:6379")
    limiter = Limiter(redis, away=Away.LOCAL)
    decision = limiter.acquire(f"user:{user}", "10/s,1000/h,20000/d")
    if not decision.granted:
        ...  # 429, Retry-After: decision.retry_after_ms
"""

import enum
import threading
import time
from dataclasses import dataclass

import redis


def connect(url: str) -> redis.Redis:
    """A client that gives up quickly: a limiter must not be what is slow."""
    # Which protocol is the default differs between versions of redis-py.
    return redis.Redis.from_url(
        url, protocol=2, decode_responses=True, socket_timeout=0.25, socket_connect_timeout=0.25
    )


class Away(enum.Enum):
    """What holds while Redis is away. Choose for each limiter:

    OPEN    everything passes: right where an outage costs more than a flood.
    CLOSED  nothing passes: right where a flood costs more, as with logins.
    LOCAL   each process limits on its own, to `local_rate` a second: right in
            between; with N processes up to N times that passes in all.
    """

    OPEN = "open"
    CLOSED = "closed"
    LOCAL = "local"


@dataclass(frozen=True)
class Decision:
    """The six integers of RL.ACQUIRE, and whether Redis gave them."""

    granted: int
    limit: int
    remaining: int
    retry_after_ms: int
    reset_after_ms: int
    index: int
    from_redis: bool = True


class Reach:
    """Whether to ask Redis at all: after a failure not for `rest` seconds, so
    that an outage costs one request its timeout and not each of them."""

    def __init__(self, rest: float = 1.0):
        self.rest = rest
        self._until = 0.0

    def ask(self, question):
        """The answer, or None when Redis is away."""
        if time.monotonic() < self._until:
            return None
        try:
            return question()
        except (redis.ConnectionError, redis.TimeoutError):
            self._until = time.monotonic() + self.rest
            return None


class Limiter:
    """Takes units from limits that all processes share."""

    def __init__(self, client: redis.Redis, away: Away, local_rate: float = 10.0, rest: float = 1.0):
        self.client = client
        self.away = away
        self.local_rate = local_rate
        self.reach = Reach(rest)
        self._local: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def acquire(self, key: str, limits: str, cost: int = 1) -> Decision:
        """Takes `cost` units from every limit, or from none."""
        six = self.reach.ask(lambda: self.client.execute_command("RL.ACQUIRE", key, limits, "COST", cost))
        return Decision(*six) if six is not None else self._alone(key, cost)

    def acquire_with_headers(self, key: str, limits: str) -> tuple[Decision, dict[str, str]]:
        """The same, and the headers for the HTTP response, in one round trip."""

        def question():
            pipe = self.client.pipeline(transaction=True)
            pipe.execute_command("RL.ACQUIRE", key, limits)
            pipe.execute_command("RL.QUOTA", key, limits, "HEADERS")
            return pipe.execute()

        answer = self.reach.ask(question)
        if answer is None:
            decision = self._alone(key, 1)
            retry = {} if decision.granted else {"Retry-After": str(-(-decision.retry_after_ms // 1000))}
            return decision, retry
        six, flat = answer
        return Decision(*six), dict(zip(flat[::2], flat[1::2]))

    def _alone(self, key: str, cost: int) -> Decision:
        if self.away is Away.OPEN:
            return Decision(cost, -1, -1, 0, 0, 0, from_redis=False)
        if self.away is Away.CLOSED:
            return Decision(0, 0, 0, int(self.reach.rest * 1000), 0, 0, from_redis=False)
        # A bucket of one second's worth.
        with self._lock:
            if len(self._local) > 10_000:
                self._local.clear()
            now = time.monotonic()
            level, since = self._local.get(key, (self.local_rate, now))
            level = min(self.local_rate, level + (now - since) * self.local_rate)
            granted = cost if level >= cost else 0
            self._local[key] = (level - granted, now)
            wait = 0 if granted else int((cost - level) / self.local_rate * 1000) + 1
        return Decision(granted, int(self.local_rate), int(level - granted), wait, 0, 0, from_redis=False)


class CircuitOpen(Exception):
    """The call was not made."""

    def __init__(self, retry_after_ms: int):
        super().__init__(f"circuit open, retry after {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms


class Breaker:
    """A circuit breaker that all processes share.

    While Redis is away calls go through: a breaker protects the callee, and
    without it things are as they were before there was one.
    """

    def __init__(self, client: redis.Redis, key: str, rule: str = "50%/60s", rest: float = 1.0):
        self.client = client
        self.key = key
        self.rule = rule
        self.reach = Reach(rest)

    def call(self, function, *args, **kwargs):
        """Calls the function, unless the circuit is open. An exception of it is
        a failure."""
        answer = self.reach.ask(lambda: self.client.execute_command("CB.ACQUIRE", self.key, self.rule))
        if answer is None:
            return function(*args, **kwargs)
        allowed, _state, token, retry_after_ms = answer
        if not allowed:
            raise CircuitOpen(retry_after_ms)
        start = time.monotonic()
        outcome = "FAIL"
        try:
            result = function(*args, **kwargs)
            outcome = "OK"
            return result
        finally:
            ms = int((time.monotonic() - start) * 1000)
            self.reach.ask(
                lambda: self.client.execute_command("CB.REPORT", self.key, outcome, "TOKEN", token, "DUR", ms)
            )
