"""Tries the storages for `limits` where the server is several: python try_places.py
NODES SENTINELS, each as host:port,host:port."""

import asyncio
import sys
from typing import Any

import floodgate_redis.limits  # noqa: F401
import limits
from limits.aio.strategies import MovingWindowRateLimiter as AsyncMovingWindow
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

PLACES = [f"floodgate+cluster://{sys.argv[1]}", f"floodgate+sentinel://{sys.argv[2]}/floodgate"]
KEYS = [f"key-{i}" for i in range(20)]
MINUTE = limits.parse("3/minute")


async def by_asyncio(uri: str) -> None:
    storage: Any = storage_from_string(f"async+{uri}")
    limiter = AsyncMovingWindow(storage)
    assert await storage.check()
    for key in KEYS:
        assert [await limiter.hit(MINUTE, key) for _ in range(4)] == [True, True, True, False]
    await limiter.clear(MINUTE, KEYS[0])
    assert (await limiter.get_window_stats(MINUTE, KEYS[0])).remaining == 3
    assert await storage.reset() == len(KEYS) - 1, "keys of all nodes"
    await storage.client.aclose()


for uri in PLACES:
    storage: Any = storage_from_string(uri)
    assert storage.check()
    for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
        limiter = strategy(storage)
        for key in KEYS:
            assert [limiter.hit(MINUTE, key) for _ in range(4)] == [True, True, True, False], (uri, strategy)
            assert limiter.get_window_stats(MINUTE, key).remaining == 0
        limiter.clear(MINUTE, KEYS[0])
        assert limiter.get_window_stats(MINUTE, KEYS[0]).remaining == 3
        assert storage.reset() == len(KEYS) - 1, "keys of all nodes"
    asyncio.run(by_asyncio(uri))

for wrong in ("floodgate+cluster://nobody", f"floodgate+sentinel://{sys.argv[2]}"):
    try:
        storage_from_string(wrong)
        raise AssertionError(wrong)
    except ConfigurationError:
        pass
