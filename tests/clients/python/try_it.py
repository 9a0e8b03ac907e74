"""Tries the recipes on a real server: python try_it.py PORT

Prints `down` when the server is to be killed and `up` when it is to be started
again, and goes on when a line comes in."""

import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

port = sys.argv[1]
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}"

import uvicorn  # noqa: E402

from floodgate import Away, Breaker, CircuitOpen, Limiter, connect  # noqa: E402
from service import app  # noqa: E402


def please(what):
    print(what, flush=True)
    sys.stdin.readline()


client = connect(os.environ["REDIS_URL"])
limiters = {away: Limiter(client, away, local_rate=5, rest=0.2) for away in Away}
limiter = limiters[Away.LOCAL]

# A limit by key.
grants = [limiter.acquire("user:1", "3/h").granted for _ in range(4)]
assert grants == [1, 1, 1, 0], grants
assert limiter.acquire("user:2", "3/h").remaining == 2
denied = limiter.acquire("user:1", "3/h")
assert 0 < denied.retry_after_ms <= 3_600_000 and denied.from_redis, denied

# Three limits at once: the tightest binds, and a denial takes from none.
three = [limiter.acquire("user:3", "100/s,5/h,1000/d", cost=2) for _ in range(3)]
assert [d.granted for d in three] == [2, 2, 0] and three[2].index == 1, three
assert limiter.acquire("user:3", "100/s,5/h,1000/d").remaining == 0

# A breaker round a call.
breaker = Breaker(client, "payments", "2:open=1h", rest=0.2)
assert breaker.call(lambda: 42) == 42


def fails():
    raise ValueError("no answer")


for _ in range(2):
    try:
        breaker.call(fails)
        raise AssertionError("the error is the caller's")
    except ValueError:
        pass
try:
    breaker.call(lambda: 42)
    raise AssertionError("it is open")
except CircuitOpen as e:
    assert 3_500_000 < e.retry_after_ms <= 3_600_000, e

# The service.
listener = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()


def get(who):
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/hello"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers={"x-api-key": who}), timeout=20)
    except urllib.error.HTTPError as response:
        return response


responses = [get("joe") for _ in range(4)]
assert [r.status for r in responses] == [200, 200, 200, 429], responses
assert responses[0].headers["RateLimit-Policy"].startswith('"3/s";q=3;w=1, '), responses[0].headers
assert responses[0].headers["X-RateLimit-Remaining"] == "2"
assert "Retry-After" not in responses[2].headers and responses[3].headers["Retry-After"] == "1"

please("down")
for away, expected in [(Away.OPEN, 20), (Away.CLOSED, 0), (Away.LOCAL, 5)]:
    start = time.monotonic()
    decisions = [limiters[away].acquire("user:1", "3/h") for _ in range(20)]
    got = sum(d.granted for d in decisions)
    # The bucket refills meanwhile.
    slack = int((time.monotonic() - start) * 5) + 1 if away is Away.LOCAL else 0
    assert expected <= got <= expected + slack, (away, got)
    assert not any(d.from_redis for d in decisions)
    assert time.monotonic() - start < 5
assert breaker.call(lambda: 42) == 42
codes = [get("ann").status for _ in range(3)]
assert codes == [200, 200, 200], codes

please("up")
deadline = time.monotonic() + 10
while not (decision := limiter.acquire("user:9", "3/h")).from_redis:
    assert time.monotonic() < deadline, "it never asks again"
    time.sleep(0.05)
assert decision.granted == 1
print("done", flush=True)
