"""Rate limits, waiting lines, reservations and circuit breakers that all processes
share, decided inside Redis by the Floodgate module.

    from floodgate_redis import LocalBucket, Limiter, Server

    limiter = Limiter(Server("redis://localhost:6379"), LocalBucket(rate=5))
    decision = limiter.acquire("user:42", "10/s,1000/h")
    if not decision.granted:
        ...  # 429, with the headers of decision.retry_after

`floodgate_redis.asyncio` has the same for asyncio.
"""

from .breaker import Breaker
from .cache import Cache
from .decision import Blocked, Decision, LimitStatus, Quota, Source
from .errors import CircuitOpen, Denied, Spending
from .fallback import FailClosed, FailOpen, Fallback, LocalBucket
from .guarded import guarded
from .lease import Lease
from .limiter import Limiter
from .outage import Away, Misconfigured
from .reservation import reserve
from .server import Server
from .words import BatchItem

__version__ = "0.1.0"

__all__ = [
    "Away",
    "BatchItem",
    "Blocked",
    "Breaker",
    "Cache",
    "CircuitOpen",
    "Decision",
    "Denied",
    "FailClosed",
    "FailOpen",
    "Fallback",
    "Lease",
    "LimitStatus",
    "Limiter",
    "LocalBucket",
    "Misconfigured",
    "Quota",
    "Server",
    "Source",
    "Spending",
    "guarded",
    "reserve",
]
