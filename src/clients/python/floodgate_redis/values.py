"""Values of a cache that are none."""

from json import JSONDecodeError

from redis import exceptions

from .outage import Misconfigured

UNREADABLE = (JSONDecodeError, UnicodeDecodeError, RecursionError)
"""Raised where what Redis has is no JSON."""

NOT_KEPT = (exceptions.RedisError, Misconfigured, TypeError, ValueError, RecursionError)
"""Raised where JSON cannot hold it, or Redis refuses to keep it."""
