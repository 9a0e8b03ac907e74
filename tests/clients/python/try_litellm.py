"""Tries the plug-in for LiteLLM on a real server: python try_litellm.py PORT PLAIN. `cargo
test` runs it with what stands for LiteLLM, `make test-litellm` with LiteLLM itself, so that
both are held to the same. Talks as try_recipes.py does."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any, TypeVar

import floodgate_redis.asyncio as aio
from fastapi import HTTPException
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis.litellm import SynchronousCall, TokenLimits, TokensDenied, estimated
from litellm.exceptions import RateLimitError  # type: ignore[import-not-found]
from log_capture import LogCapture
from outage import URL, four_processes

# Of four processes.
IMPORTS = """
import asyncio, sys, threading, time
from types import SimpleNamespace
import floodgate_redis.asyncio as aio
from fastapi import HTTPException
from floodgate_redis.litellm import TokenLimits
"""
LITELLM = """
loop = asyncio.new_event_loop()
async def made():
    return TokenLimits(aio.Limiter(aio.Server(sys.argv[1], patience=20), aio.FailClosed()), {"key": "90/h"}, estimate=lambda *_: 2)
tokens = loop.run_until_complete(made())
async def request():
    data = {"model": "m"}
    try:
        await tokens.async_pre_call_hook(SimpleNamespace(token="four"), None, data, "completion")
    except HTTPException:
        return False
    await tokens.async_log_success_event({"litellm_params": data}, {"usage": {"total_tokens": 1}}, None, None)
    return True
def take():
    time.sleep(0.02)
    return loop.run_until_complete(request())
"""


def estimates() -> None:
    assert estimated({"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 50}) in range(150, 170)
    assert estimated({"prompt": "x" * 40, "n": 3}) == 3010 and estimated({}) == 1000
    # Callers write the request.
    wrongs: tuple[Any, ...] = ("many", -5, None, [], float("inf"), float("nan"), {"a": 1})
    for wrong in wrongs:
        assert estimated({"prompt": "x" * 40, "max_tokens": wrong, "n": wrong}) == 1010, wrong
    assert estimated({"max_tokens": 1, "max_completion_tokens": 70}) == 70, "the most of them"
    deep: Any = "x" * 40
    for _ in range(10_000):
        deep = [deep]
    assert estimated({"input": deep}, "aembedding") == 10 and estimated({"input": [[1, 2], [3]]}, "embedding") == 3
    picture = "data:image/png;base64," + "A" * 1_000_000
    for content in ({"image_url": {"url": picture}}, {"source": {"media_type": "image/png", "data": picture[22:]}}):
        assert 1500 < estimated({"messages": [content], "max_tokens": 1}) < 1520, content.keys()
    assert estimated({"system": "x" * 40, "tools": ["y" * 40], "max_tokens": 1}) == 21
    assert [estimated({}, kind) for kind in ("aretrieve_batch", "acreate_file", "call_mcp_tool")] == [0, 0, 0]
    assert estimated({}, "agenerate_content") == estimated({}, "acreate_batch") == 1000


class Its:
    """Stands for LiteLLM's object of a call."""


class Driver:
    """The plug-in with limits of its own, on an empty server."""

    tokens: TokenLimits

    def __init__(self, limiter: aio.Limiter):
        self.limiter = limiter

    async def left(self, key: str) -> tuple[int, int]:
        """Units used, places held; a key on which nothing is in use is gone."""
        used = [row.used for row in (await self.limiter.quota(key)).limits]
        return used[0] if used else 0, used[1] if len(used) > 1 else 0


class Proxy(Driver):
    """Calls it as LiteLLM's proxy does."""

    def __init__(self, limiter: aio.Limiter):
        super().__init__(limiter)
        limits = {"key": "1000/h,concurrent:2", "team": "1500/h", "organization": "100000/h"}
        self.tokens = TokenLimits(limiter, limits, estimate=lambda request, _: int(request["cost"]), ttl=60)

    def who(self, key: str) -> Any:
        return SimpleNamespace(token=key, team_id="t", org_id="o")

    async def begins(self, key: str, cost: int, **more: Any) -> dict[str, Any]:
        data: dict[str, Any] = {"model": "m", "cost": cost, **more}
        await self.tokens.async_pre_call_hook(self.who(key), None, data, "completion")
        return data

    async def ends(self, data: dict[str, Any], total: int | None, **more: Any) -> None:
        usage = {} if total is None else {"usage": {"total_tokens": total}}
        await self.tokens.async_log_success_event({"litellm_params": data, **more}, usage, None, None)

    async def fails(self, key: str, data: dict[str, Any]) -> None:
        await self.tokens.async_post_call_failure_hook(data, ValueError(), self.who(key))

    async def denied(self, key: str, cost: int) -> HTTPException:
        try:
            await self.begins(key, cost)
        except HTTPException as error:
            assert error.status_code == 429
            return error
        raise AssertionError("it was let through")


class Direct(Driver):
    """Calls it as LiteLLM itself does, without the proxy: each attempt for itself."""

    def __init__(self, limiter: aio.Limiter):
        super().__init__(limiter)
        self.tokens = TokenLimits(limiter, {"model": "100/h", "user": "60/h"}, estimate=lambda *_: 40)

    async def begins(self, data: dict[str, Any], kind: str = "acompletion") -> dict[str, Any]:
        await self.tokens.async_pre_call_deployment_hook(data, kind)
        return data

    async def ends(self, data: dict[str, Any], total: int) -> None:
        await self.tokens.async_log_success_event({"litellm_params": data}, {"usage": {"total_tokens": total}}, 0, 0)

    async def fails(self, data: dict[str, Any]) -> None:
        await self.tokens.async_post_call_failure_deployment_hook(data, ValueError(), "acompletion")


async def places_and_units_are_held_until_the_end(proxy: Proxy) -> None:
    first, second = await proxy.begins("a", 300), await proxy.begins("a", 300)
    assert await proxy.left("llm:key:a") == (600, 2) and await proxy.left("llm:team:t") == (600, 0)
    assert (await proxy.denied("a", 1)).headers is not None, "both places are taken"
    # What it cost is known at the end, and told once however often it is said.
    await proxy.ends(first, 120)
    await proxy.ends(first, 999)
    assert await proxy.left("llm:key:a") == (420, 1) and await proxy.left("llm:organization:o") == (420, 0)
    await proxy.ends(second, 0)


async def the_hook_of_one_attempt_gives_nothing_back(proxy: Proxy) -> None:
    """Others may follow."""
    request = await proxy.begins("a", 300)
    await proxy.tokens.async_post_call_failure_deployment_hook(request, ValueError(), "completion")
    await proxy.tokens.async_pre_call_deployment_hook(request, "completion")
    assert await proxy.left("llm:key:a") == (300, 1)
    await proxy.fails("a", request)
    await proxy.ends(request, 5)
    assert await proxy.left("llm:key:a") == (0, 0)


async def usage_is_known_at_the_end(proxy: Proxy) -> None:
    # Of a stream, too; more than was reserved is charged.
    stream = await proxy.begins("a", 100)
    await proxy.ends(stream, 250, stream=True, standard_logging_object={"total_tokens": 250})
    assert await proxy.left("llm:key:a") == (250, 0)
    await proxy.ends(await proxy.begins("a", 30), None)  # unknown: the estimate stands
    await proxy.ends(await proxy.begins("a", 100), 77, cache_hit=True)
    assert await proxy.left("llm:key:a") == (280, 0)


async def an_estimate_above_the_capacity_is_cut_to_it(proxy: Proxy) -> None:
    await proxy.ends(await proxy.begins("b", 10**30), 0)
    whole = await proxy.begins("b", 1_000_000)
    assert await proxy.left("llm:key:b") == (1000, 1) and await proxy.left("llm:team:t") == (1000, 0)
    headers = (await proxy.denied("b", 1)).headers
    assert headers is not None and int(headers["Retry-After"]) > 3000
    await proxy.ends(whole, 10)


async def nobody_settles_what_another_reserved(proxy: Proxy) -> None:
    """By naming it, or after his own."""
    mine = await proxy.begins("a", 10)
    naming = {"floodgate_request": mine["metadata"]["floodgate_request"]}
    forged = await proxy.begins("a", 10, metadata=naming, litellm_metadata=naming)
    assert forged["metadata"] == {} and forged["litellm_metadata"] != naming
    await proxy.ends(forged, 1)
    await proxy.ends(mine, 1)
    shared = {"team": "x"}
    one, two = await proxy.begins("a", 10, metadata=shared), await proxy.begins("a", 10, metadata=shared)
    await proxy.ends(two, 2)
    await proxy.ends(one, 1)
    assert await proxy.left("llm:key:a") == (5, 0) and shared == {"team": "x"}
    await proxy.ends({"model": "m"}, 50)  # unknown to it, as after a restart
    own = await proxy.begins("a", 10, litellm_metadata={})
    assert "floodgate_request" in own["litellm_metadata"] and "metadata" not in own
    await proxy.fails("a", own)
    assert await proxy.left("llm:key:a") == (5, 0)


async def an_answer_that_a_guardrail_refuses_was_paid_for(proxy: Proxy) -> None:
    refused = await proxy.begins("a", 10) | {"standard_logging_object": {"total_tokens": 7}}
    await proxy.fails("a", refused)
    assert await proxy.left("llm:key:a") == (7, 0)


async def a_call_of_another_callback_is_not_the_requests_own(proxy: Proxy) -> None:
    judged = await proxy.begins("a", 10)
    await proxy.ends({"model": "judge"}, 2)
    await proxy.ends(judged, 8)
    assert await proxy.left("llm:key:a") == (8, 0)


async def nothing_is_reserved_for_what_no_model_answers(proxy: Proxy) -> None:
    assert "metadata" not in await proxy.begins("a", 0)
    assert await proxy.left("llm:key:a") == (0, 0)


async def what_is_untold_comes_before_the_next_request(proxy: Proxy) -> None:
    """Redis is back."""
    begun = await proxy.begins("c", 10)
    proxy.tokens._untold.append(("RL.COMMIT", begun["metadata"]["floodgate_request"], 1, "llm:key:c", "COST", 4))
    await proxy.ends(await proxy.begins("c", 20), 20)
    assert await proxy.left("llm:key:c") == (24, 0) and not proxy.tokens._untold
    proxy.tokens._open.clear()


async def attempts_count_one_by_one(direct: Direct) -> None:
    attempt = await direct.begins({"model": "gpt", "user": "ann"})
    assert await direct.left("llm:model:gpt") == (40, 0)
    await direct.fails(attempt)
    again = await direct.begins(dict(attempt))
    answer = SimpleNamespace(usage=SimpleNamespace(total_tokens=7))
    await direct.tokens.async_log_success_event({"litellm_params": again}, answer, 0, 0)
    assert await direct.left("llm:model:gpt") == (7, 0) and await direct.left("llm:user:ann") == (7, 0)


async def a_denial_by_a_user_is_no_deployments_fault(direct: Direct) -> None:
    ann = await direct.begins({"model": "gpt", "user": "ann"})
    try:
        await direct.begins({"model": "other", "user": "ann"})
        raise AssertionError("ann has 20 left")
    except TokensDenied as error:
        assert (error.scope, error.status_code) == ("user", 400) and error.retry_after, error
        copied = pickle.loads(pickle.dumps(error))
        assert (copied.scope, copied.decision, str(copied)) == (error.scope, error.decision, str(error)), copied
    bob = await direct.begins({"model": "gpt", "user": "bob"})
    try:
        await direct.begins({"model": "gpt", "user": "cid"})
        raise AssertionError("gpt has 20 left")
    except RateLimitError as error:
        assert error.model == "gpt"
    await direct.fails(ann)
    await direct.fails(bob)


async def calls_that_share_their_metadata_are_told_apart(direct: Direct) -> None:
    shared = {"team": "x"}
    both = [await direct.begins({"model": "gpt", "metadata": shared}) for _ in range(2)]
    await direct.ends(both[0], 1)
    await direct.fails(both[1])
    assert await direct.left("llm:model:gpt") == (1, 0) and shared == {"team": "x"}


async def a_call_answered_by_another_is_one_attempt(direct: Direct) -> None:
    """Of LiteLLM's, with the same metadata."""
    outer = await direct.begins({"model": "gpt"}, "anthropic_messages")
    inner = await direct.begins(dict(outer), "aresponses")
    assert inner == outer and await direct.left("llm:model:gpt") == (40, 0)
    # A call that LiteLLM makes of its own for it, with a copy of its metadata, is another.
    sub: dict[str, Any] = {"model": "judge"}
    sub["litellm_metadata"] = outer["litellm_metadata"] | {"internal_call_origin": "router"}
    await direct.ends(await direct.begins(sub), 3)
    assert await direct.left("llm:model:judge") == (3, 0) and await direct.left("llm:model:gpt") == (40, 0)
    await direct.ends(inner, 2)
    assert await direct.left("llm:model:gpt") == (2, 0)


async def calls_whose_end_is_not_told_are_settled(direct: Direct) -> None:
    """LiteLLM tells nothing of what is cancelled, or given up: only its object of the call goes."""
    for model, is_streamed, answered, cost in (("cut", False, None, 0), ("given-up", True, None, 40), ("lost", False, 3, 3)):
        ending = await direct.begins({"model": model, "litellm_logging_obj": Its(), "stream": is_streamed})
        if answered:
            answer = SimpleNamespace(usage=SimpleNamespace(total_tokens=answered))
            await direct.tokens.async_post_call_success_deployment_hook(ending, answer, "acompletion")
        assert await direct.left(f"llm:model:{model}") == (40, 0) and len(direct.tokens._open) == 1
        del ending
        for _ in range(500):
            rows = (await direct.limiter.quota(f"llm:model:{model}")).limits
            if [row.used for row in rows] == ([cost] if cost else []):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError((model, rows))
        assert not direct.tokens._open


async def what_is_told_is_settled_once(direct: Direct) -> None:
    """Whatever ends later."""
    ending = await direct.begins({"model": "told", "litellm_logging_obj": Its()})
    await direct.ends(ending, 5)
    del ending
    await asyncio.sleep(0.05)
    assert await direct.left("llm:model:told") == (5, 0) and not direct.tokens._untold


async def a_synchronous_call_does_not_pass_by(direct: Direct) -> None:
    try:
        await direct.begins({"model": "gpt"}, "responses")
        raise AssertionError("it is not limited")
    except SynchronousCall as error:
        assert str(pickle.loads(pickle.dumps(error))) == str(error), error
    logged = LogCapture()
    for kind in ("completion", "acompletion", "completion", "embedding"):
        direct.tokens.log_pre_api_call("gpt", [], {"call_type": kind})
    assert [line.partition("(")[0] for line in logged()] == ["litellm.completion", "litellm.embedding"]


async def the_proxy_decides_by_the_fallback() -> None:
    """Its attempts do not ask again."""
    gone = aio.Limiter(aio.Server("redis://127.0.0.1:1"), aio.LocalBucket(rate=0.001, burst=50))
    away, who = TokenLimits(gone, {"model": "100/h"}, estimate=lambda *_: 40), SimpleNamespace(token="a")
    passed: dict[str, Any] = {"model": "gpt"}
    await away.async_pre_call_hook(who, None, passed, "acompletion")
    await away.async_pre_call_deployment_hook(passed, "acompletion")
    await away.async_log_success_event({"litellm_params": passed}, {"usage": {"total_tokens": 2}}, 0, 0)
    # Redis was asked once, and may have granted it unheard; then it was left alone.
    try:
        await away.async_pre_call_hook(who, None, {"model": "gpt"}, "acompletion")
        raise AssertionError("the bucket is empty")
    except HTTPException as error:
        assert error.status_code == 429 and "Redis is away" in error.detail
    assert [command[0] for command in away._untold] == ["RL.RELEASE"]


def what_it_cannot_be_made_of(limiter: aio.Limiter) -> None:
    try:
        TokenLimits(Limiter(Server(URL), FailClosed()), {"key": "1/h"})  # type: ignore[arg-type]
        raise AssertionError("it would block the event loop")
    except TypeError as error:
        assert str(error).endswith(": take the Limiter of floodgate_redis.asyncio"), error
    try:
        TokenLimits(limiter, {"orgs": "1/h"})
        raise AssertionError("there is no such scope")
    except ValueError:
        pass


D = TypeVar("D", bound=Driver)
PROXIED = (
    places_and_units_are_held_until_the_end,
    the_hook_of_one_attempt_gives_nothing_back,
    usage_is_known_at_the_end,
    an_estimate_above_the_capacity_is_cut_to_it,
    nobody_settles_what_another_reserved,
    an_answer_that_a_guardrail_refuses_was_paid_for,
    a_call_of_another_callback_is_not_the_requests_own,
    nothing_is_reserved_for_what_no_model_answers,
    what_is_untold_comes_before_the_next_request,
)
WITHOUT_PROXY = (
    attempts_count_one_by_one,
    a_denial_by_a_user_is_no_deployments_fault,
    calls_that_share_their_metadata_are_told_apart,
    a_call_answered_by_another_is_one_attempt,
    calls_whose_end_is_not_told_are_settled,
    what_is_told_is_settled_once,
    a_synchronous_call_does_not_pass_by,
)


async def all_subjects() -> None:
    # The proxy looks for it in the very class.
    assert "async_pre_call_hook" in vars(type("Own", (TokenLimits,), {}))
    server = aio.Server(URL, patience=20)
    limiter = aio.Limiter(server, aio.FailClosed())

    async def each(driver: Callable[[aio.Limiter], D], subjects: Iterable[Callable[[D], Awaitable[None]]]) -> None:
        for subject in subjects:
            await server.ask("FLUSHALL")
            plugged = driver(limiter)
            await subject(plugged)
            assert not plugged.tokens._open, f"{subject}: all is settled, and forgotten"

    await each(Proxy, PROXIED)
    await each(Direct, WITHOUT_PROXY)
    await the_proxy_decides_by_the_fallback()
    what_it_cannot_be_made_of(limiter)
    await server.close()


estimates()
asyncio.run(all_subjects())
passed = four_processes("rl.reserve", IMPORTS, LITELLM)
# Of each that was under way when it was killed an estimate of 2 may stand.
assert 90 - 4 * 4 - 1 <= passed <= 90, passed
print("done", flush=True)
