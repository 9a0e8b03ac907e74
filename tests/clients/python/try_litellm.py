"""Tries the plug-in for LiteLLM on a real server: python try_litellm.py PORT PLAIN. `cargo
test` runs it with what stands for LiteLLM, `make test-litellm` with LiteLLM itself, so that
both are held to the same. Talks as try_it.py does."""

import asyncio
import pickle
from types import SimpleNamespace
from typing import Any

import floodgate_redis.asyncio as aio
from fastapi import HTTPException
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis.litellm import SynchronousCall, TokenLimits, TokensDenied, estimated
from litellm.exceptions import RateLimitError  # type: ignore[import-not-found]
from outage import URL, four_processes
from said import Said

LITELLM = """
import asyncio, sys, threading, time
from types import SimpleNamespace
import floodgate_redis.asyncio as aio
from fastapi import HTTPException
from floodgate_redis.litellm import TokenLimits
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


async def proxy() -> None:
    server = aio.Server(URL, patience=20)
    limiter = aio.Limiter(server, aio.FailClosed())
    limits = {"key": "1000/h,concurrent:2", "team": "1500/h", "organization": "100000/h"}
    tokens = TokenLimits(limiter, limits, estimate=lambda request, _: int(request["cost"]), ttl=60)

    async def left(key: str) -> tuple[int, int]:
        """Units used, places held."""
        rows = (await limiter.quota(key)).limits
        return rows[0].used, rows[1].used if len(rows) > 1 else 0

    def who(key: str) -> Any:
        return SimpleNamespace(token=key, team_id="t", org_id="o")

    async def begins(key: str, cost: int, **more: Any) -> dict[str, Any]:
        data: dict[str, Any] = {"model": "m", "cost": cost, **more}
        await tokens.async_pre_call_hook(who(key), None, data, "completion")
        return data

    async def ends(data: dict[str, Any], total: int | None, **more: Any) -> None:
        usage = {} if total is None else {"usage": {"total_tokens": total}}
        await tokens.async_log_success_event({"litellm_params": data, **more}, usage, None, None)

    async def denied(key: str, cost: int) -> HTTPException:
        try:
            await begins(key, cost)
        except HTTPException as error:
            assert error.status_code == 429
            return error
        raise AssertionError("it was let through")

    first, second = await begins("a", 300), await begins("a", 300)
    assert await left("llm:key:a") == (600, 2) and await left("llm:team:t") == (600, 0)
    assert (await denied("a", 1)).headers is not None, "both places are taken"
    # What it cost is known at the end, and told once however often it is said.
    await ends(first, 120)
    await ends(first, 999)
    assert await left("llm:key:a") == (420, 1) and await left("llm:organization:o") == (420, 0)
    # The hook of one attempt gives nothing back: others may follow.
    await tokens.async_post_call_failure_deployment_hook(second, ValueError(), "completion")
    await tokens.async_pre_call_deployment_hook(second, "completion")
    assert await left("llm:key:a") == (420, 1)
    await tokens.async_post_call_failure_hook(second, ValueError(), who("a"))
    await ends(second, 5)
    assert await left("llm:key:a") == (120, 0)
    # A stream: its usage is known at its end; more than was reserved is charged, too.
    stream = await begins("a", 100)
    await ends(stream, 250, stream=True, standard_logging_object={"total_tokens": 250})
    assert await left("llm:key:a") == (370, 0)
    await ends(await begins("a", 30), None)  # unknown: the estimate stands
    await ends(await begins("a", 100), 77, cache_hit=True)
    assert await left("llm:key:a") == (400, 0)
    # An estimate above the capacity is cut to it.
    await ends(await begins("b", 10**30), 0)
    whole = await begins("b", 1_000_000)
    assert await left("llm:key:b") == (1000, 1) and await left("llm:team:t") == (1400, 0)
    headers = (await denied("b", 1)).headers
    assert headers is not None and int(headers["Retry-After"]) > 3000
    await ends(whole, 10)
    # Nobody settles what another reserved, by naming it, or after his own.
    mine = await begins("a", 10)
    naming = {"floodgate_request": mine["metadata"]["floodgate_request"]}
    forged = await begins("a", 10, metadata=naming, litellm_metadata=naming)
    assert forged["metadata"] == {} and forged["litellm_metadata"] != naming
    await ends(forged, 1)
    await ends(mine, 1)
    shared = {"team": "x"}
    one, two = await begins("a", 10, metadata=shared), await begins("a", 10, metadata=shared)
    await ends(two, 2)
    await ends(one, 1)
    assert await left("llm:key:a") == (405, 0) and shared == {"team": "x"}
    await ends({"model": "m"}, 50)  # unknown to it, as after a restart
    own = await begins("a", 10, litellm_metadata={})
    assert "floodgate_request" in own["litellm_metadata"] and "metadata" not in own
    await tokens.async_post_call_failure_hook(own, ValueError(), who("a"))
    assert await left("llm:key:a") == (405, 0)
    # A guardrail refuses an answer that was paid for.
    refused = await begins("a", 10) | {"standard_logging_object": {"total_tokens": 7}}
    await tokens.async_post_call_failure_hook(refused, ValueError(), who("a"))
    assert await left("llm:key:a") == (412, 0)
    # The call that another callback makes meanwhile is not the request's own.
    judged = await begins("a", 10)
    await ends({"model": "judge"}, 2)
    await ends(judged, 8)
    assert await left("llm:key:a") == (420, 0)
    # The proxy looks for it in the very class.
    assert "async_pre_call_hook" in vars(type("Own", (TokenLimits,), {}))
    # Nothing is reserved for what no model answers.
    assert "metadata" not in await begins("a", 0)
    assert await left("llm:key:a") == (420, 0)
    assert not tokens._open, "all is settled, and forgotten"

    # Without the proxy: each attempt for itself.
    alone = TokenLimits(limiter, {"model": "100/h", "user": "60/h"}, estimate=lambda *_: 40)
    attempt: dict[str, Any] = {"model": "gpt", "user": "ann"}
    await alone.async_pre_call_deployment_hook(attempt, "acompletion")
    assert await left("llm:model:gpt") == (40, 0)
    await alone.async_post_call_failure_deployment_hook(attempt, ValueError(), "acompletion")
    again = dict(attempt)
    await alone.async_pre_call_deployment_hook(again, "acompletion")
    try:
        await alone.async_pre_call_deployment_hook({"model": "other", "user": "ann"}, "acompletion")
        raise AssertionError("ann has 20 left")
    except TokensDenied as error:  # which no deployment is to blame for
        assert (error.scope, error.status_code) == ("user", 400) and error.retry_after, error
        copied = pickle.loads(pickle.dumps(error))
        assert (copied.scope, copied.decision, str(copied)) == (error.scope, error.decision, str(error)), copied
    await alone.async_pre_call_deployment_hook(more := {"model": "gpt", "user": "bob"}, "acompletion")
    try:
        await alone.async_pre_call_deployment_hook({"model": "gpt", "user": "cid"}, "acompletion")
        raise AssertionError("gpt has 20 left")
    except RateLimitError as error:
        assert error.model == "gpt"
    await alone.async_post_call_failure_deployment_hook(more, ValueError(), "acompletion")
    await alone.async_log_success_event({"litellm_params": again}, SimpleNamespace(usage=SimpleNamespace(total_tokens=7)), 0, 0)
    assert await left("llm:model:gpt") == (7, 0) and await left("llm:user:ann") == (7, 0)
    # Calls that share their metadata are told apart.
    both = [{"model": "gpt", "metadata": shared}, {"model": "gpt", "metadata": shared}]
    for call in both:
        await alone.async_pre_call_deployment_hook(call, "acompletion")
    await alone.async_log_success_event({"litellm_params": both[0]}, {"usage": {"total_tokens": 1}}, 0, 0)
    await alone.async_post_call_failure_deployment_hook(both[1], ValueError(), "acompletion")
    assert await left("llm:model:gpt") == (8, 0) and shared == {"team": "x"} and not alone._open
    # One call is answered by another of LiteLLM's, with the same metadata: one attempt.
    outer: dict[str, Any] = {"model": "gpt"}
    await alone.async_pre_call_deployment_hook(outer, "anthropic_messages")
    inner = dict(outer)
    await alone.async_pre_call_deployment_hook(inner, "aresponses")
    assert inner == outer and await left("llm:model:gpt") == (48, 0)
    # A call that LiteLLM makes of its own for it, with a copy of its metadata, is another.
    sub: dict[str, Any] = {"model": "judge"}
    sub["litellm_metadata"] = outer["litellm_metadata"] | {"internal_call_origin": "router"}
    await alone.async_pre_call_deployment_hook(sub, "acompletion")
    await alone.async_log_success_event({"litellm_params": sub}, {"usage": {"total_tokens": 3}}, 0, 0)
    assert await left("llm:model:judge") == (3, 0) and await left("llm:model:gpt") == (48, 0)
    await alone.async_log_success_event({"litellm_params": inner}, {"usage": {"total_tokens": 2}}, 0, 0)
    assert await left("llm:model:gpt") == (10, 0) and not alone._open
    # LiteLLM tells nothing of what is cancelled, or given up: only its object of the call goes.
    for model, is_streamed, answered, cost in (("cut", False, None, 0), ("given-up", True, None, 40), ("lost", False, 3, 3)):
        ending: dict[str, Any] = {"model": model, "litellm_logging_obj": Its(), "stream": is_streamed}
        await alone.async_pre_call_deployment_hook(ending, "acompletion")
        if answered:
            answer = SimpleNamespace(usage=SimpleNamespace(total_tokens=answered))
            await alone.async_post_call_success_deployment_hook(ending, answer, "acompletion")
        assert await left(f"llm:model:{model}") == (40, 0) and len(alone._open) == 1
        del ending
        for _ in range(500):
            rows = (await limiter.quota(f"llm:model:{model}")).limits
            if [row.used for row in rows] == ([cost] if cost else []):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError((model, rows))
        assert not alone._open
    # What is told is settled once, whatever ends later.
    ending = {"model": "told", "litellm_logging_obj": Its()}
    await alone.async_pre_call_deployment_hook(ending, "acompletion")
    await alone.async_log_success_event({"litellm_params": ending}, {"usage": {"total_tokens": 5}}, 0, 0)
    del ending
    await asyncio.sleep(0.05)
    assert await left("llm:model:told") == (5, 0) and not alone._untold and not alone._open
    # A synchronous call would pass by.
    try:
        await alone.async_pre_call_deployment_hook({"model": "gpt"}, "responses")
        raise AssertionError("it is not limited")
    except SynchronousCall as error:
        assert str(pickle.loads(pickle.dumps(error))) == str(error), error
    said = Said()
    for kind in ("completion", "acompletion", "completion", "embedding"):
        alone.log_pre_api_call("gpt", [], {"call_type": kind})
    assert [line.partition("(")[0] for line in said()] == ["litellm.completion", "litellm.embedding"]
    try:
        TokenLimits(Limiter(Server(URL), FailClosed()), {"key": "1/h"})  # type: ignore[arg-type]
        raise AssertionError("it would block the event loop")
    except TypeError as error:
        assert str(error).endswith(": take the Limiter of floodgate_redis.asyncio"), error
    # The proxy has decided by the fallback: its attempts do not ask again.
    gone = aio.Limiter(aio.Server("redis://127.0.0.1:1"), aio.LocalBucket(rate=0.001, burst=50))
    away = TokenLimits(gone, {"model": "100/h"}, estimate=lambda *_: 40)
    passed: dict[str, Any] = {"model": "gpt"}
    await away.async_pre_call_hook(who("a"), None, passed, "acompletion")
    await away.async_pre_call_deployment_hook(passed, "acompletion")
    await away.async_log_success_event({"litellm_params": passed}, {"usage": {"total_tokens": 2}}, 0, 0)
    # Redis was asked once, and may have granted it unheard; then it was left alone.
    try:
        await away.async_pre_call_hook(who("a"), None, {"model": "gpt"}, "acompletion")
        raise AssertionError("the bucket is empty")
    except HTTPException as error:
        assert error.status_code == 429 and "Redis is away" in error.detail
    assert [command[0] for command in away._untold] == ["RL.RELEASE"]
    # It is back: what is untold comes before the next request.
    begun = await begins("c", 10)
    tokens._untold.append(("RL.COMMIT", begun["metadata"]["floodgate_request"], 1, "llm:key:c", "COST", 4))
    await ends(await begins("c", 20), 20)
    assert await left("llm:key:c") == (24, 0) and not tokens._untold
    tokens._open.clear()
    try:
        TokenLimits(limiter, {"orgs": "1/h"})
        raise AssertionError("there is no such scope")
    except ValueError:
        pass
    await server.close()

asyncio.run(proxy())
passed = four_processes("rl.reserve", LITELLM)
# Of each that was under way when it was killed an estimate of 2 may stand.
assert 90 - 4 * 4 - 1 <= passed <= 90, passed
print("done", flush=True)
