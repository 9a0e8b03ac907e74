"""The table "From limits and Flask-Limiter": each library and Floodgate side by
side on one server, the same requests at the same times: from_limits.py PORT

Prints each row that it has compared: its first cell and its token."""

import random
import sys
from collections.abc import Callable

import flask
import flask_limiter
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)
from travel import Clock, expect, tried

port = int(sys.argv[1])
clock = Clock(port)
storage = RedisStorage(f"redis://127.0.0.1:{port}")


class Pair:
    """One limit, there and here, each on a key of its own."""

    count = 0

    def __init__(self, strategy: type[RateLimiter], there: str, here: str) -> None:
        Pair.count += 1
        self.limiter, self.item, self.token = strategy(storage), parse(there), here
        self.key = f"pair:{Pair.count}"

    def there(self, cost: int = 1) -> bool:
        return self.limiter.hit(self.item, self.key, cost=cost)

    def acquire(self, cost: int = 1) -> list[int]:
        return clock.redis.execute_command("RL.ACQUIRE", self.key, self.token, "COST", cost)

    def here(self, cost: int = 1) -> bool:
        return self.acquire(cost)[0] > 0

    def both(self, times: int, cost: int = 1) -> tuple[int, int]:
        """How many of so many requests each of them grants."""
        return sum(self.there(cost) for _ in range(times)), sum(self.here(cost) for _ in range(times))


def same(pair: Pair, steps: int, pause: Callable[[random.Random], float], cost: int = 1) -> None:
    """Random traffic; the two must agree on every request."""
    dice, granted = random.Random(7), 0
    for step in range(steps):
        there, here = pair.there(cost), pair.here(cost)
        expect(here, there, f"{pair.item} as {pair.token}, request {step}")
        granted += here
        clock.advance(pause(dice))
    assert steps // 5 < granted < steps * 4 // 5, f"{granted} of {steps} show nothing"


def in_sevens(most: int) -> Callable[[random.Random], float]:
    """Multiples of 7 s, which 60 is none of: no request meets an edge."""
    return lambda dice: 7.0 * dice.randint(0, most)


def moving_window() -> None:
    same(Pair(MovingWindowRateLimiter, "10/minute", "10/minute"), 300, in_sevens(1))
    tried('`"10/minute"`, moving-window', "10/minute")


def moving_window_of_more_than_64() -> None:
    pair = Pair(MovingWindowRateLimiter, "100 per 5 minutes", "100/5minutes")
    expect(pair.both(101), (100, 100), "at first")
    clock.advance(299)
    expect(pair.both(1), (0, 0), "before the end")
    # A fiftieth of five minutes later at most.
    clock.advance(1 + 6)
    expect(pair.both(101), (100, 100), "after the end")
    tried('`"100 per 5 minutes"`, moving-window', pair.token)


def sliding_window_counter() -> None:
    pair = Pair(SlidingWindowCounterRateLimiter, "100 per minute", "100/minute")
    expect(pair.both(101), (100, 100), "at first")
    # All of it is more than a minute old: the estimate still counts 96 of it, and less as real time
    # passes, for it goes by what Redis is to expire.
    clock.advance(62)
    there, here = pair.both(100)
    assert there <= 30 and here == 100, (there, here)
    # Spread over a window's end, the estimate lets through more than the limit.
    pair = Pair(SlidingWindowCounterRateLimiter, "100 per minute", "100/minute")
    expect(pair.both(1), (1, 1), "the first")
    clock.advance(57)
    expect(pair.both(99), (99, 99), "late in its window")
    clock.advance(7)
    there, here = pair.both(100)
    # The first one is free again: here one of the 100 at most, for all are young.
    assert there >= 5 and here <= 1, (there, here)
    tried('`"100 per minute"`, sliding-window-counter', pair.token)


def fixed_window() -> None:
    same(Pair(FixedWindowRateLimiter, "10/minute", "fixed:10/minute:start=first"), 300, in_sevens(1))
    # What is denied counts there, and not here.
    pair = Pair(FixedWindowRateLimiter, "5/day", "fixed:5/day:start=first")
    expect(pair.both(2, cost=3), (1, 1), "three and three of five")
    expect(pair.both(2), (0, 2), "the two that are left")
    tried('`"10/minute"`, fixed-window', "fixed:10/minute:start=first")


def service() -> Callable[[str], bool]:
    """A service with the limits of the rows: whether it grants a request."""
    app = flask.Flask("app")
    limiter = flask_limiter.Limiter(
        lambda: "client", app=app, storage_uri=f"redis://127.0.0.1:{port}", strategy="moving-window"
    )

    @app.route("/three")
    @limiter.limit("1/second;10/minute;100/day")
    def three() -> str:
        return "ok"

    @app.route("/two")
    @limiter.limit("2/minute;3/hour")
    def two() -> str:
        return "ok"

    @app.route("/cost")
    @limiter.limit("5/minute", cost=3)
    def cost() -> str:
        return "ok"

    client = app.test_client()
    return lambda path: client.get(path).status_code == 200


def three_limits(ask: Callable[[str], bool]) -> None:
    for step in range(150):
        there = ask("/three")
        here = clock.redis.execute_command("RL.ACQUIRE", "three", "1/second,10/minute,100/day")[0] > 0
        expect(here, there, f"request {step}")
        clock.advance(7 if step % 13 else 0.5)
    # A request that the limit of an hour denies has taken from that of a minute
    # there, from none here.
    def both() -> tuple[bool, bool]:
        return ask("/two"), clock.redis.execute_command("RL.ACQUIRE", "two", "2/minute,3/hour")[0] > 0

    for seconds, outcome in [(0, (True, True)), (0, (True, True)), (100, (True, True)),
                             (3490, (False, False)), (0, (False, False)), (15, (False, True))]:
        clock.advance(seconds)
        expect(both(), outcome, "there and here")
    tried('`"1/second;10/minute;100/day"`', "1/second,10/minute,100/day")


def cost(ask: Callable[[str], bool]) -> None:
    for seconds in (0, 0, 30, 31, 0, 40, 21):
        clock.advance(seconds)
        here = clock.redis.execute_command("RL.ACQUIRE", "cost", "5/minute", "COST", 3)[0] > 0
        expect(here, ask("/cost"), f"after {seconds} s")
    tried('`@limiter.limit("5/minute", cost=3)`', "5/minute")


def looking_and_clearing() -> None:
    pair = Pair(MovingWindowRateLimiter, "10/minute", "10/minute")
    for cost in (1, 3, 5, 2):
        pair.both(1, cost)
        [quota] = clock.quota(pair.key, pair.token)
        expect(quota["remaining"], pair.limiter.get_window_stats(pair.item, pair.key).remaining, "left")
        expect(quota["retry_after_ms"] == 0, pair.limiter.test(pair.item, pair.key), "one more")
        clock.advance(7)
    tried("`limiter.test()`, `get_window_stats()`")
    pair.both(10)
    pair.limiter.clear(pair.item, pair.key)
    clock.redis.execute_command("RL.RESET", pair.key)
    expect(pair.both(11), (10, 10), "after it was cleared")
    tried("`limiter.clear()`")


moving_window()
moving_window_of_more_than_64()
sliding_window_counter()
fixed_window()
ask = service()
three_limits(ask)
cost(ask)
looking_and_clearing()
