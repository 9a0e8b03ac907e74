"""Keeping a reservation for as long as the work takes."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .outage import log
from .server import Server
from .starts import started
from .words import Words


@contextmanager
def renewing(server: Server, keys: Sequence[str], ttl: float, command: Words) -> Iterator[None]:
    """Renews the reservation of the keys by the command, in a thread of its own."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(ttl / 3):
            server.finish(*command)

    if not started(renew, f"floodgate {command[0]}"):
        log.warning("no thread can start that renews the reservation of %s: it ends after %g s", ", ".join(keys), ttl)
    try:
        yield
    finally:
        ended.set()
