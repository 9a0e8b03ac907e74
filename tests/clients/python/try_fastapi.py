"""Tries the limits of routes with FastAPI, its oldest version and its newest, on a real server:
python try_fastapi.py PORT PLAIN."""

import asyncio
import sys
from typing import Any

import floodgate_redis
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse, StreamingResponse
from floodgate_redis.asgi import RateLimit
from floodgate_redis.asyncio import FailClosed, Limiter, Server
from floodgate_redis.fastapi import RouteHeaders, rate_limit

URL = f"redis://127.0.0.1:{sys.argv[1]}"


async def asked(app: Any, path: str, header: str = "x-ratelimit-remaining") -> tuple[int, str | None]:
    """The status of GET, and one of the headers."""
    sent: list[Any] = []

    received = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        for message in received:
            return message
        await asyncio.sleep(3600)  # it does not hang up

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "client": ("::1", 1)}
    await app(scope, receive, send)
    told = [value.decode() for name, value in sent[0]["headers"] if name == header.encode()]
    assert len(told) <= 1, told
    return int(sent[0]["status"]), told[0] if told else None


async def routes_of_fastapi() -> None:
    """Whatever the route answers, and wherever it is mounted."""
    async with Server(URL, patience=20) as server:
        limiter = Limiter(server, FailClosed())
        wide, narrow = Depends(rate_limit("100/h", name="wide", limiter=limiter)), Depends(rate_limit("5/h", limiter=limiter))

        plain: Any = floodgate_redis.Limiter(floodgate_redis.Server(URL), FailClosed())
        for takes in (lambda: RateLimit(FastAPI(), plain, "1/h"), lambda: rate_limit("1/h", limiter=plain)):
            try:
                takes()
                raise AssertionError("it would block the event loop")
            except TypeError as error:
                assert str(error).endswith(": take the Limiter of floodgate_redis.asyncio"), error

        def routes(app: FastAPI) -> FastAPI:
            @app.get("/made/{item}", dependencies=[wide, narrow])
            async def made(item: int) -> Any:
                if item == 404:
                    raise HTTPException(404)
                return [PlainTextResponse("it"), StreamingResponse(iter([b"it"])), "it"][item]

            @app.get("/twice", dependencies=[Depends(rate_limit("5/h", limiter=limiter)), narrow])
            async def twice() -> str:
                return "it"

            return app

        bare, sub, app, middle = routes(FastAPI()), routes(FastAPI()), routes(FastAPI()), routes(FastAPI())
        app.add_middleware(RouteHeaders)
        app.mount("/v2", sub)
        middle.add_middleware(RateLimit, limiter=limiter, limits="1000/h", name="middle")
        for of, path, left in ((app, "", 5), (app, "/v2", 5), (middle, "", 0)):
            paths = [f"{path}/made/{item}" for item in (0, 1, 2, 404, "wrong")]
            got = [await asked(of, path) for path in paths]
            statuses = [200, 200, 200, 404, 422] if left else [429] * 5
            assert got == [(status, str(max(0, left - i - 1))) for i, status in enumerate(statuses)], got
            assert (await asked(of, paths[0]))[0] == 429
        assert [await asked(bare, "/twice") for _ in range(2)] == [(200, "4"), (200, "3")], "each takes one unit"
        assert await asked(app, "/none") == (404, None) and await asked(middle, "/none") == (404, "993")
        assert [(await server.ask("EXISTS", f"GET {path}:::/64")) for path in ("/made/{item}", "/v2/made/{item}")] == [1, 1]
        status, seconds = await asked(bare, "/made/2", "retry-after")
        assert status == 429 and 3500 < int(seconds or 0) <= 3600


async def routes_of_routers() -> None:
    """Each has its own usage, at each place where its router is included."""
    async with Server(URL, patience=20) as server:
        inner, middle, outer = APIRouter(), APIRouter(), APIRouter()

        @inner.get("/{item}", dependencies=[Depends(rate_limit("1/h", limiter=Limiter(server, FailClosed())))])
        async def item(item: int) -> int:
            return item

        middle.include_router(inner, prefix="/items")
        middle.include_router(inner, prefix="")
        outer.include_router(middle)
        app, sub = FastAPI(), FastAPI()
        sub.include_router(inner, prefix="/items")
        outer.mount("/sub", sub)
        for prefix in ("/users", "/orders"):
            app.include_router(outer, prefix=prefix)
        places = [f"{prefix}{path}" for prefix in ("/users", "/orders") for path in ("/items", "", "/sub/items")]
        # FastAPI of old leaves out the mounts of a router that is included.
        there = [place for place in places if (await asked(app, f"{place}/1"))[0] != 404]
        assert set(there) >= {place for place in places if "/sub" not in place}, there
        assert [await asked(app, f"{place}/2") for place in there] == [(429, "0")] * len(there)
        assert [await server.ask("EXISTS", f"GET {place}/{{item}}:::/64") for place in there] == [1] * len(there)
        await server.ask("UNLINK", *[f"GET {place}/{{item}}:::/64" for place in there])


async def a_mounted_application_has_a_state_of_its_own() -> None:
    """Where that has no limiter, the error says the way out."""
    async with Server(URL, patience=20) as server:
        app, sub = FastAPI(), FastAPI()
        app.state.limiter = Limiter(server, FailClosed())
        app.mount("/sub", sub)

        @sub.get("/stated", dependencies=[Depends(rate_limit("1/h"))])
        async def stated() -> str:
            return "it"

        try:
            await asked(app, "/sub/stated")
            raise AssertionError("it has no limiter")
        except RuntimeError as error:
            assert "state.limiter" in str(error) and "limiter=limiter" in str(error), error
        sub.state.limiter = app.state.limiter
        assert [(await asked(app, "/sub/stated"))[0] for _ in range(2)] == [200, 429]


async def a_message_that_an_application_sends_again() -> None:
    """It is the application's own: the headers of one caller are not in the response to another."""
    start: Any = {"type": "http.response.start", "status": 200, "headers": []}

    async def constant(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    async with Server(URL, patience=20) as server:
        limited = RateLimit(constant, Limiter(server, FailClosed()), "10/h", name="constant")
        assert [await asked(limited, "/") for _ in range(2)] == [(200, "9"), (200, "8")]
    assert start["headers"] == []


def main() -> None:
    asyncio.run(routes_of_fastapi())
    asyncio.run(a_message_that_an_application_sends_again())
    asyncio.run(routes_of_routers())
    asyncio.run(a_mounted_application_has_a_state_of_its_own())
    print("done", flush=True)


main()
