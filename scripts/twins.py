"""Makes modules of floodgate_redis without asyncio from those for asyncio, which they differ from by
words alone: `await`, `async`, and names such as AsyncIterator.

    python3 scripts/twins.py            writes them
    python3 scripts/twins.py --check    fails where one is not what it would write

Where the two do different work (server, node, cluster, lease, renewing), both are written by hand.
"""

import io
import re
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src/clients/python/floodgate_redis"
MODULES = ("breaker", "cache", "guarded", "limiter", "reservation")

NAMES = {
    "AsyncExitStack": "ExitStack",
    "AsyncIterator": "Iterator",
    "asynccontextmanager": "contextmanager",
    "asyncio": "time",
    "asynchronous": "plain",
    "awaitable": "worked",
    "enter_async_context": "enter_context",
    "with_asyncio": "without_asyncio",
}
"""Names with asyncio, and those without. Of the module asyncio `sleep` alone is used."""

WRAPPED = {"Awaitable": 1, "Coroutine": 3}
"""Types of what is awaited, and how many parameters each has: the last is what stands without asyncio."""


def without_asyncio(source: str) -> str:
    """The text of the twin."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    # Each edit replaces what stands between two places.
    edits: list[tuple[tuple[int, int], tuple[int, int], str]] = []
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else token
        if token.type != tokenize.NAME:
            continue
        if token.string in ("async", "await"):
            edits.append((token.start, following.start, ""))
        elif token.string in WRAPPED and following.string == "[":
            inner, end = _parameters(tokens, at + 1, WRAPPED[token.string])
            edits += [(token.start, inner, ""), (end.start, end.end, "")]
        elif token.string in NAMES:
            edits.append((token.start, token.end, NAMES[token.string]))
    lines = source.splitlines(keepends=True)
    for start, end, text in sorted(edits, reverse=True):
        assert start[0] == end[0], f"line {start[0]}: the edit goes beyond it"
        line = lines[start[0] - 1]
        lines[start[0] - 1] = line[: start[1]] + text + line[end[1] :]
    return _imports("".join(lines))


def _parameters(
    tokens: list[tokenize.TokenInfo], bracket: int, count: int
) -> tuple[tuple[int, int], tokenize.TokenInfo]:
    """Where the last of the parameters begins, and the bracket that closes them."""
    depth, seen, start = 0, 1, tokens[bracket].end
    for at in range(bracket, len(tokens)):
        string = tokens[at].string
        depth += (string in "[(") - (string in ")]") if len(string) == 1 else 0
        if depth == 0:
            assert seen == count, f"line {tokens[at].start[0]}: {seen} parameters, not {count}"
            return start, tokens[at]
        if depth == 1 and string == ",":
            seen, start = seen + 1, tokens[at + 1].start
    raise ValueError("a bracket stays open")


def _imports(source: str) -> str:
    """Imports of this package from one folder up, those that are needed no more left out, and all in
    their order."""
    lines: list[str] = []
    own: list[str] = []
    for line in source.splitlines():
        if line.startswith("from ."):
            own.append(re.sub(r"^from \.\.(?=\S|\s)", "from .", line))
            continue
        # What stood in one block is sorted as one.
        lines += sorted(own, key=lambda it: it.split()[1])
        own = []
        if line.startswith(("from collections.abc import ", "from contextlib import ")):
            module, _, names = line.partition(" import ")
            kept = sorted({name for name in names.split(", ") if name not in WRAPPED})
            lines += [f"{module} import {', '.join(kept)}"] if kept else []
        elif line != "import time" or line not in lines:
            lines.append(line)
    return _sorted_plain("\n".join(lines) + "\n")


def _sorted_plain(source: str) -> str:
    return re.sub(
        r"(?:^import \w+\n)+", lambda found: "".join(sorted(found[0].splitlines(keepends=True))), source, flags=re.M
    )


def main() -> int:
    stale = []
    for module in MODULES:
        twin = PACKAGE / f"{module}.py"
        head = f"# Made from asyncio/{module}.py by scripts/twins.py: change that one.\n"
        made = head + without_asyncio((PACKAGE / "asyncio" / f"{module}.py").read_text())
        if "--check" not in sys.argv:
            twin.write_text(made)
        elif twin.read_text() != made:
            stale.append(twin.name)
    if stale:
        print(f"not made from their twins for asyncio: {', '.join(stale)}; run scripts/twins.py", file=sys.stderr)
    return len(stale)


if __name__ == "__main__":
    sys.exit(main())
