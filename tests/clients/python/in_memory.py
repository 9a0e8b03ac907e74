"""What the same service is without a server behind it, as it is often written:
to show what it promises and loses. Do not copy it."""

import os
import time
from collections import defaultdict, deque

from fastapi import FastAPI, Response
from pydantic import BaseModel

app = FastAPI()
limits: dict[str, tuple[int, float]] = {}
granted: dict[str, deque[float]] = defaultdict(deque)
requests: dict[str, int] = defaultdict(int)


class Limits(BaseModel):
    key: str
    count: int
    seconds: float


@app.post("/configure")
def configure(wanted: Limits) -> dict[str, bool]:
    limits[wanted.key] = (wanted.count, wanted.seconds)
    return {"configured": True}


@app.get("/check/{key}")
def check(key: str, response: Response) -> dict[str, bool]:
    count, seconds = limits.get(key, (20, 3600.0))
    now = time.monotonic()
    times = granted[key]
    while times and times[0] <= now - seconds:
        times.popleft()
    requests[key] += 1
    allowed = len(times) < count
    if allowed:
        times.append(now)
    else:
        response.status_code = 429
    return {"allowed": allowed}


@app.get("/stats/{key}")
def stats(key: str) -> dict[str, int]:
    return {"requests": requests[key]}


@app.get("/health")
def health() -> dict[str, int]:
    return {"worker": os.getpid()}
