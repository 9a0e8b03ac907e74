"""The same for asyncio."""

from ..decision import Decision, LimitStatus
from ..errors import CircuitOpen, Denied, Spending
from ..fallback import FailClosed, FailOpen, Fallback, LocalBucket
from ..outage import Away, Misconfigured
from ..words import Request
from .breaker import Breaker
from .limiter import Limiter
from .reservation import reserve
from .server import Server

__all__ = [
    "Away",
    "Breaker",
    "CircuitOpen",
    "Decision",
    "Denied",
    "FailClosed",
    "FailOpen",
    "Fallback",
    "LimitStatus",
    "Limiter",
    "LocalBucket",
    "Misconfigured",
    "Request",
    "Server",
    "Spending",
    "reserve",
]
