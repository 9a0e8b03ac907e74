"""A service with FastAPI: each caller has limits, and learns of them.

    REDIS_URL=redis://localhost:6379 uvicorn service:app
"""

import os

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from floodgate import Away, Limiter, connect

LIMITS = "3/s,1000/h,10000/d"

app = FastAPI()
limiter = Limiter(connect(os.environ.get("REDIS_URL", "redis://localhost:6379")), Away.LOCAL, rest=0.5)


@app.middleware("http")
async def limit(request: Request, call_next):
    """Every response says how the caller stands; too many get 429."""
    caller = request.headers.get("x-api-key") or request.client.host
    decision, headers = await run_in_threadpool(limiter.acquire_with_headers, f"api:{caller}", LIMITS)
    if decision.granted:
        response = await call_next(request)
        headers.pop("Retry-After", None)
    else:
        response = JSONResponse({"error": "too many requests"}, status_code=429)
    response.headers.update(headers)
    return response


@app.get("/hello")
def hello():
    return {"hello": "world"}
