"""What the same service is without a server behind it, as it is often written:
to show what it promises and loses. Do not copy it."""

import os
import time
from collections import defaultdict, deque

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

limits: dict[str, tuple[int, float]] = {}
granted: dict[str, deque[float]] = defaultdict(deque)
requests: dict[str, int] = defaultdict(int)


async def configure(request: Request) -> JSONResponse:
    wanted = await request.json()
    limits[wanted["key"]] = (wanted["count"], wanted["seconds"])
    return JSONResponse({"configured": True})


async def check(request: Request) -> JSONResponse:
    key = request.path_params["key"]
    count, seconds = limits.get(key, (20, 3600.0))
    now = time.monotonic()
    times = granted[key]
    while times and times[0] <= now - seconds:
        times.popleft()
    requests[key] += 1
    allowed = len(times) < count
    if allowed:
        times.append(now)
    return JSONResponse({"allowed": allowed}, 200 if allowed else 429)


async def stats(request: Request) -> JSONResponse:
    return JSONResponse({"requests": requests[request.path_params["key"]]})


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"worker": os.getpid()})


# FastAPI would take three times as long to import, in each of its nine processes.
app = Starlette(
    routes=[
        Route("/configure", configure, methods=["POST"]),
        Route("/check/{key}", check),
        Route("/stats/{key}", stats),
        Route("/health", health),
    ]
)
