"""The first limited request: REDIS_URL=redis://localhost:6379 python first.py"""

import os

import redis

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
granted, limit, remaining, retry_after_ms, reset_after_ms, index = client.execute_command(
    "RL.ACQUIRE", "user:42", "10/s,1000/h"
)
print(f"{remaining} left" if granted else f"again in {retry_after_ms} ms")
