"""Limits on the tokens of language models, reserved before a call and settled after it,
for LiteLLM: its proxy, its Router, and calls of the library.

    # limits.py, beside config.yaml, which says: callbacks: limits.tokens
    tokens = TokenLimits(
        Limiter(Server("redis://localhost:6379"), FailClosed()),
        {"key": "100000/m,concurrent:5", "team": "1000000/m", "organization": "5000000/m"},
    )

On the proxy `key`, `team` and `organization` are those of who asks. `user` and `model`
are of the call, so that they hold without the proxy, too.

- Before a request its estimate is reserved on all of these, or it gets 429 with
  Retry-After. An estimate above a capacity is cut to it: it would never fit.
- What was really used is settled when LiteLLM knows it, for a stream at its end; an answer
  from LiteLLM's cache uses nothing. A request that failed gives everything back.
- Without the proxy each attempt of the Router reserves and settles for itself. A limit of
  `model` denies with RateLimitError, so that the Router tries another deployment and lets
  this one rest; one of `user` with TokensDenied, which no deployment is to blame for.
- What is never settled, because the process dies, stays charged at its estimate; its places
  are free after `ttl` seconds. A request of more than that is settled all the same.

RL.RESERVE, RL.COMMIT and RL.RELEASE are used. On a cluster say `prefix="{llm}"`, so that
the keys lie in one slot. LiteLLM 1.107.0 is known to be compromised: never install it.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from litellm.exceptions import RateLimitError  # type: ignore[import-not-found]
from litellm.integrations.custom_logger import CustomLogger  # type: ignore[import-not-found]

from . import words
from .asyncio.limiter import Limiter
from .decision import Decision, longest
from .errors import Denied
from .outage import Away

SCOPES = ("key", "team", "organization", "user", "model")

OUTPUT = 1000
"""Tokens that an answer is taken for, where the request says no most."""

NOTE = "floodgate_reservation"
"""In the request's metadata: which reservation is its own."""


OWN_METADATA = ("responses", "aresponses", "anthropic_messages", "acreate_batch", "acreate_file")


def estimated(request: Mapping[str, Any]) -> int:
    """A token for four characters of what is sent, and the most that is to come back."""
    sent = sum(len(str(request[name])) for name in ("messages", "prompt", "input") if request.get(name))
    most = next(
        (request[name] for name in ("max_tokens", "max_completion_tokens", "max_output_tokens") if request.get(name)),
        OUTPUT,
    )
    return max(1, sent // 4 + int(most) * int(request.get("n") or 1))


class TokensDenied(Denied):
    """No tokens are left to who asks; `scope` says by whose limit, none while Redis is
    away."""

    status_code = 400
    """For the Router: no deployment is to blame, so that none rests or is tried instead."""

    def __init__(self, decision: Decision, scope: str | None):
        super().__init__(decision)
        self.scope = scope

    def __str__(self) -> str:
        return f"too many tokens ({self.scope or 'Redis is away'}): {super().__str__()}"


@dataclass(slots=True)
class _Reservation:
    keys: list[str]
    by_attempt: bool
    since: float


class TokenLimits(CustomLogger):  # type: ignore[misc]
    """The callback. `limits` are by scope; `estimate` says what a request may cost."""

    MOST = 100_000
    """Requests under way of which it remembers what they reserved."""

    def __init__(
        self,
        limiter: Limiter,
        limits: Mapping[str, str],
        *,
        estimate: Callable[[Mapping[str, Any]], int] = estimated,
        ttl: float = 600.0,
        prefix: str = "llm",
    ):
        super().__init__()
        unknown = [scope for scope in limits if scope not in SCOPES]
        if unknown:
            raise ValueError(f"the scope {unknown[0]!r} is none of {', '.join(SCOPES)}")
        self.limiter = limiter
        self.limits = dict(limits)
        self.estimate = estimate
        self.ttl = ttl
        self.prefix = prefix
        self._open: OrderedDict[str, _Reservation] = OrderedDict()
        # LiteLLM calls back in the context of the request, or in a copy of it.
        self._current: ContextVar[str | None] = ContextVar("floodgate_reservation", default=None)

    # The proxy: one reservation a request, whatever the attempts.

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> None:
        self._current.set(None)
        _note(data, call_type, None)  # nobody names the reservation of another
        asking = {
            "key": getattr(user_api_key_dict, "token", None) or getattr(user_api_key_dict, "api_key", None),
            "team": getattr(user_api_key_dict, "team_id", None),
            "organization": getattr(user_api_key_dict, "org_id", None),
            "user": data.get("user"),
            "model": data.get("model"),
        }
        try:
            await self._reserve(asking, data, call_type, by_attempt=False)
        except TokensDenied as denied:
            from fastapi import HTTPException  # the proxy has it; without the proxy it may be missing

            raise HTTPException(429, str(denied), denied.retry_after) from None

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, traceback_str: Any = None
    ) -> None:
        await self._settle(request_data, released=True)

    # Without the proxy: one an attempt.

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        current = self._open.get(self._named(kwargs) or "")
        if current is not None and not current.by_attempt:
            return  # the proxy has reserved for all attempts
        self._current.set(None)
        try:
            await self._reserve({"user": kwargs.get("user"), "model": kwargs.get("model")}, kwargs, call_type, by_attempt=True)
        except TokensDenied as denied:
            if denied.scope != "model":
                raise
            raise RateLimitError(str(denied), "floodgate", str(kwargs.get("model"))) from denied

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: Exception, call_type: Any, fallback_depth: Any = None
    ) -> None:
        current = self._open.get(self._named(request_data) or "")
        if current is not None and current.by_attempt:
            await self._settle(request_data, released=True)

    # Both: what it cost.

    async def async_log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        used = 0 if kwargs.get("cache_hit") else _used(kwargs, response_obj)
        await self._settle(kwargs, used=used)

    async def _reserve(self, asking: Mapping[str, Any], request: dict[str, Any], call_type: Any, by_attempt: bool) -> None:
        scopes = [scope for scope in SCOPES if scope in self.limits and asking.get(scope)]
        limits = {f"{self.prefix}:{scope}:{asking[scope]}": self.limits[scope] for scope in scopes}
        if not limits:
            return
        id, keys, server = uuid.uuid4().hex, list(limits), self.limiter.server
        release = words.settled("RL.RELEASE", id, keys)
        cost = self.estimate(request)
        try:
            while True:
                taken, sixes = await server.take(
                    words.reserve(limits, cost, self.ttl, id), undo=lambda answer: [release] if answer[0] else []
                )
                if taken is not None:
                    break
                decisions = [Decision(*six) for six in sixes]
                # Those with -3 are denied only because of others.
                denied = longest([decision for decision in decisions if decision.index != -3] or decisions)
                if denied.retry_after_ms >= 0 or not 0 < denied.limit < cost:
                    raise TokensDenied(denied, scopes[decisions.index(denied)])
                cost = denied.limit
        except Away:
            alone = self.limiter.fallback.acquire(keys[0], cost)
            if not alone.granted:
                raise TokensDenied(alone, None) from None
            return
        self._open[id] = _Reservation(keys, by_attempt, time.monotonic())
        while len(self._open) > self.MOST:
            self._open.popitem(last=False)
        self._current.set(id)
        _note(request, call_type, id)

    async def _settle(self, request: Mapping[str, Any], *, used: int | None = None, released: bool = False) -> None:
        """Once: LiteLLM may tell of one request by several callbacks."""
        id = self._named(request)
        reservation = self._open.pop(id, None) if id else None
        if id is None or reservation is None:
            return
        command = words.settled("RL.RELEASE" if released else "RL.COMMIT", id, reservation.keys, used)
        await self.limiter.server.finish(*command)

    def _named(self, request: Mapping[str, Any]) -> str | None:
        parameters = request.get("litellm_params")
        for holder in (request, parameters if isinstance(parameters, Mapping) else {}):
            for name in ("metadata", "litellm_metadata"):
                noted = holder.get(name)
                if isinstance(noted, Mapping) and isinstance(noted.get(NOTE), str):
                    return str(noted[NOTE])
        return self._current.get()


def _note(request: dict[str, Any], call_type: Any, id: str | None) -> None:
    """Where LiteLLM carries what belongs to a request. Of the routes of OWN_METADATA the
    other name goes to the provider. In a copy, for callers may use one for many calls."""
    route = str(getattr(call_type, "value", call_type))
    name = "litellm_metadata" if "litellm_metadata" in request or route in OWN_METADATA else "metadata"
    noted = request.get(name)
    kept = {key: value for key, value in noted.items() if key != NOTE} if isinstance(noted, Mapping) else {}
    if id is not None:
        request[name] = {**kept, NOTE: id}
    elif isinstance(noted, Mapping):
        request[name] = kept


def _used(kwargs: Mapping[str, Any], response: Any) -> int | None:
    """Tokens, where LiteLLM knows them."""
    logged = kwargs.get("standard_logging_object")
    if isinstance(logged, Mapping) and logged.get("total_tokens"):
        return int(logged["total_tokens"])
    usage = response.get("usage") if isinstance(response, Mapping) else getattr(response, "usage", None)
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else getattr(usage, "total_tokens", None)
    return None if total is None else int(total)


__all__ = ["TokenLimits", "TokensDenied", "estimated"]
