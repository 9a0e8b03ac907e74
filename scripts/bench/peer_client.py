"""Run by peers.py: writes out what a library sends for a decision, for each of
many keys, one line a decision in hexadecimal."""

import sys

import redis

KEYS = 640


def decider(port, case):
    client = redis.Redis(port=port)
    if case == "RL.ACQUIRE 100/m":
        return lambda n: client.execute_command("RL.ACQUIRE", f"ours:{n}", "100/m")
    if case == "CB.ACQUIRE + CB.REPORT":
        def guarded(n):
            client.execute_command("CB.ACQUIRE", f"circuit:{n}", "50%/60s")
            client.execute_command("CB.REPORT", f"circuit:{n}", "OK")
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
    }[case](limits.storage.storage_from_string(f"redis://127.0.0.1:{port}"))
    item = limits.parse("100/minute")
    return lambda n: strategy.hit(item, f"{case}:{n}")


def main():
    decide = decider(int(sys.argv[1]), sys.argv[2])
    # Scripts are loaded, connections greeted and keys there.
    for n in range(KEYS):
        decide(n)
    sent = []
    plain = redis.Connection.send_packed_command

    def recorded(self, command, *args, **more):
        sent.extend([command] if isinstance(command, (bytes, str)) else command)
        return plain(self, command, *args, **more)

    redis.Connection.send_packed_command = recorded
    for n in range(KEYS):
        sent.clear()
        decide(n)
        print(b"".join(part if isinstance(part, bytes) else part.encode() for part in sent).hex())


if __name__ == "__main__":
    main()
