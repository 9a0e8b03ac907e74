"""What callers give, and the way out where it is wrong."""

import math
from numbers import Real
from typing import Any


def number(name: str, value: Any, least: float, unit: str, *, above: bool = False) -> None:
    """Refuses what is no number, less than `least` (or no more, with `above`), NaN or infinite."""
    is_number = isinstance(value, Real)
    if not is_number:
        raise TypeError(f"{name} is {value!r}: it must be a number of {unit}")
    if not (value > least if above else value >= least) or value == math.inf:
        raise ValueError(f"{name} is {value!r}: it must be {'above' if above else 'at least'} {least:g} {unit}, and finite")


def wait(seconds: Any) -> None:
    """How long somebody would stand in line."""
    number("wait", seconds, 0, "s")


def with_asyncio(**given: object) -> None:
    """Refuses what of this package is for programs without asyncio."""
    _are(given, "floodgate_redis.asyncio")


def without_asyncio(**given: object) -> None:
    """Refuses what of this package is for asyncio."""
    _are(given, "floodgate_redis")


def _are(given: dict[str, object], package: str) -> None:
    for name, it in given.items():
        of = next((kind for kind in type(it).__mro__ if kind.__module__.startswith("floodgate_redis.")), None)
        if of is not None and of.__module__.startswith("floodgate_redis.asyncio.") != package.endswith(".asyncio"):
            raise TypeError(f"{name} is a {of.__module__.rpartition('.')[0]}.{of.__name__}: take the {of.__name__} of {package}")
