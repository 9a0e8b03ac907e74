"""Who asks, without the proxy's database: the key sk-NAME-TEAM-ORGANISATION says it."""

import hashlib

from fastapi import Request

OPEN = "sk-open-topen-oopen"
"""A key that passes while Redis is away."""


def in_redis(key: str) -> str:
    """LiteLLM keeps a key by its hash alone."""
    return f"llm:key:{hashlib.sha256(key.encode()).hexdigest()}"


async def who(request: Request, api_key: str):  # type: ignore[no-untyped-def]
    from litellm.proxy._types import UserAPIKeyAuth

    _, _, team, organization = api_key.split("-")
    return UserAPIKeyAuth(api_key=api_key, team_id=team, org_id=organization)
