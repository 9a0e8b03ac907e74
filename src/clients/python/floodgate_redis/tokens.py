"""Tokens of a request to a language model: what it may use, and what it has used."""

import re
from collections.abc import Mapping
from typing import Any

OUTPUT = 1000
"""Tokens that an answer is taken for, where the request says no most."""

ATTACHED = 1500
"""Tokens that a picture or a file within the request is taken for: its bytes are no text."""

SENT = (
    "messages", "system", "tools", "prompt", "input", "instructions",
    "contents", "systemInstruction", "query", "documents",
)  # fmt: skip
MOST = ("max_tokens", "max_completion_tokens", "max_output_tokens")
ANSWERS = ("n", "best_of")

READS = re.compile(r"a?(embedding|moderation|rerank|speech|transcription|ocr|search)")
"""Calls whose answer is no text of a model."""

KEEPS = re.compile(
    r"a?_?((get|retrieve|list|cancel|delete)_\w+|(file|vector_store)_\w+|video_(retrieve|content|list|delete|get)\w*"
    r"|create_(file|container|sandbox|thread|assistants)|upload_container_file|add_message|call_mcp_tool)"
)
"""Calls that no model answers: the state of a batch, files, tools."""


def estimated(request: Mapping[str, Any], call_type: str = "completion") -> int:
    """A token for four characters of what is sent, and the most that is to come back. None
    for what no model answers, so that it is not limited. Callers write the request: what is
    no number in it counts as not said."""
    if KEEPS.fullmatch(call_type):
        return 0
    sent = _characters([request[name] for name in SENT if request.get(name)]) // 4
    if READS.fullmatch(call_type):
        return max(1, sent)
    most = max(_whole(request.get(name)) for name in MOST) or OUTPUT
    return sent + most * max(1, *(_whole(request.get(name)) for name in ANSWERS))


def used(logged: Mapping[str, Any], response: Any = None) -> int | None:
    """Tokens, where LiteLLM knows them."""
    standard = logged.get("standard_logging_object")
    if isinstance(standard, Mapping) and standard.get("total_tokens"):
        return int(standard["total_tokens"])
    usage = response.get("usage") if isinstance(response, Mapping) else getattr(response, "usage", None)
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else getattr(usage, "total_tokens", None)
    return None if total is None else int(total)


def _characters(sent: Any) -> int:
    """Of all texts and names in it, however deep: callers write it, so that it is no recursion."""
    count, rest = 0, [sent]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            count += 4 * ATTACHED if part.startswith("data:") else len(part)
        elif isinstance(part, Mapping):
            for name, value in part.items():
                count += len(str(name))
                # Where Anthropic and OpenAI have the bytes of what is attached.
                rest.append("data:" if name == "data" and isinstance(value, str) else value)
        elif isinstance(part, (list, tuple)):
            rest.extend(part)
        else:
            count += 4  # a number may be a token
    return count


def _whole(said: Any) -> int:
    try:
        return max(0, int(said))
    except (TypeError, ValueError, OverflowError):
        return 0
