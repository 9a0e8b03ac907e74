"""A middleware that limits every request of a WSGI application: Flask, Django, Pyramid, Bottle.

    app.wsgi_app = RateLimit(app.wsgi_app, limiter, limits="10/s,1000/h")

The headers of each response say what remains of the caller's limits. A denied request gets 429 with
Retry-After. To limit single routes, use Flask-Limiter with `floodgate_redis.limits`.

`floodgate_redis.asgi` has the middleware for ASGI. It has the same name, as all that this package has
for asyncio and without.
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
"""Makes the application that answers a denied request. Its answer should carry these headers."""


def by_network(prefix: int) -> Callable[[Environ], str]:
    """A function that names callers by their address, or by the network of an IPv6 address, of which
    `prefix` bits count: who has one address of such a network has all of them. A `prefix` outside 0 to 128
    raises ValueError."""
    network = network_of(prefix)
    return lambda environ: network(environ.get("REMOTE_ADDR") or "unknown")


by_address = by_network(64)
"""Names a caller by the address, or by the /64 of an IPv6 address. Behind a proxy, wrap the application
in Werkzeug's ProxyFix, or in what your server has for it: otherwise all callers have the address of the
proxy. Where callers sign in, use their account: a header that anybody can invent is no identity."""


def too_many(environ: Environ, decision: Decision, headers: Mapping[str, str]) -> Application:
    """The application that answers 429 with a line of JSON, by which the middleware denies unless it is
    given another one."""
    body = b'{"error":"too many requests"}'

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        start_response("429 Too Many Requests", list(told.items()))
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    return answer


class RateLimit:
    """A middleware that takes one unit of `limits` for each request, or denies it.

    `limiter` is one of `floodgate_redis`; one for asyncio raises TypeError. Without `limits` those hold that
    operators have set for the key. The key is `NAME:CALLER`: `caller` makes the second part of the environ,
    and two middlewares with one `name` share their usage. `denied` makes the answer to a denied request.
    """

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
            # The headers of the response itself win, such as those of Flask-Limiter for a route.
            names = {name.lower() for name, _ in said}
            own = [pair for pair in headers.items() if pair[0].lower() not in names]
            return start_response(status, [*said, *own], *error)

        return self.app(environ, start_with_headers)


__all__ = ["Denial", "RateLimit", "by_address", "by_network", "too_many"]
