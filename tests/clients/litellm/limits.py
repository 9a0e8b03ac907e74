"""The callbacks of config.yaml, as a user writes them; and a guardrail."""

import os
from typing import Any

import litellm
from auth import OPEN, in_redis
from fastapi import HTTPException
from floodgate_redis.asyncio import FailClosed, Limiter, LocalBucket, Server
from floodgate_redis.decision import Decision
from floodgate_redis.litellm import TokenLimits
from litellm.integrations.custom_logger import CustomLogger

class ByKey:
    """While Redis is away one key has a bucket of its own, and all others nothing."""

    def __init__(self) -> None:
        self.bucket = LocalBucket(rate=0.001, burst=1500)
        self.closed = FailClosed()

    def acquire(self, key: str, cost: int) -> Decision:
        return (self.bucket if key == in_redis(OPEN) else self.closed).acquire(key, cost)


tokens = TokenLimits(
    Limiter(Server(os.environ["REDIS_URL"]), ByKey()),
    {
        "key": "10000/h,concurrent:5",
        "team": "30000/h",
        "organization": "50000/h",
        "user": "100000/h",
        "model": "1000000/h,concurrent:100",
    },
)


class Guardrail(CustomLogger):
    """Refuses before or after, or asks a model first."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: str) -> None:
        if "REFUSED" in str(data.get("messages")):
            raise HTTPException(400, "refused before")
        if "JUDGED" in str(data.get("messages")):
            provider = {"api_base": os.environ["PROVIDER"], "api_key": "x", "max_tokens": 5}
            await litellm.acompletion(model="openai/judge", messages=[{"role": "user", "content": "?"}], **provider)

    async def async_post_call_success_hook(self, data: Any, user_api_key_dict: Any, response: Any) -> None:
        if "REJECTED" in str(data.get("messages")):
            raise HTTPException(400, "refused after")


guardrail = Guardrail()
