"""Run by peers.py: decides on the keys that it reads, as a program that uses
the library would, and says `granted` or `denied` for each."""

import sys

import limits
import pybreaker
import redis


def limiter(strategy, port):
    limiter = strategy(limits.storage.storage_from_string(f"redis://127.0.0.1:{port}"))
    item = limits.parse("100/minute")
    return lambda key: limiter.hit(item, key)


def informed(strategy, port):
    """Then also what is left and until when, which one RL.ACQUIRE answers and
    web frameworks put into headers."""
    limiter = strategy(limits.storage.storage_from_string(f"redis://127.0.0.1:{port}"))
    item = limits.parse("100/minute")

    def decide(key):
        granted = limiter.hit(item, key)
        limiter.get_window_stats(item, key)
        return granted

    return decide


def breaker(port):
    client = redis.Redis(port=port)
    breakers = {}

    def decide(key):
        if key not in breakers:
            storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace=key)
            breakers[key] = pybreaker.CircuitBreaker(state_storage=storage)
        return breakers[key].call(lambda: True)

    return decide


LIBRARIES = {
    "limits: fixed window": lambda port: limiter(limits.strategies.FixedWindowRateLimiter, port),
    "limits: sliding counter": lambda port: limiter(limits.strategies.SlidingWindowCounterRateLimiter, port),
    "limits: moving window": lambda port: limiter(limits.strategies.MovingWindowRateLimiter, port),
    "limits: moving window, and what is left": lambda port: informed(limits.strategies.MovingWindowRateLimiter, port),
    "pybreaker": breaker,
}


def main():
    port, library = sys.argv[1:]
    decide = LIBRARIES[library](port)
    for line in sys.stdin:
        print("granted" if decide(line.strip()) else "denied", flush=True)


main()
