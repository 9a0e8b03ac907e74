"""Limits for every request of a WSGI application (Flask, Django, Pyramid, Bottle): each
response says in its headers how the caller stands, too many get 429 with Retry-After.

    app.wsgi_app = RateLimit(app.wsgi_app, limiter, limits="10/s,1000/h")

For limits of single routes there is Flask-Limiter, with `floodgate_redis.limits`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import arguments
from .callers import network_of
from .decision import Decision
from .limiter import Limiter

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

Denial = Callable[[Environ, Decision, Mapping[str, str]], Application]
"""Makes the application that answers a denied request, with these headers."""


def by_network(prefix: int) -> Callable[[Environ], str]:
    """The caller's address: of IPv6 the network of so many bits, for whoever has one
    address there has all of them."""
    network = network_of(prefix)
    return lambda environ: network(environ.get("REMOTE_ADDR") or "unknown")


by_address = by_network(64)
"""The caller's address, of IPv6 its /64. Behind a proxy put Werkzeug's ProxyFix, or what
your server has for it, around this: otherwise the proxy is the caller of all. Where
callers sign in, take who they are: a header that anybody can invent is no identity."""


def too_many(environ: Environ, decision: Decision, headers: Mapping[str, str]) -> Application:
    """429 and a line of JSON."""
    body = b'{"error":"too many requests"}'

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        start_response("429 Too Many Requests", list(told.items()))
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    return answer


class RateLimit:
    """The middleware. `caller` says whose limits a request takes from, `name` keeps
    several of these apart, `denied` makes another answer than 429 and JSON."""

    def __init__(
        self,
        app: Application,
        limiter: Limiter,
        limits: str | None = None,
        caller: Callable[[Environ], str] = by_address,
        name: str = "api",
        denied: Denial = too_many,
    ):
        arguments.without_asyncio(limiter=limiter)
        self.app = app
        self.limiter = limiter
        self.limits = limits
        self.caller = caller
        self.name = name
        self.denied = denied

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        key = f"{self.name}:{self.caller(environ)}"
        decision, headers = self.limiter.acquire_with_headers(key, self.limits)
        if not decision.granted:
            return self.denied(environ, decision, headers)(environ, start_response)

        def start_with_headers(status: str, said: list[tuple[str, str]], *error: Any) -> Any:
            # What the route says of limits of its own stands.
            names = {name.lower() for name, _ in said}
            own = [pair for pair in headers.items() if pair[0].lower() not in names]
            return start_response(status, [*said, *own], *error)

        return self.app(environ, start_with_headers)


__all__ = ["Denial", "RateLimit", "by_address", "by_network", "too_many"]
