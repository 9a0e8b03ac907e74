"""Run by peers.py: decides as often as it is told, over 500 keys."""

import sys

import redis

KEYS = 500


def decider(port, case):
    url = f"redis://127.0.0.1:{port}"
    client = redis.Redis(port=port)
    if case == "RL.ACQUIRE 100/m":
        return lambda n: client.execute_command("RL.ACQUIRE", f"ours:{n}", "100/m")[0] > 0
    if case == "CB.ACQUIRE + CB.REPORT":
        def guarded(n):
            allowed = client.execute_command("CB.ACQUIRE", f"circuit:{n}", "50%/60s")[0]
            client.execute_command("CB.REPORT", f"circuit:{n}", "OK")
            return allowed
        return guarded
    if case.startswith("pybreaker"):
        import pybreaker
        breakers = [
            pybreaker.CircuitBreaker(state_storage=pybreaker.CircuitRedisStorage(
                pybreaker.STATE_CLOSED, client, namespace=f"peer:{n}"))
            for n in range(KEYS)
        ]
        return lambda n: breakers[n].call(lambda: True)
    import limits
    strategy = {
        "limits: fixed window": limits.strategies.FixedWindowRateLimiter,
        "limits: sliding counter": limits.strategies.SlidingWindowCounterRateLimiter,
        "limits: moving window": limits.strategies.MovingWindowRateLimiter,
    }[case](limits.storage.storage_from_string(url))
    item = limits.parse("100/minute")
    return lambda n: strategy.hit(item, f"{case}:{n}")


def main():
    decide = decider(int(sys.argv[1]), sys.argv[2])
    # Scripts are loaded and keys are there.
    for n in range(KEYS):
        decide(n)
    print("ready", flush=True)
    for line in sys.stdin:
        print(sum(bool(decide(n % KEYS)) for n in range(int(line))), flush=True)


if __name__ == "__main__":
    main()
