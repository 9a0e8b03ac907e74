"""The same for asyncio."""

from ..decision import Blocked, Decision, LimitStatus, Quota, Source
from ..errors import CircuitOpen, Denied, Spending
from ..fallback import FailClosed, FailOpen, Fallback, LocalBucket
from ..outage import Away, Misconfigured
from ..words import BatchItem
from .breaker import Breaker
from .cache import Cache
from .guarded import guarded
from .lease import Lease
from .limiter import Limiter
from .reservation import reserve
from .server import Server

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
