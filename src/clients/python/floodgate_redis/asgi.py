"""Middlewares that limit every request of an ASGI application: FastAPI, Starlette, Litestar,
Quart, Django.

    app = RateLimit(app, limiter=limiter, limits="10/s,1000/h")
    app.add_middleware(RateLimit, limiter=limiter, limits="10/s,1000/h")    # FastAPI

The headers of each response say what remains of the caller's limits. A denied request gets 429 with
Retry-After. The handshake of a WebSocket is a request, too. Where the server of the application
cannot answer a handshake with a status, a denied one is closed with 1013, and its client sees 403.

`floodgate_redis.flask` has the middleware for WSGI. It has the same name, as all that this package has
for asyncio and without.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from . import arguments
from .asyncio.limiter import Limiter
from .callers import Caller, by_address, by_network
from .decision import Decision

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Denial = Callable[[Scope, Decision, Mapping[str, str]], App]
"""Makes the application that answers a denied request. Its answer should carry these headers."""


def too_many(scope: Scope, decision: Decision, headers: Mapping[str, str]) -> App:
    """The application that answers 429 with a line of JSON, by which a middleware denies unless it is
    given another one."""
    body = b'{"error":"too many requests"}'

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        await send({"type": "http.response.start", "status": 429, "headers": _encoded(told)})
        await send({"type": "http.response.body", "body": body})

    return answer


ASKS = ("http", "websocket")
"""The kinds of scopes that are limited. The others, such as `lifespan`, are no requests."""

STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
"""The types of the messages that carry the headers of a response."""

TRY_AGAIN_LATER = 1013
"""The status with which a denied WebSocket is closed."""

ROUTE = "floodgate_redis.route"
"""The key in a scope under which `rate_limit` leaves the headers of the route's limits."""


class RouteHeaders:
    """A middleware for applications that limit single routes and have no `RateLimit`. It adds the
    headers of the route's limits to each response, also to errors and to a `Response` that the route
    returns."""

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ASKS:
            return await self.app(scope, receive, send)
        await self.app(scope, receive, _with_headers(send, {}, scope.setdefault(ROUTE, {})))


class RateLimit:
    """A middleware that takes one unit of `limits` for each request, or denies it.

    `limiter` is one of `floodgate_redis.asyncio`; another raises TypeError. Without `limits` those hold that
    operators have set for the key. The key is `NAME:CALLER`: `caller` makes the second part of the scope, and
    two middlewares with one `name` share their usage. `denied` makes the answer to a denied request.
    """

    def __init__(
        self,
        app: App,
        limiter: Limiter,
        limits: str | None = None,
        caller: Caller = by_address,
        name: str = "api",
        denied: Denial = too_many,
    ):
        arguments.with_asyncio(limiter=limiter)
        self.app = app
        self.limiter = limiter
        self.limits = limits
        self.caller = caller
        self.name = name
        self.denied = denied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ASKS:
            return await self.app(scope, receive, send)
        key = f"{self.name}:{self.caller(scope)}"
        decision, headers = await self.limiter.acquire_with_headers(key, self.limits)
        if not decision.granted:
            if scope["type"] == "websocket":
                return await self._refuse(scope, decision, headers, receive, send)
            return await self.denied(scope, decision, headers)(scope, receive, send)

        await self.app(scope, receive, _with_headers(send, headers, scope.setdefault(ROUTE, {})))

    async def _refuse(
        self, scope: Scope, decision: Decision, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        """Refuses a handshake."""
        await receive()  # The first message says `websocket.connect`, and nothing else.
        if not answers_handshakes(scope):
            return await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "too many requests"})

        async def send_of_handshake(message: Message) -> None:
            await send({**message, "type": f"websocket.{message['type']}"})

        await self.denied(scope, decision, headers)(scope, receive, send_of_handshake)


def answers_handshakes(scope: Mapping[str, Any]) -> bool:
    """Whether the server of the application can refuse a handshake with a status, headers and a body."""
    return "websocket.http.response" in (scope.get("extensions") or {})


def _with_headers(send: Send, own: Mapping[str, str], of_route: Mapping[str, str]) -> Send:
    """A `send` that adds headers to a response. A header of the response itself wins over one of its
    route, and that over one of the middleware."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] in STARTS:
            said = list(message.get("headers", []))
            names = {bytes(name).lower() for name, _ in said}
            added = _encoded({**own, **of_route})
            # In a copy, because an application may send the same message again.
            message = {**message, "headers": [*said, *(pair for pair in added if pair[0] not in names)]}
        await send(message)

    return send_with_headers


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


__all__ = ["Caller", "Denial", "RateLimit", "RouteHeaders", "by_address", "by_network", "too_many"]
