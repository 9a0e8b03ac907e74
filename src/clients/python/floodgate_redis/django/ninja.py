"""Throttles for Django Ninja, with the names of its own.

    from floodgate_redis.django.ninja import AnonRateThrottle, AuthRateThrottle

    api = NinjaAPI(throttle=[AnonRateThrottle("10/s"), AuthRateThrottle("100/s")])

The host reads the rates: `100/day`, `100/2h`, and `7/10`, which is 7 in 10 s. Windows are sliding,
and exact however many processes decide. Ninja calls its throttles without asyncio: an asynchronous
operation blocks the event loop while the throttle asks Redis.
"""

from typing import Any

from ninja import throttling

from . import Throttle


class SimpleRateThrottle(Throttle, throttling.SimpleRateThrottle):
    """The base for throttles of your own: `get_cache_key` returns the key of a request, or None for a
    request without a limit."""

    def allow_request(self, request: Any) -> bool:
        self.key = self.get_cache_key(request)
        return self._allows(self.key)


class AnonRateThrottle(throttling.AnonRateThrottle, SimpleRateThrottle):
    """Limits callers who have not signed in, by their address. Its scope is `anon`."""


class AuthRateThrottle(throttling.AuthRateThrottle, SimpleRateThrottle):
    """Limits callers by what their authentication returned, or by their address. Its scope is `auth`."""


class UserRateThrottle(throttling.UserRateThrottle, SimpleRateThrottle):
    """Limits callers by their user, or by their address. Its scope is `user`."""


__all__ = ["AnonRateThrottle", "AuthRateThrottle", "SimpleRateThrottle", "UserRateThrottle"]
