"""What belongs to an event loop."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OfLoop(Generic[T]):
    """Each event loop has its own, made when it first asks. That of a loop that is closed is
    dropped."""

    def __init__(self, make: Callable[[], T]):
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, T] = {}

    def __call__(self) -> T:
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            for other in list(self._made):
                if other.is_closed():
                    self._made.pop(other, None)
            self._made[loop] = self._make()
        return self._made[loop]
