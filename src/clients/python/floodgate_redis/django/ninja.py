"""Throttles for Django Ninja, by the names of its own.

    from floodgate_redis.django.ninja import AnonRateThrottle, AuthRateThrottle

    api = NinjaAPI(throttle=[AnonRateThrottle("10/s"), AuthRateThrottle("100/s")])

Rates are read as the host reads them: `100/day`, `100/2h`, and `7/10`, which is 7 in 10
seconds. Windows are sliding, and exact however many processes decide. Ninja asks its
throttles without asyncio, so an asynchronous operation waits for the answer.
"""

from typing import Any

from ninja import throttling

from . import Throttle


class SimpleRateThrottle(Throttle, throttling.SimpleRateThrottle):
    """For throttles of your own: `get_cache_key` says whose request it is."""

    def allow_request(self, request: Any) -> bool:
        self.key = self.get_cache_key(request)
        return self._allows(self.key)


class AnonRateThrottle(throttling.AnonRateThrottle, SimpleRateThrottle):
    """By address, of those who have not signed in; scope `anon`."""


class AuthRateThrottle(throttling.AuthRateThrottle, SimpleRateThrottle):
    """By who signed in, or by address; scope `auth`."""


class UserRateThrottle(throttling.UserRateThrottle, SimpleRateThrottle):
    """By user, or by address; scope `user`."""


__all__ = ["AnonRateThrottle", "AuthRateThrottle", "SimpleRateThrottle", "UserRateThrottle"]
