"""LiteLLM without its proxy; and what the stand-in of `cargo test` is held to."""

import asyncio
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import floodgate_redis.asyncio as aio
import litellm
import pytest
from floodgate_redis.litellm import TokenLimits, TokensDenied
from running import HERE, PACKAGE, Redis, user

HELLO: dict[str, Any] = {"messages": user("hello")}


def test_each_attempt_reserves_once_and_settles(redis: Redis, provider: str) -> None:
    asyncio.run(attempts(redis, provider))


async def attempts(redis: Redis, provider: str) -> None:
    shared = {"team": "x"}
    ann: dict[str, Any] = {"api_base": provider, "api_key": "x", "user": "ann"}
    nobody: dict[str, Any] = {"api_base": provider, "api_key": "x"}
    deployments = [
        {"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_base": provider, "api_key": "x"}}
        for name, model in [("fallen", "BROKEN"), ("chat", "chat")]
    ]
    router = litellm.Router(model_list=deployments, fallbacks=[{"fallen": ["chat"]}], num_retries=1, retry_after=0)
    async with aio.Server(redis.url, patience=5) as server:
        limits = {"user": "1000000/h,concurrent:9", "model": "1000000/h,concurrent:9"}
        tokens = TokenLimits(aio.Limiter(server, aio.FailClosed()), limits, prefix="library")
        litellm.callbacks = [tokens]

        async def settles(model: str, used: int, call: Awaitable[Any]) -> None:
            answer = await call
            if hasattr(answer, "__aiter__"):
                async for _ in answer:
                    pass
            for _ in range(200):
                if redis.used(f"library:model:{model}") == [used, 0] and not tokens._open:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError((model, used, redis.used(f"library:model:{model}"), tokens._open))

        stream = {"stream": True, "stream_options": {"include_usage": True}}
        for model, call in [
            ("openai/a", litellm.acompletion(model="openai/a", **HELLO, **ann)),
            ("openai/b", litellm.acompletion(model="openai/b", **HELLO, **ann, **stream)),
            ("text-completion-openai/c", litellm.atext_completion(model="text-completion-openai/c", prompt="x", **ann)),
            ("openai/d", litellm.aresponses(model="openai/d", input="hello", **ann)),
            ("openai/e", litellm.aresponses(model="openai/e", input="hello", stream=True, **ann)),
            ("openai/f", litellm.anthropic.messages.acreate(model="openai/f", max_tokens=10, **HELLO, **nobody)),
            ("hosted_vllm/g", litellm.anthropic.messages.acreate(model="hosted_vllm/g", max_tokens=10, **HELLO, **nobody)),
            ("openai/chat", router.acompletion(model="fallen", **HELLO, user="ann")),
        ]:
            await settles(model, 33, call)
        calls = [litellm.acompletion(model="openai/i", **HELLO, **ann, metadata=shared) for _ in range(4)]
        await settles("openai/i", 4 * 33, asyncio.gather(*calls))
        assert shared == {"team": "x"}
        assert redis.used("library:user:ann") == [33 * (6 + 4), 0]
        assert redis.used("library:model:openai/BROKEN") == [], "what failed gave all back"

        litellm.callbacks = [TokenLimits(tokens.limiter, {"user": "900/h", "model": "900/h"}, prefix="small")]
        for who, expected in [({"user": "ann"}, TokensDenied), ({}, litellm.RateLimitError)]:
            try:
                await litellm.acompletion(model="openai/chat", **HELLO, **nobody, **who, max_retries=0)
                await litellm.acompletion(model="openai/chat", **HELLO, **nobody, **who, max_retries=0)
                raise AssertionError("it was let through")
            except expected:
                pass
        litellm.callbacks = []


async def settled(redis: Redis, tokens: TokenLimits, model: str) -> list[int]:
    """What is used in the end: tokens, and places."""
    for _ in range(200):
        if not tokens._open and redis.used(f"{tokens.prefix}:model:{model}")[1:] in ([], [0]):
            break
        await asyncio.sleep(0.05)
    return redis.used(f"{tokens.prefix}:model:{model}")


Making = Callable[[str], Awaitable[Any]]


def calls(provider: str, **more: Any) -> list[tuple[str, Making]]:
    """Of each kind, whose answer takes seconds; by the provider of their models."""
    of: dict[str, Any] = {"api_base": provider, "api_key": "x", "max_retries": 1, **more}
    said = user("SLOW")
    return [
        ("openai", lambda model: litellm.acompletion(model=model, messages=said, max_tokens=500, **of)),
        ("openai", lambda model: litellm.aresponses(model=model, input="SLOW", max_output_tokens=500, **of)),
        ("text-completion-openai", lambda model: litellm.atext_completion(model=model, prompt="SLOW", max_tokens=500, **of)),
        ("anthropic", lambda model: litellm.anthropic.messages.acreate(model=model, messages=said, max_tokens=500, **of)),
        ("openai", lambda model: litellm.anthropic.messages.acreate(model=model, messages=said, max_tokens=500, **of)),
        ("hosted_vllm", lambda model: litellm.anthropic.messages.acreate(model=model, messages=said, max_tokens=500, **of)),
    ]


async def limited(redis: Redis, prefix: str, does: Callable[[TokenLimits], Awaitable[None]]) -> None:
    """Python's collector of cycles is off: nothing here waits for it."""
    async with aio.Server(redis.url, patience=5) as server:
        limits = {"model": "1000000/h,concurrent:3"}
        tokens = TokenLimits(aio.Limiter(server, aio.FailClosed()), limits, prefix=prefix)
        litellm.callbacks = [tokens]
        gc.collect()
        gc.disable()
        try:
            await does(tokens)
        finally:
            gc.enable()
            litellm.callbacks = []


def test_what_is_cancelled_gives_back(redis: Redis, provider: str) -> None:
    async def cancelled(tokens: TokenLimits) -> None:
        for number, (of, call) in enumerate(calls(provider)):
            model = f"{of}/cancelled-{number}"
            tasks = [asyncio.create_task(call(model)) for _ in range(2)]  # type: ignore[arg-type]
            try:
                async with asyncio.timeout(10):
                    while len(tokens._open) < 2 or redis.used(f"cancelled:model:{model}")[1:] != [2]:
                        await asyncio.sleep(0.02)
                    await asyncio.sleep(0.3)
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
            finally:
                assert [task.cancelled() for task in tasks] == [True, True], model
                del tasks, task
            assert await settled(redis, tokens, model) in ([], [0, 0]), (model, redis.used(f"cancelled:model:{model}"))
        for _ in range(4):
            try:
                async with asyncio.timeout(0.5):
                    await calls(provider)[0][1]("openai/late")
                raise AssertionError("it answered")
            except TimeoutError:
                pass
        assert await settled(redis, tokens, "openai/late") in ([], [0, 0])

    asyncio.run(limited(redis, "cancelled", cancelled))


def test_a_stream_that_nobody_reads_on_is_charged_its_estimate(redis: Redis, provider: str) -> None:
    async def abandoned(tokens: TokenLimits) -> None:
        for number, (of, call) in enumerate(calls(provider, stream=True)):
            model = f"{of}/abandoned-{number}"
            for turn in (1, 2):
                stream = await call(model)
                async for _ in stream:
                    break
                assert redis.used(f"abandoned:model:{model}")[1] == 1, "it is being read"
                del stream, _
                # Of some LiteLLM leaves a cycle.
                for _ in range(3):
                    await asyncio.sleep(0.05)
                    gc.collect()
                used, places = await settled(redis, tokens, model)
                # Of Anthropic's own LiteLLM tells what came.
                least = 0 if of == "anthropic" else 500 * turn
                assert least < used < 520 * turn and places == 0, (model, used, places)

    asyncio.run(limited(redis, "abandoned", abandoned))


def test_a_stream_is_held_until_its_end(redis: Redis, provider: str) -> None:
    """However slowly it is read, and whatever is collected meanwhile."""

    async def one(tokens: TokenLimits, model: str, call: Making) -> None:
        stream = await call(model)
        async for _ in stream:
            gc.collect()
            assert redis.used(f"slow:model:{model}")[1] == 1, model
        del stream
        gc.collect()
        used, places = await settled(redis, tokens, model)
        assert 0 < used < 60 and places == 0, (model, used, places)

    async def slowly(tokens: TokenLimits) -> None:
        streams = enumerate(calls(provider, stream=True))
        await asyncio.gather(*(one(tokens, f"{of}/slow-{number}", call) for number, (of, call) in streams))

    asyncio.run(limited(redis, "slow", slowly))


def test_a_synchronous_call_is_not_limited_in_silence(
    redis: Redis, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"user": "1000/h,concurrent:1"}
    tokens = TokenLimits(aio.Limiter(aio.Server(redis.url, patience=5), aio.FailClosed()), limits, prefix="synchronous")
    litellm.callbacks = [tokens]
    litellm.input_callback.clear()  # where LiteLLM keeps those of other tests
    ann: dict[str, Any] = {"api_base": provider, "api_key": "x", "user": "ann"}

    def said() -> list[str]:
        lines = [it.getMessage() for it in caplog.records if it.name == "floodgate_redis" and it.levelno == logging.ERROR]
        caplog.clear()
        return lines

    try:
        for expected in (1, 0):
            litellm.completion(model="openai/chat", **HELLO, **ann)
            lines = said()
            assert len(lines) == expected and all("await litellm.acompletion(" in line for line in lines), lines
        litellm.embedding(model="openai/embedding", input=["hello"], **ann)
        assert len(said()) == 1
        with pytest.raises(litellm.BadRequestError, match="await litellm.aresponses"):
            litellm.responses(model="openai/chat", input="hello", **ann)
        assert redis.used("synchronous:user:ann") == [] and not tokens._open
        asyncio.run(litellm.acompletion(model="openai/chat", **HELLO, **ann))  # type: ignore[arg-type]
        assert said() == []
    finally:
        litellm.callbacks = []


def test_what_the_stand_in_is_held_to(tmp_path: Path) -> None:
    """The same program as `cargo test` runs with the stand-in."""
    server = Redis(tmp_path)
    program = HERE.parent / "python/try_litellm.py"
    trying = subprocess.Popen(
        [sys.executable, "-B", str(program), str(server.port), "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(PACKAGE)},
    )  # fmt: skip
    try:
        assert trying.stdin and trying.stdout
        for said in map(str.strip, trying.stdout):
            {"down": server.kill, "up": server.start_again, "done": lambda: None}[said]()
            if said == "done":
                break
            trying.stdin.write("\n")
            trying.stdin.flush()
        assert trying.wait(30) == 0 and said == "done"
    finally:
        trying.kill()
        server.stop()
