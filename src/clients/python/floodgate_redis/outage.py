"""Whether Redis can decide, and when to ask it again."""

import asyncio
import logging
import random
import re
import threading
import time

from redis import exceptions

log = logging.getLogger("floodgate_redis")


class Away(Exception):
    """Redis cannot decide: it does not answer, or answers that it cannot write."""


class Misconfigured(Exception):
    """Redis refuses the credentials, or has no Floodgate. Raised until it has
    answered for the first time; afterwards that is an outage like others."""


OUTAGE = (
    OSError,  # TimeoutError too
    asyncio.TimeoutError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,  # a replica by now
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
# What redis-py has no class for.
CANNOT = re.compile(r"(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED)\b")
NO_MODULE = re.compile(r"unknown command\W+(RL\.(ACQUIRE|HELP|RESERVE)|CB\.ACQUIRE)\b", re.IGNORECASE)


def misconfiguration(error: Exception) -> str | None:
    """What a person has to put right before anything can be decided."""
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return f"Redis refuses the credentials: {error}"
    if isinstance(error, exceptions.ResponseError) and NO_MODULE.search(str(error)):
        return "Redis has no Floodgate: load the module (loadmodule libfloodgate.so)"
    return None


def is_outage(error: Exception) -> bool:
    """Whether fallbacks are to hold; otherwise it is the caller's own error."""
    # In a transaction redis-py puts words of its own before those of Redis.
    said = str(error).rpartition("caused error: ")[2].lstrip("('\"")
    return isinstance(error, OUTAGE) or (isinstance(error, exceptions.ResponseError) and bool(CANNOT.match(said)))


class Health:
    """After a failure Redis is not asked for `rest` seconds, and then by one
    request for all: an outage costs one request its timeout, not each of them.
    That it is lost, and that it is found again, is logged once each."""

    def __init__(self, rest: float):
        self.rest = rest
        self._lock = threading.Lock()
        self._asleep_until: float | None = None
        self._has_answered = False
        self._lost = False

    def turn(self) -> None:
        """Before it is asked. Raises Away while it rests."""
        with self._lock:
            if self._asleep_until is not None:
                if time.monotonic() < self._asleep_until:
                    raise Away("Redis was away a moment ago, and is not asked yet")
                self._sleep()  # the others: this one asks for them

    def answered(self) -> None:
        """It answers, if only that it refuses this command."""
        with self._lock:
            self._asleep_until = None
            self._has_answered = True
            found, self._lost = self._lost, False
        if found:
            log.warning("Redis is back")

    def failed(self, error: Exception) -> Exception:
        """What to raise for an error: the error itself where it is the caller's."""
        wrong = misconfiguration(error)
        if wrong and not self._has_answered:
            return Misconfigured(wrong)
        if not wrong and not is_outage(error):
            self.answered()  # it refuses: malformed limits, a wrong type, missing rights
            return error
        with self._lock:
            was_lost, self._lost = self._lost, True
            self._sleep()
        if not was_lost:
            log.warning("Redis is away, the fallback decides: %s", wrong or str(error) or type(error).__name__)
        return Away(str(error))

    def awake(self) -> None:
        """It answered late, what it was asked long ago: it can be asked."""
        with self._lock:
            self._asleep_until = None

    def _sleep(self) -> None:
        # Not all processes at the same moment.
        self._asleep_until = time.monotonic() + self.rest * random.uniform(0.5, 1.5)
