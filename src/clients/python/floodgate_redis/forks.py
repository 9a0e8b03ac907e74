"""What a forked child begins anew: the threads that hold it in the parent are not in the child."""

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Has locks, or else what threads hold."""

    def _begin(self) -> None:
        """Makes them, at the start and in each forked child."""


_all: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def begin(it: Forked) -> None:
    """Now, and in each forked child for as long as there is such a thing."""
    it._begin()
    _all.add(it)


def _begin_anew() -> None:
    for it in list(_all):
        it._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
