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
  from LiteLLM's cache uses nothing. A request that failed gives back what it did not use,
  and who hangs up is charged what came. Where LiteLLM knows no use, as of a batch when it is
  created, the estimate stands. What no model answers (the state of a batch, files) is free.
- A call that another callback makes meanwhile, such as a guardrail's, is an attempt of its own.
- Without the proxy each attempt of the Router reserves and settles for itself. A limit of
  `model` denies with RateLimitError, so that the Router tries another deployment and lets
  this one rest; one of `user` with TokensDenied, which no deployment is to blame for.
- Without the proxy LiteLLM does not tell of an attempt that is cancelled, times out by
  asyncio.timeout, or whose stream nobody reads to its end. It is settled once nothing of it is
  left in the process: it gives its tokens back, a stream is charged its estimate, and its
  places are free.
- Without the proxy only asynchronous calls (acompletion, aresponses) are limited. LiteLLM lets
  no callback hold up a synchronous one: `completion` goes through, and an error is logged;
  `responses` is refused.
- What ends while Redis is away is settled before the next request. What is never settled,
  because the process dies or a caller hangs up on a stream of /v1/completions, of which LiteLLM
  says nothing, stays charged at its estimate; its places are free after `ttl` seconds. A
  request of more than that is settled all the same.

RL.RESERVE, RL.COMMIT and RL.RELEASE are used. On a cluster say `prefix="{llm}"`, so that
the keys lie in one slot. LiteLLM 1.107.0 is known to be compromised: never install it.
"""

import asyncio
import contextlib
import uuid
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from litellm.exceptions import RateLimitError  # type: ignore[import-not-found]
from litellm.integrations.custom_logger import CustomLogger  # type: ignore[import-not-found]

from . import arguments, words
from .asyncio.limiter import Limiter
from .decision import Decision, longest
from .errors import Denied
from .outage import Away, log
from .tokens import estimated, used

SCOPES = ("key", "team", "organization", "user", "model")

REQUEST, ATTEMPT = "floodgate_request", "floodgate_attempt"
"""In the metadata of a call: the request of the proxy that it answers, or the attempt that it is."""

HOLDERS = ("metadata", "litellm_metadata")
OWN_METADATA = ("responses", "aresponses", "anthropic_messages", "acreate_batch", "acreate_file")

THE_CALL = "litellm_logging_obj"
"""Among what a call is made of: LiteLLM's own object of it, which lives as long as LiteLLM may tell of it."""

SYNCHRONOUS = (
    "completion", "text_completion", "embedding", "responses", "image_generation", "image_edit", "transcription",
    "speech", "rerank", "generate_content", "generate_content_stream",
)  # fmt: skip
"""Calls that LiteLLM makes without asking whether they may be made. Others answer no tokens, or have no such form."""

STREAMED = ("agenerate_content_stream", "arealtime", "aresponses_websocket")
"""Calls whose answer comes in parts, whatever they say."""

SUB_CALL = "internal_call_origin"
"""In the metadata of a call that LiteLLM makes of its own for a request, a copy of those of the request."""


class TokensDenied(Denied):
    """No tokens are left to who asks; `scope` says by whose limit, none while Redis is
    away."""

    status_code = 400
    """For the Router: no deployment is to blame, so that none rests or is tried instead."""

    def __init__(self, decision: Decision | str, scope: str | None = None):
        super().__init__(decision)
        self.scope = scope

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.decision, self.scope), self.__dict__

    def __str__(self) -> str:
        return f"too many tokens ({self.scope or 'Redis is away'}): {super().__str__()}"


class SynchronousCall(Exception):
    """The call was not made: it would have passed the limits by."""

    status_code = 400
    """For LiteLLM: no provider is to blame, and the same call fails again."""

    def __init__(self, call_type: str):
        super().__init__(f"TokenLimits limits asynchronous calls alone: await litellm.a{call_type}(...)")
        self.call_type = call_type

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.call_type,), self.__dict__


@dataclass(slots=True)
class OpenReservation:
    """What is reserved, and not settled."""

    keys: list[str]
    cost: int | None = None
    """What it is charged where LiteLLM never tells; none for its estimate."""
    forget: Callable[[], Any] = lambda: None
    """For when it is settled: nobody waits for the end of the call any more."""

    def settling(self, id: str, cost: int | None) -> words.Words:
        if cost == 0:
            return words.settled("RL.RELEASE", id, self.keys)
        return words.settled("RL.COMMIT", id, self.keys, cost)


class TokenLimits(CustomLogger):  # type: ignore[misc]
    """The callback. `limits` are by scope; `estimate` says what a request may cost, by its
    body and LiteLLM's name for the kind of call; nothing is reserved for less than 1."""

    MOST = 100_000
    """Requests under way of which it remembers what they reserved."""

    MOST_COST = 10**12
    """What RL.RESERVE takes."""

    def __init__(
        self,
        limiter: Limiter,
        limits: Mapping[str, str],
        *,
        estimate: Callable[[Mapping[str, Any], str], int] = estimated,
        ttl: float = 600.0,
        prefix: str = "llm",
    ):
        arguments.with_asyncio(limiter=limiter)
        super().__init__()
        unknown = [scope for scope in limits if scope not in SCOPES]
        if unknown:
            raise ValueError(f"the scope {unknown[0]!r} is none of {', '.join(SCOPES)}")
        self.limiter = limiter
        self.limits = dict(limits)
        self.estimate = estimate
        self.ttl = ttl
        self.prefix = prefix
        self._open: OrderedDict[str, OpenReservation] = OrderedDict()
        self._untold: deque[words.Words] = deque(maxlen=self.MOST)
        self._ended: deque[str] = deque()
        self._telling: set[asyncio.Task[None]] = set()
        self._unlimited: set[str] = set()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        # The proxy asks only who has this hook in his own class.
        cls.async_pre_call_hook = cls.async_pre_call_hook  # type: ignore[method-assign]

    # The proxy: one reservation a request, whatever the attempts.

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> None:
        _forget(data)  # nobody names the reservation of another, or none
        asking = {
            "key": getattr(user_api_key_dict, "token", None) or getattr(user_api_key_dict, "api_key", None),
            "team": getattr(user_api_key_dict, "team_id", None),
            "organization": getattr(user_api_key_dict, "org_id", None),
            "user": data.get("user"),
            "model": data.get("model"),
        }
        try:
            await self._reserve(REQUEST, asking, data, call_type)
        except TokensDenied as denied:
            from fastapi import HTTPException  # the proxy has it; without the proxy it may be missing

            raise HTTPException(429, str(denied), denied.retry_after) from None

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, traceback_str: Any = None
    ) -> None:
        # LiteLLM knows what was used where, for one, a guardrail refused the answer.
        await self._settle(_noted(request_data, REQUEST), used(request_data) or 0)

    # Without the proxy: one an attempt.

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        # The proxy has asked for all attempts; or another call makes this one, as messages are
        # answered by responses. A call of LiteLLM's own stands for itself.
        if (_noted(kwargs, REQUEST) or _noted(kwargs, ATTEMPT) in self._open) and not _noted(kwargs, SUB_CALL):
            return
        _forget(kwargs)
        asking = {"user": kwargs.get("user"), "model": kwargs.get("model")}
        if _named(call_type) in SYNCHRONOUS:
            if self._keys(asking):
                raise SynchronousCall(_named(call_type))
            return
        try:
            await self._reserve(ATTEMPT, asking, kwargs, call_type)
        except TokensDenied as denied:
            if denied.scope != "model":
                raise
            raise RateLimitError(str(denied), "floodgate", str(kwargs.get("model"))) from denied
        self._settle_at_its_end(kwargs, call_type)

    async def async_post_call_success_deployment_hook(self, request_data: Mapping[str, Any], response: Any, call_type: Any) -> None:
        # LiteLLM may still drop what it has to tell.
        held = self._open.get(_noted(request_data, ATTEMPT) or "")
        if held is not None:
            held.cost = used({}, response)

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: Exception, call_type: Any, fallback_depth: Any = None
    ) -> None:
        if not _noted(request_data, REQUEST):
            await self._settle(_noted(request_data, ATTEMPT), 0)

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Mapping[str, Any]) -> None:
        # Nothing that is raised here stops the call: it is said, once for each kind of call.
        kind = _named(kwargs.get("call_type"))
        limits_it = "user" in self.limits or "model" in self.limits
        if limits_it and kind in SYNCHRONOUS and kind not in self._unlimited and not _noted(kwargs, REQUEST):
            self._unlimited.add(kind)
            log.error("litellm.%s(...) passes by all limits of TokenLimits: await litellm.a%s(...)", kind, kind)

    # Both: what it cost.

    async def async_log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        cost = 0 if kwargs.get("cache_hit") else used(kwargs, response_obj)
        await self._settle(_noted(kwargs, REQUEST) or _noted(kwargs, ATTEMPT), cost)

    async def _reserve(self, whose: str, asking: Mapping[str, Any], request: dict[str, Any], call_type: Any) -> None:
        keys = self._keys(asking)
        scopes, limits = list(keys), {key: self.limits[scope] for scope, key in keys.items()}
        cost = min(self.estimate(request, _named(call_type)), self.MOST_COST) if limits else 0
        if cost < 1:
            return
        await self._tell()
        id, server = uuid.uuid4().hex, self.limiter.server
        release = words.settled("RL.RELEASE", id, list(limits))
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
        except Away as away:
            if away.__cause__:  # it was asked, and may have taken what nobody heard of
                self._untold.append(release)
            alone = self.limiter.fallback.acquire(keys[scopes[0]], cost)
            if not alone.granted:
                raise TokensDenied(alone, None) from None
            _note(request, call_type, whose, id)  # decided, and nothing to settle
            return
        self._open[id] = OpenReservation(list(limits))
        _note(request, call_type, whose, id)
        while len(self._open) > self.MOST:
            self._open.popitem(last=False)[1].forget()

    def _keys(self, asking: Mapping[str, Any]) -> dict[str, str]:
        """By scope, those on which this call is limited."""
        scopes = [scope for scope in SCOPES if scope in self.limits and asking.get(scope)]
        return {scope: f"{self.prefix}:{scope}:{asking[scope]}" for scope in scopes}

    def _settle_at_its_end(self, call: Mapping[str, Any], call_type: Any) -> None:
        """Where LiteLLM tells nothing, the end is that nothing of the call is left."""
        id, its = _noted(call, ATTEMPT), call.get(THE_CALL)
        held = self._open.get(id or "")
        if id is None or held is None or its is None:
            return
        held.cost = None if call.get("stream") or _named(call_type) in STREAMED else 0
        end = weakref.finalize(its, self._gone, id, asyncio.get_running_loop())
        end.atexit = False
        held.forget = end.detach

    def _gone(self, id: str, loop: asyncio.AbstractEventLoop) -> None:
        """In whatever thread has dropped it last, in the midst of whatever that did."""
        self._ended.append(id)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the next request tells
            loop.call_soon_threadsafe(self._tell_soon)

    def _tell_soon(self) -> None:
        task = asyncio.create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _settle(self, id: str | None, cost: int | None) -> None:
        """Once: LiteLLM may tell of one request by several callbacks."""
        held = self._open.pop(id, None) if id else None
        if id is None or held is None:
            return
        held.forget()
        command = held.settling(id, cost)
        if not await self.limiter.server.finish(*command, instead=held.settling(id, 0)):
            self._untold.append(command)

    async def _tell(self) -> None:
        """What ended while Redis was away, or began unheard, or of whose end LiteLLM said nothing:
        its places are held until `ttl`."""
        while self._ended:
            id = self._ended.popleft()
            held = self._open.pop(id, None)
            if held is not None:
                self._untold.append(held.settling(id, held.cost))
        while self._untold:
            command = self._untold.popleft()
            if not await self.limiter.server.finish(*command):
                self._untold.appendleft(command)
                return


def _named(call_type: Any) -> str:
    return str(getattr(call_type, "value", call_type))


def _forget(call: dict[str, Any]) -> None:
    """In a copy, for callers may use one for many calls."""
    for holder in HOLDERS:
        noted = call.get(holder)
        if isinstance(noted, Mapping) and not noted.keys().isdisjoint((REQUEST, ATTEMPT)):
            call[holder] = {key: value for key, value in noted.items() if key not in (REQUEST, ATTEMPT)}


def _note(call: dict[str, Any], call_type: Any, whose: str, id: str) -> None:
    """Where LiteLLM carries what belongs to a request. Of the routes of OWN_METADATA the
    other name goes to the provider. In a copy, too."""
    holder = HOLDERS[1] if HOLDERS[1] in call or _named(call_type) in OWN_METADATA else HOLDERS[0]
    kept = call.get(holder)
    call[holder] = {**(kept if isinstance(kept, Mapping) else {}), whose: id}


def _noted(call: Mapping[str, Any], name: str) -> str | None:
    parameters = call.get("litellm_params")
    for place in (call, parameters if isinstance(parameters, Mapping) else {}):
        for noted in (place.get(holder) for holder in HOLDERS):
            if isinstance(noted, Mapping) and isinstance(noted.get(name), str):
                return str(noted[name])
    return None


__all__ = ["SynchronousCall", "TokenLimits", "TokensDenied", "estimated"]
