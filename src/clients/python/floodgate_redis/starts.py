"""Threads, where they can be had."""

import threading
from collections.abc import Callable


def started(work: Callable[[], object], name: str) -> threading.Thread | None:
    """A thread that does the work. None where no thread can start: the interpreter is ending, or
    the machine or the container lets the process have no more."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
