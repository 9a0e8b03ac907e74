"""Threads, where they can be had."""

import threading
from collections.abc import Callable
from contextvars import Context, copy_context


def started(work: Callable[[], object], name: str, context: Context | None = None) -> threading.Thread | None:
    """A thread that does the work. None where no thread can start: the interpreter is ending, or
    the machine or the container lets the process have no more.

    The thread works in a copy of the caller's context, unless another one is given: tracers look there for the
    request that sends a command."""
    within = copy_context() if context is None else context
    thread = threading.Thread(target=within.run, args=(work,), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
