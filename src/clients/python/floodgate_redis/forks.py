"""What a forked child begins anew: the threads that hold it in the parent are not in the child."""

import os
import weakref
from typing import Any, Protocol


class Forked(Protocol):
    """Has locks, or else what threads hold."""

    def _begin(self) -> None:
        """Makes them, at the start and in each forked child."""


_left: list[Any] = []
"""Clients of a cluster that the parent has."""

_all: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def begin(it: Forked) -> None:
    """Now, and in each forked child for as long as there is such a thing."""
    it._begin()
    take_part(it)


def take_part(it: Forked) -> None:
    """In each forked child, for as long as there is such a thing."""
    _all.add(it)


def leave(*clients: Any) -> None:
    """In a forked child: leaves alone the clients of redis-py that are the parent's. A client that is
    dropped takes the lock of its pool, which a thread of the parent may hold: a client of one server is
    told not to, and one of a cluster is not dropped."""
    for client in clients:
        if hasattr(client, "auto_close_connection_pool"):
            client.auto_close_connection_pool = False
        else:
            _left.append(client)


def _begin_anew() -> None:
    for it in list(_all):
        it._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
