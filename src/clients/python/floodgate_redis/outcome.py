"""The outcome of a call, and the commands that report it."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import words
from .decorated import NotTheWork
from .outage import log
from .telemetry import calls
from .words import Words

SAYS_NOTHING = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit, NotTheWork)
"""A call that raises one of these says nothing of the callee."""


class Outcome:
    """The outcome of the call that is made in its `with`. An exception is a failure of the callee, unless
    it is one of SAYS_NOTHING."""

    def __init__(self) -> None:
        self.told = "FAIL"
        self.seconds = 0.0
        self._spent: str | None = None

    def __enter__(self) -> "Outcome":
        self._start = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.seconds = time.monotonic() - self._start
        self.told = "OK" if kind is None else "IGNORE" if issubclass(kind, SAYS_NOTHING) else "FAIL"
        calls(self.told.lower())

    def costs(self, spend: Callable[[Any], object] | None, answer: object) -> None:
        """Learns by `spend` what the answer cost. Where `spend` raises, that is logged, and the outcome has
        no cost: the answer counts more."""
        try:
            amount = None if spend is None else spend(answer)
            self._spent = None if amount is None else str(amount)
        except Exception as error:
            log.warning("what a call cost is not recorded: %s: %s", type(error).__name__, error)

    def report(self, breaker: str, token: str) -> Words:
        """The command that reports to the breaker."""
        return words.report(breaker, self.told, token, self.seconds)

    def reports(self, breaker: str, token: str | None, key: str) -> list[tuple[Words, Words | None]]:
        """The commands that report to the breaker, where there is a token, and to the usage of the key. Each
        stands with the command that is sent instead where the server refuses it."""
        told: list[tuple[Words, Words | None]] = [] if token is None else [(self.report(breaker, token), None)]
        if self.told != "IGNORE":
            plain = words.record(key, self.told, self.seconds)
            of_money = words.record(key, self.told, self.seconds, self._spent)
            told.append((plain, None) if self._spent is None else (of_money, plain))
        return told
