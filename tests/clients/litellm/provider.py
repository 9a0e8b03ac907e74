"""Stands for the providers of models, OpenAI's and Anthropic's: each answer used 33 tokens.
A text with SLOW in it is answered word by word, within six seconds; BROKEN fails."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

app = FastAPI()
CHAT_USAGE = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
USAGE = {
    "input_tokens": 11, "output_tokens": 22, "total_tokens": 33,
    "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip
BATCH = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
    "completion_window": "24h", "status": "validating", "created_at": 1,
}  # fmt: skip
OTHERS = {
    "embeddings": {
        "object": "list", "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    },
    "generations": {
        "created": 1, "data": [{"b64_json": "AAAA"}],
        "usage": {
            "input_tokens": 11, "output_tokens": 33, "total_tokens": 44,
            "input_tokens_details": {"text_tokens": 11, "image_tokens": 0},
        },
    },
    "moderations": {"id": "m", "model": "m", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]},
    "batches": BATCH,
    "batch_1": BATCH | {"status": "completed", "output_file_id": "file-2", "usage": USAGE},
}  # fmt: skip


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def answer(path: str, request: Request) -> Response:
    body: Any = json.loads(await request.body() or b"{}")
    kind = path.rpartition("/")[2]
    text = json.dumps(body)
    if "BROKEN" in text:
        return JSONResponse({"error": {"message": "broken", "type": "server_error"}}, 500)
    if kind in OTHERS:
        return JSONResponse(OTHERS[kind])
    slow = "SLOW" in text
    events = {
        "messages": messages, "responses": responses, "completions": chat if "chat" in path else completions,
    }[kind](body, 20 if slow else 3)  # fmt: skip
    if not body.get("stream"):
        await asyncio.sleep(2 if slow else 0)
        *_, whole = events
        return JSONResponse(whole)

    async def stream() -> AsyncIterator[str]:
        *parts, _ = events
        for part in parts:
            yield (f"event: {part['type']}\n" if kind == "messages" else "") + f"data: {json.dumps(part)}\n\n"
            await asyncio.sleep(0.3 if slow else 0)
        if kind == "completions":
            yield "data: [DONE]\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


# Each gives the parts of its stream, and then the whole answer.


def chat(body: Any, words: int) -> Iterator[dict[str, Any]]:
    usage = CHAT_USAGE if body["model"] != "judge" else {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    about = {"id": "c", "created": 1, "model": "m"}
    for _ in range(words):
        choice = {"index": 0, "delta": {"role": "assistant", "content": "word "}, "finish_reason": None}
        yield about | {"object": "chat.completion.chunk", "choices": [choice]}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield about | {"object": "chat.completion.chunk", "choices": [last]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield about | {"object": "chat.completion.chunk", "choices": [], "usage": usage}
    message = {"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "stop"}
    yield about | {"object": "chat.completion", "choices": [message], "usage": usage}


def completions(body: Any, words: int) -> Iterator[dict[str, Any]]:
    about = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    for n in range(words):
        yield about | {"choices": [{"index": 0, "text": "word ", "finish_reason": None if n + 1 < words else "stop"}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield about | {"choices": [], "usage": CHAT_USAGE}
    yield about | {"choices": [{"index": 0, "text": "word", "finish_reason": "stop"}], "usage": CHAT_USAGE}


def responses(body: Any, words: int) -> Iterator[dict[str, Any]]:
    text = {"type": "output_text", "text": "word", "annotations": []}
    message = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [text]}
    whole: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "m", "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1, "top_p": 1,
    }  # fmt: skip
    yield {"type": "response.created", "response": whole, "sequence_number": 0}
    for n in range(words):
        part = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0}
        yield part | {"delta": "word ", "sequence_number": n + 1}
    whole = whole | {"status": "completed", "output": [message], "usage": USAGE}
    yield {"type": "response.completed", "response": whole, "sequence_number": words + 1}
    yield whole


def messages(body: Any, words: int) -> Iterator[dict[str, Any]]:
    about = {"id": "msg", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    begun = about | {"content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for _ in range(words):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 22}}
    yield {"type": "message_stop"}
    usage = {"input_tokens": 11, "output_tokens": 22}
    yield about | {"content": [{"type": "text", "text": "word"}], "stop_reason": "end_turn", "usage": usage}
