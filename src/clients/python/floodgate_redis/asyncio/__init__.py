"""The same for asyncio."""

from ..decision import Decision, LimitStatus
from ..errors import CircuitOpen, Denied, Spending
from ..fallback import FailClosed, FailOpen, Fallback, LocalBucket
from ..outage import Away, Misconfigured
from ..words import Request
from .breaker import Breaker
from .cache import Cache
from .guarded import guarded
from .lease import Lease
from .limiter import Limiter
from .reservation import reserve
from .server import Server

__all__ = [
    "Away",
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
    "Request",
    "Server",
    "Spending",
    "guarded",
    "reserve",
]
