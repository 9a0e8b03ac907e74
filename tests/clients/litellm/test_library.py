"""LiteLLM without its proxy; and what the stand-in of `cargo test` is held to."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import floodgate_redis.asyncio as aio
import litellm
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
