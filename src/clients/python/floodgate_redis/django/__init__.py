"""Throttle classes for Django. `.rest_framework` has those for Django REST framework, and `.ninja` those
for Django Ninja. Their names and rates are those of the host's own classes.

    # settings.py
    FLOODGATE_LIMITER = Limiter(Server("redis://localhost:6379"), LocalBucket(rate=5))

The setting may also be the dotted path of a limiter, such as `"shop.limits.limiter"`. The throttles send
RL.ACQUIRE.
"""

import threading
from collections.abc import MutableMapping
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.core.signals import setting_changed  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from .. import arguments
from ..decision import Decision
from ..limiter import Limiter


@cache
def project_limiter() -> Limiter:
    """The limiter that the setting FLOODGATE_LIMITER names, without its memory of denials. Where the
    setting names none, or one for asyncio, the call raises ImproperlyConfigured."""
    named: Any = getattr(settings, "FLOODGATE_LIMITER", None)
    found = import_string(named) if isinstance(named, str) else named
    if not isinstance(found, Limiter):
        raise ImproperlyConfigured(
            "the setting FLOODGATE_LIMITER must be a floodgate_redis.Limiter, or the dotted path of one: "
            'Limiter(Server("redis://localhost:6379"), LocalBucket(rate=5))'
        )
    return found.without_memory()


def _setting_changed(*, setting: str, **_: Any) -> None:
    """Tests override settings: the next request looks at them again."""
    if setting == "FLOODGATE_LIMITER":
        project_limiter.cache_clear()


setting_changed.connect(_setting_changed)


class Throttle:
    """The part that the throttles of both hosts share: each request is one RL.ACQUIRE. A subclass that
    sets `limiter` asks that one in place of the project's."""

    limiter: Limiter | None = None
    num_requests: int | None
    duration: int | None

    _latest = threading.local()

    def throttle_success(self) -> bool:
        return True

    def throttle_failure(self) -> bool:
        return False

    def wait(self) -> float | None:
        """The seconds until the request that this thread denied last would be allowed; None where it never
        will be."""
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
        """The latest denial by each throttle in this thread: a throttle of Ninja serves many threads at
        once."""
        if not hasattr(self._latest, "denials"):
            self._latest.denials = WeakKeyDictionary()
        found: MutableMapping[Throttle, Decision] = self._latest.denials
        return found


__all__ = ["Throttle", "project_limiter"]
