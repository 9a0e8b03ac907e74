"""A dependency that limits single routes of FastAPI.

    app.state.limiter = Limiter(Server("redis://localhost:6379"), LocalBucket(rate=20))

    app.add_middleware(RouteHeaders)  # or RateLimit, which adds these headers, too

    @app.get("/search", dependencies=[Depends(rate_limit("10/minute"))])
    async def search() -> ...

With the middleware every response of a limited route carries the headers of its limits, except a 500
that no handler answers. Without it those responses carry them that FastAPI makes of what a route
returns, and the 429. The handshake of a WebSocket is a request, too.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Response, WebSocketException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from . import arguments
from .asgi import ROUTE, TRY_AGAIN_LATER, RouteHeaders, answers_handshakes
from .asyncio.limiter import Limiter
from .callers import Caller, by_address, by_network
from .decision import Decision

TAKEN = "floodgate_redis.taken"
"""The key in a scope under which a request keeps the decisions that granted it."""


class RateLimited(HTTPException):
    """A denied request. FastAPI answers it with 429 and the headers of the limits, among them Retry-After
    unless the request never fits. `@app.exception_handler(RateLimited)` answers differently. `decision` says
    why."""

    def __init__(self, decision: Decision, headers: dict[str, str]):
        super().__init__(429, "too many requests", headers)
        self.decision = decision

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.decision, self.headers), self.__dict__


def rate_limit(
    limits: str | None = None, *, limiter: Limiter | None = None, caller: Caller = by_address, name: str | None = None
) -> Callable[[HTTPConnection, Response], Awaitable[Decision]]:
    """A dependency for `Depends` that takes one unit of `limits`, or raises RateLimited. It gives the
    route the decision, and adds the headers of the limits to the response. The handshake of a WebSocket
    takes a unit, its messages take none. Where the server of the application cannot refuse a handshake with
    a status, the dependency raises WebSocketException (1013) in place of RateLimited.

    The key is `METHOD PATH:CALLER`, with the path as it is declared, or `NAME:CALLER`: routes with one
    `name` share their usage. `caller` makes the second part of the request. A request that meets the same
    limits on the same key twice, such as those of the application and of the route, takes one unit.

    Without `limiter` the dependency takes `app.state.limiter`. A mounted application has a state of its
    own. Where neither is set, a request raises RuntimeError; a limiter without asyncio raises TypeError.
    """

    arguments.with_asyncio(limiter=limiter)

    async def limited(request: HTTPConnection, response: Response) -> Decision:
        takes_from: Limiter = limiter or _limiter_of(request.app)
        arguments.with_asyncio(limiter=takes_from)
        key = f"{name or _route(request)}:{caller(request)}"
        taken: dict[object, Decision] = request.scope.setdefault(TAKEN, {})
        if (takes_from, key, limits) in taken:
            return taken[takes_from, key, limits]
        decision, headers = await takes_from.acquire_with_headers(key, limits)
        request.scope.setdefault(ROUTE, {}).update(headers)
        if not decision.granted:
            raise _denial(request, decision, headers)
        response.headers.update(headers)
        taken[takes_from, key, limits] = decision
        return decision

    return limited


def _denial(request: HTTPConnection, decision: Decision, headers: dict[str, str]) -> Exception:
    # Starlette below 0.37 makes no response of an HTTPException that a WebSocket's route raises.
    has_status = hasattr(WebSocket, "send_denial_response") and answers_handshakes(request.scope)
    if request.scope["type"] == "websocket" and not has_status:
        return WebSocketException(TRY_AGAIN_LATER, "too many requests")
    return RateLimited(decision, headers)


def _limiter_of(app: FastAPI) -> Limiter:
    limiter: Limiter | None = getattr(app.state, "limiter", None)
    if limiter is None:
        raise RuntimeError(
            "the application of this route has no state.limiter (a mounted one has a state of its own): "
            "set app.state.limiter there, or write rate_limit(..., limiter=limiter)"
        )
    return limiter


def _route(request: HTTPConnection) -> str:
    """The method and the path of the route. The path is the declared one, so that `/users/1` and `/users/2`
    are one route, behind the paths at which its application is mounted."""
    scope = request.scope
    root = scope.get("root_path", "")
    mounted = root.removeprefix(scope.get("app_root_path", root))
    route = scope.get("route")
    # Newer versions of FastAPI keep the prefixes of include_router apart from the route.
    included = (scope.get("fastapi") or {}).get("effective_route_context")
    declared = included if getattr(included, "original_route", None) is route else route
    return f"{scope.get('method', 'WEBSOCKET')} {mounted}{getattr(declared, 'path', request.url.path)}"


__all__ = ["RateLimited", "RouteHeaders", "by_address", "by_network", "rate_limit"]
