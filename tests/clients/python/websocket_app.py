"""Routes of FastAPI that are WebSockets, limited by a dependency and by the middleware."""

import os

from fastapi import Depends, FastAPI, WebSocket
from floodgate_redis.asgi import RateLimit
from floodgate_redis.asyncio import FailClosed, Limiter, Server
from floodgate_redis.fastapi import RouteHeaders, rate_limit

server = Server(os.environ.get("REDIS_URL", "redis://localhost:6379"), patience=20)
limiter = Limiter(server, FailClosed())
# A dependency of the application, as of a router, is one of its WebSockets too.
app = FastAPI(dependencies=[Depends(rate_limit("1000/h", name="all", limiter=limiter))])
app.add_middleware(RouteHeaders)
middle = FastAPI()
middle.add_middleware(RateLimit, limiter=limiter, limits="4/h", name="middle")


@app.get("/routed", dependencies=[Depends(rate_limit("2/h", limiter=limiter))])
async def page() -> str:
    return "page"


@app.websocket("/routed", dependencies=[Depends(rate_limit("2/h", limiter=limiter))])
@app.websocket("/wide", dependencies=[Depends(rate_limit("3/h", limiter=limiter))])
@middle.websocket("/greets")
async def greets(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


app.mount("/middle", middle)
