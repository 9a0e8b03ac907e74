"""Limits for every request of an ASGI application (FastAPI, Starlette): each
response says in its headers how the caller stands, too many get 429 with
Retry-After. Copy it with floodgate.py.

    app.add_middleware(RateLimit, limiter=limiter, limits="10/s,1000/h", caller=by_address)
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from floodgate import Limiter


def by_network(prefix: int) -> Callable[[HTTPConnection], str]:
    """The caller's address: of IPv6 the network of so many bits, for whoever has
    one address there has all of them."""

    def caller(connection: HTTPConnection) -> str:
        host = connection.client.host if connection.client else "unknown"
        try:
            address = ip_address(host)
        except ValueError:  # a socket's path
            return host
        if not isinstance(address, IPv6Address):
            return str(address)
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), prefix), strict=False))

    return caller


by_address = by_network(64)
"""The caller's address, of IPv6 its /64. Behind a proxy start uvicorn with
--proxy-headers --forwarded-allow-ips=ADDRESSES, those of the proxy: without the
second it believes proxies on its own machine only, and all callers are one.
Where callers sign in, take who they are: a header that anybody can invent is no
identity."""


class RateLimit:
    def __init__(
        self, app: ASGIApp, limiter: Limiter, limits: str, caller: Callable[[HTTPConnection], str] = by_address
    ):
        self.app = app
        self.limiter = limiter
        self.limits = limits
        self.caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        key = f"api:{self.caller(HTTPConnection(scope))}"
        decision, headers = await self.limiter.acquire_with_headers(key, self.limits)
        if not decision.granted:
            denial = JSONResponse({"error": "too many requests"}, status_code=429, headers=headers)
            return await denial(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self.app(scope, receive, send_with_headers)
