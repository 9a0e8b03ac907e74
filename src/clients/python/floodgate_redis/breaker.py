# Made from asyncio/breaker.py by scripts/twins.py: change that one.
"""A circuit breaker that all processes share."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from . import arguments, decorated, words
from .errors import CircuitOpen
from .outage import Away
from .outcome import Outcome
from .server import Server
from .telemetry import calls

P = ParamSpec("P")
R = TypeVar("R")


class Breaker:
    """A circuit breaker by its key, and its rule as in `50%/60s:open=30s`.

    While Redis is away calls go through: a breaker protects the callee, and without
    it things are as they were before there was one.
    """

    def __init__(self, server: Server, key: str, rule: str):
        arguments.without_asyncio(server=server)
        self.server = server
        self.key = key
        self.rule = rule

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Guards a call, whose own timeout belongs inside. Raises CircuitOpen where it
        is not to be made. An exception is a failure of the callee; a call that is cancelled, and
        a program that ends, say nothing of it."""
        token = self._admitted()
        outcome = Outcome()
        try:
            with outcome:
                yield
        finally:
            if token is not None:
                self.server.finish(*outcome.report(self.key, token))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Guards each call of a function: `@breaker`. It refuses a generator, whose call does no
        work."""
        decorated.plain(function)

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.guard():
                return decorated.worked(function, function(*args, **kwargs))

        return guarded

    def _admitted(self) -> str | None:
        """The token to report with; none while Redis is away."""

        # Admitted and gone before it knew, a call hands its token back: a trial that
        # nobody reports closes the door for its whole lease.
        def undo(answer: Any) -> list[words.Words]:
            return [words.report(self.key, "IGNORE", answer[2])] if answer[0] else []

        try:
            allowed, _state, token, retry_after_ms = self.server.take(("CB.ACQUIRE", self.key, self.rule), undo)
        except Away:
            return None
        if not allowed:
            calls("open")
            raise CircuitOpen(retry_after_ms)
        return str(token)
