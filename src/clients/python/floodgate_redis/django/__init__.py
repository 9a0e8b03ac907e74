"""Throttle classes for Django: `.rest_framework` for Django REST framework, `.ninja` for
Django Ninja, each with the names and the rates of the host's own.

    # settings.py
    FLOODGATE_LIMITER = Limiter(Server("redis://localhost:6379"), LocalBucket(rate=5))

or its dotted path, `"shop.limits.limiter"`. RL.ACQUIRE is used.
"""

import threading
from collections.abc import MutableMapping
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from .. import arguments
from ..decision import Decision
from ..limiter import Limiter


@cache
def project_limiter() -> Limiter:
    """The limiter that the settings name."""
    named: Any = getattr(settings, "FLOODGATE_LIMITER", None)
    found = import_string(named) if isinstance(named, str) else named
    if not isinstance(found, Limiter):
        raise ImproperlyConfigured(
            "the setting FLOODGATE_LIMITER must be a floodgate_redis.Limiter, or the dotted path of one: "
            'Limiter(Server("redis://localhost:6379"), LocalBucket(rate=5))'
        )
    return found.without_memory()


class Throttle:
    """What the throttles of both hosts do: each request is one RL.ACQUIRE. `limiter`
    may be another than the project's."""

    limiter: Limiter | None = None
    num_requests: int | None
    duration: int | None

    _latest = threading.local()

    def throttle_success(self) -> bool:
        return True

    def throttle_failure(self) -> bool:
        return False

    def wait(self) -> float | None:
        """Seconds until the request that was denied would be allowed; none where it
        never will be."""
        denied = self._denials().get(self)
        return None if denied is None or denied.retry_after_ms < 0 else denied.retry_after_ms / 1000

    def _allows(self, key: str | None) -> bool:
        if key is None or self.num_requests is None:
            return True
        limiter = self.limiter or project_limiter()
        arguments.without_asyncio(limiter=limiter)
        decision = limiter.acquire(key, f"{self.num_requests}/{self.duration}s")
        if decision.granted:
            self._denials().pop(self, None)
            return self.throttle_success()
        self._denials()[self] = decision
        return self.throttle_failure()

    def _denials(self) -> MutableMapping["Throttle", Decision]:
        """The latest of this thread, for one throttle may serve many at once."""
        if not hasattr(self._latest, "denials"):
            self._latest.denials = WeakKeyDictionary()
        found: MutableMapping[Throttle, Decision] = self._latest.denials
        return found


__all__ = ["Throttle", "project_limiter"]
