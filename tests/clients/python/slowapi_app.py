"""slowapi on Floodgate: one import, and one URI. And routes limited by
floodgate_redis.fastapi."""

import os

import floodgate_redis.limits  # noqa: F401
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from floodgate_redis.asgi import RateLimit
from floodgate_redis.asyncio import FailClosed, FailOpen, Limiter, Server
from floodgate_redis.fastapi import RateLimited, rate_limit
from slowapi import Limiter as SlowLimiter
from slowapi import _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

app = FastAPI()
slow = SlowLimiter(get_remote_address, storage_uri=os.environ["STORAGE"], headers_enabled=True)
app.state.limiter = slow
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)  # type: ignore[arg-type]
server = Server(os.environ["REDIS_URL"], patience=float(os.environ["REDIS_PATIENCE"]))
limiter = Limiter(server, FailOpen())
closed = Limiter(server, FailClosed())


@app.get("/slow")
@slow.limit("5/hour")
def by_slowapi(request: Request, response: Response) -> str:
    return "slow"


@app.get("/items/{item}", dependencies=[Depends(rate_limit("3/hour", limiter=limiter))])
async def by_route(item: int) -> int:
    return item


@app.get("/four/slow")
@slow.limit("60/hour")
def four_by_slowapi(request: Request, response: Response) -> str:
    return "slow"


@app.get("/four/route", dependencies=[Depends(rate_limit("60/hour", limiter=closed))])
async def four_by_route() -> str:
    return "route"


four = FastAPI()
four.add_middleware(RateLimit, limiter=closed, limits="60/hour", name="four")
app.mount("/four/asgi", four)


@four.get("/")
async def four_by_asgi() -> str:
    return "asgi"


def by_user(scope: object) -> str:
    assert isinstance(scope, Request)
    return scope.headers.get("x-user", "nobody")


together = rate_limit("2/hour", limiter=limiter, caller=by_user, name="writes")


@app.post("/a", dependencies=[Depends(together)])
async def a() -> str:
    return "a"


@app.post("/b", dependencies=[Depends(together)])
async def b() -> str:
    return "b"


app.mount("/own", own := FastAPI())
own.state.limiter = limiter


@own.get("/", dependencies=[Depends(rate_limit("1/hour"))])
async def by_state() -> str:
    return "own"


@own.exception_handler(RateLimited)
async def differently(_: Request, denied: RateLimited) -> JSONResponse:
    return JSONResponse({"again_in_ms": denied.decision.retry_after_ms}, status_code=503, headers=denied.headers)


# The middleware round all of it, with another answer.
async def teapot(scope: object, receive: object, send: object) -> None:
    await JSONResponse("tea", status_code=418)(scope, receive, send)  # type: ignore[arg-type]


limited = RateLimit(app, limiter, "1000/hour", name="all", denied=lambda scope, decision, headers: teapot)
