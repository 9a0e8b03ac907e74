"""Tries the limits of WebSockets with FastAPI under uvicorn, its oldest version and its newest:
python try_websockets.py PORT PLAIN."""

import asyncio
import sys
from typing import Any

import fastapi
import websockets
from floodgate_redis.asgi import RateLimit
from floodgate_redis.asyncio import FailClosed, Limiter, Server
from uvicorned import Uvicorn

URL = f"redis://127.0.0.1:{sys.argv[1]}"
IS_OLD = not hasattr(fastapi.WebSocket, "send_denial_response")


async def greeted(port: int, path: str) -> tuple[int, dict[str, str]]:
    """The status of the handshake, and its headers; whoever gets in is greeted."""
    try:
        async with websockets.connect(f"ws://127.0.0.1:{port}{path}") as socket:
            assert await socket.recv() == "hello"
            assert socket.response is not None
            return socket.response.status_code, {name.lower(): value for name, value in socket.response.headers.items()}
    except websockets.InvalidStatus as error:
        return error.response.status_code, {name.lower(): value for name, value in error.response.headers.items()}


async def handshakes() -> None:
    service = Uvicorn("websocket_app:app", REDIS_URL=URL)
    try:
        for path, limit in (("/routed", "2/h"), ("/wide", "3/h"), ("/middle/greets", "4/h")):
            count = int(limit.partition("/")[0])
            got = [await greeted(service.port, path) for _ in range(count + 1)]
            is_closed = IS_OLD and path != "/middle/greets"
            assert [status for status, _ in got] == [101] * count + [403 if is_closed else 429], (path, got)
            assert [headers.get("x-ratelimit-remaining") for _, headers in got[:count]] == [
                str(left) for left in reversed(range(count))
            ], (path, got)
            assert is_closed or 0 < int(got[-1][1]["retry-after"]) <= 3600, got
        # A request of the same path is another route, with usage of its own.
        assert [service.get("/routed").status for _ in range(3)] == [200, 200, 429]
    finally:
        service.stop()


async def servers_that_cannot_refuse_with_a_status() -> None:
    """They close the handshake."""
    async with Server(URL, patience=20) as server:

        async def greets(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept"})

        app = RateLimit(greets, Limiter(server, FailClosed()), "1/h", name="bare")

        async def asked() -> dict[str, Any]:
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "websocket.connect"}

            async def send(message: Any) -> None:
                sent.append(message)

            await app({"type": "websocket", "path": "/", "headers": [], "client": ("::1", 1)}, receive, send)
            assert len(sent) == 1, sent
            return dict(sent[0])

        assert (await asked())["type"] == "websocket.accept"
        closed = await asked()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013), closed


def main() -> None:
    asyncio.run(handshakes())
    asyncio.run(servers_that_cannot_refuse_with_a_status())
    print("done", flush=True)


main()
