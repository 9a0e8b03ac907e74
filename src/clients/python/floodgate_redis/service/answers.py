"""What the service answers, as `/openapi.json` tells it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from ..decision import Decision


class Decided(BaseModel):
    """What the limits said."""

    allowed: bool
    limit: int = Field(description="capacity of the limit that binds; -1 without a limit")
    remaining: int = Field(description="units left on it; -1 without a limit")
    retry_after_ms: int = Field(description="0 when allowed; -1 when it never will be")
    reset_after_ms: int = Field(description="time until the limit is full again; -1 when it never is")

    @classmethod
    def by(cls, decision: Decision) -> "Decided":
        return cls(
            allowed=decision.granted > 0,
            limit=decision.limit,
            remaining=decision.remaining,
            retry_after_ms=decision.retry_after_ms,
            reset_after_ms=decision.reset_after_ms,
        )


class Problem(BaseModel):
    """Why there is no answer, in the server's words."""

    error: str


class NotFound(BaseModel):
    detail: str


class Configured(BaseModel):
    configured: Literal[True] = True


class Recorded(BaseModel):
    recorded: Literal[True] = True


class Figures(BaseModel):
    """What happened in a time."""

    requests: int
    granted: int = Field(description="units")
    denied: int = Field(description="units")
    denied_requests: int
    used: int = Field(description="units granted, corrected by what was settled, given back and charged")
    ok: int
    fail: int
    cached: int
    error_rate: str = Field(description="decimal, 0 to 1")
    cache_hit_rate: str = Field(description="decimal, 0 to 1")
    spend: str = Field(description="exact decimal")


class Timed(Figures):
    """The same, with how long the work took."""

    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None


class Stats(BaseModel):
    """What happened on a key. Hours (`2026-11-20T15`) and days (`2026-11-20`) are UTC;
    empty ones are left out."""

    limits: str | None
    since_ms: int
    last_ms: int
    total: Timed
    today: Timed
    hours: dict[str, Figures]
    days: dict[str, Figures]


class ServiceHealth(BaseModel):
    """Limits can be decided on."""

    status: Literal["ok"] = "ok"
    worker: int = Field(description="the process that answers")
    version: str = Field(description="of the module in the server")
    tracked_keys: int
    waiting_now: int
    alerts_active: int


class Usage(BaseModel):
    """A page of the keys in use, with the figures of today."""

    cursor: str = Field(description='ask again with it until it is "0"')
    keys: dict[str, Timed]


class CacheFigures(BaseModel):
    ok: int
    fail: int
    cached: int
    cache_hit_rate: str = Field(description="decimal, 0 to 1")


class CacheUsage(BaseModel):
    """A page of the keys in use: how much of today's work a cache answered."""

    cursor: str = Field(description='ask again with it until it is "0"')
    keys: dict[str, CacheFigures]


class Policy(BaseModel):
    name: str
    limits: str
    prefix: str | None
    breaker: str | None


class Policies(BaseModel):
    """The limits of all keys that begin alike."""

    version: int
    digest: str
    policies: list[Policy]
    nodes: list[Any] | None = Field(None, description="of a cluster: whether each has these policies")


class LimitNow(BaseModel):
    """How a key stands with one of its limits, or that it is blocked."""

    name: str | None = None
    algorithm: str | None = None
    limit: int | None = None
    used: int | None = None
    remaining: int | None = None
    period_ms: int | None = None
    retry_after_ms: int | None = None
    reset_after_ms: int | None = None
    reset_at_ms: int | None = None
    shadow: bool | None = None
    source: Literal["pin", "call", "policy", "default", "last"] | None = None
    blocked: dict[str, Any] | None = None


class Cleared(BaseModel):
    cursor: str = Field(description='clear again with it until it is "0"')
    cleared: int = Field(description="keys whose usage is forgotten")
