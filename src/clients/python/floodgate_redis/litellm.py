"""A callback for LiteLLM that limits the tokens of language models. It reserves them before a call and
settles them after it, in LiteLLM's proxy, in its Router, and in calls of the library.

    # limits.py, beside config.yaml, which says: callbacks: limits.tokens
    tokens = TokenLimits(
        Limiter(Server("redis://localhost:6379"), FailClosed()),
        {"key": "100000/m,concurrent:5", "team": "1000000/m", "organization": "5000000/m"},
    )

On the proxy `key`, `team` and `organization` are those of the caller. `user` and `model` come from the call,
so that limits of them hold without the proxy, too.

On the proxy and without it:

- Before a request its estimate is reserved on the keys of all these scopes, or the request gets 429 with
  Retry-After. An estimate above a capacity is cut to it: it would never fit.
- A request is settled when LiteLLM knows its usage; that of a stream is known at its end. An answer from
  LiteLLM's cache uses nothing. A request that failed gives back what it did not use. A caller who hangs up is
  charged for what came. Where LiteLLM knows no usage, as for a batch when it is created, the estimate stands.
  A request that no model answers, such as one for files or the state of a batch, is free.
- A call that another callback makes meanwhile, such as a guardrail, is an attempt of its own.
- A request that ends while Redis is away is settled before the next one. A request that is never settled stays
  charged at its estimate, and its places are free after `ttl` seconds. That happens where the process dies, and
  where a caller hangs up on a stream of /v1/completions, of which LiteLLM says nothing. A request that takes
  longer than `ttl` is settled all the same.

Without the proxy:

- Each attempt of the Router reserves and settles for itself. A limit of `model` denies with RateLimitError,
  so that the Router tries another deployment and lets this one rest. A limit of `user` denies with
  TokensDenied, for which the Router blames no deployment.
- LiteLLM does not tell of an attempt that is cancelled, that times out by asyncio.timeout, or whose stream
  nobody reads to its end. Such an attempt is settled once nothing of it is left in the process: it gives its
  tokens back, a stream is charged its estimate, and the places are free.
- Only asynchronous calls (acompletion, aresponses) are limited. LiteLLM lets no callback hold up a synchronous
  call: `completion` passes by the limits, and an error is logged; `responses` is refused.

The callback sends RL.RESERVE, RL.COMMIT and RL.RELEASE. On a cluster give `prefix="{llm}"`, so that the keys are in
one slot. LiteLLM 1.107.0 is known to be compromised: never install it.
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
"""The scopes that may have limits."""

REQUEST, ATTEMPT = "floodgate_request", "floodgate_attempt"
"""The names in the metadata of a call under which it carries the id of its reservation: that of the
proxy's request that the call answers, or that of the attempt that it is."""

HOLDERS = ("metadata", "litellm_metadata")
"""The parameters of a call that may hold its metadata."""

OWN_METADATA = ("responses", "aresponses", "anthropic_messages", "acreate_batch", "acreate_file")

THE_CALL = "litellm_logging_obj"
"""The parameter of a call that holds LiteLLM's own object of it. The object lives as long as LiteLLM may
tell of the call."""

SYNCHRONOUS = (
    "completion", "text_completion", "embedding", "responses", "image_generation", "image_edit", "transcription",
    "speech", "rerank", "generate_content", "generate_content_stream",
)  # fmt: skip
"""The synchronous calls, which LiteLLM makes without asking whether it may. The other calls use no tokens,
or have no synchronous form."""

STREAMED = ("agenerate_content_stream", "arealtime", "aresponses_websocket")
"""The calls whose answer is a stream, with or without the parameter `stream`."""

SUB_CALL = "internal_call_origin"
"""A name in the metadata of a call that LiteLLM makes by itself for a request. The rest of that metadata
is a copy of the request's."""


class TokensDenied(Denied):
    """The denial of a call. `scope` says whose limit denies; it is None where the fallback does, while Redis
    is away."""

    status_code = 400
    """The Router blames no deployment for this status: none rests, and none is tried instead."""

    def __init__(self, decision: Decision | str, scope: str | None = None):
        super().__init__(decision)
        self.scope = scope

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.decision, self.scope), self.__dict__

    def __str__(self) -> str:
        return f"too many tokens ({self.scope or 'Redis is away'}): {super().__str__()}"


class SynchronousCall(Exception):
    """The refusal of a synchronous call, which would have passed by the limits. It was not made."""

    status_code = 400
    """LiteLLM blames no provider for this status, and does not repeat the call."""

    def __init__(self, call_type: str):
        super().__init__(f"TokenLimits limits asynchronous calls alone: await litellm.a{call_type}(...)")
        self.call_type = call_type

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.call_type,), self.__dict__


@dataclass(slots=True)
class OpenReservation:
    """A reservation that is not settled yet."""

    keys: list[str]
    cost: int | None = None
    """The tokens that are charged where LiteLLM never tells the usage; None for the estimate."""
    forget: Callable[[], Any] = lambda: None
    """Stops waiting for the end of the call, once the reservation is settled."""

    def settling(self, id: str, cost: int | None) -> words.Words:
        """The command that charges `cost`, and gives the rest back."""
        if cost == 0:
            return words.settled("RL.RELEASE", id, self.keys)
        return words.settled("RL.COMMIT", id, self.keys, cost)


class TokenLimits(CustomLogger):  # type: ignore[misc]
    """A callback for LiteLLM.

    `limiter` is one of `floodgate_redis.asyncio`; another raises TypeError. `limits` has the limits of each
    scope; an unknown scope raises ValueError. `estimate` returns the tokens that a request may cost, from its body
    and LiteLLM's name for the kind of call. A request with an estimate below 1 reserves nothing. `ttl` is the time
    in seconds for which a reservation holds its places if it is never settled. The keys are
    `PREFIX:SCOPE:NAME`.
    """

    MOST = 100_000
    """The most open reservations that the callback remembers."""

    MOST_COST = 10**12
    """The highest cost that RL.RESERVE takes."""

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
        # The proxy asks only callbacks whose own class has this hook.
        cls.async_pre_call_hook = cls.async_pre_call_hook  # type: ignore[method-assign]

    # On the proxy a request has one reservation, however many attempts it takes.

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> None:
        _forget(data)  # A caller could name the reservation of another one.
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
            from fastapi import HTTPException  # The proxy needs it, and the library does not.

            raise HTTPException(429, str(denied), denied.retry_after) from None

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, traceback_str: Any = None
    ) -> None:
        # LiteLLM knows what was used where, for one, a guardrail refused the answer.
        await self._settle(_noted(request_data, REQUEST), used(request_data) or 0)

    # Without the proxy an attempt has one.

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
        # LiteLLM may still fail to call async_log_success_event.
        held = self._open.get(_noted(request_data, ATTEMPT) or "")
        if held is not None:
            held.cost = used({}, response)

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: Exception, call_type: Any, fallback_depth: Any = None
    ) -> None:
        if not _noted(request_data, REQUEST):
            await self._settle(_noted(request_data, ATTEMPT), 0)

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Mapping[str, Any]) -> None:
        # Nothing that is raised here stops the call. So an error is logged, once for each kind of call.
        kind = _named(kwargs.get("call_type"))
        limits_it = "user" in self.limits or "model" in self.limits
        if limits_it and kind in SYNCHRONOUS and kind not in self._unlimited and not _noted(kwargs, REQUEST):
            self._unlimited.add(kind)
            log.error("litellm.%s(...) passes by all limits of TokenLimits: await litellm.a%s(...)", kind, kind)

    # On the proxy and without it LiteLLM tells the usage here.

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
        """The keys on which this call is limited, by scope."""
        scopes = [scope for scope in SCOPES if scope in self.limits and asking.get(scope)]
        return {scope: f"{self.prefix}:{scope}:{asking[scope]}" for scope in scopes}

    def _settle_at_its_end(self, call: Mapping[str, Any], call_type: Any) -> None:
        """Settles a reservation once nothing of its call is left, in case that LiteLLM never tells."""
        id, its = _noted(call, ATTEMPT), call.get(THE_CALL)
        held = self._open.get(id or "")
        if id is None or held is None or its is None:
            return
        held.cost = None if call.get("stream") or _named(call_type) in STREAMED else 0
        end = weakref.finalize(its, self._gone, id, asyncio.get_running_loop())
        end.atexit = False
        held.forget = end.detach

    def _gone(self, id: str, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in the thread that has dropped the call last, in the midst of its work."""
        self._ended.append(id)
        with contextlib.suppress(RuntimeError):  # The loop is closed: the next request settles it.
            loop.call_soon_threadsafe(self._tell_soon)

    def _tell_soon(self) -> None:
        task = asyncio.create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _settle(self, id: str | None, cost: int | None) -> None:
        """Settles a reservation, unless it is settled: several hooks may tell of one request."""
        held = self._open.pop(id, None) if id else None
        if id is None or held is None:
            return
        held.forget()
        command = held.settling(id, cost)
        if not await self.limiter.server.finish(*command, instead=held.settling(id, 0)):
            self._untold.append(command)

    async def _tell(self) -> None:
        """Sends the commands of the reservations that ended while Redis was away, that began without an answer, or
        of whose end LiteLLM said nothing. Their places are held until then, at most for `ttl`."""
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
    """Removes the ids of reservations from the metadata of a call. It copies them first, because a caller may
    use one mapping for many calls."""
    for holder in HOLDERS:
        noted = call.get(holder)
        if isinstance(noted, Mapping) and not noted.keys().isdisjoint((REQUEST, ATTEMPT)):
            call[holder] = {key: value for key, value in noted.items() if key not in (REQUEST, ATTEMPT)}


def _note(call: dict[str, Any], call_type: Any, whose: str, id: str) -> None:
    """Puts the id of a reservation into the metadata of a call, in a copy, too. On the routes of OWN_METADATA
    the first holder goes to the provider, so that they take the second one."""
    holder = HOLDERS[1] if HOLDERS[1] in call or _named(call_type) in OWN_METADATA else HOLDERS[0]
    kept = call.get(holder)
    call[holder] = {**(kept if isinstance(kept, Mapping) else {}), whose: id}


def _noted(call: Mapping[str, Any], name: str) -> str | None:
    """The id of a reservation that a call carries under this name."""
    parameters = call.get("litellm_params")
    for place in (call, parameters if isinstance(parameters, Mapping) else {}):
        for noted in (place.get(holder) for holder in HOLDERS):
            if isinstance(noted, Mapping) and isinstance(noted.get(name), str):
                return str(noted[name])
    return None


__all__ = ["SynchronousCall", "TokenLimits", "TokensDenied", "estimated"]
