"""Drives the rate limiter service over HTTP beside one that keeps its state in
memory, and prints what each keeps and loses: python try_service.py PORT

Both run as two workers on one port and a third process on another. Prints
`down` when the Redis server is to be killed and `up` when it is to be started
again, and goes on when a line comes in."""

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openapi
import redis
from outage import please
from uvicorned import Response, Uvicorn

LIMIT = 20
seen: openapi.Seen = []
"""What was answered, to be compared with what /openapi.json says."""
server: Any = redis.Redis(port=int(sys.argv[1]), decode_responses=True, protocol=2)


class Deployment:
    """A service as it is run: several processes that should be one limiter."""

    def __init__(self, app: str, limits: dict[str, Any], **environment: str):
        self.limits = limits
        self.pair = Uvicorn(app, workers=2, probe="/health", **environment)
        self.single = Uvicorn(app, workers=1, probe="/health", **environment)

    def ask(self, uvicorn: Uvicorn, method: str, path: str, body: Any = None) -> Response | None:
        """None when a killed worker took the request with it."""
        try:
            return uvicorn.request(method, path, body)
        except OSError:
            return None

    def passed(self, key: str, requests: int = 3 * LIMIT, meanwhile: Callable[[], None] | None = None) -> int:
        """How many of these requests on a key pass, eight at a time, at all the
        processes; something may happen halfway."""

        def one(number: int) -> bool:
            if meanwhile and number == requests // 2:
                meanwhile()
            response = self.ask([self.pair, self.single][number % 2], "GET", f"/check/{key}")
            return response is not None and response.status == 200

        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(one, range(requests)))

    def configure(self, key: str) -> None:
        response = self.pair.request("POST", "/configure", {"key": key} | self.limits)
        assert response.status == 200, response

    def kill_workers(self) -> None:
        """Of the pair, -9; others take their places."""
        killed: set[int] = set()
        deadline = time.monotonic() + 60
        while len(killed) < 2:
            assert time.monotonic() < deadline, "there are no two workers"
            health = self.ask(self.pair, "GET", "/health")
            time.sleep(0.01)
            worker = health.json()["worker"] if health and health.status == 200 else None
            if worker and worker not in killed:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        while (health := self.ask(self.pair, "GET", "/health")) is None or health.json()["worker"] in killed:
            assert time.monotonic() < deadline, "no worker takes their place"
            time.sleep(0.05)

    def restart(self) -> None:
        for uvicorn in (self.pair, self.single):
            uvicorn.stop()
            uvicorn.start()

    def stop(self) -> None:
        self.pair.stop()
        self.single.stop()


def one_limit(service: Deployment) -> bool:
    return service.passed("any:1") == LIMIT


def configured_everywhere(service: Deployment) -> bool:
    service.configure("configured")
    return service.passed("configured") == 3


def counted_together(service: Deployment) -> bool:
    service.passed("any:counted", requests=30)
    figures = service.single.get("/stats/any:counted").json()
    requests = figures["total"]["requests"] if "total" in figures else figures["requests"]
    return bool(requests == 30)


def worker_killed(service: Deployment) -> bool:
    """While requests are under way, and again after it."""
    service.configure("killed")
    passed = service.passed("killed", meanwhile=service.kill_workers)
    return passed + service.passed("killed") <= 3


def restarted(service: Deployment) -> bool:
    service.configure("restarted")
    passed = service.passed("restarted")
    service.restart()
    return passed + service.passed("restarted") == 3


TABLE = [
    ("a limit is one limit, however many workers decide", one_limit),
    ("`/configure` holds in every worker from the next request on", configured_everywhere),
    ("`/stats` counts the requests of all workers", counted_together),
    ("a worker killed with `kill -9` forgets nothing", worker_killed),
    ("a restart of the service forgets nothing", restarted),
]


def redis_killed(service: Deployment) -> bool:
    """Of what was answered with 200 nothing is lost, also of what was under way."""
    service.single.request("POST", "/configure", {"key": "server", "limits": "500/h"})
    before = service.passed("server", requests=200, meanwhile=lambda: please("down"))
    away = service.pair.get("/check/server")
    assert (away.status, away.headers["Retry-After"]) == (503, "1"), away
    assert service.single.get("/health").status == 503
    seen.append(("GET", "/check/server", away))
    please("up")
    for uvicorn in (service.pair, service.single):
        workers: set[int] = set()
        deadline = time.monotonic() + 60
        while len(workers) < uvicorn.workers:
            health = uvicorn.get("/health")
            workers |= {health.json()["worker"]} if health.status == 200 else set()
            assert time.monotonic() < deadline, "it never asks again"
            time.sleep(0.05)
    counted = 500 - int(service.single.get("/monitoring/rate-limits/server").json()[0]["remaining"])
    # Answered, and at most what was under way besides.
    assert 80 <= before <= counted <= before + 8, (before, counted)
    forgotten = service.passed("any:1") + service.passed("configured") + service.passed("killed")
    return forgotten == 0


def one_command_each(service: Deployment) -> None:
    """The other requests, as a day's work."""

    def get(path: str) -> Any:
        response = service.pair.get(path)
        assert response.status == 200, (path, response)
        return response.json()

    def post(path: str, body: Any, status: int = 200) -> Any:
        response = service.single.request("POST", path, body)
        assert response.status == status, (path, response)
        return response.json()

    service.pair.seen = service.single.seen = seen
    get("/health")
    post("/configure", {"key": "mail", "limits": "5/h,100/d"})
    answers = [service.pair.get(f"/check/mail?cost={cost}") for cost in (3, 3, 6)]
    assert [answer.status for answer in answers] == [200, 429, 429]
    assert answers[0].json() == {
        "allowed": True, "limit": 5, "remaining": 2, "retry_after_ms": 0, "reset_after_ms": 3_600_000
    }  # fmt: skip
    assert answers[0].headers["X-RateLimit-Remaining"] == "2" and answers[0].headers["Retry-After"] is None
    assert 3500 <= int(answers[1].headers["Retry-After"]) <= 3600
    assert answers[2].headers["Retry-After"] is None, "it never passes"

    post("/record/mail", {"outcome": "OK", "cached": True, "spend": "0.002", "duration_ms": 12})
    post("/record/mail", {"outcome": "FAIL", "spend": "0.004", "duration_ms": 25})
    stats = get("/stats/mail?hours=2&days=2")
    post("/record/timed", {"outcome": "OK", "duration_ms": 1000})
    for _ in range(9):
        post("/record/timed", {"outcome": "OK"})
    timed = get("/stats/timed")["today"]
    assert timed["ok"] == 10 and all(900 <= timed[name] <= 1100 for name in ("p50_ms", "p95_ms", "p99_ms")), timed
    assert (stats["limits"], stats["today"]["spend"], stats["today"]["error_rate"]) == ("5/h,100/d", "0.006", "0.5")
    assert sum(hour["ok"] for hour in stats["hours"].values()) == 1 and len(stats["days"]) == 1, stats
    assert service.pair.get("/stats/nobody").status == 404

    assert get("/monitoring/cache?match=mail") == {
        "cursor": "0", "keys": {"mail": {"ok": 1, "fail": 1, "cached": 1, "cache_hit_rate": "0.5"}}
    }  # fmt: skip
    usage = get("/monitoring/usage?match=mail")["keys"]["mail"]
    assert (usage["requests"], usage["granted"], usage["denied"]) == (3, 3, 9), usage
    limits = get("/monitoring/rate-limits/mail")
    assert [(limit["name"], limit["remaining"]) for limit in limits] == [("5/h", 2), ("100/d", 97)]
    assert get("/monitoring/rate-limits")["policies"] == [
        {"name": "any", "limits": f"{LIMIT}/h", "prefix": "any:", "breaker": None}
    ]
    assert post("/monitoring/clear", {"key": "mail"})["cleared"] == 1
    assert get("/monitoring/rate-limits/mail")[0]["remaining"] == 5, "its limits stay"
    assert get("/check/any:2")["allowed"]
    assert post("/monitoring/clear", {"match": "any:2"}) == {"cursor": "0", "cleared": 1}

    refused = post("/configure", {"key": "mail", "limits": "5/"}, 400)
    assert refused == {"error": "invalid limit '5/': missing period"}
    assert "no limits for this key" in service.pair.get("/check/unknown").json()["error"]
    post("/monitoring/clear", {}, 422)
    server.execute_command("RL.BLOCK", "mail", "FOR", "1h", "REASON", "abuse")
    blocked = get("/monitoring/rate-limits/mail")[-1]["blocked"]
    assert blocked["reason"] == "abuse", blocked
    server.execute_command("RL.UNBLOCK", "mail")
    service.pair.seen = service.single.seen = None


redis_url = f"redis://127.0.0.1:{sys.argv[1]}"
in_memory = Deployment("in_memory:app", {"count": 3, "seconds": 3600})
service = Deployment("floodgate_redis.service:app", {"limits": "3/h"}, REDIS_URL=redis_url, REDIS_PATIENCE="20")
every = {"policy": "any", "prefix": "any:", "limits": f"{LIMIT}/h"}
assert service.single.request("POST", "/configure", every).status == 200

said = {True: "kept", False: "lost"}
for promise, holds in TABLE:
    print(f"| {promise} | {said[holds(in_memory)]} | {said[holds(service)]} |", flush=True)
in_memory.stop()
one_command_each(service)
print(f"| a Redis server killed with `kill -9` forgets nothing | | {said[redis_killed(service)]} |", flush=True)
assert openapi.holds(service.single, seen) == 10
service.stop()
