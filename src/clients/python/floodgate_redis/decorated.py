"""What decorators take: a function whose call is the work, and not what ends before it begins."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

R = TypeVar("R")
Function = Callable[..., Any]


class NotTheWork(TypeError):
    """The call of a function is not its work."""


def plain(function: Function) -> None:
    """For decorators without asyncio."""
    if _is(inspect.iscoroutinefunction, function):
        raise _is_asynchronous(function)
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise _is_generator(function, PLAIN)


def worked(function: Function, answer: R) -> R:
    """The answer of a function without asyncio. It shows what the function is where another
    decorator stands between."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise _is_asynchronous(function)
    code = getattr(answer, "gi_code", None) or getattr(answer, "ag_code", None)
    if code is not None and code is getattr(inspect.unwrap(function), "__code__", None):
        raise _is_generator(function, PLAIN)
    return answer


def asynchronous(function: Function) -> None:
    """For decorators for asyncio. Whether a plain function gives what can be awaited, its answer shows."""
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise _is_generator(function, f"async {PLAIN}")


def awaitable(function: Function, answer: Awaitable[R]) -> Awaitable[R]:
    """The answer of a function for asyncio."""
    if not inspect.isawaitable(answer):
        raise NotTheWork(f"{_name(function)} is not asynchronous: take the decorator of floodgate_redis")
    return answer


PLAIN = "with breaker.guard():"


def _is_asynchronous(function: Function) -> NotTheWork:
    return NotTheWork(f"{_name(function)} is asynchronous: take the decorator of floodgate_redis.asyncio")


def _is_generator(function: Function, guard: str) -> NotTheWork:
    return NotTheWork(f"{_name(function)} is a generator, which works after its call: write `{guard}` in it")


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    return kind(function) or kind(function.__call__)


def _name(function: Function) -> str:
    return str(getattr(function, "__qualname__", function))
