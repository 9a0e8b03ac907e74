"""LiteLLM's proxy holds the limits that README promises, request by request."""

import json
import socket
from typing import Any

import openai
import pytest
from running import Caller, Proxy, eventually, user

CHAT = "/v1/chat/completions"
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
HELLO = {"messages": user("hello")}
CLAUDE = HELLO | {"model": "claude", "max_tokens": 10}
BATCH = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h", "custom_llm_provider": "openai"}


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        (CHAT, HELLO | {"model": "chat"}, 33),
        (CHAT, HELLO | {"model": "chat", "stream": True}, 33),
        (CHAT, HELLO | {"model": "fallen"}, 33),  # two attempts fail before it
        ("/v1/completions", {"model": "text", "prompt": "hello"}, 33),
        ("/v1/completions", {"model": "text", "prompt": "hello", "stream": True}, 33),
        ("/v1/embeddings", {"model": "embedding", "input": ["hello"]}, 7),
        ("/v1/responses", {"model": "chat", "input": "hello"}, 33),
        ("/v1/responses", {"model": "chat", "input": "hello", "stream": True}, 33),
        ("/v1/messages", CLAUDE, 33),
        ("/v1/messages", CLAUDE | {"stream": True}, 33),
        ("/v1/messages", CLAUDE | {"model": "chat"}, 33),  # LiteLLM asks for a response
        ("/v1/messages", CLAUDE | {"model": "chat", "stream": True}, 33),
        ("/v1beta/models/chat:generateContent", GEMINI, 33),
        ("/v1/images/generations", {"model": "image", "prompt": "hello"}, 44),
        # Their use is not known, so that the estimate stands.
        ("/v1/moderations", {"model": "moderation", "input": "hello"}, 1),
        ("/v1/batches", BATCH, 1000),
        ("/v1/batches/batch_1?provider=openai", None, 0),
        ("/v1/models", None, 0),
    ],
)
def test_what_a_call_used_is_settled(caller: Caller, path: str, body: Any, tokens: int) -> None:
    answer = caller.ask(path, body)
    assert answer.status == 200, answer
    caller.settles(tokens)


def test_the_estimate_is_reserved_for_key_team_and_organization(caller: Caller) -> None:
    with caller.while_it_answers(CHAT, {"model": "chat", "messages": user("SLOW"), "max_tokens": 700}):
        eventually("it is reserved", lambda: caller.used()[0] == 1)
        places, *reserved = caller.used()
        assert reserved == [reserved[0]] * 3 and 700 < reserved[0] < 720
    caller.settles(33)


@pytest.mark.parametrize("most", [30_000, 10**30])
def test_an_estimate_is_cut_to_the_capacity_and_the_next_is_denied(proxy: Proxy, caller: Caller, most: int) -> None:
    with caller.while_it_answers(CHAT, {"model": "chat", "messages": user("SLOW"), "max_tokens": most}):
        eventually("it is reserved", lambda: caller.used() == (1, 10_000, 10_000, 10_000))
        answer = caller.chat()
        assert answer.status == 429 and 3000 < answer.retry_after <= 3700
        error = json.loads(answer.body)["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "429") and "(key)" in error["message"]
        # As clients understand it.
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key=caller.key, max_retries=0)
        with pytest.raises(openai.RateLimitError) as denied:
            client.chat.completions.create(model="chat", messages=user("hello"))  # type: ignore[arg-type]
        assert int(denied.value.response.headers["retry-after"]) > 3000
        assert caller.ask("/v1/messages", CLAUDE).status == 429
    caller.settles(33)
    assert caller.chat().status == 200


def test_places_are_held_while_answers_come(caller: Caller) -> None:
    slow = {"model": "chat", "messages": user("SLOW"), "max_tokens": 10, "stream": True}
    streams = [caller.connect(CHAT, slow) for _ in range(5)]
    eventually("all are held", lambda: caller.used()[0] == 5)
    denied = caller.chat(max_tokens=10)
    assert denied.status == 429 and denied.retry_after >= 1
    for stream in streams:
        assert stream.getresponse().read().endswith(b"data: [DONE]\n\n")
    caller.settles(5 * 33)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHAT, HELLO | {"model": "broken"}, 500),
        (CHAT, HELLO | {"model": "broken", "stream": True}, 500),
        (CHAT, HELLO | {"model": "unknown"}, 400),
        (CHAT, {"model": "chat"}, 400),
        (CHAT, {"model": "chat", "messages": user("REFUSED")}, 400),  # by a guardrail, after ours
        ("/v1/completions", {"model": "text", "prompt": "BROKEN"}, 500),
        ("/v1/embeddings", {"model": "embedding", "input": "BROKEN"}, 500),
        ("/v1/responses", {"model": "chat", "input": "BROKEN"}, 500),
        ("/v1/messages", CLAUDE | {"messages": user("BROKEN")}, 500),
    ],
)
def test_a_request_that_failed_gives_back(caller: Caller, path: str, body: Any, status: int) -> None:
    assert caller.chat().status == 200
    caller.settles(33)
    answer = caller.ask(path, body)
    assert answer.status == status, answer
    caller.settles(33)


def test_an_answer_that_a_guardrail_refuses_was_paid_for(caller: Caller) -> None:
    assert caller.chat("REJECTED").status == 400
    caller.settles(33)


def test_what_a_guardrail_asks_a_model_is_not_the_requests_own(caller: Caller) -> None:
    assert caller.chat("JUDGED").status == 200
    caller.settles(33)


NAMED = {"floodgate_request": "another", "floodgate_attempt": "another", "internal_call_origin": "router"}


@pytest.mark.parametrize("metadata", [{"metadata": NAMED}, {"metadata": NAMED, "litellm_metadata": NAMED}])
@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, HELLO | {"model": "chat"}), ("/v1/responses", {"model": "chat", "input": "hello"})]
)
def test_nobody_names_a_reservation(caller: Caller, path: str, body: Any, metadata: Any) -> None:
    assert caller.ask(path, body | metadata).status == 200
    caller.settles(33)


@pytest.mark.parametrize("most", ["many", -5000, 0, True])
def test_whatever_a_caller_writes_is_estimated(caller: Caller, most: Any) -> None:
    assert caller.chat(max_tokens=most).status != 500
    eventually("it is settled", lambda: caller.used() in ((0, 33, 33, 33), (0, 0, 0, 0)))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_from_the_cache_uses_nothing(caller: Caller, stream: bool) -> None:
    cached = {"cache": {"use-cache": True}, "stream": stream}
    first = caller.chat(f"what is cached of {caller.key}", **cached)
    caller.settles(33)
    second = caller.chat(f"what is cached of {caller.key}", **cached)
    assert first.status == second.status == 200
    assert "x-litellm-cache-key" in second.headers
    caller.settles(33)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, {"model": "chat", "messages": user("SLOW"), "stream": True}, 1),
        (CHAT, {"model": "chat", "messages": user("SLOW"), "stream": True}, 0),
        ("/v1/responses", {"model": "chat", "input": "SLOW", "stream": True}, 1),
        ("/v1/messages", CLAUDE | {"messages": user("SLOW"), "stream": True, "max_tokens": 1000}, 1),
    ],
)
def test_who_hangs_up_is_charged_what_came(caller: Caller, path: str, body: Any, words: int) -> None:
    connection = caller.connect(path, body)
    eventually("it is reserved", lambda: caller.used()[0] == 1)
    hung_up = connection.sock  # the connection forgets it once it has the answer
    if words:
        answer = connection.getresponse()
        while b"word" not in answer.readline():
            pass
    hung_up.shutdown(socket.SHUT_RDWR)
    eventually("its place is free", lambda: caller.used()[0] == 0)
    places, *charged = caller.used()
    assert charged == [charged[0]] * 3 and charged[0] <= 40, "not the estimate"
    assert charged[0] > 0 or not words


def test_who_hangs_up_on_a_whole_answer_is_charged_it(caller: Caller) -> None:
    connection = caller.connect(CHAT, {"model": "chat", "messages": user("SLOW")})
    eventually("it is reserved", lambda: caller.used()[0] == 1)
    connection.sock.shutdown(socket.SHUT_RDWR)
    caller.settles(33)
