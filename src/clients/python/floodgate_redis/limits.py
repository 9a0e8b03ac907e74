"""Storages for PyPI `limits`, and so for Flask-Limiter and slowapi. To import this module registers them.

    import floodgate_redis.limits
    limiter = Limiter(get_remote_address, app=app, storage_uri="floodgate://localhost:6379")

The schemes are `floodgate://`, `floodgates://` (TLS), `floodgate+unix://`,
`floodgate+cluster://host:port,host:port` and `floodgate+sentinel://host:port,host:port/service`. The last
two use TLS where they begin with `floodgates+`. Those for `limits.aio` begin with `async+`.

Options of a storage go to redis-py. `socket_timeout` and `socket_connect_timeout` are 1 s where they are
not given. `key_prefix` (`LIMITS`) stands before each key, with a colon. A `connection_pool` of redis-py may stand in
place of the host of one server. Then the options of the pool hold.

Every decision is one atomic command. `moving-window` and `sliding-window-counter` are both exact here, and
`fixed-window` counts as INCR does. The reset of a `moving-window` is the time at which the next unit is
free. The host lets no reset of a `sliding-window-counter` be longer than the period. So above 64 units it may be up to
a fiftieth of the period early. Every strategy denies a key that an operator has blocked (RL.BLOCK).

A storage sends RL.QUOTA, RL.ACQUIRE and RL.HELP, `clear` sends RL.RESET, and `reset` sends RL.CLEAR.
Limits that Floodgate does not have raise ConfigurationError: a count above 10^12, or a period above 366
days.
"""

import sys
import time
from functools import partial
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.backoff
import redis.cluster
import redis.exceptions
import redis.retry
from limits.aio.storage import base as aio_base
from limits.errors import ConfigurationError
from limits.storage import base

from . import forks, places
from .asyncio.cluster import Sentinels as AsyncSentinels
from .cluster import Sentinels
from .decision import Decision, Quota
from .places import Several, redis_url, several
from .words import Words, literal

# redis-py types few of these.
_cluster: Any = redis.cluster
_async_cluster: Any = redis.asyncio.cluster

MOST = 1_000_000_000_000
"""The most units that a limit counts."""

LONGEST_S = 366 * 86_400
"""The longest period of a limit."""

DENIED = sys.maxsize
"""A count above every limit. It stands for a denial where the host decides by the count alone."""

PREFIX = "LIMITS"

FAILURES = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException)
"""The errors of redis-py. The second, which says that no node of a cluster answers, is no RedisError."""

LOST = (redis.exceptions.ConnectionError,)
"""The errors after which a command is sent again, at once. A timeout is none of them, because the limit
would count both."""


class _Cluster(_cluster.RedisCluster):  # type: ignore[misc]
    ERRORS_ALLOW_RETRY = tuple(set(_cluster.RedisCluster.ERRORS_ALLOW_RETRY) - {redis.exceptions.TimeoutError})


class _AsyncCluster(_async_cluster.RedisCluster):  # type: ignore[misc]
    ERRORS_ALLOW_RETRY = tuple(set(_async_cluster.RedisCluster.ERRORS_ALLOW_RETRY) - {redis.exceptions.TimeoutError})


def _moving(limit: int, expiry: int) -> str:
    if limit > MOST:
        raise ConfigurationError(f"a limit of {limit} is above {MOST}, the most that Floodgate counts")
    return f"{limit}/{_period(expiry)}"


def _fixed(expiry: int) -> str:
    """A fixed window that counts as INCR does: only the host knows the limit."""
    return f"fixed:{MOST}/{_period(expiry)}:start=first"


def _period(expiry: int) -> str:
    if expiry > LONGEST_S:
        raise ConfigurationError(f"a period of {expiry} s is above 366 days, the longest that Floodgate has")
    return f"{expiry}s"


def _counted(six: Any) -> int:
    decision = Decision(*six)
    return decision.limit - decision.remaining if decision.granted else DENIED


class _Rows:
    """A reply of RL.QUOTA."""

    def __init__(self, reply: Any):
        quota = Quota.read(reply)
        self.limits, self._is_blocked = quota.limits, quota.blocked is not None

    def used(self) -> int:
        return DENIED if self._is_blocked else max((row.used for row in self.limits), default=0)

    def reset_at(self) -> float:
        """The seconds from the epoch to the reset, by this machine's clock."""
        return time.time() + max((row.reset_after_ms for row in self.limits), default=0) / 1000

    def next_unit_in(self) -> float:
        """The seconds until one more unit is free. The rows must be those for one unit more than remains."""
        return max((row.retry_after_ms for row in self.limits), default=0) / 1000


def _more_than_remains(rows: _Rows) -> int:
    return min((row.remaining for row in rows.limits), default=0) + 1


def _counted_exactly(rows: _Rows, later: _Rows, expiry: int) -> tuple[int, float, int, float]:
    """The host's answer for a sliding counter: usage and reset of the window before, and of this one. Here
    there is no window before. The host takes the reset modulo the period, so one that is longer, by at most
    a fiftieth, is cut to the period."""
    return 0, 0.0, rows.used(), min(later.next_unit_in(), expiry - 0.001)


class _Commands:
    """The commands that the storages with asyncio and without send."""

    key_prefix: str

    def key(self, key: str) -> str:
        return f"{self.key_prefix}:{key}"

    def incr_words(self, key: str, expiry: int, amount: int) -> Words:
        if amount < 1:
            return ("RL.QUOTA", self.key(key), _fixed(expiry))
        return ("RL.ACQUIRE", self.key(key), _fixed(expiry), "COST", amount)

    def acquire_words(self, key: str, limit: int, expiry: int, amount: int) -> Words:
        if amount < 1:
            return ("RL.QUOTA", self.key(key), _moving(limit, expiry))
        return ("RL.ACQUIRE", self.key(key), _moving(limit, expiry), "COST", amount)

    def clear_words(self, cursor: Any) -> Words:
        return ("RL.CLEAR", cursor, "MATCH", literal(self.key("")) + "*", "COUNT", 1000)

    @staticmethod
    def count(reply: Any, amount: int) -> int:
        return _Rows(reply).used() if amount < 1 else _counted(reply)

    @staticmethod
    def acquired(reply: Any, amount: int) -> bool:
        return _Rows(reply).used() != DENIED if amount < 1 else bool(reply[0])


class FloodgateStorage(_Commands, base.Storage, base.MovingWindowSupport, base.SlidingWindowCounterSupport):
    """The storage on one server, `floodgate://host:port/db`. What stands behind the scheme is read as
    redis-py reads it behind `redis://`."""

    STORAGE_SCHEME = ["floodgate", "floodgates", "floodgate+unix"]

    def __init__(
        self, uri: str, wrap_exceptions: bool = False, key_prefix: str = PREFIX, **options: Any
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self.key_prefix = key_prefix
        self._connects = partial(self.connect, uri, **options)
        self._client: Any = self._connects()
        forks.take_part(self)

    def _begin(self) -> None:
        """See forks. The child's client is made when it is needed: that of a cluster asks the cluster at
        its start."""
        forks.leave(self._client)
        self._client = None

    @property
    def client(self) -> Any:
        """The client of redis-py. A forked child has its own."""
        if self._client is None:
            self._client = self._connects()
        return self._client

    @staticmethod
    def connect(uri: str, **options: Any) -> Any:
        if (pool := options.pop("connection_pool", None)) is not None:
            return redis.Redis(connection_pool=pool)
        return redis.Redis.from_url(redis_url(uri), **_resp2(_soon(redis.retry.Retry, options)))

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return FAILURES

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self.count(self._ask(*self.incr_words(key, expiry, amount)), amount)

    def get(self, key: str) -> int:
        return self._rows("RL.QUOTA", self.key(key)).used()

    def get_expiry(self, key: str) -> float:
        return self._rows("RL.QUOTA", self.key(key)).reset_at()

    def check(self) -> bool:
        """Whether all nodes answer and have the module."""
        try:
            for node in self._nodes():
                node.execute_command("RL.HELP")
            return True
        except Exception:  # Whatever it is, the host goes on with its fallback.
            return False

    def reset(self) -> int | None:
        """Forgets the usage of all keys with the prefix, except keys that an operator has pinned or
        blocked. Returns how many keys it has cleared."""
        return sum(self._clear(node) for node in self._nodes())

    def clear(self, key: str) -> None:
        self._ask("RL.RESET", self.key(key))

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if amount > limit:
            return False
        return self.acquired(self._ask(*self.acquire_words(key, limit, expiry, amount)), amount)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        if limit < 1:
            return time.time(), 0
        looks: Words = ("RL.QUOTA", self.key(key), _moving(limit, expiry))
        rows = self._rows(*looks)
        if not rows.used():
            return time.time(), 0
        later = self._rows(*looks, "COST", _more_than_remains(rows))
        return time.time() + later.next_unit_in() - expiry, rows.used()

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return self.acquire_entry(key, limit, expiry, amount)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        rows = self._rows("RL.QUOTA", self.key(key))
        if not rows.used():
            return 0, 0.0, 0, 0.0
        later = self._rows("RL.QUOTA", self.key(key), "COST", _more_than_remains(rows))
        return _counted_exactly(rows, later, expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        self.clear(key)

    def _ask(self, *words: str | int) -> Any:
        return self.client.execute_command(*words)

    def _rows(self, *words: str | int) -> _Rows:
        return _Rows(self._ask(*words))

    def _nodes(self) -> list[Any]:
        return [self.client]

    def _clear(self, node: Any) -> int:
        cursor, cleared = "0", 0
        while True:
            cursor, found = node.execute_command(*self.clear_words(cursor))
            cleared += int(found)
            if int(cursor) == 0:
                return cleared


class FloodgateClusterStorage(FloodgateStorage):
    """The storage on a cluster, `floodgate+cluster://host:port,host:port`."""

    STORAGE_SCHEME = ["floodgate+cluster", "floodgates+cluster"]

    @staticmethod
    def connect(uri: str, **options: Any) -> Any:
        place, options = _several(uri, options), _soon(redis.retry.Retry, options)
        nodes = [_cluster.ClusterNode(host, port) for host, port in place.hosts]
        return _Cluster(startup_nodes=nodes, **_resp2({**options, **place.options}))

    def _nodes(self) -> list[Any]:
        return [self.client.get_redis_connection(node) for node in self.client.get_primaries()]


class FloodgateSentinelStorage(FloodgateStorage):
    """The storage on the master that Sentinels name, `floodgate+sentinel://host:port,host:port/service`."""

    STORAGE_SCHEME = ["floodgate+sentinel", "floodgates+sentinel"]

    @staticmethod
    def connect(uri: str, **options: Any) -> Any:
        return _master(Sentinels, uri, _soon(redis.retry.Retry, options))


class AsyncFloodgateStorage(
    _Commands, aio_base.Storage, aio_base.MovingWindowSupport, aio_base.SlidingWindowCounterSupport
):
    """The storage for asyncio on one server, `async+floodgate://host:port/db`."""

    STORAGE_SCHEME = ["async+floodgate", "async+floodgates", "async+floodgate+unix"]

    def __init__(
        self, uri: str, wrap_exceptions: bool = False, key_prefix: str = PREFIX, **options: Any
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self.key_prefix = key_prefix
        self.client: Any = self.connect(uri.removeprefix("async+"), **options)

    @staticmethod
    def connect(uri: str, **options: Any) -> Any:
        if (pool := options.pop("connection_pool", None)) is not None:
            return redis.asyncio.Redis(connection_pool=pool)
        return redis.asyncio.Redis.from_url(redis_url(uri), **_resp2(_soon(redis.asyncio.retry.Retry, options)))

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return FAILURES

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self.count(await self._ask(*self.incr_words(key, expiry, amount)), amount)

    async def get(self, key: str) -> int:
        return (await self._rows("RL.QUOTA", self.key(key))).used()

    async def get_expiry(self, key: str) -> float:
        return (await self._rows("RL.QUOTA", self.key(key))).reset_at()

    async def check(self) -> bool:
        """Whether all nodes answer and have the module."""
        try:
            for node in await self._nodes():
                await node.execute_command("RL.HELP")
            return True
        except Exception:  # Whatever it is, the host goes on with its fallback.
            return False

    async def reset(self) -> int | None:
        """Forgets the usage of all keys with the prefix, except keys that an operator has pinned or
        blocked. Returns how many keys it has cleared."""
        return sum([await self._clear(node) for node in await self._nodes()])

    async def clear(self, key: str) -> None:
        await self._ask("RL.RESET", self.key(key))

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if amount > limit:
            return False
        return self.acquired(await self._ask(*self.acquire_words(key, limit, expiry, amount)), amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        if limit < 1:
            return time.time(), 0
        looks: Words = ("RL.QUOTA", self.key(key), _moving(limit, expiry))
        rows = await self._rows(*looks)
        if not rows.used():
            return time.time(), 0
        later = await self._rows(*looks, "COST", _more_than_remains(rows))
        return time.time() + later.next_unit_in() - expiry, rows.used()

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return bool(await self.acquire_entry(key, limit, expiry, amount))

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        rows = await self._rows("RL.QUOTA", self.key(key))
        if not rows.used():
            return 0, 0.0, 0, 0.0
        later = await self._rows("RL.QUOTA", self.key(key), "COST", _more_than_remains(rows))
        return _counted_exactly(rows, later, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        await self.clear(key)

    async def _ask(self, *words: str | int) -> Any:
        return await self.client.execute_command(*words)

    async def _rows(self, *words: str | int) -> _Rows:
        return _Rows(await self._ask(*words))

    async def _nodes(self) -> list[Any]:
        return [self.client]

    async def _clear(self, node: Any) -> int:
        cursor, cleared = "0", 0
        while True:
            cursor, found = await node.execute_command(*self.clear_words(cursor))
            cleared += int(found)
            if int(cursor) == 0:
                return cleared


class AsyncFloodgateClusterStorage(AsyncFloodgateStorage):
    """The storage for asyncio on a cluster, `async+floodgate+cluster://host:port,host:port`."""

    STORAGE_SCHEME = ["async+floodgate+cluster", "async+floodgates+cluster"]

    @staticmethod
    def connect(uri: str, **options: Any) -> Any:
        place, options = _several(uri, options), _soon(redis.asyncio.retry.Retry, options)
        options = {"retry_on_error": list(LOST), **options}  # redis-py 5 adds timeouts where nothing is said
        nodes = [_async_cluster.ClusterNode(host, port) for host, port in place.hosts]
        return _AsyncCluster(startup_nodes=nodes, **_resp2({**options, **place.options}))

    async def _nodes(self) -> list[Any]:
        await self.client.initialize()
        return list(self.client.get_primaries())


class AsyncFloodgateSentinelStorage(AsyncFloodgateStorage):
    """The storage for asyncio on the master that Sentinels name,
    `async+floodgate+sentinel://host:port,host:port/service`."""

    STORAGE_SCHEME = ["async+floodgate+sentinel", "async+floodgates+sentinel"]

    @staticmethod
    def connect(uri: str, **options: Any) -> Any:
        return _master(AsyncSentinels, uri, _soon(redis.asyncio.retry.Retry, options))


def _soon(retry: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options with which a command is sent at most twice, and each answer has 1 s unless the options say
    otherwise: a limiter must not slow its application down."""
    once = retry(redis.backoff.NoBackoff(), 1, LOST)
    return {"retry": once, "socket_timeout": 1.0, "socket_connect_timeout": 1.0, **options}


def _master(sentinels: Any, uri: str, options: dict[str, Any]) -> Any:
    """A client of the master of a service, wherever that master is."""
    place = _several(uri, options)
    service = options.pop("service_name", None) or place.path
    if not service:
        raise ConfigurationError("the URI names no service: write floodgate+sentinel://host:port/service")
    of_sentinels = options.pop("sentinel_kwargs", None) or {}
    options = {**options, **place.options}
    soon = places.soon(options["socket_timeout"], place)
    of_sentinels = {"retry": options["retry"], **soon, **place.sentinel, **of_sentinels}
    return sentinels(place.hosts, sentinel_kwargs=of_sentinels, **_resp2(options)).master_for(service)


def _resp2(options: dict[str, Any]) -> dict[str, Any]:
    return {"decode_responses": True, **options, "protocol": 2}


def _several(uri: str, options: dict[str, Any]) -> Several:
    if options.pop("connection_pool", None) is not None:
        raise ConfigurationError("connection_pool is of one server: give it with floodgate://, or leave it out")
    try:
        return several(uri)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


__all__ = [
    "AsyncFloodgateClusterStorage",
    "AsyncFloodgateSentinelStorage",
    "AsyncFloodgateStorage",
    "FloodgateClusterStorage",
    "FloodgateSentinelStorage",
    "FloodgateStorage",
]
