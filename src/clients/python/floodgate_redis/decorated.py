"""Decorators of this package refuse functions whose call returns before their work begins: generators, and
coroutine functions where the decorator is one without asyncio."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

R = TypeVar("R")
Function = Callable[..., Any]


class NotTheWork(TypeError):
    """The decorated function works after its call, so that a decorator cannot see the outcome."""


def plain(function: Function) -> None:
    """Raises NotTheWork for a function that a decorator without asyncio cannot take."""
    if _is(inspect.iscoroutinefunction, function):
        raise _is_asynchronous(function)
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise _is_generator(function, PLAIN)


def worked(function: Function, answer: R) -> R:
    """Gives the answer of a function on, or raises NotTheWork. The answer shows what the function is where
    another decorator hides it."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise _is_asynchronous(function)
    code = getattr(answer, "gi_code", None) or getattr(answer, "ag_code", None)
    if code is not None and code is getattr(inspect.unwrap(function), "__code__", None):
        raise _is_generator(function, PLAIN)
    return answer


def asynchronous(function: Function) -> None:
    """Raises NotTheWork for a generator, which a decorator for asyncio cannot take. Whether the answer of a
    plain function can be awaited, `awaitable` finds out."""
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise _is_generator(function, f"async {PLAIN}")


def awaitable(function: Function, answer: Awaitable[R]) -> Awaitable[R]:
    """Gives the answer of a function on, or raises NotTheWork where it cannot be awaited."""
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
