"""Throttles for Django REST framework, by the names of its own.

    REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_CLASSES": ["floodgate_redis.django.rest_framework.UserRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"user": "100/day"},
    }

Rates are read as the host reads them: of the period the first letter counts, so that
`5/month` is 5 a minute. Windows are sliding, and exact however many processes decide.
"""

from typing import Any

from rest_framework import throttling  # type: ignore[import-untyped]

from . import Throttle


class SimpleRateThrottle(Throttle, throttling.SimpleRateThrottle):  # type: ignore[misc]
    """For throttles of your own: `get_cache_key` says whose request it is."""

    def allow_request(self, request: Any, view: Any) -> bool:
        if self.rate is None:
            return True
        self.key = self.get_cache_key(request, view)
        return self._allows(self.key)


class AnonRateThrottle(throttling.AnonRateThrottle, SimpleRateThrottle):  # type: ignore[misc]
    """By address, of those who have not signed in; scope `anon`."""


class UserRateThrottle(throttling.UserRateThrottle, SimpleRateThrottle):  # type: ignore[misc]
    """By user, or by address; scope `user`."""


class ScopedRateThrottle(throttling.ScopedRateThrottle, SimpleRateThrottle):  # type: ignore[misc]
    """By user, or by address, for each `throttle_scope` of the views."""


__all__ = ["AnonRateThrottle", "ScopedRateThrottle", "SimpleRateThrottle", "UserRateThrottle"]
