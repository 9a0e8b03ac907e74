"""Throttles for Django REST framework, with the names of its own.

    REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_CLASSES": ["floodgate_redis.django.rest_framework.UserRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"user": "100/day"},
    }

The host reads the rates. It looks at the first letter of the period, so that `5/month` is 5 a minute.
Windows are sliding, and exact however many processes decide.
"""

from typing import Any

from rest_framework import throttling  # type: ignore[import-untyped]

from . import Throttle


class SimpleRateThrottle(Throttle, throttling.SimpleRateThrottle):  # type: ignore[misc]
    """The base for throttles of your own: `get_cache_key` returns the key of a request, or None for a
    request without a limit."""

    def allow_request(self, request: Any, view: Any) -> bool:
        if self.rate is None:
            return True
        self.key = self.get_cache_key(request, view)
        return self._allows(self.key)


class AnonRateThrottle(throttling.AnonRateThrottle, SimpleRateThrottle):  # type: ignore[misc]
    """Limits callers who have not signed in, by their address. Its scope is `anon`."""


class UserRateThrottle(throttling.UserRateThrottle, SimpleRateThrottle):  # type: ignore[misc]
    """Limits callers by their user, or by their address. Its scope is `user`."""


class ScopedRateThrottle(throttling.ScopedRateThrottle, SimpleRateThrottle):  # type: ignore[misc]
    """Limits callers by their user, or by their address, for each `throttle_scope` that views have. A view
    without one is not limited."""


__all__ = ["AnonRateThrottle", "ScopedRateThrottle", "SimpleRateThrottle", "UserRateThrottle"]
