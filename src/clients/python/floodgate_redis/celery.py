"""Tasks of Celery that start no more often than a limit allows, in all workers together.

    @app.task(base=limited(limiter, "10/m"))
    def send(letter): ...

    @app.task(base=limited(limiter, "10/m", key=lambda task, args, kwargs: f"mail:{args[0]}"))
    def send_to(user, letter): ...

A task whose turn it is not goes back to the broker until its units are free, spread
over as long again, so that those that wait do not all come at once. Celery's own
`rate_limit` is for each worker; this is for all.

- That it waits is no failure: `max_retries`, `retry_backoff` and `request.retries` are
  left as they are, for the task's own failures.
- It comes back before the broker would give it to another worker, that is within half of
  `visibility_timeout` of `broker_transport_options` (an hour where it is not set), and
  asks again.
- What never fits, because its cost is above the limit, fails with `Denied`.
- Called as a function, a task is not limited; `apply` and `task_always_eager` wait.

RL.ACQUIRE is used. While Redis is away the limiter's fallback decides.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Task  # type: ignore[import-untyped]
from celery.exceptions import Reject, Retry  # type: ignore[import-untyped]

from . import arguments
from .errors import Denied
from .limiter import Limiter

Key = Callable[[Task, Sequence[Any], Mapping[str, Any]], str]
"""Whose limit a task takes from, by the task and its arguments."""

VISIBILITY_TIMEOUT_S = 3600
"""That of the Redis broker where nothing is set. SQS has half of it: set it there."""

SHORTEST_S = 0.05


def limited(
    limiter: Limiter, limits: str | None = None, *, key: Key | None = None, cost: int = 1, base: type[Task] = Task
) -> type[Task]:
    """The base of tasks that take `cost` units each before they start. Without `key`
    each task, by its name, is a key; without `limits` those hold that the server has for
    the key. `base` is the base that your tasks have already."""
    arguments.without_asyncio(limiter=limiter)
    asking = limiter.without_memory()

    class LimitedTask(base):  # type: ignore[misc]
        abstract = True

        def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
            name = f"celery:{self.name}" if key is None else key(self, args, kwargs)
            while True:
                decision = asking.acquire(name, limits, cost)
                if decision.granted:
                    break
                if decision.retry_after_ms < 0:
                    raise Denied(decision)
                if not self.request.is_eager:
                    raise _later(self, decision.retry_after_ms / 1000)
                time.sleep(max(SHORTEST_S, decision.retry_after_ms / 1000))
            super().before_start(task_id, args, kwargs)

    return LimitedTask


def _later(task: Task, seconds: float) -> Exception:
    """Sends the task again, as `retry` of the host would, but counts no retry. What to
    raise then."""
    countdown = countdown_of(seconds, task.app.conf.broker_transport_options or {})
    request = task.request
    again = task.signature_from_request(request, countdown=countdown, retries=request.retries)
    try:
        again.apply_async()
    except Exception as error:
        return Reject(error, requeue=False)  # type: ignore[no-any-return]  # as the host does
    return Retry(when=countdown, sig=again)  # type: ignore[no-any-return]


def countdown_of(seconds: float, transport: Mapping[str, Any]) -> float:
    """When to ask again, where units are free after so many seconds."""
    spread = max(SHORTEST_S, seconds) * random.uniform(1, 2)
    timeout = float(transport.get("visibility_timeout") or VISIBILITY_TIMEOUT_S)
    return min(spread, timeout / 2 * random.uniform(0.9, 1))


__all__ = ["Key", "countdown_of", "limited"]
