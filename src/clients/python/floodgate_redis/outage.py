"""Whether Redis can decide, and when to ask it again."""

import asyncio
import logging
import math
import random
import re
import threading
import time
from collections.abc import Sequence

from redis import exceptions

from . import forks

log = logging.getLogger("floodgate_redis")


class Away(Exception):
    """Redis cannot decide. It does not answer, or answers that it cannot write."""


class Misconfigured(Exception):
    """Redis or a Sentinel refuses the credentials, Sentinels do not know the service, or Redis
    has no Floodgate. Raised until it has answered for the first time; afterwards that is an
    outage like others."""


class UnknownService(exceptions.ConnectionError):
    """No Sentinel that answers knows the service."""


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
NOT_TAKEN = (Misconfigured, exceptions.RedisError, UnicodeError)
"""Raised where Redis has not done what it was asked: it refused, or the words cannot be sent."""
LATE = (TimeoutError, asyncio.TimeoutError, exceptions.TimeoutError)
# What redis-py has no class for.
CANNOT_WRITE = re.compile(r"(MISCONF|NOREPLICAS|OOM|READONLY)\b")
CANNOT = re.compile(rf"{CANNOT_WRITE.pattern}|(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|TRYAGAIN|UNBLOCKED)\b")
REDIRECTION = re.compile(r"(MOVED|ASK) (\d+ \S*:\d+)")
# Of any command of Floodgate: each may be the first that a program asks.
NO_MODULE = re.compile(r"unknown command\W+(RL|CB)\.\w", re.IGNORECASE)


def misconfiguration(error: Exception) -> str | None:
    """What a person has to put right before anything can be decided."""
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return f"Redis refuses the credentials: {error}"
    if isinstance(error, UnknownService):
        return str(error)
    if lacks_floodgate(error):
        return "Redis has no Floodgate: load the module (loadmodule libfloodgate.so)"
    return None


def lacks_floodgate(error: Exception) -> bool:
    """Whether it knows no command of Floodgate, though it may know those of Redis."""
    return isinstance(error, exceptions.ResponseError) and bool(NO_MODULE.search(str(error)))


def may_not_look(error: exceptions.NoPermissionError) -> bool:
    """Whether the user may do all but ask RL.HELP: nothing is wrong with the connection, then."""
    return "rl.help" in str(error).lower()


REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)


def no_master(service: str, answers: Sequence[object]) -> Exception:
    """What to raise where no Sentinel names a master. Of each the answer is an error, or what
    it knows of the service."""
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    for error in errors:
        if isinstance(error, REFUSED):
            return exceptions.AuthenticationError(f"{error} (a Sentinel says so: its own are sentinel_password)")
    if len(errors) < len(answers) and not any(answer for answer in answers if answer not in errors):
        return UnknownService(f"no Sentinel knows the service {service!r}")
    # After a timeout they are not asked again.
    was_late = any(isinstance(error, LATE) for error in errors)
    kind = exceptions.TimeoutError if was_late else exceptions.ConnectionError
    return kind("; ".join([f"no Sentinel names a master of {service!r}", *map(str, errors)]))


def is_outage(error: Exception) -> bool:
    """Whether fallbacks are to hold; otherwise it is the caller's own error."""
    return isinstance(error, OUTAGE) or (isinstance(error, exceptions.ResponseError) and bool(CANNOT.match(_said(error))))


def _cannot_write(error: Exception) -> bool:
    """Whether what only looks would still be answered."""
    known = isinstance(error, (exceptions.ReadOnlyError, exceptions.OutOfMemoryError))
    return known or (isinstance(error, exceptions.ResponseError) and bool(CANNOT_WRITE.match(_said(error))))


def redirection(error: exceptions.ResponseError) -> exceptions.AskError | None:
    """Where a node of a cluster sends to. Before its version 6 redis-py has no class for it,
    unless its own cluster client is used."""
    if isinstance(error, exceptions.AskError):
        return error
    found = REDIRECTION.match(_said(error))
    if found is None:
        return None
    return exceptions.MovedError(found[2]) if found[1] == "MOVED" else exceptions.AskError(found[2])


def _said(error: Exception) -> str:
    """By Redis: in a transaction redis-py puts words of its own before."""
    return str(error).rpartition("caused error: ")[2].lstrip("('\"")


class Worked:
    """Whether Redis has answered once, and whether Floodgate has: who asks a cache first hears
    from Redis alone."""

    once = False
    with_floodgate = False


class Health:
    """After a failure Redis is not asked for `rest` seconds, and then by one
    request for all: an outage costs one request its timeout, not each of them.
    That it is lost, and that it is found again, is logged once each.

    An answer that is late, while others came meanwhile, is no outage: only its own
    request falls back. Of a server that cannot write only the answer to a command that takes
    something says that it is back, and of one without the module only that to a command of
    Floodgate (`ours`); after the rest others are answered, and ask for nobody. The nodes of a
    cluster share `worked`."""

    def __init__(self, rest: float, name: str = "Redis", worked: Worked | None = None):
        self.rest = rest
        self.name = name
        forks.begin(self)
        self._asleep_until: float | None = None
        self._worked = worked or Worked()
        self.answered_at = -math.inf
        """When it last answered as one that can decide, by time.monotonic()."""
        self._lost = False
        self._cannot_write = False
        self._lacks_floodgate = False

    def _begin(self) -> None:
        """See forks."""
        self._lock = threading.Lock()

    def look(self) -> None:
        """Raises Away while it rests."""
        until = self._asleep_until
        if until is not None and time.monotonic() < until:
            raise Away(f"{self.name} was away a moment ago, and is not asked yet")

    def turn(self, takes: bool = True, ours: bool = True) -> float:
        """Before it is asked: raises Away while it rests. The time. `takes` says whether the
        command takes something, `ours` whether it is one of Floodgate's."""
        with self._lock:
            now = time.monotonic()
            if self._asleep_until is not None:
                self.look()
                if self._tells(takes, ours):
                    self._sleep()  # the others: this one asks for them
            return now

    def answered(self, takes: bool = True, ours: bool = True) -> None:
        """It has done what the command says."""
        with self._lock:
            if not self._tells(takes, ours):
                return
            self._asleep_until, self._cannot_write, self._lacks_floodgate = None, False, False
            self.answered_at = time.monotonic()
            found, self._lost = self._lost, False
        self._worked.once = True
        if ours:
            self._worked.with_floodgate = True
        if found:
            log.warning("%s is back", self.name)

    def failed(self, error: Exception, since: float, ours: bool = True) -> Exception:
        """What to raise for an error of a request that was made at that time: the error
        itself where it is the caller's."""
        wrong, lacks = misconfiguration(error), lacks_floodgate(error)
        if wrong and not (self._worked.with_floodgate if lacks else self._worked.once):
            self._not_asked()  # who asks next hears the same: no rest after an outage hides it
            return Misconfigured(wrong)
        if not wrong and not is_outage(error):
            if isinstance(error, exceptions.ResponseError):
                self._refused(ours)  # malformed limits, a wrong type, missing rights
            else:
                self._not_asked()  # words that cannot be sent
            return error
        if isinstance(error, exceptions.TryAgainError) or _said(error).startswith("TRYAGAIN"):
            self._refused(ours)  # the slot of this request is on its way to another node
        elif not (isinstance(error, LATE) and self.answered_at > since):
            self._rest(wrong or str(error) or type(error).__name__, _cannot_write(error), lacks)
        return Away(wrong or str(error))

    def awake(self) -> None:
        """It answered late, what it was asked long ago: it can be asked."""
        with self._lock:
            self._asleep_until = None

    def _refused(self, ours: bool) -> None:
        """It answers; that it can write this does not say."""
        if self._tells(False, ours):
            self.answered(False, ours)
        else:
            self._not_asked()

    def _tells(self, takes: bool, ours: bool) -> bool:
        """Whether an answer to such a command says that it can decide."""
        return (takes or not self._cannot_write) and (ours or not self._lacks_floodgate)

    def _not_asked(self) -> None:
        with self._lock:
            if self._asleep_until is not None:
                self._asleep_until = time.monotonic()  # the next request asks for all

    def _rest(self, why: str, cannot_write: bool, lacks_floodgate: bool) -> None:
        with self._lock:
            was_lost, self._lost = self._lost, True
            self._cannot_write, self._lacks_floodgate = cannot_write, lacks_floodgate
            self._sleep()
        if not was_lost:
            log.warning("%s is away, the fallback decides: %s", self.name, why)

    def _sleep(self) -> None:
        # Not all processes at the same moment.
        self._asleep_until = time.monotonic() + self.rest * random.uniform(0.5, 1.5)
