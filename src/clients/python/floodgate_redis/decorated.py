"""What decorators take: a function whose call is the work, and not what ends before it begins."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

R = TypeVar("R")
Function = Callable[..., Any]


def plain(function: Function) -> None:
    """For decorators without asyncio."""
    if _is(inspect.iscoroutinefunction, function):
        raise TypeError(f"{_name(function)} is asynchronous: take the decorator of floodgate_redis.asyncio")
    _no_generator(function, "with breaker.guard():")


def asynchronous(function: Function) -> None:
    """For decorators for asyncio. Whether a plain function gives what can be awaited, its answer shows."""
    _no_generator(function, "async with breaker.guard():")


def awaitable(function: Function, answer: Awaitable[R]) -> Awaitable[R]:
    """The answer of a function for asyncio."""
    if not inspect.isawaitable(answer):
        raise TypeError(f"{_name(function)} is not asynchronous: take the decorator of floodgate_redis")
    return answer


def _no_generator(function: Function, guard: str) -> None:
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise TypeError(f"{_name(function)} is a generator, which works after its call: write `{guard}` in it")


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    return kind(function) or kind(function.__call__)


def _name(function: Function) -> str:
    return str(getattr(function, "__qualname__", function))
