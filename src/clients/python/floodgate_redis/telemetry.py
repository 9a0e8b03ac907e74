"""Counters of OpenTelemetry's API. Where it is not installed, nothing is counted."""

from collections.abc import Callable
from typing import Any

Count = Callable[[str], None]


def counter(name: str, description: str) -> Count:
    """A function that adds 1 to the counter `name`, with the attribute `outcome`."""
    try:
        from opentelemetry import metrics
    except ImportError:
        return lambda outcome: None
    instrument: Any = metrics.get_meter("floodgate_redis").create_counter(name, description=description)
    return lambda outcome: instrument.add(1, {"outcome": outcome})


decisions = counter(
    "floodgate.decisions", "What limits answered: granted, denied, remembered, leased, charged, fallback"
)
calls = counter("floodgate.calls", "What came of calls behind a breaker: ok, fail, ignore, open, cached")
