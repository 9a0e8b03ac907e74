"""The table "From pybreaker": the library on its Redis storage and Floodgate
side by side, the same results at the same times: from_pybreaker.py PORT

Prints each row that it has compared: its first cell and its token."""

import random
import sys

import pybreaker
import redis
from travel import Clock, expect, tried

clock = Clock(int(sys.argv[1]))
pybreaker.datetime = clock.datetime()
bytes_client = redis.Redis(port=int(sys.argv[1]))


class Pair:
    """One breaker, there and here."""

    count = 0

    def __init__(self, here: str, **settings: object) -> None:
        Pair.count += 1
        self.key, self.token = f"breaker:{Pair.count}", here
        store = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, bytes_client, namespace=self.key)
        self.breaker = pybreaker.CircuitBreaker(state_storage=store, **settings)

    def there(self, result: str) -> tuple[bool, str]:
        """A call with this result: whether it was let through, and the state after it."""
        called = []

        def work() -> None:
            called.append(True)
            if result != "OK":
                raise ValueError if result == "EXCLUDED" else OSError

        try:
            self.breaker.call(work)
        except (pybreaker.CircuitBreakerError, ValueError, OSError):
            pass
        return bool(called), self.breaker.current_state

    def here(self, result: str, excluded: str = "OK") -> tuple[bool, str]:
        call = clock.redis.execute_command
        allowed, state, token, _ = call("CB.ACQUIRE", self.key, self.token)
        if allowed:
            result = excluded if result == "EXCLUDED" else result
            _, state = call("CB.REPORT", self.key, result, "TOKEN", token)
        return bool(allowed), state

    def same(self, steps: int, results: list[str]) -> None:
        dice, seen = random.Random(11), set()
        for step in range(steps):
            result = dice.choice(results)
            there, here = self.there(result), self.here(result)
            expect(here, there, f"{self.token}, call {step} ({result})")
            seen.add(here)
            # Never as long as the breaker stays open.
            clock.advance(dice.choice([0, 1, 7, 28, 63]))
        assert {(True, "closed"), (True, "open"), (False, "open")} <= seen, seen


Pair("5:open=60s", fail_max=5, reset_timeout=60).same(1000, ["OK", "FAIL", "FAIL", "FAIL", "FAIL"])
tried("`CircuitBreaker(fail_max=5, reset_timeout=60)`", "5:open=60s")

Pair("5:open=60s:probes=3", fail_max=5, reset_timeout=60, success_threshold=3).same(
    1500, ["OK", "OK", "FAIL", "FAIL", "FAIL", "FAIL", "FAIL"]
)
tried("`success_threshold=3`", "5:open=60s:probes=3")

excluding = {"fail_max": 2, "reset_timeout": 60, "exclude": [ValueError]}
Pair("2:open=60s", **excluding).same(300, ["OK", "FAIL", "EXCLUDED"])
# IGNORE leaves a row of failures as it is; there an excluded error ends it.
pair = Pair("2:open=60s", **excluding)
for result in ("FAIL", "EXCLUDED", "FAIL"):
    there, here = pair.there(result), pair.here(result, excluded="IGNORE")
expect((there[1], here[1]), ("closed", "open"), "there and here")
tried("`exclude=[ValueError]`")

# Half open, several clients try at the same time there, and one does here.
pair = Pair("1:open=60s", fail_max=1, reset_timeout=60)
pair.there("FAIL"), pair.here("FAIL")
clock.advance(63)
clients = [pybreaker.CircuitBreaker(state_storage=pair.breaker._state_storage, reset_timeout=60) for _ in range(4)]
tries = []


def try_while_others_try() -> None:
    tries.append(len(tries))
    if clients:
        clients.pop().call(try_while_others_try)


pair.breaker.call(try_while_others_try)
allowed = [clock.redis.execute_command("CB.ACQUIRE", pair.key, pair.token)[0] for _ in range(5)]
expect((len(tries), sum(allowed)), (5, 1), "trials at the same time, there and here")

pair = Pair("5:open=60s", fail_max=5, reset_timeout=60)
for result in ["FAIL"] * 5:
    there, here = pair.there(result), pair.here(result)
expect((there[1], here[1]), ("open", "open"), "there and here")
pair.breaker.close()
clock.redis.execute_command("CB.RESET", pair.key)
for result in ["FAIL"] * 4 + ["OK"] + ["FAIL"] * 5:
    expect(pair.here(result), pair.there(result), "after it was closed by hand")
tried("`breaker.close()`")
