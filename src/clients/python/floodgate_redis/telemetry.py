"""Counters by OpenTelemetry's API, where it is installed."""

from collections.abc import Callable
from typing import Any

Count = Callable[[str], None]


def counter(name: str, description: str) -> Count:
    """Counts outcomes. Costs nothing where OpenTelemetry is not installed."""
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
