"""A base for tasks of Celery that start no more often than a limit allows, in all workers together.

    @app.task(base=limited(limiter, "10/m"))
    def send(letter): ...

    @app.task(base=limited(limiter, "10/m", key=lambda task, args, kwargs: f"mail:{args[0]}"))
    def send_to(user, letter): ...

A denied task goes back to the broker until its units are free. The countdown is one to two times as
long as that takes, at random, so that waiting tasks do not all come back at once. Celery's own
`rate_limit` holds for each worker; this limit holds for all of them.

- A denial is no failure: `max_retries`, `retry_backoff` and `request.retries` are left to the
  task's own failures.
- A denied task comes back before the broker would give it to another worker, and asks again. The
  countdown is at most half of `visibility_timeout` in `broker_transport_options`, which is an hour
  where it is not set.
- A task that never fits, because its cost is above the limit, fails with `Denied`.
- A task that is called as a function is not limited. `apply` and `task_always_eager` sleep until the
  task is granted.

The tasks send RL.ACQUIRE. While Redis is away the limiter's fallback decides.
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
"""Makes the key of a task from the task, its positional and its named arguments."""

VISIBILITY_TIMEOUT_S = 3600
"""The visibility timeout of the Redis broker where nothing is set. That of SQS is half as long: set it
there."""

SHORTEST_S = 0.05
"""The shortest time after which a denied task asks again."""


def limited(
    limiter: Limiter, limits: str | None = None, *, key: Key | None = None, cost: int = 1, base: type[Task] = Task
) -> type[Task]:
    """A base for tasks that take `cost` units of `limits` before they start. `base` is the base that your
    tasks have already.

    Without `key` the key of a task is `celery:NAME`. Without `limits` those hold that operators have set for
    the key. A limiter for asyncio raises TypeError.
    """
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
    """Sends the task again, as `retry` of the host would, but counts no retry. Returns what the task has
    to raise: a Retry, or a Reject where the broker does not take the task."""
    countdown = countdown_of(seconds, task.app.conf.broker_transport_options or {})
    request = task.request
    again = task.signature_from_request(request, countdown=countdown, retries=request.retries)
    try:
        again.apply_async()
    except Exception as error:
        return Reject(error, requeue=False)  # type: ignore[no-any-return]  # `retry` of the host does so.
    return Retry(when=countdown, sig=again)  # type: ignore[no-any-return]


def countdown_of(seconds: float, transport: Mapping[str, Any]) -> float:
    """The seconds after which a task asks again whose units are free after `seconds`. `transport` are the
    `broker_transport_options`."""
    spread = max(SHORTEST_S, seconds) * random.uniform(1, 2)
    timeout = float(transport.get("visibility_timeout") or VISIBILITY_TIMEOUT_S)
    return min(spread, timeout / 2 * random.uniform(0.9, 1))


__all__ = ["Key", "countdown_of", "limited"]
